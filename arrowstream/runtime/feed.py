"""Reads the partitions of a source ahead and merges them into one sequence of rows.

The sequence is a function of the input alone: rows are ordered by (running maximum of the event time,
partition, position), whatever the sizes of the batches read, merged and handed out.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl

from arrowstream.config import END_OF_TIME, NO_TIME, PARTITION
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from arrowstream.protocols import Reader, Source
    from arrowstream.types import Json, Position

QUEUE_BYTES = 64 << 20
_READERS_MAX = 8  # threads: Polars decodes on its own, these only wait for it
_READ_ROWS_MAX = 1 << 18  # larger chunks read no faster, and start later
_READ_ROWS_MIN = 1 << 10
_HANDED_ROWS_MAX = 1 << 20  # "auto": what has piled up while the consumer was busy, up to this
_BATCHES_AHEAD = 4  # of one partition within its share of the bytes
_WAIT_S = 0.5  # an upper bound for every wait; wake-ups are by notification
_JOIN_S = 5.0
_BYTES_OF_VARIABLE = 32  # a guess at a string, list or struct


class _Held(NamedTuple):
    """A batch that has been read and is not wholly handed out."""

    rows: int
    size_bytes: int
    position: Position


class _Piece(NamedTuple):
    """Rows with their running maxima and partitions (several partitions only)."""

    frame: pl.DataFrame
    maxima: NDArray[np.int64] | None
    partitions: NDArray[np.uint32] | None


@dataclass(slots=True, eq=False)
class _Lane:
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
    arrived: deque[_Piece] = field(default_factory=deque)
    held: deque[_Held] = field(default_factory=deque)
    held_bytes: int = 0
    rows_read: int = 0
    # of the consumer
    waiting: deque[_Piece] = field(default_factory=deque)
    maximum_waiting: int = NO_TIME
    is_over: bool = False
    rows_out: int = 0
    horizon: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.maximum_read = self.maximum
        self.skip_read = self.skip
        self.exhausted = self.ended

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
        return None if self.is_over else (self.maximum_waiting, self.index)

    def take(self, bound: tuple[int, int]) -> list[_Piece]:
        """Remove the rows whose key is at most `bound` from those waiting."""
        maximum, index = bound
        side: Literal["left", "right"] = "right" if self.index <= index else "left"
        taken: list[_Piece] = []
        while self.waiting:
            piece = self.waiting.popleft()
            assert piece.maxima is not None
            rows = int(np.searchsorted(piece.maxima, maximum, side))
            if rows < piece.frame.height:
                first, rest = _split(piece, rows)
                self.waiting.appendleft(rest)
                return [*taken, first] if rows else taken
            if rows:
                taken.append(piece)
        return taken

    def end_if_passed(self, last: tuple[int, int]) -> None:
        """Ended is a partition whose last row lies before the last row handed out."""
        if self.exhausted and self.rows_out == self.rows_read:
            self.ended = self.ended or (self.maximum, self.index) < last


class Feed:
    """The rows of a source, read ahead on threads, handed out to one consumer.

    Parameters
    ----------
    source
        Opened partition by partition.
    event_time
        Column that orders the rows of several partitions; without it one partition comes after the other.
        Its `horizon` is what readers tell.
    cursors
        Where to go on: what `cursors()` gave. None: from the beginning.
    batch_rows
        Most rows handed out at once; "auto": whatever has been read, up to about a million.
    queue_bytes
        Bound of what is read ahead, over all partitions; each may always hold one batch.
    """

    def __init__(
        self,
        source: Source,
        *,
        event_time: str | None = None,
        cursors: Mapping[str, Json] | None = None,
        batch_rows: int | Literal["auto"] = "auto",
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        names = source.partitions()
        self._schema: pl.Schema = getattr(source, "polars_schema", None) or pl.Schema(source.schema)
        self._event_time = event_time
        self._rows_max = _HANDED_ROWS_MAX if batch_rows == "auto" else batch_rows
        abreast = len(names) if event_time is not None else min(len(names), _READERS_MAX)
        self._abreast = max(1, abreast)
        self._share_bytes = queue_bytes // self._abreast
        self._read_rows = _read_rows(self._schema, self._share_bytes)
        self._merged: deque[_Piece] = deque()
        self._reads = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._lanes: list[_Lane] = []
        try:
            for index, name in enumerate(names):
                self._lanes.append(_open_lane(source, index, name, (cursors or {}).get(name)))
        except BaseException:
            self._close_readers()
            raise
        self._threads = [
            threading.Thread(target=self._read_ahead, name=f"arrowstream-read-{index}", daemon=True)
            for index in range(min(len(names), _READERS_MAX))
        ]
        for thread in self._threads:
            thread.start()

    def next(self, rows_max: int | None, timeout_s: float) -> pl.DataFrame | Literal["end"] | None:
        """The next rows, at most `rows_max`; "end" after the last, None if none have come in time.

        With several partitions the frame has the hidden column PARTITION. What a reader raised is raised
        here, after the rows that were read before it.
        """
        assert rows_max is None or rows_max > 0
        deadline = monotonic() + timeout_s
        while not self._merged:
            with self._changed:
                reads_seen = self._reads
                self._collect()
            if self._merge():
                break
            with self._changed:
                if self._reads != reads_seen:
                    continue
                if all(lane.is_over for lane in self._lanes):
                    for lane in self._lanes:
                        lane.ended = True
                    return "end"
                for lane in self._lanes:
                    if lane.error is not None:
                        raise lane.error
                left_s = deadline - monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(min(left_s, _WAIT_S))
        return self._hand_out(min(rows_max or self._rows_max, self._rows_max))

    def cursors(self) -> dict[str, Json]:
        """By partition, where to go on after the rows handed out."""
        with self._changed:
            return {
                lane.name: {
                    "position": lane.position,
                    "skip": lane.skip,
                    "max": lane.maximum,
                    "ended": lane.ended,
                }
                for lane in self._lanes
            }

    def horizon(self) -> int:
        """The smallest event time that can still be handed out (NO_TIME: not known, END_OF_TIME: none)."""
        with self._changed:
            return min((self._horizon_of(lane) for lane in self._lanes), default=END_OF_TIME)

    def ended(self) -> frozenset[int]:
        """Partitions whose last row lies before the last row handed out; all, once `next` said "end"."""
        with self._changed:
            return frozenset(lane.index for lane in self._lanes if lane.ended)

    @property
    def queued_bytes(self) -> int:
        """What has been read and not been handed out."""
        with self._changed:
            return sum(lane.held_bytes for lane in self._lanes)

    def close(self) -> None:
        """Stop the threads and close the readers. A reader that blocks is closed when it comes back."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        deadline = monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        self._close_readers()

    # reading, on threads

    def _read_ahead(self) -> None:
        while (lane := self._lane_to_read()) is not None:
            assert lane.reader is not None
            piece: _Piece | None = None
            held: _Held | None = None
            error: BaseException | None = None
            try:
                result = lane.reader.read(self._read_rows)
                if result is not None:
                    piece, held = self._received(lane, *result)
            except BaseException as raised:  # noqa: BLE001 - Polars' panics are; raised again in next()
                error = _named(raised, lane.name)
            with self._changed:
                self._reads += 1
                lane.is_reading = False
                lane.error = error
                lane.exhausted = piece is None and error is None
                if piece is not None and held is not None:
                    lane.held.append(held)
                    lane.held_bytes += held.size_bytes
                    lane.rows_read += piece.frame.height
                    if piece.frame.height:
                        lane.arrived.append(piece)
                    if piece.maxima is not None and piece.maxima.size:
                        lane.maximum_read = int(piece.maxima[-1])  # not before the merge sees the rows
                self._changed.notify_all()
        if self._is_closed:
            self._close_readers()

    def _lane_to_read(self) -> _Lane | None:
        """Wait for a partition with room; of several, the one that the merge waits for first."""
        with self._changed:
            while not self._is_closed:
                lane = self._next_lane()
                if lane is not None:
                    lane.is_reading = True
                    return lane
                if all(lane.exhausted or lane.error is not None for lane in self._lanes):
                    return None
                self._changed.wait(_WAIT_S)
            return None

    def _next_lane(self) -> _Lane | None:
        """Of the partitions with room, the one whose rows come first; without event time, of the next few."""
        best: _Lane | None = None
        seen = 0
        for lane in self._lanes:
            if lane.exhausted or lane.error is not None:
                continue
            if lane.may_read(self._share_bytes) and (best is None or lane.maximum_read < best.maximum_read):
                best = lane
            seen += 1
            if seen == self._abreast:
                break
        return best

    def _received(
        self, lane: _Lane, batch: pa.RecordBatch | pl.DataFrame, position: Position
    ) -> tuple[_Piece, _Held]:
        frame = batch if isinstance(batch, pl.DataFrame) else pl.DataFrame(batch)
        if frame.schema != self._schema:
            raise DataError(
                f"a batch of partition '{lane.name}' has the columns {dict(frame.schema)}, "
                f"the source's schema says {dict(self._schema)}",
                hint="read() must return what schema promises",
            )
        held = _Held(frame.height, int(frame.estimated_size()), position)
        if lane.skip_read:
            skipped = min(lane.skip_read, frame.height)
            lane.skip_read -= skipped
            frame = frame.slice(skipped)
        if len(self._lanes) == 1:
            return _Piece(frame, None, None), held
        maxima = _running_maxima(frame, self._event_time, lane.maximum_read)
        return _Piece(frame, maxima, np.full(frame.height, lane.index, np.uint32)), held

    # merging and handing out, on the consumer's thread

    def _collect(self) -> None:
        """Take over what the threads have read."""
        for lane in self._lanes:
            lane.waiting.extend(lane.arrived)
            lane.arrived.clear()
            lane.maximum_waiting = lane.maximum_read
            lane.is_over = lane.exhausted
            lane.hand_out(0)  # lets go of batches without rows
        self._changed.notify_all()

    def _merge(self) -> bool:
        """Move what can be ordered for good from the partitions to `_merged`; False if that is nothing."""
        if len(self._lanes) == 1:
            self._merged.extend(self._lanes[0].waiting)
            self._lanes[0].waiting.clear()
            return bool(self._merged)
        rows_each = _HANDED_ROWS_MAX // max(1, len(self._lanes))
        bounds = [bound for lane in self._lanes if (bound := lane.bound(rows_each)) is not None]
        bound = min(bounds, default=(END_OF_TIME, len(self._lanes)))
        pieces = [piece for lane in self._lanes for piece in lane.take(bound)]
        if pieces:
            self._merged.append(_merged(pieces))
        return bool(pieces)

    def _hand_out(self, rows_max: int) -> pl.DataFrame:
        taken = [self._take(rows_max)]
        rows = taken[0].frame.height
        while self._merged and rows < rows_max:
            taken.append(self._take(rows_max - rows))
            rows += taken[-1].frame.height
        frame = pl.concat([piece.frame for piece in taken]) if len(taken) > 1 else taken[0].frame
        if len(self._lanes) == 1:
            with self._changed:
                self._lanes[0].hand_out(rows)
                self._changed.notify_all()
            return frame
        maxima, partitions = _columns(taken)
        with self._changed:
            _move_cursors(self._lanes, maxima, partitions)
            self._changed.notify_all()
        return frame.with_columns(pl.Series(PARTITION, partitions))

    def _take(self, rows: int) -> _Piece:
        piece = self._merged.popleft()
        if piece.frame.height <= rows:
            return piece
        first, rest = _split(piece, rows)
        self._merged.appendleft(rest)
        return first

    def _horizon_of(self, lane: _Lane) -> int:
        if lane.ended:
            return END_OF_TIME
        tell = getattr(lane.reader, "horizon", None)
        if tell is None or self._event_time is None:
            return NO_TIME
        if lane.horizon is None or lane.horizon[0] != lane.rows_out:
            told = tell(lane.position, lane.skip)
            lane.horizon = (lane.rows_out, NO_TIME if told is None else told)
        return lane.horizon[1]

    def _close_readers(self) -> None:
        """Close those that no thread is using; called again by a thread that comes back later."""
        with self._changed:
            idle = [lane for lane in self._lanes if lane.reader is not None and not lane.is_reading]
            readers = [lane.reader for lane in idle if lane.reader is not None]
            for lane in idle:
                lane.reader = None
        for reader in readers:
            reader.close()


