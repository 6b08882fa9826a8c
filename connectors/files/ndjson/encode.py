"""Rows as newline-delimited JSON, written by Polars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import polars as pl

from arrowstream.connectors.files.pieces import Pieces
from arrowstream.connectors.files.text import inner_types
from arrowstream.connectors.files.time_text import with_texts
from arrowstream.errors import DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.encode import Content
    from arrowstream.types import Json

_CHUNK_ROWS = 1 << 16
_ENCODER_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class NdjsonEncoding:
    """An object a line with all columns as keys: dates, times and decimals are strings.

    JSON has no NaN and no infinity: they are a DataError, not a silent null.
    """

    @property
    def name(self) -> str:
        """Of the format."""
        return "NDJSON"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".ndjson"

    @property
    def chunk_rows(self) -> int:
        """As many as are quickly written at once."""
        return _CHUNK_ROWS

    @property
    def encoder_bytes(self) -> int:
        """Nothing is held between two writes."""
        return _ENCODER_BYTES

    def encoder(self, schema: pl.Schema) -> NdjsonEncoder:
        """Of one file."""
        return NdjsonEncoder(schema, self)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that JSON cannot hold."""
        for column, dtype in schema.items():
            for inner in inner_types(dtype):
                hint = _no_json(inner)
                if hint is not None:
                    inside = "" if inner == dtype else f" ({dtype})"
                    raise PlanError(
                        f"column '{column}'{inside} is {inner}, which NDJSON cannot hold", hint=hint
                    )

    def identity(self) -> dict[str, Json]:
        """There are no options."""
        return {"format": "ndjson"}


class NdjsonEncoder:
    """Makes one file. A file without rows is empty."""

    def __init__(self, schema: pl.Schema, encoding: NdjsonEncoding) -> None:
        encoding.check_schema(schema)
        self._floats = [name for name, dtype in schema.items() if any(map(_is_float, inner_types(dtype)))]

    def encode(self, rows: pl.DataFrame) -> list[bytes | memoryview]:
        """The lines.

        Raises
        ------
        DataError
            A number that JSON does not have.
        """
        for name in self._floats:
            if any(bool((~leaf.is_finite()).any()) for leaf in _leaves(rows.get_column(name))):
                raise DataError(
                    f"column '{name}' has NaN or an infinity, which JSON has no number for",
                    hint="make it null or another number first: fill_nan, or when(is_finite())",
                )
        written = Pieces()
        with_texts(rows, sign=" ", shortest=True).write_ndjson(cast("BinaryIO", written))
        return written.take()

    def append(self, part: list[bytes | memoryview]) -> Content:
        """Some lines."""
        return part

    def finish(self) -> Content:
        """Nothing is left."""
        return b""


def _no_json(dtype: pl.DataType) -> str | None:
    if isinstance(dtype, pl.Binary):
        return 'write it as text: .bin.encode("base64")'
    if isinstance(dtype, pl.Duration):
        return "write it as a number: .dt.total_microseconds()"
    if isinstance(dtype, pl.Int128 | pl.UInt128):
        return "cast it: to pl.Int64 if the values fit, else to pl.String"
    if isinstance(dtype, pl.Object | pl.Unknown):
        return "drop the column, or cast it to a type of its own"
    if isinstance(dtype, pl.Array) and dtype.size == 0:
        return "drop the column: it holds no values"
    return None


def _is_float(dtype: pl.DataType) -> bool:
    return dtype.is_float()


def _leaves(column: pl.Series) -> Iterator[pl.Series]:
    """The floats in it, but for those under a null."""
    if isinstance(column.dtype, pl.List | pl.Array):
        yield from _leaves(column.drop_nulls().explode())
    elif isinstance(column.dtype, pl.Struct):
        for field in column.drop_nulls().struct.unnest().iter_columns():
            yield from _leaves(field)
    elif column.dtype.is_float():
        yield column
