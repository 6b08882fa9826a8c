"""`pl.PartitionBy` as the path of a sink: what the user has asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.errors import PlanError
from arrowstream.plan import build

if TYPE_CHECKING:
    from arrowstream.plan.nodes import Node

_NO_LIMIT = 2**32 - 1  # what Polars has for "auto" is no wish of the user's; neither is anything above


@dataclass(frozen=True, slots=True)
class Asked:
    """A `pl.PartitionBy`, read."""

    base_path: str
    keys: tuple[pl.Expr, ...]
    include_key: bool
    max_rows_per_file: int | None
    approximate_bytes_per_file: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that the keys are."""
        return tuple(key.meta.output_name() for key in self.keys)


def read_partition_by(partition_by: pl.PartitionBy, verb: str) -> Asked:
    """What a `pl.PartitionBy` says; PlanError for what a sink here cannot do.

    Examples
    --------
    >>> asked = read_partition_by(pl.PartitionBy("out/", key=["a", "b"]), "sink_parquet")
    >>> asked.names, asked.include_key, asked.approximate_bytes_per_file
    (('a', 'b'), True, None)
    """
    inner: Any = partition_by._pl_partition_by  # noqa: SLF001 — Polars has no public way to read one
    if inner.file_path_provider is not None:
        raise PlanError(
            f"{verb} names its files itself: file_path_provider of pl.PartitionBy cannot be used",
            hint="leave it out: an epoch's files are key=value/part-<epoch>-<number>",
        )
    size = inner.approximate_bytes_per_file
    keys = tuple(pl.Expr._from_pyexpr(key) for key in inner.key or ())  # noqa: SLF001 — as above
    for key in keys:
        if key.meta.has_multiple_outputs():
            raise PlanError(
                f"key {key} of pl.PartitionBy stands for any number of columns",
                hint='name each: key=["year", "month"]',
            )
    return Asked(
        base_path=str(inner.base_path),
        keys=keys,
        include_key=True if inner.include_key is None else bool(inner.include_key),
        max_rows_per_file=inner.max_rows_per_file,
        approximate_bytes_per_file=size if size is not None and size < _NO_LIMIT else None,
    )


def with_keys(node: Node, keys: tuple[pl.Expr, ...]) -> Node:
    """The rows with a column for every key that is not one yet."""
    computed = []
    for key in keys:
        name = key.meta.output_name()
        if key.meta.eq(pl.col(name)):
            continue
        if name in node.schema:
            raise PlanError(
                f"a key of pl.PartitionBy is called '{name}', as a column of the rows is",
                hint=f'give it a name of its own: ….alias("{name}_key")',
            )
        computed.append(key)
    return build.row_step(node, "with_columns", *computed) if computed else node
