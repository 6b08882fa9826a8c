"""The row groups of a Parquet file, one by one."""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.connectors.files.arrow_frames import as_frame
from arrowstream.connectors.files.caps import check_cap, check_rows, row_bytes
from arrowstream.connectors.files.columnar import Format, ParquetFormat
from arrowstream.connectors.files.parquet_footer import ColumnChunk, row_groups
from arrowstream.connectors.files.remote_files import RemoteStream, joined
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FORMAT = ParquetFormat()
_CHUNK_BYTES = 16 << 20  # of rows that are handed on at once
_AHEAD_BYTES = 32 << 20  # of compressed row groups that are fetched while others are decoded
_BATCH_ROWS = 1 << 17  # decoded at once


class RowGroups:
    """See `Parts`. Decoded by PyArrow."""

    format: ClassVar[Format] = _FORMAT
    kind: ClassVar[str] = "row group"

    def __init__(
        self,
        stream: BinaryIO,
        schema: pl.Schema,
        columns: Sequence[str],
        decompressed_max: int | None,
    ) -> None:
        tail = self.format.tail(stream)
        self._stream = stream
        self._size_bytes = stream.seek(0, io.SEEK_END)
        metadata = pq.read_metadata(pa.BufferReader(tail))
        self._schema = pl.Schema({name: schema[name] for name in columns})
        self._cap_bytes = decompressed_max
        self._rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        self._columns = list(row_groups(tail))
        if len(self._columns) != len(self._rows):
            raise pa.ArrowInvalid("the footer has two lists of row groups")
        self._chunk_rows = max(1, _CHUNK_BYTES // _FORMAT.row_bytes(tail, columns))
        self._asked: deque[tuple[int, int, int]] = deque()  # part, start, end: from the part at hand on
        self._next = 0  # the first part that is not asked for
        self._file = pq.ParquetFile(
            pa.PythonFile(stream, mode="r"),
            metadata=metadata,
            pre_buffer=True,
            page_checksum_verification=True,
            arrow_extensions_enabled=False,
        )

    def count(self) -> int:
        """See `Parts`."""
        return len(self._rows)

    def close(self) -> None:
        """See `Parts`."""

    def frames(self, index: int, done: int, *, at_once: bool) -> Iterator[pl.DataFrame]:
        """See `Parts`."""
        rows = self._rows[index]
        self._check_size(index)
        if rows <= done:
            return
        self._ranges(index)  # raises if they are wrong
        self._ask(index)
        batches = self._file.iter_batches(
            min(self._chunk_rows, _BATCH_ROWS), row_groups=[index], columns=self._schema.names()
        )
        frames = map(self._frame, batches)
        seen = 0
        for frame in list(frames) if at_once else frames:
            skipped = max(0, done - seen)
            seen += frame.height
            if skipped < frame.height:
                yield frame.slice(skipped)
        if seen != rows:
            raise DataError(f"{seen:,} rows came where the footer says {rows:,}")

    def _frame(self, batch: pa.RecordBatch) -> pl.DataFrame:
        return as_frame(batch, self._schema)

    def _ask(self, index: int) -> None:
        """Fetch this part and some ahead, and forget those before."""
        if not isinstance(self._stream, RemoteStream):
            return
        self._next = max(self._next, index)
        while self._asked and self._asked[0][0] < index:
            self._asked.popleft()
        self._stream.release(min((start for _, start, _ in self._asked), default=0))
        while self._next < len(self._rows) and (
            self._next == index or sum(end - start for _, start, end in self._asked) < _AHEAD_BYTES
        ):
            try:
                ranges = joined(self._ranges(self._next))
            except DataError:
                ranges = []  # told when it is its turn
            self._stream.prefetch(ranges)
            self._asked += [(self._next, start, end) for start, end in ranges]
            self._next += 1

    def _chunks(self, index: int) -> list[ColumnChunk]:
        return [chunk for chunk in self._columns[index] if chunk.is_of(self._schema)]

    def _ranges(self, index: int) -> list[tuple[int, int]]:
        """Where the columns of a row group are."""
        ranges = []
        for chunk in self._chunks(index):
            if not 0 <= chunk.start <= chunk.end <= self._size_bytes:
                raise DataError(f"column '{chunk.path}' is said to lie outside of the file")
            ranges.append((chunk.start, chunk.end))
        return ranges

    def _check_size(self, index: int) -> None:
        rows = self._rows[index]
        check_rows(rows)
        chunks = self._chunks(index)
        decoded = max(rows * row_bytes(self._schema), sum(chunk.uncompressed_bytes for chunk in chunks))
        stored = min(self._size_bytes, sum(max(0, chunk.compressed_bytes) for chunk in chunks))
        check_cap(decoded, stored, self._cap_bytes)
