"""An outbox that is written, and hashed, while the next rows are encoded."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrowstream.runtime.outbox import OutboxWriter
    from arrowstream.types import Piece

SMALL_BYTES = 4 << 20
"""Up to here threads cost more than they save."""

WAITING_BYTES_MAX = 64 << 20
"""What may wait for the disk; one piece always fits."""

_WAIT_S = 1.0  # no wait is endless: a missed wake-up costs this much


class OverlappedWriter:
    """Lets a thread write what an outbox gets, and another one hash it, from a certain size on.

    What fails there is raised by the next `write`, or by `finish`. `close` forgets what waits.
    """

    def __init__(self, writer: OutboxWriter) -> None:
        self._writer = writer
        self._threads: tuple[_Thread, ...] = ()

    def write(self, piece: Piece) -> None:
        """Append; waits while too much is waiting for the disk."""
        if not self._threads:
            if self._writer.size_bytes < SMALL_BYTES:
                self._writer.write(piece)
                self._writer.hash(piece)
                return
            self._threads = (
                _Thread("arrowstream-outbox", self._writer.write),
                _Thread("arrowstream-hash", self._writer.hash),
            )
        for thread in self._threads:
            thread.put(piece)

    def finish(self) -> str:
        """Write what waits, and make all of it durable; gives the SHA-256."""
        for thread in self._threads:
            thread.end()
        return self._writer.finish()

    def close(self) -> None:
        """End the threads and close the files; idempotent."""
        for thread in self._threads:
            thread.stop()
        self._writer.close()


class _Thread:
    """Does one thing with pieces, in their order."""

    def __init__(self, name: str, function: Callable[[Piece], None]) -> None:
        self._function = function
        self._pieces: deque[Piece] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, piece: Piece) -> None:
        """Give it a piece; waits while too much is waiting, raises what has failed."""
        size = _size(piece)
        with self._changed:
            while self._error is None and self._pieces and self._waiting_bytes + size > WAITING_BYTES_MAX:
                self._changed.wait(_WAIT_S)
            self._raise()
            self._pieces.append(piece)
            self._waiting_bytes += size
            self._changed.notify_all()

    def end(self) -> None:
        """Wait until it has done all; raises what has failed."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        self._raise()

    def stop(self) -> None:
        """Forget what waits, and wait until it has left off; idempotent."""
        with self._changed:
            self._pieces.clear()
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                self._function(piece)
        except BaseException as error:  # noqa: BLE001 — raised again on the sink's thread
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> Piece | None:
        with self._changed:
            while not self._pieces:
                if self._ended:
                    return None
                self._changed.wait(_WAIT_S)
            piece = self._pieces.popleft()
            self._waiting_bytes -= _size(piece)
            self._changed.notify_all()
            return piece


def _size(piece: Piece) -> int:
    return len(piece[1]) if isinstance(piece, tuple) else len(piece)
