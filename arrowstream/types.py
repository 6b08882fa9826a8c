"""Names for the types that cross module boundaries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import polars as pl

from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from pathlib import Path

    import pyarrow as pa
    from polars.selectors import Selector

_TYPE_ARGUMENT = re.compile(r"\b(?:time_unit|time_zone|precision|scale)=")

Json: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"
"""What `json` can write and read back unchanged."""

Position: TypeAlias = "Json"
"""A place in one partition of a source, as that source itself writes it down."""

Piece: TypeAlias = "bytes | memoryview | tuple[str, bytes | memoryview]"
"""What a sink's `encode` gives: bytes of the one file of an epoch, or the name of a file and bytes of it."""

Duration: TypeAlias = "str | timedelta"
"""A Polars duration string such as "1h30m", or a timedelta."""

IntoExpr: TypeAlias = "pl.Expr | str | int | float | bool | None"
IntoExprs: TypeAlias = "IntoExpr | Iterable[IntoExpr]"
ColumnNames: TypeAlias = "str | Selector | Iterable[str | Selector]"
IntoSchema: TypeAlias = "pl.Schema | pa.Schema | Mapping[str, Any]"
PathLike: TypeAlias = "str | Path"

OnError: TypeAlias = Literal["raise", "skip", "dead_letter"]
MissingColumns: TypeAlias = Literal["insert", "raise"]
ExtraColumns: TypeAlias = Literal["ignore", "raise"]
Compression: TypeAlias = Literal["infer", "uncompressed", "gzip", "zstd", "bz2", "xz", "snappy", "lz4"]
ClockBy: TypeAlias = Literal["scan", "file", "directory"]
Delivery: TypeAlias = Literal["exactly_once", "at_least_once"]
Label: TypeAlias = Literal["left", "right"]
Mode: TypeAlias = Literal["error", "overwrite"]
Progress: TypeAlias = "bool | Literal['auto']"
JobState: TypeAlias = Literal["running", "stopping", "stopped", "finished", "failed"]


def schema_of(given: IntoSchema, option: str) -> pl.Schema:
    """The columns and types that a user has named; a class stands for its usual instance, as in Polars.

    Raises
    ------
    PlanError
        It is no schema; the message begins with `option`.

    Examples
    --------
    >>> schema_of({"time": pl.Datetime, "price": pl.Int64}, "schema")["time"].time_unit
    'us'
    """
    try:
        if isinstance(given, Mapping) and None not in given.values():
            return pl.DataFrame(schema=dict(given)).schema
        return pl.Schema(given)
    except (TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        raise PlanError(
            f"{option}={given!r} is not a schema: {str(error).splitlines()[0]}",
            hint=f'name columns and Polars types: {option}={{"price": pl.Int64, "time": pl.Datetime("us")}}',
        ) from error


def type_text(dtype: pl.DataType) -> str:
    """A column's type as short as it can be written, such as in a pipeline file.

    Examples
    --------
    >>> type_text(pl.List(pl.Datetime("us"))), type_text(pl.Datetime("ms", "UTC"))
    ("List(Datetime('us'))", "Datetime('ms', 'UTC')")
    """
    return _TYPE_ARGUMENT.sub("", str(dtype).replace(", time_zone=None", ""))
