"""Rows as Arrow IPC, a file or a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.arrow_tables import canonical, check_schema
from arrowstream.connectors.files.encode import ROW_GROUP_ROWS, check_option, check_positive
from arrowstream.connectors.files.pieces import Pieces

if TYPE_CHECKING:
    from arrowstream.connectors.files.encode import Content, Encoder
    from arrowstream.types import Json

_COMPRESSIONS = ("zstd", "lz4", "uncompressed")
_PADDED_BYTES = 64  # IPC stores what follows the values up to a multiple of it


@dataclass(frozen=True, slots=True)
class IpcEncoding:
    """Arrow IPC, a file or a stream: a record batch a chunk. Categories become strings.

    A file has one dictionary a column, and the first batch does not know all categories.
    """

    compression: str = "zstd"
    record_batch_size: int = ROW_GROUP_ROWS
    format: str = "file"

    def __post_init__(self) -> None:
        check_option("compression", self.compression, _COMPRESSIONS)
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

    def encoder(self, schema: pl.Schema) -> Encoder:
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


class _IpcEncoder:
    """IPC stores buffers as they are: what is behind nulls and after the values is cleared before."""

    def __init__(self, schema: pl.Schema, encoding: IpcEncoding) -> None:
        self._pieces = Pieces()
        compression = None if encoding.compression == "uncompressed" else encoding.compression
        options = pa.ipc.IpcWriteOptions(compression=compression)
        opened = pa.ipc.new_file if encoding.format == "file" else pa.ipc.new_stream
        columns = canonical(pl.DataFrame(schema=schema), keep_categories=False).schema
        self._writer = opened(self._pieces, columns, options=options)

    def encode(self, rows: pl.DataFrame) -> pa.Table:
        """The table that is stored."""
        table = canonical(rows, keep_categories=False)
        columns = [column if _is_clear(column) else _copied(column) for column in table.columns]
        return pa.Table.from_arrays(columns, schema=table.schema)

    def append(self, part: pa.Table) -> Content:
        """A record batch."""
        if part.num_rows:
            self._writer.write_table(part)
        return self._pieces.take()

    def finish(self) -> Content:
        """The end."""
        self._writer.close()
        return self._pieces.take()


def _is_clear(column: pa.ChunkedArray) -> bool:
    """Whether there is nothing but values in what is stored of a column of one chunk."""
    kind = column.type
    if column.num_chunks != 1 or column.null_count or not len(column):
        return False
    array = column.chunk(0)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        _, offsets, values = array.buffers()
        ends = np.frombuffer(offsets, np.int64)
        return (
            array.offset == 0 and len(ends) == len(array) + 1 and ends[-1] == (values.size if values else 0)
        )
    is_number = pa.types.is_primitive(kind) and not pa.types.is_boolean(kind)
    return is_number and len(array) * kind.bit_width // 8 % _PADDED_BYTES == 0


def _copied(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.take(pa.array(np.arange(len(column))))
