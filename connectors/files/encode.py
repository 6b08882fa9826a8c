"""Rows to the bytes of a file, as a pure function of the rows: however they are cut into batches."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.errors import PlanError, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from arrowstream.types import Json

Content: TypeAlias = "bytes | list[bytes | memoryview]"
"""Bytes, whole or in pieces."""

_PIECE_BYTES = 1 << 20
_PARQUET_COMPRESSIONS = ("zstd", "snappy", "lz4", "gzip", "brotli", "uncompressed")
_IPC_COMPRESSIONS = ("zstd", "lz4", "uncompressed")

ROW_GROUP_ROWS = 1 << 18
"""Large enough that columns compress well and readers work in parallel, small enough to be held in memory."""


class Encoder(Protocol):
    """Makes one file: tables in, bytes out. The same tables give the same bytes."""

    def write(self, table: pa.Table) -> Content:
        """Take rows in; returns what is ready."""
        ...

    def finish(self) -> Content:
        """The rest of the file. Nothing may be written after."""
        ...


class Encoding(Protocol):
    """A format, and how it is written. Frozen."""

    @property
    def name(self) -> str:
        """The format's name in errors."""
        ...

    @property
    def suffix(self) -> str:
        """What the names of its files end in."""
        ...

    @property
    def chunk_rows(self) -> int:
        """How many rows an encoder is given at once, the last ones of a file apart."""
        ...

    @property
    def encoder_bytes(self) -> int:
        """About how much memory an encoder holds between two writes."""
        ...

    def encoder(self, schema: pa.Schema) -> Encoder:
        """An encoder for one file."""
        ...

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that the format cannot hold."""
        ...

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        ...


def encode_file(batches: Iterable[pa.RecordBatch], encoding: Encoding) -> Iterator[bytes | memoryview]:
    """A file, piece by piece; nothing at all if there is no batch.

    Cost    holds two chunks at a time
    """
    encoder: Encoder | None = None
    for table in cut(batches, encoding.chunk_rows):
        if encoder is None:
            encoder = encoding.encoder(table.schema)
        yield from pieces_of(encoder.write(table))
    if encoder is not None:
        yield from pieces_of(encoder.finish())


def pieces_of(content: Content) -> Sequence[bytes | memoryview]:
    """Bytes in one piece or several, as several."""
    if isinstance(content, list):
        return content
    return [content] if content else []


@dataclass(frozen=True, slots=True)
class ParquetEncoding:
    """Parquet: a row group a chunk. Categories are kept."""

    compression: str = "zstd"
    compression_level: int | None = None
    row_group_size: int = ROW_GROUP_ROWS

    def __post_init__(self) -> None:
        check_option("compression", self.compression, _PARQUET_COMPRESSIONS)
        _check_level(self.compression, self.compression_level)
        check_positive("row_group_size", self.row_group_size)

    @property
    def name(self) -> str:
        """Of the format."""
        return "Parquet"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".parquet"

    @property
    def chunk_rows(self) -> int:
        """A row group."""
        return self.row_group_size

    @property
    def encoder_bytes(self) -> int:
        """The footer so far, and what Arrow keeps for a column."""
        return 1 << 18

    def encoder(self, schema: pa.Schema) -> Encoder:
        """Of one file."""
        return _ParquetEncoder(schema, self)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Parquet cannot hold."""
        check_schema(schema, self.name)

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        return {"format": "parquet", **asdict(self)}


@dataclass(frozen=True, slots=True)
class IpcEncoding:
    """Arrow IPC, a file or a stream: a record batch a chunk. Categories become strings.

    A file has one dictionary a column, and the first batch does not know all categories.
    """

    compression: str = "zstd"
    record_batch_size: int = ROW_GROUP_ROWS
    format: str = "file"

    def __post_init__(self) -> None:
        check_option("compression", self.compression, _IPC_COMPRESSIONS)
        check_option("format", self.format, ("file", "stream"))
        check_positive("record_batch_size", self.record_batch_size)

    @property
    def name(self) -> str:
        """Of the format."""
        return "Arrow IPC"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".arrow" if self.format == "file" else ".arrows"

    @property
    def chunk_rows(self) -> int:
        """A record batch."""
        return self.record_batch_size

    @property
    def encoder_bytes(self) -> int:
        """The footer so far."""
        return 1 << 17

    def encoder(self, schema: pa.Schema) -> Encoder:
        """Of one file."""
        return _IpcEncoder(schema, self)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Arrow IPC cannot hold."""
        check_schema(schema, self.name)

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        return {
            "format": "ipc",
            "layout": self.format,
            "compression": self.compression,
            "record_batch_size": self.record_batch_size,
        }


class _Pieces(io.RawIOBase):
    """A file in memory that is handed on, and forgotten, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._small: list[bytes | memoryview] = []
        self._small_bytes = 0
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:  # bytes or a pa.Buffer
        # A pa.Buffer is not changed any more, and is kept by the view of it.
        view = piece if isinstance(piece, bytes) else memoryview(piece)
        size = len(view)
        if size >= _PIECE_BYTES or self._small_bytes >= _PIECE_BYTES:
            self._join_small()
        self._small.append(view)
        self._small_bytes += size
        self._written += size
        return size

    def tell(self) -> int:
        return self._written

    def take(self) -> list[bytes | memoryview]:
        self._join_small()
        taken, self._pieces = self._pieces, []
        return taken

    def _join_small(self) -> None:
        """Many small ones as one; a large one as it is, as copying costs as much as encoding."""
        if self._small_bytes:
            one = len(self._small) == 1
            self._pieces.append(self._small[0] if one else b"".join(self._small))
        self._small, self._small_bytes = [], 0


