"""Formats with a footer, Parquet and Arrow IPC files: what it says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.config import END_OF_TIME
from arrowstream.connectors.files.caps import row_bytes
from arrowstream.connectors.files.ipc_sizes import file_sizes
from arrowstream.connectors.files.parquet_footer import ColumnChunk, row_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAIL_BYTES = 1 << 16
"""Most footers are shorter; a second request brings the others."""

_PARQUET_END_BYTES = 8  # length of the footer, "PAR1"
_IPC_HEAD = b"ARROW1\0\0"  # a footer alone is too short
_IPC_END_BYTES = 10  # length of the footer, "ARROW1"
_UNITS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_PARQUET_UNITS = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


class Footer(NamedTuple):
    """Schema of a file, the rows of each part, and what takes memory at once.

    The tail of an IPC file tells neither: there are no parts then.
    """

    schema: pl.Schema
    part_rows: tuple[int, ...]
    part_bytes: tuple[int, ...]


class Format(Protocol):
    """What the footers of one format say. Errors are those of the libraries, untranslated.

    What asks for a footer takes the path of a local file, or the `tail` of another.
    """

    name: str
    suffixes: tuple[str, ...]
    has_rows: bool
    """Whether the tail of a file tells how many rows its parts have."""

    def tail(self, stream: BinaryIO) -> bytes:
        """The end of a file, from its footer on. The file has to be able to seek."""
        ...

    def footer(self, file: str | bytes) -> Footer:
        """What the footer says."""
        ...

    def minimums(self, file: str | bytes, column: str, dtype: pl.DataType) -> list[int | None] | None:
        """Smallest value of a column in each part, as the physical integer of `dtype`.

        END_OF_TIME for a part without any value, None for one without statistics; or None for a format
        that keeps none.
        """
        ...


class ParquetFormat:
    """Parquet: statistics per row group."""

    name = "Parquet"
    suffixes: tuple[str, ...] = (".parquet", ".parq", ".pq")
    has_rows = True

    def tail(self, stream: BinaryIO) -> bytes:
        """See `Format`."""
        return _tail(stream, _PARQUET_END_BYTES, b"PAR1")

    def footer(self, file: str | bytes) -> Footer:
        """See `Format`."""
        metadata = _parquet_metadata(file)
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        schema = _possible(pl.read_parquet_schema(_readable(file)))
        part_rows = tuple(group.num_rows for group in groups)
        size = row_bytes(schema)
        part_bytes = tuple(max(group.total_byte_size, group.num_rows * size) for group in groups)
        return Footer(schema, part_rows, part_bytes)

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        """All rows of the files, in order, by Polars."""
        return pl.scan_parquet(list(paths), glob=False, hive_partitioning=False)

    def row_bytes(self, file: str | bytes, columns: Sequence[str]) -> int:
        """About how much memory a row of these columns takes, by the first row group; at least 1.

        A field of a struct counts by the struct's name.
        """
        group, wanted = next(row_groups(self._tail_of(file)), []), set(columns)
        rows = min((chunk.values for chunk in group), default=0)  # lists have more values
        return max(1, sum(chunk.uncompressed_bytes for chunk in group if chunk.is_of(wanted)) // max(1, rows))

    def minimums(self, file: str | bytes, column: str, dtype: pl.DataType) -> list[int | None] | None:
        """See `Format`."""
        metadata = _parquet_metadata(file)
        leaves = [
            index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column
        ]
        if len(leaves) != 1:  # "a.b" is both a column of that name and the field b of a struct a
            return None
        leaf = metadata.schema.column(leaves[0])
        unit = _unit_ratio(leaf, dtype)
        if unit is None:
            return None
        value_bytes = 4 if leaf.physical_type == "INT32" else 8
        groups = list(row_groups(self._tail_of(file)))  # not PyArrow's: see there
        if any(len(group) != metadata.num_columns for group in groups):
            return None
        return [_minimum(group[leaves[0]], unit, value_bytes) for group in groups]

    def _tail_of(self, file: str | bytes) -> bytes:
        if isinstance(file, bytes):
            return file
        with Path(file).open("rb") as stream:
            return self.tail(stream)


class IpcFormat:
    """Arrow IPC file (Feather V2): no statistics."""

    name = "Arrow IPC"
    suffixes: tuple[str, ...] = (".arrow", ".ipc", ".feather")
    has_rows = False

    def tail(self, stream: BinaryIO) -> bytes:
        """See `Format`."""
        return _tail(stream, _IPC_END_BYTES, b"ARROW1")

    def footer(self, file: str | bytes) -> Footer:
        """See `Format`."""
        if isinstance(file, bytes):
            head = _IPC_HEAD + file
            with pa.ipc.open_file(pa.BufferReader(head)):  # says better what is wrong
                return Footer(_possible(pl.read_ipc_schema(io.BytesIO(head))), (), ())
        with Path(file).open("rb") as stream:
            tail = self.tail(stream)
            schema = self.footer(tail).schema
            dictionaries, batches = file_sizes(stream, tail)
        part_bytes = tuple(size.decoded_bytes for size in (*dictionaries, *batches))
        return Footer(schema, tuple(batch.rows for batch in batches), part_bytes)

    def minimums(
        self,
        file: str | bytes,  # noqa: ARG002 - there are none
        column: str,  # noqa: ARG002
        dtype: pl.DataType,  # noqa: ARG002
    ) -> list[int | None] | None:
        """See `Format`."""
        return None


def _possible(schema: Mapping[str, pl.DataType]) -> pl.Schema:
    """The columns; a PolarsError if a damaged footer has given one of them a type that no column can have."""
    return pl.DataFrame(schema=schema).schema


def _readable(file: str | bytes) -> str | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _parquet_metadata(file: str | bytes) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(file) if isinstance(file, bytes) else file)


def _tail(stream: BinaryIO, end_bytes: int, magic: bytes) -> bytes:
    """The footer and what ends a file; what there is if it is no such file."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - TAIL_BYTES))
    tail = stream.read(TAIL_BYTES)
    end = tail[-end_bytes:]
    if len(end) < end_bytes or not end.endswith(magic):
        return tail
    needed = int.from_bytes(end[:4], "little") + end_bytes
    if needed > len(tail):
        stream.seek(max(0, size - needed))
        tail = stream.read(min(size, needed))
    return tail[-needed:]


def _unit_ratio(leaf: pq.ColumnSchema, dtype: pl.DataType) -> tuple[int, int] | None:
    """Factor and divisor from the file's integers to those of `dtype`; None if they cannot be compared."""
    logical = json.loads(leaf.logical_type.to_json())
    if isinstance(dtype, pl.Datetime):
        written = _PARQUET_UNITS.get(logical.get("timeUnit", ""))
        if leaf.physical_type != "INT64" or logical["Type"] != "Timestamp" or written is None:
            return None  # INT96 and plain integers
        return _UNITS_PER_SECOND[dtype.time_unit], _UNITS_PER_SECOND[written]
    if leaf.physical_type not in {"INT32", "INT64"}:
        return None
    is_date = dtype == pl.Date and logical["Type"] == "Date"
    is_signed = dtype.is_signed_integer() and (logical["Type"] == "None" or logical.get("isSigned", False))
    return (1, 1) if is_date or is_signed else None


def _minimum(chunk: ColumnChunk, unit: tuple[int, int], value_bytes: int) -> int | None:
    if chunk.values in {0, chunk.nulls}:
        return END_OF_TIME
    if chunk.least is None or len(chunk.least) != value_bytes:
        return None
    factor, divisor = unit
    return int.from_bytes(chunk.least, "little", signed=True) * factor // divisor