def _open_lane(source: Source, index: int, name: str, cursor: Json) -> _Lane:
    if cursor is None:
        return _Lane(index, name, source.open(name, None), None, 0, NO_TIME, ended=False)
    assert isinstance(cursor, dict)
    position, skip, maximum, ended = (cursor[key] for key in ("position", "skip", "max", "ended"))
    reader = None if ended else source.open(name, position)
    return _Lane(index, name, reader, position, skip, maximum, ended=ended)


def _read_rows(schema: pl.Schema, share_bytes: int) -> int:
    """Rows to read at once, so that several batches fit into the share of a partition."""
    row_bytes = sum(
        8 if dtype.is_numeric() or dtype.is_temporal() else _BYTES_OF_VARIABLE for dtype in schema.dtypes()
    )
    rows = share_bytes // (_BATCHES_AHEAD * max(1, row_bytes))
    return max(_READ_ROWS_MIN, min(_READ_ROWS_MAX, rows))


def _running_maxima(frame: pl.DataFrame, event_time: str | None, before: int) -> NDArray[np.int64]:
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


def _merged(pieces: Sequence[_Piece]) -> _Piece:
    """One piece in the order of (maximum, partition, position); `pieces` are in (partition, position)."""
    if len(pieces) == 1:
        return pieces[0]
    frame = pl.concat([piece.frame for piece in pieces])
    maxima, partitions = _columns(pieces)
    if np.any(maxima[1:] < maxima[:-1]):
        order = np.argsort(maxima, kind="stable")
        rows = pl.Series(order.astype(np.uint32))
        return _Piece(frame.select(pl.all().gather(rows)), maxima[order], partitions[order])
    return _Piece(frame, maxima, partitions)


