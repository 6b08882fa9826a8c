"""One partition of a feed, and the merge of several by (running maximum, partition, position)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl

from arrowstream.config import DEAD, NO_TIME
from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from arrowstream.protocols import Reader
    from arrowstream.types import Position


class Held(NamedTuple):
    """A batch that has been read and is not wholly handed out."""

    rows: int
    size_bytes: int
    position: Position


class Piece(NamedTuple):
    """Rows with their running maxima and partitions (several partitions only)."""

    frame: pl.DataFrame
    maxima: NDArray[np.int64] | None
    partitions: NDArray[np.uint32] | None


@dataclass(slots=True, eq=False)
class Lane:
    """One partition: its reader, what has been read of it, and the cursor behind the last row handed out."""

    index: int
    name: str
    reader: Reader | None
    position: Position | None
    skip: int
    maximum: int
    ended: bool
    # of the thread that reads, and behind the lock
    maximum_read: int = NO_TIME
    skip_read: int = 0
    is_reading: bool = False
    exhausted: bool = False
    error: BaseException | None = None
    arrived: deque[Piece] = field(default_factory=deque)
    held: deque[Held] = field(default_factory=deque)
    held_bytes: int = 0
    rows_read: int = 0
    measured: ConnectorCounters = field(default_factory=ConnectorCounters)
    told: ConnectorCounters | None = None
    # of the consumer
    waiting: deque[Piece] = field(default_factory=deque)
    maximum_waiting: int = NO_TIME
    is_over: bool = False
    rows_out: int = 0
    horizon: tuple[int, int] | None = None
    # of a source that is followed: "new" (no row yet), "active" (others wait for it), or "idle"
    state: str = "active"
    is_ordered: bool = True
    is_dry: bool = False
    quiet_s: float | None = None

    def __post_init__(self) -> None:
        self.maximum_read = self.maximum
        self.skip_read = self.skip
        self.exhausted = self.ended

    @property
    def counters(self) -> ConnectorCounters:
        """What the reader says it has done, else what could be seen of it; also after it has been closed."""
        told = getattr(self.reader, "counters", None) or self.told
        if not isinstance(told, ConnectorCounters):
            return self.measured
        return replace(told, seconds=told.seconds or self.measured.seconds)

    def measure(self, frame: pl.DataFrame | None, seconds: float) -> None:
        """Note what a call of the reader gave."""
        self.measured.seconds += seconds
        if frame is not None:
            dead = frame.get_column(DEAD).count() if DEAD in frame.columns else 0
            self.measured.rows += frame.height - dead
            self.measured.dead_letters += dead

    @property
    def is_free(self) -> bool:
        """Whether it is only the place of a lane."""
        return not self.name and self.ended

    @property
    def _is_waited_for(self) -> bool:
        if self.is_over or not self.is_ordered:
            return False
        return self.state == "active" or not self.is_dry

    def may_read(self, share_bytes: int) -> bool:
        """Whether another batch fits; one batch always does."""
        if self.is_reading:
            return False
        return not self.held or self.held_bytes + self.held[-1].size_bytes <= share_bytes

    def hand_out(self, rows: int) -> None:
        """Move the cursor, and let go of the batches that it has passed."""
        self.skip += rows
        self.rows_out += rows
        while self.held and self.skip >= self.held[0].rows:
            passed = self.held.popleft()
            self.skip -= passed.rows
            self.position = passed.position
            self.held_bytes -= passed.size_bytes

    def bound(self, rows: int) -> tuple[int, int] | None:
        """No row to come, or that waits behind about `rows`, sorts before this; None without such rows."""
        seen = 0
        for piece in islice(self.waiting, max(0, len(self.waiting) - 1)):
            seen += piece.frame.height
            if seen >= rows:
                assert piece.maxima is not None
                return int(piece.maxima[-1]), self.index
        return (self.maximum_waiting, self.index) if self._is_waited_for else None

    def take(self, bound: tuple[int, int]) -> list[Piece]:
        """Remove the rows whose key is at most `bound` from those waiting."""
        maximum, index = bound
        side: Literal["left", "right"] = "right" if self.index <= index else "left"
        taken: list[Piece] = []
        while self.waiting:
            piece = self.waiting.popleft()
            assert piece.maxima is not None
            rows = int(np.searchsorted(piece.maxima, maximum, side))
            if rows < piece.frame.height:
                first, rest = split(piece, rows)
                self.waiting.appendleft(rest)
                return [*taken, first] if rows else taken
            if rows:
                taken.append(piece)
        return taken

    def end_if_passed(self, last: tuple[int, int]) -> None:
        """Ended is a partition whose last row lies before the last row handed out."""
        if self.exhausted and self.rows_out == self.rows_read:
            self.ended = self.ended or (self.maximum, self.index) < last


def added(each: Sequence[ConnectorCounters]) -> ConnectorCounters:
    """All of them together."""
    names = ConnectorCounters.__slots__
    return ConnectorCounters(**{name: sum(getattr(one, name) for one in each) for name in names})


def merged(pieces: Sequence[Piece]) -> Piece:
    """One piece in the order of (maximum, partition, position); `pieces` are in (partition, position)."""
    if len(pieces) == 1:
        return pieces[0]
    frame = stacked([piece.frame for piece in pieces])
    maxima, partitions = columns(pieces)
    if np.any(maxima[1:] < maxima[:-1]):
        order = np.argsort(maxima, kind="stable")
        rows = pl.Series(order.astype(np.uint32))
        return Piece(frame.select(pl.all().gather(rows)), maxima[order], partitions[order])
    return Piece(frame, maxima, partitions)


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One frame after the other; with the column DEAD, its last one, if any of them has it."""
    if len(frames) == 1:
        return frames[0]
    dead = sum(DEAD in frame.columns for frame in frames)
    return pl.concat(frames, how="diagonal" if 0 < dead < len(frames) else "vertical")


