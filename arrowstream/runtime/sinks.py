"""A thread per sink: encodes while rows arrive, makes the outbox durable, publishes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
import pyarrow as pa

from arrowstream import failpoints
from arrowstream.config import ARROW_LEVEL
from arrowstream.errors import ArrowStreamError, ConnectorError, FencedError, StateError
from arrowstream.runtime.checkpoint import Outbox
from arrowstream.runtime.events import Failed, OutboxReady, Published
from arrowstream.runtime.outbox import outbox_path, outbox_writer
from arrowstream.runtime.outbox_thread import OverlappedWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from arrowstream.durable import StoredFile
    from arrowstream.protocols import Sink
    from arrowstream.runtime.events import Event
    from arrowstream.types import Piece

_Result = TypeVar("_Result")

_WAIT_S = 1.0  # no wait is endless: a missed wake-up costs this much
_CLOSE_WAIT_S = 5.0  # how long closing waits for a sink that hangs in a call of its own
_FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """One output of a run. `name` is unique in the run and stable over restarts."""

    name: str
    sink: Sink
    schema: pl.Schema


@dataclass(slots=True)
class SinkProgress:
    """What a sink has done so far in this process; read by metrics, written by the sink's thread.

    `bytes` and `files` are those of the epochs that are encoded; `busy_s` are the seconds spent in the sink.
    """

    files: int = 0
    rows: int = 0
    batches: int = 0
    bytes: int = 0
    busy_s: float = 0.0
    published_epoch: int = 0


class _Stopped(BaseException):
    """Unwinds a sink's `encode` when the run ends."""


@dataclass(frozen=True, slots=True)
class _Item:
    """Rows, or None: the end of an epoch, in which columns may be shown in place of rows."""

    frame: pl.DataFrame | None
    bytes: int
    show_columns: bool = False


class SinkWorker:
    """Owns one sink: all methods of the sink are called on this worker's thread.

    `publish` of an epoch may run while `encode` of the next one waits for a batch.

    Parameters
    ----------
    index, spec
        Which sink.
    outbox_folder
        Where encoded epochs are kept until they are done.
    queue_bytes
        Bound of the queue of frames; one frame always fits.
    threads
        On how many a sink may encode that can use several.
    on_event
        Told `OutboxReady`, `Published` and `Failed`, on this worker's thread.
    """

    def __init__(
        self,
        index: int,
        spec: SinkSpec,
        *,
        outbox_folder: Path,
        queue_bytes: int,
        threads: int,
        on_event: Callable[[Event], None],
    ) -> None:
        self.index = index
        self.spec = spec
        self.outbox_folder = outbox_folder
        self.progress = SinkProgress()
        self.outboxes: dict[int, Outbox] = {}
        self._files: dict[int, list[StoredFile]] = {}
        self._generation = 0
        self._epoch = _FIRST_EPOCH
        self._opened = False
        self._stopping = False
        self._queue_bytes = queue_bytes
        self._threads = threads
        self._on_event = on_event
        self._items: deque[_Item] = deque()
        self._items_bytes = 0
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._busy_since_s = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name=f"arrowstream-{spec.name}", daemon=True)
        self._thread.start()

    # Called by the run loop and the checkpoint's thread.

    def open(self, generation: int) -> Future[int | None]:
        """Let the sink fence older writers; gives its marker."""
        self._generation = generation

        def open_sink() -> int | None:
            self._opened = True
            return self.spec.sink.open(generation)

        return self.call(open_sink)

    def begin(self, epoch: int) -> None:
        """Say which epoch the first rows belong to."""
        self._epoch = epoch

    def put(self, frame: pl.DataFrame, *, timeout_s: float) -> bool:
        """Queue rows of the current epoch; False if the queue stayed full for `timeout_s`."""
        size = int(frame.estimated_size())
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(size), timeout_s):
                return False
            self._append(_Item(frame, size))
        return True

    def end_epoch(self, *, show_columns: bool) -> None:
        """No more rows of the current epoch follow: `OutboxReady` comes when it is durable.

        With `show_columns`, `encode` of an epoch without rows is given one batch of no rows: the output has
        its columns then.
        """
        with self._changed:
            self._append(_Item(None, 0, show_columns))

    def publish(self, epoch: int, outbox: Outbox) -> Future[None]:
        """Let the sink publish: `Published` comes when it has."""
        return self.call(lambda: self._publish(epoch, outbox))

    def call(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Run something on the sink's thread. A failure is in the future, and reported as any other."""
        future: Future[_Result] = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
            else:
                self._calls.append((function, future))
                self._changed.notify_all()
        return future

    def stop(self) -> None:
        """Leave off at the next opportunity, publishing nothing more; returns at once. Idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the sink is closed, but not for one that hangs."""
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_WAIT_S)

    def _fits(self, size: int) -> bool:
        return self._stopping or not self._items_bytes or self._items_bytes + size <= self._queue_bytes

    def _append(self, item: _Item) -> None:
        self._items.append(item)
        self._items_bytes += item.bytes
        self._changed.notify_all()

    # On the worker's thread.

    def _run(self) -> None:
        try:
            while True:
                self._encode_epoch(self._next_item())
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 — a thread must not die silently; Polars' panics are one
            self._fail(error)
        self._close()

    def _next_item(self) -> _Item:
        """The next item of the queue; calls that come meanwhile go first."""
        while True:
            with self._changed:
                self.progress.busy_s += time.perf_counter() - self._busy_since_s
                while not (self._stopping or self._calls or self._items):
                    self._changed.wait(_WAIT_S)
                self._busy_since_s = time.perf_counter()
                if self._stopping:
                    raise _Stopped
                if not self._calls:
                    item = self._items.popleft()
                    self._items_bytes -= item.bytes
                    self._changed.notify_all()
                    return item
                function, future = self._calls.popleft()
            try:
                future.set_result(function())
            except BaseException as error:
                # Reported here, as a sink's own `encode` may be on the stack and must not catch it.
                self._fail(error)
                future.set_exception(error)
                raise _Stopped from error

    def _encode_epoch(self, first: _Item) -> None:
        """Encode the rows of one epoch as they come, and make them durable."""
        epoch, rows = self._epoch, _Rows(first, self._next_item, self.spec.schema)
        encoded = self._encoded(rows)
        pieces = _pieces(encoded, self.spec.name)
        head = next(pieces, b"")
        writer = outbox_writer(outbox_path(self.outbox_folder, epoch, self._generation), head)
        writer.open()
        overlapped = OverlappedWriter(writer)
        try:
            for piece in chain([head], pieces):
                overlapped.write(piece)
            if not rows.ended:
                raise ConnectorError(
                    f"{self.spec.name} did not read all batches that `encode` was given",
                    hint="read on to their end, also where the rest is not needed",
                )
            digest = overlapped.finish()
        finally:
            overlapped.close()
            pieces.close()
        self.outboxes[epoch] = Outbox(
            sink=self.spec.name,
            path=str(writer.path),
            sha256=digest,
            bytes=writer.size_bytes,
            rows=rows.rows,
            whole=isinstance(encoded, bytes),
            folder=isinstance(head, tuple),
        )
        self._epoch = epoch + 1
        self._files[epoch] = writer.files
        self.progress.files += len(writer.files)
        self.progress.rows += rows.rows
        self.progress.batches += rows.frames
        self.progress.bytes += writer.size_bytes
        self._on_event(OutboxReady(epoch, self.index))

    def _encoded(self, rows: _Rows) -> object:
        """What the sink makes of the rows of an epoch."""
        encode_frames = getattr(self.spec.sink, "encode_frames", None)
        if encode_frames is not None:
            return encode_frames(iter(rows), threads=self._threads)
        return self.spec.sink.encode(_batches(rows))

    def _publish(self, epoch: int, outbox: Outbox) -> None:
        failpoints.hit("publish.before")
        path = self.outbox_folder / Path(outbox.path).name
        files = self._files.pop(epoch, None)  # None: encoded by a process that was killed
        if files is not None and (encoded := getattr(self.spec.sink, "encoded", None)) is not None:
            encoded(epoch, files)
        self.spec.sink.publish(epoch, _read_whole(path) if outbox.whole else path)
        failpoints.hit("publish.after")
        self.progress.published_epoch = epoch
        self._on_event(Published(epoch, self.index))

    def _fail(self, error: BaseException) -> None:
        self.stop()
        if isinstance(error, ArrowStreamError):
            error.operator_id = error.operator_id or self.spec.name
        elif isinstance(error, Exception):
            cause = error
            error = ConnectorError(
                f"the sink failed: {type(cause).__name__}: {cause}", operator_id=self.spec.name
            )
            error.__cause__ = cause
        self._on_event(Failed(error))

    def _close(self) -> None:
        with self._changed:
            left, self._calls = list(self._calls), deque()
        for _, future in left:
            future.cancel()
        if not self._opened:
            return
        try:
            self.spec.sink.close()
        except BaseException as error:  # noqa: BLE001 — as in _run
            self._fail(error)