def _columns(pieces: Sequence[_Piece]) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    maxima = [piece.maxima for piece in pieces if piece.maxima is not None]
    partitions = [piece.partitions for piece in pieces if piece.partitions is not None]
    assert len(maxima) == len(partitions) == len(pieces)
    return np.concatenate(maxima), np.concatenate(partitions)


def _move_cursors(lanes: Sequence[_Lane], maxima: NDArray[np.int64], partitions: NDArray[np.uint32]) -> None:
    last_maxima = np.full(len(lanes), NO_TIME, np.int64)
    last_maxima[partitions] = maxima  # of a repeated index the last value stays
    for index, rows in enumerate(np.bincount(partitions, minlength=len(lanes))):
        if rows:
            lanes[index].maximum = int(last_maxima[index])
            lanes[index].hand_out(int(rows))
    last = (int(maxima[-1]), int(partitions[-1]))
    for lane in lanes:
        lane.end_if_passed(last)


def _split(piece: _Piece, rows: int) -> tuple[_Piece, _Piece]:
    frame, maxima, partitions = piece
    if maxima is None or partitions is None:
        return _Piece(frame.head(rows), None, None), _Piece(frame.slice(rows), None, None)
    return (
        _Piece(frame.head(rows), maxima[:rows], partitions[:rows]),
        _Piece(frame.slice(rows), maxima[rows:], partitions[rows:]),
    )


def _named(error: BaseException, partition: str) -> BaseException:
    """The error to raise in next(), with the partition's name."""
    if isinstance(error, ArrowStreamError):
        error.partition = error.partition or partition
        return error
    named = ConnectorError(
        f"reading partition '{partition}' failed: {type(error).__name__}: {error}", partition=partition
    )
    named.__cause__ = error
    return named
