"""Parquet and Arrow IPC files part by part: remote ones, and those in which damage costs only its part."""

from __future__ import annotations

import io
import os
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from arrowstream.connectors.files.arrow_frames import as_frame
from arrowstream.connectors.files.caps import check_cap, check_rows, row_bytes
from arrowstream.connectors.files.columnar import TAIL_BYTES, IpcFormat, ParquetFormat
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, changed, translated
from arrowstream.connectors.files.ipc_sizes import IpcBlock, block_size, blocks
from arrowstream.connectors.files.remote_files import RemoteStream, joined
from arrowstream.connectors.files.streams import Block, DeadSlot, with_dead
from arrowstream.errors import ConnectorError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrowstream.types import Json, OnError

_CHUNK_BYTES = 16 << 20  # of rows that are handed on at once
_COPY_BYTES = 1 << 20  # at once, of a file that has to be copied
_AHEAD_BYTES = 32 << 20  # of compressed parts that are fetched while others are decoded
_BATCH_ROWS = 1 << 17  # decoded at once


@dataclass(frozen=True, slots=True)
class ParquetParts:
    """Parquet by its row groups, counted from 0, each of them validated; with the types that Polars reads.

    Of a remote file only the footer and the columns wanted are fetched, row groups ahead.

    Parameters
    ----------
    decompressed_max
        Most bytes of a row group. None: 1 GiB, or 1,000 times its size in the file, whichever is more.
    """

    decompressed_max: int | None = None
    name: str = "Parquet"
    suffixes: tuple[str, ...] = ParquetFormat.suffixes
    has_types: bool = True
    is_sparse: bool = False

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:  # noqa: ARG002 - see `StreamFormat`
        """See `StreamFormat`."""
        with _seekable(stream) as file:
            return ParquetFormat().footer(ParquetFormat().tail(file)).schema

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,
    ) -> Iterator[Block]:
        """See `StreamFormat`; `resume` is [row group, rows of it]. A dead slot stands for a row group."""
        assert not growing
        with _seekable(stream) as file:
            parts = _RowGroups(file, schema, columns, self.decompressed_max)
            yield from _blocks(parts, path, resume, on_error)

    def identity(self) -> Json:
        """See `StreamFormat`; a cap changes which row groups are good ones."""
        return {"decompressed_max": self.decompressed_max}


@dataclass(frozen=True, slots=True)
class IpcParts:
    """Arrow IPC files by their record batches, counted from 0, each of them validated.

    Parameters
    ----------
    decompressed_max
        Most bytes of a record batch. None: 1 GiB, or 1,000 times its size in the file, whichever is more.
    """

    decompressed_max: int | None = None
    name: str = "Arrow IPC"
    suffixes: tuple[str, ...] = IpcFormat.suffixes
    has_types: bool = True
    is_sparse: bool = False

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:  # noqa: ARG002 - see `StreamFormat`
        """See `StreamFormat`."""
        with _seekable(stream) as file:
            return IpcFormat().footer(IpcFormat().tail(file)).schema

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,
    ) -> Iterator[Block]:
        """See `StreamFormat`; `resume` is [record batch, rows of it]. A dead slot stands for a batch."""
        assert not growing
        with _seekable(stream) as file:
            parts = _RecordBatches(file, schema, columns, self.decompressed_max)
            yield from _blocks(parts, path, resume, on_error)

    def identity(self) -> Json:
        """See `StreamFormat`; a cap changes which batches are good ones."""
        return {"decompressed_max": self.decompressed_max}


class _Parts(Protocol):
    """The parts of one file. Errors are those of the libraries, or a DataError without the path."""

    kind: str

    def count(self) -> int:
        """How many there are."""
        ...

    def frames(self, index: int, done: int, *, at_once: bool) -> Iterator[pl.DataFrame]:
        """Rows of a part from `done` on; `at_once`: an error comes before any of them."""
        ...

    def empty(self) -> pl.DataFrame:
        """The columns, without a row."""
        ...

    def check_unchanged(self) -> None:
        """Raise ConnectorError where a damaged part may be the mix of two versions of the file."""
        ...


