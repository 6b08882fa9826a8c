"""The record batches of an Arrow IPC file, one by one."""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.arrow_frames import as_frame
from arrowstream.connectors.files.caps import check_cap, check_rows
from arrowstream.connectors.files.columnar import Format, IpcFormat
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.ipc_sizes import IpcBlock, block_size, blocks
from arrowstream.connectors.files.remote_files import RemoteStream
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_AHEAD_BYTES = 64 << 20  # of batches that are read while the one before them is looked at
_DECODERS = 2  # threads: one copies out of the cache of files while the other looks at values


class RecordBatches:
    """See `Parts`.

    Batches are copied into memory, not mapped: a mapped file that somebody shortens ends the process. Of a
    local file they are read ahead, once a second one is asked for.
    """

    format: ClassVar[Format] = IpcFormat()
    kind: ClassVar[str] = "record batch"

    def __init__(
        self, stream: BinaryIO, schema: pl.Schema, columns: Sequence[str], decompressed_max: int | None
    ) -> None:
        tail = self.format.tail(stream)
        self._stream = stream
        self._size_bytes = stream.seek(0, io.SEEK_END)
        self._schema = pl.Schema({name: schema[name] for name in columns})
        self._cap_bytes = decompressed_max
        self._dictionaries, self._batches = blocks(tail)
        names = schema.names()
        options = pa.ipc.IpcReadOptions(included_fields=sorted(names.index(name) for name in columns))
        self._is_local = isinstance(stream, io.BufferedReader)
        source = pa.OSFile(stream.name) if self._is_local else pa.PythonFile(stream, mode="r")
        self._reader = pa.ipc.open_file(source, options=options)
        self._are_dictionaries_checked = False
        self._next = 0  # the first batch that is not asked for
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: deque[Future[pl.DataFrame]] = deque()

    def count(self) -> int:
        """See `Parts`."""
        return len(self._batches)

    def close(self) -> None:
        """See `Parts`."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def frames(self, index: int, done: int, *, at_once: bool) -> Iterator[pl.DataFrame]:  # noqa: ARG002 - always
        """See `Parts`."""
        frame = self._local(index) if self._is_local else self._remote(index)
        if frame.height > done:
            yield frame.slice(done)

    def _remote(self, index: int) -> pl.DataFrame:
        """A batch, while the next one is fetched."""
        stream = self._stream
        if isinstance(stream, RemoteStream):
            for block in self._batches[max(index, self._next) : index + 2]:
                if 0 <= block.start <= block.end <= self._size_bytes and block.body_bytes <= _AHEAD_BYTES:
                    stream.prefetch([(block.start, block.end)])
        self._next = index + 2
        self._check_sizes(index)
        frame = self._decoded(index)
        if isinstance(stream, RemoteStream):
            stream.release(self._batches[index].end)
        return frame

    def _local(self, index: int) -> pl.DataFrame:
        """A batch; from the second call on while those behind it are read."""
        if self._pool is None:
            self._check_sizes(index)
            self._next = index + 1
            # Dictionaries are read by whoever comes first, and not fit for several at a time.
            self._pool = ThreadPoolExecutor(1 if self._dictionaries else _DECODERS, "arrowstream-ipc")
            return self._decoded(index)
        while self._next < len(self._batches) and len(self._ahead) <= _DECODERS:
            ahead = self._batches[index + 1 : self._next + 1]
            if sum(block.body_bytes for block in ahead) > _AHEAD_BYTES:
                break
            self._ahead.append(self._submitted(self._next, self._pool))
            self._next += 1
        return self._ahead.popleft().result()

    def _submitted(self, index: int, pool: ThreadPoolExecutor) -> Future[pl.DataFrame]:
        """A batch to come; an error of its size comes in its place."""
        try:
            self._check_sizes(index)
        except (DataError, *LIBRARY_ERRORS) as error:
            refused: Future[pl.DataFrame] = Future()
            refused.set_exception(error)
            return refused
        return pool.submit(self._decoded, index)

    def _decoded(self, index: int) -> pl.DataFrame:
        return as_frame(self._reader.get_batch(index), self._schema)

    def _check_sizes(self, index: int) -> None:
        """Raise DataError for a batch, or the dictionaries, that would take too much memory."""
        if not self._are_dictionaries_checked:
            for block in self._dictionaries:
                self._check_size(block)
            self._are_dictionaries_checked = True
        self._check_size(self._batches[index])

    def _check_size(self, block: IpcBlock) -> None:
        size = block_size(self._stream, block, self._size_bytes)
        check_rows(size.rows)
        check_cap(size.decoded_bytes, block.body_bytes, self._cap_bytes)
