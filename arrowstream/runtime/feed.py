"""Reads the partitions of a source ahead and merges them into one sequence of rows.

The sequence is a function of the input alone: rows are ordered by (running maximum of the event time,
partition, position), whatever the sizes of the batches read, merged and handed out. What could not be read
(`config.DEAD`) keeps its place among them: it counts as a row, and moves no clock.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from arrowstream.config import DEAD, DEAD_DTYPE, END_OF_TIME, NO_TIME, PARTITION
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError
from arrowstream.protocols import ConnectorCounters, Reader
from arrowstream.runtime.lanes import (
    Held,
    Lane,
    Piece,
    added,
    columns,
    merged,
    move_cursors,
    running_maxima,
    split,
    stacked,
)
from arrowstream.runtime.live_lanes import PLACES_MIN, STATE, LiveLanes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from arrowstream.protocols import Following, Source
    from arrowstream.runtime.turns import Turn
    from arrowstream.types import Json, Position

QUEUE_BYTES = 64 << 20
_READERS_MAX = 8  # threads: Polars decodes on its own, these only wait for it
_READ_ROWS_MAX = 1 << 18  # larger chunks read no faster, and start later
_READ_ROWS_MIN = 1 << 10
_HANDED_ROWS_MAX = 1 << 17  # "auto": more at once would be in main memory again before it is looked at
_JOINED_ROWS = (
    1 << 15
)  # only smaller pieces are joined with the next: operators would have to copy the result
_MERGED_ROWS = 1 << 18  # about, at once: sorting in the cache, and little memory for the copy
_BATCHES_AHEAD = 4  # of one partition within its share of the bytes
_WAIT_S = 0.5  # an upper bound for every wait; wake-ups are by notification
_JOIN_S = 5.0
_BYTES_OF_VARIABLE = 32  # a guess at a string, list or struct


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
    idle_s
        Of a source whose partitions come and go: how long one without rows is waited for. None: until it has
        some.
    """

    def __init__(
        self,
        source: Source,
        *,
        event_time: str | None = None,
        cursors: Mapping[str, Json] | None = None,
        batch_rows: int | Literal["auto"] = "auto",
        queue_bytes: int = QUEUE_BYTES,
        idle_s: float | None = None,
    ) -> None:
        names = partition_names(source)
        self._schema: pl.Schema = getattr(source, "polars_schema", None) or pl.Schema(source.schema)
        self._schema_with_dead = pl.Schema({**self._schema, DEAD: DEAD_DTYPE})
        self._event_time = event_time
        self._rows_max = _HANDED_ROWS_MAX if batch_rows == "auto" else batch_rows
        self._queue_bytes = queue_bytes
        self._several = len(names) != 1
        self._merged: deque[Piece] = deque()
        self._reads = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._lanes: list[Lane] = []
        self._live: LiveLanes | None = None
        self._following: Following | None = None
        try:
            if hasattr(source, "follow"):
                self._follow(source, names, cursors or {}, idle_s)
            else:
                for index, name in enumerate(names):
                    self._lanes.append(_open_lane(source, index, name, (cursors or {}).get(name)))
        except BaseException:
            self._close_readers()
            raise
        self._share()
        readers = len(names) or _READERS_MAX
        self._threads = [
            threading.Thread(target=self._read_ahead, name=f"arrowstream-read-{index}", daemon=True)
            for index in range(min(readers, _READERS_MAX) if names or self._live else 0)
        ]
        if self._live is not None:
            poll = threading.Thread(
                target=self._live.poll, args=(lambda: self._is_closed,), name="arrowstream-poll", daemon=True
            )
            self._threads.append(poll)
        for thread in self._threads:
            thread.start()

    def _follow(
        self, source: Source, names: list[str], cursors: Mapping[str, Json], idle_s: float | None
    ) -> None:
        """Partitions that come and go, or may be quiet for long."""
        state = cursors.get(STATE)
        positions = {name: cursor["position"] for name, cursor in cursors.items() if name != STATE}  # type: ignore[index, call-overload]
        follow: Callable[[Mapping[str, Position], Json], Following] = source.follow  # type: ignore[attr-defined]
        self._following = following = follow(positions, state)
        self._live = LiveLanes(
            following,
            self._lanes,
            self._changed,
            lambda name: _opened(source, name, lambda: following.open(name)),
            idle_s=idle_s,
        )
        with self._changed:
            self._live.begin(names, cursors)

    def _share(self) -> None:
        """Divide the bytes among the lanes that there are now."""
        lanes = len(self._lanes)
        for lane in self._lanes:
            lane.is_ordered = self._live is None or self._event_time is not None
        self._abreast = max(1, lanes if self._event_time is not None else min(lanes, _READERS_MAX))
        self._share_bytes = self._queue_bytes // self._abreast
        self._read_rows = _read_rows(self._schema, self._share_bytes)

    def next(self, rows_max: int | None, timeout_s: float) -> pl.DataFrame | Literal["end"] | None:
        """The next rows, at most `rows_max`; "end" after the last, None if none have come in time.

        With several partitions the frame has the hidden column PARTITION, and DEAD as readers gave it. What
        a reader raised is raised here, after the rows that were read before it.
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
                if self._live is not None and self._live.turns:
                    return None
                if self._reads != reads_seen:
                    continue
                if self._live is None and all(lane.is_over for lane in self._lanes):
                    for lane in self._lanes:
                        lane.ended = True
                    return "end"
                for lane in self._lanes:
                    if lane.error is not None:
                        raise lane.error
                if self._live is not None and self._live.error is not None:
                    raise self._live.error
                left_s = deadline - monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(min(left_s, _WAIT_S))
        return self._hand_out(min(rows_max or self._rows_max, self._rows_max))

    def cursors(self) -> dict[str, Json]:
        """By partition, where to go on after the rows handed out."""
        with self._changed:
            if self._live is not None and self._following is not None:
                live = {lane.name: self._live.cursor(lane) for lane in self._lanes}
                kept = {name: cursor for name, cursor in live.items() if cursor is not None}
                return {**kept, STATE: self._following.state()}
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
            if self._live is not None:
                return NO_TIME
            return min((self._horizon_of(lane) for lane in self._lanes), default=END_OF_TIME)

    def ended(self) -> frozenset[int]:
        """Partitions whose last row lies before the last row handed out; all, once `next` said "end"."""
        with self._changed:
            return frozenset(lane.index for lane in self._lanes if lane.ended or lane.state == "new")

    def turns(self) -> list[Turn]:
        """What has happened to partitions before the rows that `next` gave last; told once."""
        if self._live is None or not self._live.turns:
            return []
        with self._changed:
            turns, self._live.turns = self._live.turns, []
            return turns

    def waiting_for(self) -> str | None:
        """What the source says it waits for, if it can; from any thread."""
        return None if self._following is None else self._following.waiting_for()

    @property
    def queued_bytes(self) -> int:
        """What has been read and not been handed out."""
        with self._changed:
            return sum(lane.held_bytes for lane in self._lanes)

    def counters(self) -> ConnectorCounters:
        """What the readers of this feed have done, all together; from any thread, and after `close`."""
        with self._changed:
            each = [lane.counters for lane in self._lanes]
            return added(each if self._live is None else [*each, self._live.retired])

    def close(self) -> None:
        """Stop the threads and close the readers. A reader that blocks is closed when it comes back."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        if self._following is not None:
            self._following.close()
        deadline = monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        self._close_readers()

    # reading, on threads

    def _read_ahead(self) -> None:
        while (lane := self._lane_to_read()) is not None:
            assert lane.reader is not None
            piece: Piece | None = None
            held: Held | None = None
            error: BaseException | None = None
            began_s = perf_counter()
            try:
                result = lane.reader.read(self._read_rows)
                if result is not None:
                    batch, position = _checked(result)
                    piece, held = self._received(lane, batch, position)
                lane.measure(piece.frame if piece else None, perf_counter() - began_s)
            except BaseException as raised:  # noqa: BLE001 - Polars' panics are; raised again in next()
                error = _named(raised, lane.name)
            with self._changed:
                self._reads += 1
                lane.is_reading = False
                lane.error = error
                lane.exhausted = piece is None and error is None
                lane.is_dry = piece is None or not piece.frame.height
                if self._live is not None and not lane.is_dry:
                    self._live.ready[lane] = None
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

    def _lane_to_read(self) -> Lane | None:
        """Wait for a partition with room; of several, the one that the merge waits for first."""
        with self._changed:
            while not self._is_closed:
                lane = self._next_lane()
                if lane is not None:
                    lane.is_reading = True
                    return lane
                if self._live is None and all(
                    lane.exhausted or lane.error is not None for lane in self._lanes
                ):
                    return None
                self._changed.wait(_WAIT_S)
            return None

    def _next_lane(self) -> Lane | None:
        """Of the partitions with room, the one whose rows come first; without event time, of the next few."""
        best: Lane | None = None
        seen = 0
        for lane in self._lanes if self._live is None else self._live.ready:
            if lane.exhausted or lane.error is not None:
                continue
            if lane.may_read(self._share_bytes) and (best is None or lane.maximum_read < best.maximum_read):
                best = lane
            seen += 1
            if seen == self._abreast:
                break
        if best is not None and self._live is not None:
            del self._live.ready[best]
        return best

    def _received(
        self, lane: Lane, batch: pa.RecordBatch | pl.DataFrame, position: Position
    ) -> tuple[Piece, Held]:
        frame = batch if isinstance(batch, pl.DataFrame) else pl.DataFrame(batch)
        if frame.schema not in (self._schema, self._schema_with_dead):
            raise DataError(
                f"a batch of partition '{lane.name}' has the columns {dict(frame.schema)}, "
                f"the source's schema says {dict(self._schema)}",
                hint="read() must return what schema promises",
            )
        held = Held(frame.height, int(frame.estimated_size()), position)
        if lane.skip_read:
            skipped = min(lane.skip_read, frame.height)
            lane.skip_read -= skipped
            frame = frame.slice(skipped)
        if not self._several:
            return Piece(frame, None, None), held
        maxima = running_maxima(frame, self._event_time, lane.maximum_read)
        return Piece(frame, maxima, np.full(frame.height, lane.index, np.uint32)), held

    # merging and handing out, on the consumer's thread

    def _collect(self) -> None:
        """Take over what the threads have read."""
        if self._live is not None and self._several:
            places = len(self._lanes)
            self._live.join()
            if len(self._lanes) != places:
                self._share()
        for lane in self._lanes:
            lane.waiting.extend(lane.arrived)
            lane.arrived.clear()
            lane.maximum_waiting = lane.maximum_read
            lane.is_over = lane.exhausted
            lane.hand_out(0)  # lets go of batches without rows
        if self._live is not None and self._several:
            self._live.turn(monotonic())
        self._changed.notify_all()

    def _merge(self) -> bool:
        """Move what can be ordered for good from the partitions to `merged`; False if that is nothing."""
        if not self._several:
            if not self._lanes:
                return False
            self._merged.extend(self._lanes[0].waiting)
            self._lanes[0].waiting.clear()
            return bool(self._merged)
        rows_each = _MERGED_ROWS // max(1, len(self._lanes))
        bounds = [bound for lane in self._lanes if (bound := lane.bound(rows_each)) is not None]
        bound = min(bounds, default=(END_OF_TIME, len(self._lanes)))
        pieces = [piece for lane in self._lanes for piece in lane.take(bound)]
        if pieces:
            self._merged.append(merged(pieces))
        return bool(pieces)

    def _hand_out(self, rows_max: int) -> pl.DataFrame:
        taken = [self._take(rows_max)]
        rows = taken[0].frame.height
        while self._merged and rows < min(rows_max, _JOINED_ROWS):
            taken.append(self._take(rows_max - rows))
            rows += taken[-1].frame.height
        frame = stacked([piece.frame for piece in taken])
        if not self._several:
            with self._changed:
                self._lanes[0].hand_out(rows)
                self._changed.notify_all()
            return frame
        maxima, partitions = columns(taken)
        with self._changed:
            move_cursors(self._lanes, maxima, partitions)
            self._changed.notify_all()
        return frame.with_columns(pl.Series(PARTITION, partitions))

    def _take(self, rows: int) -> Piece:
        piece = self._merged.popleft()
        if piece.frame.height <= rows:
            return piece
        first, rest = split(piece, rows)
        self._merged.appendleft(rest)
        return first

    def _horizon_of(self, lane: Lane) -> int:
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
                lane.told = getattr(lane.reader, "counters", None) or lane.told
                lane.reader = None
        for reader in readers:
            reader.close()