def columns(pieces: Sequence[Piece]) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Running maxima and partitions of all pieces, end to end."""
    maxima = [piece.maxima for piece in pieces if piece.maxima is not None]
    partitions = [piece.partitions for piece in pieces if piece.partitions is not None]
    assert len(maxima) == len(partitions) == len(pieces)
    return np.concatenate(maxima), np.concatenate(partitions)


def move_cursors(lanes: Sequence[Lane], maxima: NDArray[np.int64], partitions: NDArray[np.uint32]) -> None:
    """The rows with these running maxima and partitions are handed out."""
    last_maxima = np.full(len(lanes), NO_TIME, np.int64)
    last_maxima[partitions] = maxima  # of a repeated index the last value stays
    for index, rows in enumerate(np.bincount(partitions, minlength=len(lanes))):
        if rows:
            lanes[index].maximum = int(last_maxima[index])
            lanes[index].hand_out(int(rows))
    last = (int(maxima[-1]), int(partitions[-1]))
    for lane in lanes:
        lane.end_if_passed(last)


def running_maxima(frame: pl.DataFrame, event_time: str | None, before: int) -> NDArray[np.int64]:
    """For each row the largest event time up to and with it; a null does not move it."""
    if event_time is None:
        return np.full(frame.height, NO_TIME, np.int64)
    column = frame[event_time]
    if column.dtype.is_temporal():
        times = column.to_numpy().view(np.int64)  # NumPy's NaT is NO_TIME
    else:
        times = column.cast(pl.Int64).fill_null(NO_TIME).to_numpy()
    maxima = np.maximum.accumulate(times)
    return maxima if not maxima.size or maxima[0] >= before else np.maximum(maxima, before, out=maxima)


def split(piece: Piece, rows: int) -> tuple[Piece, Piece]:
    """The first rows, and the others; nothing is copied."""
    frame, maxima, partitions = piece
    if maxima is None or partitions is None:
        return Piece(frame.head(rows), None, None), Piece(frame.slice(rows), None, None)
    return (
        Piece(frame.head(rows), maxima[:rows], partitions[:rows]),
        Piece(frame.slice(rows), maxima[rows:], partitions[rows:]),
    )
