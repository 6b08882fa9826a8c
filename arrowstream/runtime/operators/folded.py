"""Aggregations that are kept as small partial states: rows into panes, panes into windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from arrowstream.config import NO_TIME, PARTITION_SHIFT
from arrowstream.kernels import groups
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.bounds import bounds
from arrowstream.runtime.operators.group_table import BLOCK_ROWS, SINGLE_POINTS, GroupTable, Input
from arrowstream.runtime.operators.key_codec import KeyCodec
from arrowstream.runtime.operators.rows_in import (
    NO_CLOCK,
    NO_RANKS,
    START,
    clock_of,
    evaluate,
    judge,
    partition_of,
    physical,
    ranks,
)
from arrowstream.runtime.operators.runs import RunLog
from arrowstream.runtime.operators.states import plan_states

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    import pyarrow as pa

    from arrowstream.plan.nodes import Partial, Window
    from arrowstream.runtime.operators.states import Array
    from arrowstream.types import Json

_COMPACT_FROM_GROUPS = 1 << 10  # closed groups are dropped once they are most of more than this many
_MERGE_ENTRIES = 1 << 20  # groups of panes that are merged into windows at a time
_FIRST_RUN_ID, _RUN_ID_STEP = 0, 2  # even: rows that are kept have odd ones


class FoldedWindows:
    """The foldable aggregations of a window node.

    Rows go into panes. A row that is late for some of its windows goes into each of the others by itself
    (`extras`); those are folded after the panes. Floats are so always folded in one order: panes in time
    order, in each pane partitions in order, in each partition rows in position order; then the extras.
    """

    def __init__(
        self,
        node: Window,
        partials: Sequence[Partial],
        *,
        several: bool,
        tracked: bool,
        helper: Executor | None = None,
    ) -> None:
        self._node = node
        self._windows = bounds(node)
        self._inputs, states, self._aggregations = plan_states(partials)
        keys = pl.LazyFrame(schema=node.inputs[0].schema).select(*node.group_by).collect_schema()
        self._codec = KeyCodec([keys[name] for name in node.keys])
        words = self._codec.words
        self._table = GroupTable(words, self._windows.geometry, states, tracked=tracked)
        self._extras = GroupTable(words, SINGLE_POINTS, states, tracked=tracked)
        self._merged = GroupTable(words, SINGLE_POINTS, states, tracked=False)
        self._direct = self._windows.panes_per_window == 1 and not several
        self._rows_seen = 0
        self._closed = NO_TIME
        self._open_from = NO_TIME
        self._groups = np.empty(BLOCK_ROWS, dtype=np.uint32)
        self._late = np.zeros(2, dtype=np.int64)  # found here, not in the kernel: rows, lateness needed
        self._runs = RunLog(_FIRST_RUN_ID, _RUN_ID_STEP)
        self._helper = helper

    @property
    def late_rows(self) -> int:
        """Rows that were late for all their windows."""
        return self._table.late_rows + int(self._late[0])

    @property
    def missed_windows(self) -> int:
        """Windows missed by rows that entered others."""
        return self._table.missed_windows

    @property
    def lateness_needed(self) -> int:
        """The lateness that would have kept all; 0 if nothing was late."""
        return max(self._table.lateness_needed, int(self._late[1]))

    @property
    def state_rows(self) -> int:
        """Groups held."""
        return self._table.size + self._extras.size

    # Rows in

    def process(self, frame: pl.DataFrame) -> None:
        """Fold the rows of `frame` into their panes."""
        node = self._node
        clock = clock_of(frame, node)
        lateness = node.inputs[0].lateness or 0
        closed = self._closed
        if not self._windows.arithmetic:
            if clock.size:
                frame = self._without_late(frame, clock, lateness)
                clock = NO_CLOCK
            closed = self._open_from  # the kernel takes starts for windows of their own
        rows = frame.height
        if not rows:
            return
        times = physical(frame.get_column(node.index_column))
        panes = times if self._windows.arithmetic else self._windows.starts(times)
        partition = partition_of(frame)
        columns = evaluate(frame, [*node.group_by, *self._inputs])
        keys = self._encode(columns[: len(node.group_by)], rows)
        values = columns[len(node.group_by) :]
        inputs = [Input(column) for column in values]
        partly_late = []
        folding = []
        rank = ranks(partition, self._rows_seen, np.arange(rows)) if self._table.timed else NO_RANKS
        # Now, not while another thread folds into the arrays.
        self._table.reserve(rows)
        self._table.count_nulls_of(inputs)
        if len(self._groups) < rows:
            self._groups = np.empty(rows, dtype=np.uint32)
        for begin in range(0, rows, BLOCK_ROWS):
            end = min(rows, begin + BLOCK_ROWS)
            missed = self._table.missed_windows
            self._table.assign(
                begin, end, panes, keys, clock=clock, partition=partition, base_row=self._rows_seen,
                lateness=lateness, closed=closed, out=self._groups,
            )  # fmt: skip
            assigned = self._groups[begin:end]
            if self._helper is None or rows <= BLOCK_ROWS:
                self._table.fold(assigned, inputs, times, rank, slice(begin, end))
            else:
                folding.append(
                    self._helper.submit(self._table.fold, assigned, inputs, times, rank, slice(begin, end))
                )
            if self._table.missed_windows != missed:
                partly_late.append(np.flatnonzero(assigned == groups.PARTLY_LATE) + begin)
        for block in folding:
            block.result()
        if partly_late:
            chosen = np.concatenate(partly_late)
            self._fold_extras(chosen, times, clock[chosen] - lateness, keys, partition, values)
        self._rows_seen += rows

    def _encode(self, columns: Sequence[pl.Series], rows: int) -> Array:
        words = self._codec.words
        keys = self._codec.encode(columns, rows)
        if self._codec.words != words:
            for table in (self._table, self._extras, self._merged):
                table.widen_keys(self._codec.words, self._codec.widen(table.keys(slice(None))))
        return keys

    def _without_late(self, frame: pl.DataFrame, clock: Array, lateness: int) -> pl.DataFrame:
        times = physical(frame.get_column(self._node.index_column))
        judged = judge(times, clock, lateness, self._windows)
        self._late[0] += judged.late_rows
        self._late[1] = max(self._late[1], judged.lateness_needed)
        return frame if judged.entered.all() else frame.filter(pl.Series(judged.entered))

    def _fold_extras(  # noqa: PLR0917 - all of them are arrays of the same rows
        self,
        rows: Array,
        times: Array,
        watermark: Array,
        keys: Array,
        partition: Array,
        values: Sequence[pl.Series],
    ) -> None:
        """Enter each of `rows` into those of its windows that it is not late for."""
        start = self._windows.starts(times[rows])
        entered, starts = [], []
        while True:
            end = self._windows.ends(start)
            open_ = end > watermark
            inside = end > times[rows]
            if not (open_ & inside).any():
                break
            entered.append(rows[open_ & inside])
            starts.append(start[open_ & inside])
            start = self._windows.earlier(start)
        row = np.concatenate(entered)
        order = np.argsort(row, kind="stable")
        row, window = row[order], np.concatenate(starts)[order]
        words = self._codec.words
        inputs = [Input(column.gather(row)) for column in values]
        rank = ranks(partition, self._rows_seen, row)
        of_partition = partition[row] if partition.size else partition
        assigned = np.empty(len(row), dtype=np.uint32)
        before = self._extras.size
        self._extras.assign(
            0,
            len(row),
            window,
            keys.reshape(-1, words)[row].reshape(-1),
            partition=of_partition,
            out=assigned,
        )
        self._extras.count_nulls_of(inputs)
        self._extras.fold(assigned, inputs, times[row], rank, slice(0, len(row)))
        self._extras.lower_ranks(assigned, rank, before)

    # Windows out

    def close(self, watermark: int, open_from: int) -> pl.DataFrame | None:
        """The windows that begin before `open_from`, by start and first row; None if there is no new one."""
        if open_from <= self._open_from:
            return None
        if self._direct and not self._extras.size:
            closed = self._close_panes(open_from)
        else:
            closed = self._close_merged(open_from)
        self._closed, self._open_from = watermark, open_from
        self._drop_closed()
        return closed

    def _close_panes(self, open_from: int) -> pl.DataFrame:
        """Each pane is a window, and its groups are in order already."""
        panes = self._table.panes
        closing = np.flatnonzero((panes >= self._open_from) & (panes < open_from))
        starts = panes[closing]
        if (starts[1:] < starts[:-1]).any():
            order = np.argsort(starts, kind="stable")
            closing = closing[order]
        elif len(closing) and closing[-1] - closing[0] + 1 == len(closing):
            return self._finished(self._table, slice(closing[0], closing[-1] + 1))
        return self._finished(self._table, closing)

    def _close_merged(self, open_from: int) -> pl.DataFrame:
        """Merge panes, partitions and extras into windows, some windows at a time."""
        table = self._table
        live = np.flatnonzero(table.panes >= self._open_from)
        live = live[_time_order(table, live)]
        panes, begins = np.unique(table.panes[live], return_index=True)
        begins = np.append(begins, len(live))
        starts = self._starts_of(panes, open_from)
        begin = begins[np.searchsorted(panes, starts)]
        end = begins[np.searchsorted(panes, self._windows.ends(starts))]
        closed = [
            self._merge(live, starts[chosen], begin[chosen], end[chosen])
            for chosen in _in_portions(end - begin, _MERGE_ENTRIES)
        ]
        if not closed:
            return self._finished(self._merged, slice(0, 0))
        return pl.concat(closed, rechunk=False)

    def _starts_of(self, panes: Array, open_from: int) -> Array:
        """Starts of the windows before `open_from` that have a pane or an extra, ascending."""
        geometry = self._windows.geometry
        found = [self._extras.panes]
        start = self._windows.starts(panes)
        for _ in range(-(-geometry.period // geometry.every)):
            found.append(start[self._windows.ends(start) > panes])
            start = self._windows.earlier(start)
        starts = np.unique(np.concatenate(found))
        return starts[(starts >= self._open_from) & (starts < open_from)]

    def _merge(self, live: Array, starts: Array, begin: Array, end: Array) -> pl.DataFrame:
        """The windows `starts`; the groups of their panes are `live[begin:end]`."""
        table, merged = self._table, self._merged
        merged.keep(np.zeros(0, dtype=np.int64))
        sizes = end - begin
        window = np.repeat(starts, sizes)
        entry = live[np.arange(len(window)) + np.repeat(begin - np.cumsum(sizes) + sizes, sizes)]
        _merge_into(merged, table, entry, window)
        extras = np.flatnonzero((self._extras.panes >= starts[0]) & (self._extras.panes <= starts[-1]))
        extras = extras[_time_order(self._extras, extras)]
        _merge_into(merged, self._extras, extras, self._extras.panes[extras])
        rank, start = merged.ranks, merged.panes
        in_order = (start[1:] > start[:-1]) | ((start[1:] == start[:-1]) & (rank[1:] > rank[:-1]))
        if in_order.all():
            return self._finished(merged, slice(0, merged.size))
        return self._finished(merged, np.lexsort((rank, start)))

    def _finished(self, table: GroupTable, chosen: slice | Array) -> pl.DataFrame:
        """Keys, window start and aggregates of some groups."""
        whole = isinstance(chosen, slice) and chosen == slice(0, table.size)
        # The table of merged groups keeps its memory: it is filled again and again.
        taken = table.take() if whole and table is not self._merged else table.copied(chosen)
        columns = self._codec.decode(taken.keys, self._node.keys)
        columns.append(pl.Series(START, taken.panes))
        columns.extend(aggregation.finish(taken.columns) for aggregation in self._aggregations)
        return pl.DataFrame(columns)

    def _drop_closed(self) -> None:
        """Free closed groups once they are the most, so that the work is proportional to rows."""
        for table in (self._table, self._extras):
            live = np.flatnonzero(table.panes >= self._open_from)
            if table.size > _COMPACT_FROM_GROUPS and 2 * len(live) < table.size:
                table.keep(live)
        if not self._codec.has_garbage:
            return
        stored = [self._table.keys(slice(None)), self._extras.keys(slice(None))]
        moved = self._codec.forget_all_but(stored)
        for table, keys in zip((self._table, self._extras), moved, strict=True):
            table.keep(np.arange(table.size), keys)

    # State

    def snapshot(self) -> Snapshot:
        """Only groups that have changed since the last snapshot are written anew."""
        values: dict[str, Json] = {
            "rows_seen": self._rows_seen,
            "closed": self._closed,
            "open_from": self._open_from,
            "late": [int(x) for x in self._late],
            "table": list(self._table.late),
        }
        total = sum(int((t.panes >= self._open_from).sum()) for t in (self._table, self._extras))
        whole = self._runs.should_rewrite(total)
        frames = [
            self._state_of(t, extra=t is self._extras, whole=whole) for t in (self._table, self._extras)
        ]
        return Snapshot(values, self._runs.add(pl.concat(frames, how="diagonal"), whole=whole))

    def _state_of(self, table: GroupTable, *, extra: bool, whole: bool) -> pl.DataFrame:
        chosen = table.take_touched()
        if whole:
            chosen = np.arange(table.size)
        chosen = chosen[table.panes[chosen] >= self._open_from]
        words = table.keys(chosen)
        names = _key_columns(len(self._node.keys))
        keys = [
            k.cast(pl.String) if k.dtype in (pl.Categorical, pl.Enum) else k
            for k in self._codec.decode(words, names)
        ]
        return pl.DataFrame(
            [
                pl.Series("extra", np.full(len(chosen), extra)),
                pl.Series("pane", table.panes[chosen]),
                pl.Series("rank", table.ranks[chosen]),
                pl.Series("key_group", self._codec.key_groups(words)),
                *keys,
                *(pl.Series(name, values) for name, values in table.copied(chosen).columns.items()),
            ]
        )

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Take over the state of a snapshot."""
        self._rows_seen, self._closed, self._open_from = (
            int(values[name])  # type: ignore[arg-type]
            for name in ("rows_seen", "closed", "open_from")
        )
        self._late[:] = cast("list[int]", values["late"])
        self._table.late = cast("list[int]", values["table"])
        frames = self._runs.restore(runs)
        if not frames:
            return
        keys = _key_columns(len(self._node.keys))
        partition = (pl.col("rank") // (1 << PARTITION_SHIFT)).alias("partition")
        state = (
            pl.concat(frames, how="diagonal")
            .with_columns(partition)
            .filter(pl.col("pane") >= self._open_from)
            .unique(["extra", "pane", "partition", *keys], keep="last", maintain_order=True)
            .sort("rank")
        )
        for table, extra in ((self._table, False), (self._extras, True)):
            own = state.filter(pl.col("extra") == extra)
            columns = [
                own.get_column(name).cast(dtype) for name, dtype in zip(keys, self._codec.dtypes, strict=True)
            ]
            words = self._encode(columns, own.height)
            plain = own.drop("extra", "pane", "rank", "key_group", "partition", *keys)
            table.load(
                words,
                own.get_column("pane").to_numpy(),
                own.get_column("rank").to_numpy(),
                {c.name: (c.fill_null(0) if c.null_count() else c).to_numpy() for c in plain},
            )


def _key_columns(count: int) -> list[str]:
    return [f"key_{i}" for i in range(count)]


def _time_order(table: GroupTable, chosen: Array) -> Array:
    """The order of groups by pane, then partition, then first row."""
    panes = table.panes[chosen]
    partition = table.ranks[chosen] >> PARTITION_SHIFT
    same = panes[1:] == panes[:-1]
    if ((panes[1:] > panes[:-1]) | (same & (partition[1:] >= partition[:-1]))).all():
        return np.arange(len(chosen))
    return np.lexsort((partition, panes))


def _in_portions(sizes: Array, most: int) -> Iterator[slice]:
    """Slices of windows that have about `most` entries together."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + most, side="right")))
        yield slice(begin, end)
        begin = end


def _merge_into(merged: GroupTable, source: GroupTable, entries: Array, windows: Array) -> None:
    """Merge groups of `source`, in this order, into the groups of the same keys of `windows`."""
    assigned = np.empty(BLOCK_ROWS, dtype=np.uint32)
    for at in range(0, len(entries), BLOCK_ROWS):
        entry = entries[at : at + BLOCK_ROWS]
        out = assigned[: len(entry)]
        before = merged.size
        merged.assign(0, len(entry), windows[at : at + BLOCK_ROWS], source.keys(entry), out=out)
        merged.merge(out, source, entry)
        merged.lower_ranks(out, source.ranks[entry], before)