def places(source: Source, cursors: Mapping[str, Json] | None) -> list[str]:
    """Names of the partitions that a feed of these cursors begins with, by place; "" where one is free."""
    names = partition_names(source)
    if names or not hasattr(source, "follow"):
        return names
    saved = {name: cursor for name, cursor in (cursors or {}).items() if name != STATE}
    known = {cursor["place"]: name for name, cursor in saved.items() if isinstance(cursor, dict)}
    return [known.get(place, "") for place in range(max([PLACES_MIN - 1, *known]) + 1)]


def partition_names(source: Source) -> list[str]:
    """The partitions that a source names, in its order.

    Raises
    ------
    ArrowStreamError
        It fails, or gives one name twice: positions are remembered by name.
    """
    try:
        names = list(source.partitions())
    except ArrowStreamError:
        raise
    except Exception as error:  # a source of the user's own may raise anything
        raise ConnectorError(
            f"{type(source).__name__}.partitions() failed: {type(error).__name__}: {error}"
        ) from error
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ConnectorError(
            f"{type(source).__name__}.partitions() has {twice!r} twice",
            hint="give each partition its own name: positions are remembered by it",
        )
    return names


def _open_lane(source: Source, index: int, name: str, cursor: Json) -> Lane:
    if cursor is None:
        return Lane(index, name, _open(source, name, None), None, 0, NO_TIME, ended=False)
    assert isinstance(cursor, dict)
    position, skip, maximum, ended = (cursor[key] for key in ("position", "skip", "max", "ended"))
    reader = None if ended else _open(source, name, position)
    return Lane(index, name, reader, position, skip, maximum, ended=ended)