def _blocks(parts: _Parts, path: str, resume: Json, on_error: OnError) -> Iterator[Block]:
    first, done = cast("list[int]", resume) if resume is not None else (0, 0)
    for index in range(first, parts.count()):
        try:
            for frame in parts.frames(index, done, at_once=on_error != "raise"):
                done += frame.height
                yield Block(frame, [index, done])
        except (DataError, *LIBRARY_ERRORS) as error:
            parts.check_unchanged()
            told = _told(error, path, f"{parts.kind} {index}")
            if on_error == "raise" or not isinstance(told, DataError):
                raise told from error
            dead = DeadSlot(0, None, told.fact, f"{parts.kind} {index}")
            yield Block(with_dead(parts.empty(), [dead], path), [index + 1, 0])
        done = 0


def _told(error: BaseException, path: str, place: str) -> DataError | ConnectorError:
    if isinstance(error, DataError):
        return DataError(f"{place} of {path}: {error.fact}", hint=error.hint)
    told = translated(error, f"{place} of {path}", "data")
    if not isinstance(told, DataError):
        return cast("ConnectorError", translated(error, path, "data"))
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return DataError(
        f"{place} of {path} cannot be read: {reason}",
        hint="the file is damaged: write it again, or leave it out",
    )


class _RowGroups:
    """See `_Parts`. Decoded by PyArrow: a damaged page can end the process of Polars."""

    kind = "row group"

    def __init__(
        self,
        stream: BinaryIO,
        schema: pl.Schema,
        columns: Sequence[str],
        decompressed_max: int | None,
    ) -> None:
        tail = ParquetFormat().tail(stream)
        self._stream = stream
        self._size_bytes = stream.seek(0, io.SEEK_END)
        self._metadata = pq.read_metadata(pa.BufferReader(tail))
        self._schema = pl.Schema({name: schema[name] for name in columns})
        self._cap_bytes = decompressed_max
        self._groups = [self._metadata.row_group(index) for index in range(self._metadata.num_row_groups)]
        self._chunk_rows = max(1, _CHUNK_BYTES // ParquetFormat().row_bytes(tail, columns))
        self._disk = _Disk(stream) if isinstance(stream, io.BufferedReader) else None
        self._asked: deque[tuple[int, int, int]] = deque()  # part, start, end: from the part at hand on
        self._next = 0  # the first part that is not asked for
        self._file = pq.ParquetFile(
            pa.PythonFile(stream, mode="r"),
            metadata=self._metadata,
            pre_buffer=True,
            page_checksum_verification=True,
            arrow_extensions_enabled=False,
        )

    def count(self) -> int:
        """See `_Parts`."""
        return len(self._groups)

    def empty(self) -> pl.DataFrame:
        """See `_Parts`."""
        return pl.DataFrame(schema=self._schema)

    def check_unchanged(self) -> None:
        """See `_Parts`."""
        if self._disk is not None:
            self._disk.check_unchanged()

    def frames(self, index: int, done: int, *, at_once: bool) -> Iterator[pl.DataFrame]:
        """See `_Parts`."""
        rows = self._groups[index].num_rows
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
        while self._next < len(self._groups) and (
            self._next == index or sum(end - start for _, start, end in self._asked) < _AHEAD_BYTES
        ):
            try:
                ranges = joined(self._ranges(self._next))
            except DataError:
                ranges = []  # told when it is its turn
            self._stream.prefetch(ranges)
            self._asked += [(self._next, start, end) for start, end in ranges]
            self._next += 1

    def _chunks(self, index: int) -> list[pq.ColumnChunkMetaData]:
        group = self._groups[index]
        chunks = [group.column(column) for column in range(group.num_columns)]
        return [
            chunk
            for chunk in chunks
            if chunk.path_in_schema in self._schema or chunk.path_in_schema.split(".")[0] in self._schema
        ]

    def _ranges(self, index: int) -> list[tuple[int, int]]:
        """Where the columns of a row group are."""
        ranges = []
        for chunk in self._chunks(index):
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            end = start + chunk.total_compressed_size
            if not 0 <= start <= end <= self._size_bytes:
                raise DataError(f"column '{chunk.path_in_schema}' is said to lie outside of the file")
            ranges.append((start, end))
        return ranges

    def _check_size(self, index: int) -> None:
        rows = self._groups[index].num_rows
        check_rows(rows)
        chunks = self._chunks(index)
        decoded = max(rows * row_bytes(self._schema), sum(chunk.total_uncompressed_size for chunk in chunks))
        stored = min(self._size_bytes, sum(max(0, chunk.total_compressed_size) for chunk in chunks))
        check_cap(decoded, stored, self._cap_bytes)


class _RecordBatches:
    """See `_Parts`."""

    kind = "record batch"

    def __init__(
        self, stream: BinaryIO, schema: pl.Schema, columns: Sequence[str], decompressed_max: int | None
    ) -> None:
        tail = IpcFormat().tail(stream)
        self._stream = stream
        self._size_bytes = stream.seek(0, io.SEEK_END)
        self._schema = pl.Schema({name: schema[name] for name in columns})
        self._cap_bytes = decompressed_max
        self._dictionaries, self._batches = blocks(tail)
        names = schema.names()
        fields = sorted(names.index(name) for name in columns)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        self._reader = pa.ipc.open_file(pa.PythonFile(stream, mode="r"), options=options)
        self._are_dictionaries_checked = False
        self._disk = _Disk(stream) if isinstance(stream, io.BufferedReader) else None
        self._next = 0  # the first batch that is not asked for

    def count(self) -> int:
        """See `_Parts`."""
        return len(self._batches)

    def empty(self) -> pl.DataFrame:
        """See `_Parts`."""
        return pl.DataFrame(schema=self._schema)

    def check_unchanged(self) -> None:
        """See `_Parts`."""
        if self._disk is not None:
            self._disk.check_unchanged()

    def frames(self, index: int, done: int, *, at_once: bool) -> Iterator[pl.DataFrame]:  # noqa: ARG002 - always
        """See `_Parts`."""
        self._ask(index)
        if not self._are_dictionaries_checked:
            for block in self._dictionaries:
                self._check_size(block)
            self._are_dictionaries_checked = True
        self._check_size(self._batches[index])
        batch = self._reader.get_batch(index)
        frame = as_frame(batch, self._schema)
        if isinstance(self._stream, RemoteStream):
            self._stream.release(self._batches[index].end)
        if frame.height > done:
            yield frame.slice(done)

    def _ask(self, index: int) -> None:
        """Fetch this batch and the next one."""
        if not isinstance(self._stream, RemoteStream):
            return
        for block in self._batches[max(index, self._next) : index + 2]:
            if 0 <= block.start <= block.end <= self._size_bytes and block.body_bytes <= _AHEAD_BYTES:
                self._stream.prefetch([(block.start, block.end)])
        self._next = index + 2

    def _check_size(self, block: IpcBlock) -> None:
        size = block_size(self._stream, block, self._size_bytes)
        check_rows(size.rows)
        check_cap(size.decoded_bytes, block.body_bytes, self._cap_bytes)


class _Disk:
    """A local file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._status = self._now()

    def check_unchanged(self) -> None:
        """Raise ConnectorError if there is another file by this name by now, or other content."""
        try:
            now = self._now()
        except OSError as error:
            raise translated(error, self._stream.name, "data") from error
        if now != self._status:
            raise changed(self._stream.name)

    def _now(self) -> list[tuple[int, int, int]]:
        statuses = (Path(self._stream.name).stat(), os.fstat(self._stream.fileno()))
        return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in statuses]


@contextmanager
def _seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream, or a copy on disk of one that comes from front to back only."""
    if isinstance(stream, RemoteStream) and stream.seekable():
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))  # what is needed first anyway
        stream.read(1)
        if not stream.has_ranges:
            stream.seek(0)
    if stream.seekable():
        yield stream
        return
    with NamedTemporaryFile(prefix="arrowstream-") as copy:
        while piece := stream.read(_COPY_BYTES):
            copy.write(piece)
        copy.flush()
        with open(copy.name, "rb") as file:  # noqa: PTH123 - a plain buffered file
            yield file
