"""What differs between file formats: the footer, the scan, the statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.config import END_OF_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_PARQUET_UNITS = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


class Format(Protocol):
    """How files of one format are read. Errors are those of the libraries, untranslated."""

    name: str
    suffixes: tuple[str, ...]

    def footer(self, path: str) -> tuple[pl.Schema, tuple[int, ...]]:
        """Schema, and the number of rows of each part that has statistics of its own."""
        ...

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        """All rows of the files, in order."""
        ...

    def row_bytes(self, path: str, columns: Sequence[str]) -> int:
        """About how much memory a row of these columns takes; at least 1."""
        ...

    def minimums(self, path: str, column: str, dtype: pl.DataType) -> list[int | None] | None:
        """Smallest value of a column in each part, as the physical integer of `dtype`.

        END_OF_TIME for a part without any value, None for one without statistics; or None for a format
        that keeps none.
        """
        ...


class ParquetFormat:
    """Parquet: statistics per row group."""

    name = "Parquet"
    suffixes: tuple[str, ...] = (".parquet", ".parq", ".pq")

    def footer(self, path: str) -> tuple[pl.Schema, tuple[int, ...]]:
        """See `Format`."""
        metadata = pq.read_metadata(path)
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        return pl.Schema(pl.read_parquet_schema(path)), rows

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        """See `Format`."""
        return pl.scan_parquet(list(paths), glob=False, hive_partitioning=False)

    def row_bytes(self, path: str, columns: Sequence[str]) -> int:
        """See `Format`; from the first row group. A field of a struct counts by the struct's name."""
        metadata = pq.read_metadata(path)
        if metadata.num_row_groups == 0:
            return 1
        group, wanted = metadata.row_group(0), set(columns)
        chunks = (group.column(index) for index in range(group.num_columns))
        sizes = (
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema in wanted or chunk.path_in_schema.split(".")[0] in wanted
        )
        return max(1, int(sum(sizes)) // max(1, int(group.num_rows)))

    def minimums(self, path: str, column: str, dtype: pl.DataType) -> list[int | None] | None:
        """See `Format`."""
        metadata = pq.read_metadata(path)
        leaves = [
            index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column
        ]
        if len(leaves) != 1:  # "a.b" is both a column of that name and the field b of a struct a
            return None
        unit = _unit_ratio(metadata.schema.column(leaves[0]), dtype)
        if unit is None:
            return None
        return [
            _minimum(metadata.row_group(index).column(leaves[0]), unit)
            for index in range(metadata.num_row_groups)
        ]


class IpcFormat:
    """Arrow IPC file (Feather V2): no statistics."""

    name = "Arrow IPC"
    suffixes: tuple[str, ...] = (".arrow", ".ipc", ".feather")

    def footer(self, path: str) -> tuple[pl.Schema, tuple[int, ...]]:
        """See `Format`."""
        with Path(path).open("rb") as file, pa.ipc.open_file(file) as reader:
            return pl.Schema(pl.read_ipc_schema(path)), (reader.count_rows(),)

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        """See `Format`."""
        return pl.scan_ipc(list(paths), glob=False, hive_partitioning=False)

    def row_bytes(self, path: str, columns: Sequence[str]) -> int:
        """See `Format`; all columns count alike."""
        with Path(path).open("rb") as file, pa.ipc.open_file(file) as reader:
            column_bytes = Path(path).stat().st_size / max(1, reader.count_rows() * len(reader.schema))
        return max(1, int(column_bytes * len(columns)))

    def minimums(self, path: str, column: str, dtype: pl.DataType) -> list[int | None] | None:  # noqa: ARG002
        """See `Format`."""
        return None


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


def _minimum(chunk: pq.ColumnChunkMetaData, unit: tuple[int, int]) -> int | None:
    statistics = chunk.statistics
    if chunk.num_values == 0:
        return END_OF_TIME
    if statistics is None:
        return None
    if statistics.has_min_max:
        factor, divisor = unit
        return int(statistics.min_raw) * factor // divisor
    has_only_nulls = statistics.has_null_count and statistics.null_count == chunk.num_values
    return END_OF_TIME if has_only_nulls else None
