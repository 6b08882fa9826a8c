"""The rows that an operator cannot take: counted, and kept as dead letters if somebody reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import HIDDEN, SLOT
from arrowstream.runtime.operators.rows_in import without

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrowstream.types import Json, OnError


class Rejects:
    """What one operator has rejected: how many rows were skipped, how many became dead letters.

    Parameters
    ----------
    on_error
        What becomes of rejected rows; never used with "raise".
    are_read
        Whether `take` will be called: without, dead letters are counted only.
    """

    __slots__ = ("_are_read", "_taken", "dead_letters", "on_error", "skipped_rows")

    def __init__(self, on_error: OnError, *, are_read: bool) -> None:
        self.on_error = on_error
        self.skipped_rows = 0
        self.dead_letters = 0
        self._are_read = are_read
        self._taken: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame, error: pl.Series | str) -> None:
        """Reject rows.

        Parameters
        ----------
        rows
            As the operator got them, hidden columns included.
        error
            Why: for each of them, or the same for all.
        """
        if self.on_error == "skip":
            self.skipped_rows += rows.height
            return
        self.dead_letters += rows.height
        if self._are_read and rows.height:
            slot = [SLOT] if SLOT in rows.columns else []
            why = pl.lit(error) if isinstance(error, str) else error
            original = json_rows(without(rows, HIDDEN).schema)
            self._taken.append(rows.select(original.alias("original"), why.alias("error"), *slot))

    def take(self) -> list[pl.DataFrame]:
        """The dead letters since the last call: `original`, `error` and, where rows had one, SLOT."""
        taken, self._taken = self._taken, []
        return taken

    def values(self) -> dict[str, Json]:
        """The counts, for a snapshot."""
        return {"skipped_rows": self.skipped_rows, "dead_letters": self.dead_letters}

    def restore(self, values: Mapping[str, Json]) -> None:
        """Go on counting."""
        skipped, dead = values["skipped_rows"], values["dead_letters"]
        assert isinstance(skipped, int)
        assert isinstance(dead, int)
        self.skipped_rows, self.dead_letters = skipped, dead


def json_rows(schema: pl.Schema) -> pl.Expr:
    """Each row as one JSON object, in bytes: binary values as base64, what JSON has no number for as null."""
    columns = [_for_json(pl.col(name), dtype).alias(name) for name, dtype in schema.items()]
    return pl.struct(columns).struct.json_encode().cast(pl.Binary)


def _for_json(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The value with its bytes, which Polars cannot write as JSON, as text."""
    if not _has_bytes(dtype):
        return value
    if isinstance(dtype, pl.Struct):
        fields = [
            _for_json(value.struct.field(field.name), field.dtype)
            for field in dtype.fields
            if isinstance(field.dtype, pl.DataType)  # always, though its annotation allows for a class
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    if isinstance(dtype, pl.List | pl.Array):
        listed = value.arr.to_list() if isinstance(dtype, pl.Array) else value
        inner = dtype.inner
        assert isinstance(inner, pl.DataType)
        return listed.list.eval(_for_json(pl.element(), inner))
    return value.bin.encode("base64")


def _has_bytes(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(isinstance(field.dtype, pl.DataType) and _has_bytes(field.dtype) for field in dtype.fields)
    if isinstance(dtype, pl.List | pl.Array):
        return isinstance(dtype.inner, pl.DataType) and _has_bytes(dtype.inner)
    return dtype == pl.Binary
