"""Rows to the bytes of a file, as a pure function of the rows: however they are cut into batches."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROW_GROUP_ROWS = 1 << 18
"""Large enough that columns compress well and readers work in parallel, small enough to be held in memory."""


class _Writer(Protocol):
    """What Arrow's writers of Parquet and IPC have in common."""

    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _Pieces(io.RawIOBase):
    """A file in memory that is handed on, and forgotten, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:  # bytes or a pa.Buffer
        copied = bytes(piece)
        self._pieces.append(copied)
        self._written += len(copied)
        return len(copied)

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def encode_parquet(
    batches: Iterable[pa.RecordBatch], *, compression: str, compression_level: int | None, row_group_rows: int
) -> Iterator[bytes]:
    """A Parquet file, row group by row group; nothing at all if there is no batch.

    Cost    holds two row groups at a time
    """

    def open_writer(pieces: _Pieces, schema: pa.Schema) -> _Writer:
        return _ParquetWriter(pieces, schema, compression, compression_level)

    return _encode(batches, open_writer, row_group_rows, keep_categories=True)


def encode_ipc(
    batches: Iterable[pa.RecordBatch], *, compression: str | None, batch_rows: int
) -> Iterator[bytes]:
    """An Arrow IPC file, record batch by record batch; nothing at all if there is no batch.

    Categories become strings: a file has one dictionary a column, and the first batch does not know all.

    Cost    holds two record batches at a time
    """

    def open_writer(pieces: _Pieces, schema: pa.Schema) -> _Writer:
        options = pa.ipc.IpcWriteOptions(compression=compression)
        return _IpcWriter(pieces, schema, options)

    return _encode(batches, open_writer, batch_rows, keep_categories=False)


def check_schema(schema: pl.Schema, format_name: str) -> None:
    """Raise PlanError naming the first column whose type the format cannot hold."""
    for column, dtype in schema.items():
        reason = _cannot_hold(dtype, format_name)
        if reason is not None:
            inside = "" if reason[0] == str(dtype) else f" ({dtype})"
            raise PlanError(
                f"column '{column}'{inside} is {reason[0]}, which {format_name} cannot hold", hint=reason[1]
            )


class _ParquetWriter:
    """Parquet with dictionaries for text only: twice as fast, and numbers compress as well without."""

    def __init__(
        self, pieces: _Pieces, schema: pa.Schema, compression: str, compression_level: int | None
    ) -> None:
        self._rows = 0
        # Typed as a bool by PyArrow, which takes names as well.
        text: Any = [field.name for field in schema if _is_text(field.type)]
        self._writer = pq.ParquetWriter(
            pieces,
            schema,
            compression=compression,
            compression_level=compression_level,
            use_dictionary=text,
        )

    def write_table(self, table: pa.Table) -> None:
        # One row group: the table has been cut to size. A table without rows leaves only the columns.
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self) -> None:
        self._writer.close()


class _IpcWriter:
    """IPC of freshly copied columns: IPC stores buffers as they are, with what lies behind nulls."""

    def __init__(self, pieces: _Pieces, schema: pa.Schema, options: pa.ipc.IpcWriteOptions) -> None:
        self._writer = pa.ipc.new_file(pieces, schema, options=options)

    def write_table(self, table: pa.Table) -> None:
        if table.num_rows:
            self._writer.write_table(table.take(pa.array(np.arange(table.num_rows))))

    def close(self) -> None:
        self._writer.close()


def _encode(
    batches: Iterable[pa.RecordBatch],
    open_writer: Callable[[_Pieces, pa.Schema], _Writer],
    rows: int,
    *,
    keep_categories: bool,
) -> Iterator[bytes]:
    pieces = _Pieces()
    writer: _Writer | None = None
    for table in _cut(batches, rows):
        canonical = _canonical(table, keep_categories=keep_categories)
        if writer is None:
            writer = open_writer(pieces, canonical.schema)
        writer.write_table(canonical)
        if piece := pieces.take():
            yield piece
    if writer is not None:
        writer.close()
        yield pieces.take()


def _cut(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The rows in tables of exactly `rows` (the last one less); one without rows if there are none."""
    waiting: list[pa.RecordBatch] = []
    waiting_rows = 0
    any_rows = False
    schema: pa.Schema | None = None
    for batch in batches:
        schema = batch.schema
        start = 0
        while start < batch.num_rows:
            any_rows = True
            piece = batch.slice(start, rows - waiting_rows)
            start += piece.num_rows
            waiting.append(piece)
            waiting_rows += piece.num_rows
            if waiting_rows == rows:
                yield pa.Table.from_batches(waiting)
                waiting, waiting_rows = [], 0
    if waiting or (schema is not None and not any_rows):
        yield pa.Table.from_batches(waiting, schema=schema)


def _canonical(table: pa.Table, *, keep_categories: bool) -> pa.Table:
    """One chunk a column, and categories in the order of their first row.

    The same rows in one chunk or two give different bytes, and so do the categories that other rows had.
    """
    columns = []
    fields = []
    for field, column in zip(table.schema, table.columns, strict=True):
        plain = _without_categories(field.type)
        if plain != field.type:
            column = column.cast(plain)  # noqa: PLW2901 — the same column, made canonical
            if keep_categories:
                column = _one_chunk(column).cast(field.type)  # noqa: PLW2901 — as above
            else:
                field = pa.field(field.name, plain, field.nullable)  # noqa: PLW2901 — as above
        columns.append(_one_chunk(column))
        fields.append(field)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _one_chunk(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.num_chunks == 1:
        return column
    return pa.chunked_array([column.combine_chunks()], type=column.type)


def _without_categories(dtype: pa.DataType) -> pa.DataType:
    """The type with text in place of Polars' Categorical; an Enum has its categories in the type."""
    if pa.types.is_dictionary(dtype):
        return dtype if dtype.ordered else dtype.value_type
    if pa.types.is_large_list(dtype):
        return pa.large_list(dtype.value_field.with_type(_without_categories(dtype.value_type)))
    if pa.types.is_fixed_size_list(dtype):
        value = dtype.value_field.with_type(_without_categories(dtype.value_type))
        return pa.list_(value, dtype.list_size)
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_without_categories(field.type)) for field in dtype])
    return dtype


def _is_text(dtype: pa.DataType) -> bool:
    tests = (pa.types.is_large_string, pa.types.is_large_binary, pa.types.is_dictionary)
    return any(test(dtype) for test in tests)


def _cannot_hold(dtype: Any, format_name: str) -> tuple[str, str] | None:
    """The type inside `dtype` that cannot be written, and what to do."""
    if isinstance(dtype, (pl.Int128, pl.UInt128)):
        return str(dtype), "cast it: to pl.Int64 if the values fit, else to pl.Decimal(38, 0) or pl.String"
    if isinstance(dtype, (pl.Object, pl.Unknown)):
        return str(dtype), "drop the column, or cast it to a type of its own"
    if isinstance(dtype, pl.Array) and dtype.size == 0:
        return str(dtype), "drop the column: it holds no values"
    if isinstance(dtype, (pl.List, pl.Array)):
        return _cannot_hold(dtype.inner, format_name)
    if isinstance(dtype, pl.Struct):
        if not dtype.fields and format_name == "Parquet":
            return str(dtype), "drop the column, or give the struct a field"
        inner = (_cannot_hold(field.dtype, format_name) for field in dtype.fields)
        return next((reason for reason in inner if reason is not None), None)
    return None