def _pieces(encoded: object, sink: str) -> Generator[Piece]:
    """What `encode` has given, piece by piece; ConnectorError if it is something else."""
    if isinstance(encoded, bytes):
        yield encoded
    elif isinstance(encoded, Iterable) and not isinstance(encoded, (str, bytearray, memoryview)):
        for piece in encoded:
            if not _is_piece(piece):
                raise _no_piece(sink, f"an iterator with {_kind(piece)} in it")
            yield piece
    else:
        raise _no_piece(sink, _kind(encoded))


def _is_piece(piece: object) -> bool:
    if isinstance(piece, tuple):
        return len(piece) == 2 and isinstance(piece[0], str) and isinstance(piece[1], bytes | memoryview)
    return isinstance(piece, (bytes, memoryview))


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _no_piece(sink: str, found: str) -> ConnectorError:
    return ConnectorError(
        f"`encode` of {sink} gave {found}, which cannot be written",
        hint="it gives bytes, an iterator of bytes, or an iterator of (file name, bytes)",
    )


def _read_whole(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FencedError(
            f"{path} is gone: a newer process has published it", hint="let the newer process go on"
        ) from error
    except OSError as error:
        raise StateError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="repair the disk, then run again: nothing is lost",
        ) from error


class _Rows:
    """The frames of one epoch: ends where the epoch ends, waits where the next is not there yet."""

    def __init__(self, first: _Item, next_item: Callable[[], _Item], schema: pl.Schema) -> None:
        self.rows = 0
        self.frames = 0
        self.ended = False
        self._frames = self._read(first, next_item, schema)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return self._frames

    def _read(self, item: _Item, next_item: Callable[[], _Item], schema: pl.Schema) -> Iterator[pl.DataFrame]:
        while item.frame is not None:
            if item.frame.height:
                self.rows += item.frame.height
                self.frames += 1
                yield item.frame
            item = next_item()
        self.ended = True
        if item.show_columns and not self.rows:
            yield pl.DataFrame(schema=schema)


def _batches(frames: Iterable[pl.DataFrame]) -> Iterator[pa.RecordBatch]:
    """The same as batches of Arrow."""
    for frame in frames:
        table = frame.to_arrow(compat_level=ARROW_LEVEL)
        yield from table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
