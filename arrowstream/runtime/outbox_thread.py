"""An outbox that is written while the next rows are encoded."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arrowstream.runtime.outbox import OutboxWriter
    from arrowstream.types import Piece

SMALL_BYTES = 4 << 20
"""Up to here a thread costs more than it saves."""

WAITING_BYTES_MAX = 64 << 20
"""What may wait for the disk; one piece always fits."""

_WAIT_S = 1.0  # no wait is endless: a missed wake-up costs this much


class OverlappedWriter:
    """Lets a thread hash and write what an outbox gets, from a certain size on.

    What fails there is raised by the next `write`, or by `finish`. `close` forgets what waits.
    """

    def __init__(self, writer: OutboxWriter) -> None:
        self._writer = writer
        self._pieces: deque[Piece] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def write(self, piece: Piece) -> None:
        """Append; waits while too much is waiting for the disk."""
        if self._thread is None:
            if self._writer.size_bytes < SMALL_BYTES:
                self._writer.write(piece)
                return
            self._thread = threading.Thread(target=self._run, name="arrowstream-outbox", daemon=True)
            self._thread.start()
        size = _size(piece)
        with self._changed:
            while self._error is None and self._pieces and self._waiting_bytes + size > WAITING_BYTES_MAX:
                self._changed.wait(_WAIT_S)
            self._raise()
            self._pieces.append(piece)
            self._waiting_bytes += size
            self._changed.notify_all()

    def finish(self) -> str:
        """Write what waits, and make all of it durable; gives the SHA-256."""
        self._end()
        self._raise()
        return self._writer.finish()

    def close(self) -> None:
        """End the thread and close the files; idempotent."""
        with self._changed:
            self._pieces.clear()
        self._end()
        self._writer.close()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                self._writer.write(piece)
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
