"""A file in memory, for libraries that write to files."""

from __future__ import annotations

import io
from typing import Any

_PIECE_BYTES = 1 << 16
"""Smaller pieces are joined; from here on a copy costs more than a call."""


class Pieces(io.RawIOBase):
    """A file in memory that is handed on, and forgotten, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._small: list[bytes | memoryview] = []
        self._small_bytes = 0
        self._written = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, piece: Any) -> int:  # bytes or a pa.Buffer
        """Append."""
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
        """How many bytes have been written."""
        return self._written

    def take(self) -> list[bytes | memoryview]:
        """What has been written since the last time."""
        self._join_small()
        taken, self._pieces = self._pieces, []
        return taken

    def _join_small(self) -> None:
        """Many small ones as one; a large one as it is, as copying costs as much as encoding."""
        if self._small_bytes:
            one = len(self._small) == 1
            self._pieces.append(self._small[0] if one else b"".join(self._small))
        self._small, self._small_bytes = [], 0