def _open(source: Source, name: str, position: Position | None) -> Reader:
    return _opened(source, name, lambda: source.open(name, position))


def _opened(source: Source, name: str, open_reader: Callable[[], object]) -> Reader:
    try:
        reader = open_reader()
    except ArrowStreamError as error:
        error.partition = error.partition or name
        raise
    except Exception as error:  # a source of the user's own may raise anything
        raise ConnectorError(
            f"opening partition '{name}' failed: {type(error).__name__}: {error}", partition=name
        ) from error
    if not isinstance(reader, Reader):
        raise ConnectorError(
            f"{type(source).__name__}.open() returned {type(reader).__name__}, which is not a reader",
            partition=name,
            hint="return an object with read(max_rows) and close(): see arrowstream.Reader",
        )
    return reader


def _checked(result: object) -> tuple[pa.RecordBatch | pl.DataFrame, Position]:
    """What a reader gave, if it keeps to its protocol."""
    if isinstance(result, tuple) and len(result) == 2 and hasattr(result[0], "__arrow_c_stream__"):
        return result
    given = type(result).__name__
    if isinstance(result, tuple):
        given = f"({', '.join(type(item).__name__ for item in result)})"
    raise ConnectorError(
        f"read() returned {given}, not (batch, position)",
        hint="return a pa.RecordBatch or pl.DataFrame and the position after its last row; None at the end",
    )


def _read_rows(schema: pl.Schema, share_bytes: int) -> int:
    """Rows to read at once, so that several batches fit into the share of a partition."""
    row_bytes = sum(
        8 if dtype.is_numeric() or dtype.is_temporal() else _BYTES_OF_VARIABLE for dtype in schema.dtypes()
    )
    rows = share_bytes // (_BATCHES_AHEAD * max(1, row_bytes))
    return max(_READ_ROWS_MIN, min(_READ_ROWS_MAX, rows))


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