def check_schema(schema: pl.Schema, format_name: str) -> None:
    """Raise PlanError naming the first column whose type the format cannot hold."""
    for column, dtype in schema.items():
        reason = _cannot_hold(dtype, format_name)
        if reason is not None:
            inside = "" if reason[0] == str(dtype) else f" ({dtype})"
            raise PlanError(
                f"column '{column}'{inside} is {reason[0]}, which {format_name} cannot hold", hint=reason[1]
            )


class _ParquetEncoder:
    """Parquet with dictionaries for text only: twice as fast, and numbers compress as well without."""

    def __init__(self, schema: pa.Schema, encoding: ParquetEncoding) -> None:
        self._pieces = _Pieces()
        self._encoding = encoding
        self._writer: pq.ParquetWriter | None = None
        self._schema = schema

    def write(self, table: pa.Table) -> Content:
        canonical = _canonical(table, keep_categories=True)
        writer = self._open(canonical.schema)
        # One row group: the table has been cut to size. A table without rows leaves only the columns.
        if canonical.num_rows:
            writer.write_table(canonical, row_group_size=canonical.num_rows)
        return self._pieces.take()

    def finish(self) -> Content:
        self._open(self._schema).close()
        return self._pieces.take()

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None:
            # Typed as a bool by PyArrow, which takes names as well.
            text: Any = [field.name for field in schema if _is_text(field.type)]
            compression = self._encoding.compression
            self._writer = pq.ParquetWriter(
                self._pieces,
                schema,
                compression="none" if compression == "uncompressed" else compression,
                compression_level=self._encoding.compression_level,
                use_dictionary=text,
            )
        return self._writer


class _IpcEncoder:
    """IPC of freshly copied columns: IPC stores buffers as they are, with what lies behind nulls."""

    def __init__(self, schema: pa.Schema, encoding: IpcEncoding) -> None:
        self._pieces = _Pieces()
        compression = None if encoding.compression == "uncompressed" else encoding.compression
        options = pa.ipc.IpcWriteOptions(compression=compression)
        plain = _canonical(schema.empty_table(), keep_categories=False).schema
        opened = pa.ipc.new_file if encoding.format == "file" else pa.ipc.new_stream
        self._writer = opened(self._pieces, plain, options=options)

    def write(self, table: pa.Table) -> Content:
        if table.num_rows:
            canonical = _canonical(table, keep_categories=False)
            self._writer.write_table(canonical.take(pa.array(np.arange(canonical.num_rows))))
        return self._pieces.take()

    def finish(self) -> Content:
        self._writer.close()
        return self._pieces.take()


def cut(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
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


def check_option(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise PlanError unless the value is one of those."""
    if value not in choices:
        raise unknown_choice(name, value, choices)


def check_positive(name: str, rows: int) -> None:
    """Raise PlanError unless it is a number of rows."""
    if rows < 1:
        raise PlanError(f"{name}={rows} is not a number of rows", hint="leave it out for a good size")


def _check_level(compression: str, level: int | None) -> None:
    if level is None:
        return
    try:
        low, high = (
            pa.Codec.minimum_compression_level(compression),
            pa.Codec.maximum_compression_level(compression),
        )
    except (ValueError, pa.ArrowInvalid) as error:
        raise PlanError(
            f"compression_level={level} was given, but {compression} has no levels",
            hint='leave it out, or use compression="zstd"',
        ) from error
    if not low <= level <= high:
        raise PlanError(
            f"compression_level={level} is not between {low} and {high}, the levels of {compression}"
        )
