"""Reads the files of one partition from front to back, block by block."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, cast

import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.places import OpenedAhead
from arrowstream.connectors.files.remote_files import RemoteStream
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError
from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO

    from arrowstream.connectors.files.decoder import Decoder
    from arrowstream.connectors.files.places import FoundFile, Place
    from arrowstream.connectors.files.streams import Block
    from arrowstream.types import Json, OnError, Position

_JOINED_ROWS = 1 << 12  # smaller blocks are handed out together with the next: files may be tiny


class _Start(NamedTuple):
    """Where a block begins: which file, what its format says, and the slots before it."""

    file: int
    resume: Json
    slots: int


class StreamReader:
    """Reads files one after the other; may block on the disk, the network and Polars.

    A position is [index of the file, where a block begins, rows of this block that were handed out, slots of
    the file before the block]. To go on, a file is read from its beginning if it cannot seek.

    Parameters
    ----------
    files
        As they were when the query was built.
    columns
        Those of the decoder, or some of them, and `row_column`.
    row_column
        Name of a column that is added: the number of the slot within its file.
    stays_open
        Whether a file stays open between two blocks. If not, thousands of readers can be at work at once.
    """

    def __init__(
        self,
        files: Sequence[FoundFile],
        place: Place,
        decoder: Decoder,
        position: Position | None,
        *,
        columns: Sequence[str],
        on_error: OnError,
        row_column: str | None = None,
        stays_open: bool = True,
    ) -> None:
        self.counters = ConnectorCounters()
        self._files = files
        self._place = place
        self._opened = OpenedAhead(place, files)
        self._decoder = decoder
        self._columns = columns
        self._on_error = on_error
        self._row_column = row_column
        self._stays_open = stays_open
        self._index, self._resume, self._skip, self._slots = self._checked(position)
        self._position: Position = position
        self._raw: BinaryIO | None = None
        self._raw_bytes = 0
        self._counted = -1
        self._blocks: Iterator[Block] | None = None
        self._frame: pl.DataFrame | None = None
        self._after = _Start(self._index, self._resume, self._slots)
        self._error: ArrowStreamError | None = None

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after them; None at the end."""
        assert max_rows > 0
        began_s = perf_counter()
        try:
            frame = self._read(max_rows)
        finally:
            self.counters.seconds += perf_counter() - began_s
        if frame is None:
            return None
        self.counters.rows += frame.height
        if DEAD in frame.columns:
            count_dead(self.counters, frame, self._on_error)
        return frame, self._position

    def close(self) -> None:
        """Close the file that is open."""
        self._frame = None
        self._close_file()
        self._opened.close()
        self._index = len(self._files)

    def _read(self, max_rows: int) -> pl.DataFrame | None:
        taken: list[pl.DataFrame] = []
        rows = 0
        while rows < min(max_rows, _JOINED_ROWS) and self._has_rows(is_first=not taken):
            taken.append(self._take(max_rows - rows))
            rows += taken[-1].height
        if not self._stays_open and self._frame is None:
            self._close_file()
        if len(taken) <= 1:
            return taken[0] if taken else None
        dead = any(DEAD in frame.columns for frame in taken)
        return pl.concat(taken, how="diagonal" if dead else "vertical")

    def _take(self, max_rows: int) -> pl.DataFrame:
        """Rows of the block at hand; the position is the one after them, whatever is found out later."""
        assert self._frame is not None
        piece = self._frame.slice(self._skip, max_rows)
        self._skip += piece.height
        if self._skip == self._frame.height:
            self._end_block()
        self._position = [self._index, self._resume, self._skip, self._slots]
        return piece

    def _end_block(self) -> None:
        self._frame = None
        self._index, self._resume, self._slots = self._after
        self._skip = 0

    def _has_rows(self, *, is_first: bool) -> bool:
        """Go on to a block with rows; False at the end, and before an error that comes after rows."""
        if self._error is None:
            try:
                while self._frame is None and (frame := self._next_frame()) is not None:
                    if frame.height < self._skip:
                        raise self._foreign(self._position)
                    self._frame = frame
                    if frame.height == self._skip:
                        self._end_block()
            except ArrowStreamError as error:
                self._error = error
        if self._error is not None:
            if is_first:
                raise self._error
            return False
        return self._frame is not None

    def _next_frame(self) -> pl.DataFrame | None:
        """The rows, or the slots, of the next block."""
        while self._index < len(self._files):
            file = self._files[self._index]
            try:
                if self._blocks is None:
                    self._open_file(file)
                assert self._blocks is not None
                block = next(self._blocks, None)
            except DataError as error:
                self._close_file()
                self._place.check_unchanged(file)  # or it would be no bad file, but two halves of good ones
                if self._on_error == "raise":
                    raise
                self._after = _Start(self._index + 1, None, 0)
                return self._numbered(self._decoder.dead_file(file.path, error))
            self._count_bytes()
            if block is not None:
                self._after = _Start(self._index, block.resume, self._slots + block.frame.height)
                return self._numbered(block.frame)
            self._count_to(file.size_bytes)
            is_checked = isinstance(self._raw, RemoteStream) and self._raw.is_checked
            self._close_file()
            if not is_checked:
                self._place.check_unchanged(file)  # or what was read of it may be of two versions
            self._index, self._resume, self._slots = _Start(self._index + 1, None, 0)
        return None

    def _numbered(self, frame: pl.DataFrame) -> pl.DataFrame:
        """With the number of each row in its file, and without columns that were read for nothing else."""
        row_column = self._row_column
        if row_column is None:
            return frame
        number = pl.int_range(self._slots, self._slots + pl.len(), dtype=pl.Int64)
        if DEAD not in frame.columns:
            return frame.with_columns(number.alias(row_column)).select(self._columns)
        number = pl.when(pl.col(DEAD).is_null()).then(number)
        return frame.with_columns(number.alias(row_column)).select(*self._columns, DEAD)

    def _open_file(self, file: FoundFile) -> None:
        self._raw = self._opened.open(self._index)
        self._blocks = self._decoder.blocks(self._raw, file.path, self._resume)
        if self._index != self._counted:
            self._counted = self._index
            self._raw_bytes = 0
            self.counters.files += 1

    def _count_bytes(self) -> None:
        """As they are stored, as far as they are read."""
        if self._raw is not None and not self._raw.closed:
            self._count_to(self._raw.tell())

    def _count_to(self, raw_bytes: int) -> None:
        if raw_bytes > self._raw_bytes:  # some formats go back and forth
            self.counters.bytes += raw_bytes - self._raw_bytes
            self._raw_bytes = raw_bytes

    def _close_file(self) -> None:
        self._count_bytes()
        if self._blocks is not None:
            cast("Generator[Block]", self._blocks).close()
        if self._raw is not None:
            self._raw.close()
        self._blocks = None
        self._raw = None

    def _checked(self, position: Position | None) -> tuple[int, Json, int, int]:
        match position:
            case None:
                return 0, None, 0, 0
            case [int(index), resume, int(skip), int(slots)] if (
                0 <= index <= len(self._files) and skip >= 0 and slots >= 0
            ):
                return index, resume, skip, slots
        raise self._foreign(position)

    def _foreign(self, position: Position | None) -> ConnectorError:
        return ConnectorError(
            f"position {position} is not in the {len(self._files)} files from {self._files[0].path} on",
            hint="the position was written for other files",
        )


def count_dead(counters: ConnectorCounters, frame: pl.DataFrame, on_error: OnError) -> None:
    """Count the slots of a frame, so far counted as rows, that are none."""
    dead = frame.height - frame.get_column(DEAD).null_count()
    counters.rows -= dead
    if on_error == "skip":
        counters.errors += dead
    else:
        counters.dead_letters += dead
