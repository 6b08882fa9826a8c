"""Partial states of many groups in many panes: a dense log of groups, and a hash index a pane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arrowstream.config import NO_TIME, PARTITION_SHIFT
from arrowstream.kernels import aggregate, groups
from arrowstream.kernels.compile import frozen
from arrowstream.runtime.operators.rows_in import broken_promise
from arrowstream.runtime.operators.states import OPERATIONS, Array, State, nulls_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

BLOCK_ROWS = 1 << 16
"""Rows whose groups are found, then folded into each accumulator, while they are in the core's cache."""

_LEAP_FROM = 1 << 20  # from here on, room grows eightfold: untouched it is free, copying it is not
_SMALLEST_LOG = 1 << 10
_SMALLEST_POOL = 1 << 14
_SMALLEST_PANES = 1 << 6
_LATE_COUNTERS = [groups.LATE_ROWS, groups.MISSED_WINDOWS, groups.LATENESS_NEEDED]
_HIGHEST_RANK = 2**63 - 1
_SUMMARIZED = ("sum_int", "min_int", "max_int")  # in the order of the kernel's arguments
_EMPTY = frozen(np.zeros(0, dtype=np.int64))
_EMPTY_PARTITIONS = frozen(np.zeros(0, dtype=np.uint32))


@dataclass(frozen=True, slots=True)
class Geometry:
    """Panes and windows as integers of the event-time column's unit."""

    width: int
    origin: int
    every: int
    period: int

    def array(self, lateness: int, closed: int) -> Array:
        """As the kernel takes it."""
        numbers = [self.width, self.origin, self.every, self.period, lateness, closed]
        return frozen(np.array(numbers, dtype=np.int64))


SINGLE_POINTS = Geometry(1, 0, 1, 1)
"""Every time is a window of its own: for rows that come with their window's start."""


@dataclass(frozen=True, slots=True)
class Groups:
    """What leaves a table: flat key words, starts of panes, and columns of state by name."""

    keys: Array
    panes: Array
    columns: dict[str, Array]


class Input:
    """One input column of a batch, turned into what each operation wants of it, once."""

    def __init__(self, column: pl.Series) -> None:
        self._column = column
        self._encoded: dict[str, Array] = {}
        self.words_compare = column.dtype != pl.UInt64
        """Whether the words that are summed are also those that compare as the values do."""
        self.valid = column.is_not_null().to_numpy() if column.null_count() else None

    def values(self, operation: str) -> Array:
        """Values of all rows (arbitrary where null)."""
        if operation not in self._encoded:
            column = self._column
            if self.valid is not None:
                column = column.fill_null(strategy="zero") if column.dtype.is_numeric() else column
            self._encoded[operation] = frozen(OPERATIONS[operation].encode(column))
        return self._encoded[operation]


class GroupTable:
    """The groups of one window node, or of one step of merging.

    Columns of state are arrays over the dense log of groups: "rows", the accumulators of each `State`, and
    counts of nulls from the first null on. Room beyond the last group is not touched: it costs no memory yet.

    Parameters
    ----------
    words
        64-bit words of a key.
    geometry
        Panes and windows.
    states
        What to keep of each group.
    tracked
        Whether to note which groups have changed (for incremental checkpoints).
    """

    def __init__(self, words: int, geometry: Geometry, states: Sequence[State], *, tracked: bool) -> None:
        self.words = words
        self.geometry = geometry
        self.states = tuple(states)
        self._counters = np.zeros(groups.COUNTERS, dtype=np.int64)
        self._panes = np.zeros(_SMALLEST_PANES * groups.PANE_COLUMNS, dtype=np.int64)
        self._directory = np.zeros(2 * _SMALLEST_PANES, dtype=np.uint32)
        self._pool = np.empty(_SMALLEST_POOL, dtype=np.uint32)
        self._keys = np.empty(_SMALLEST_LOG * words, dtype=np.int64)
        self._pane = np.empty(_SMALLEST_LOG, dtype=np.int64)
        self.first = np.empty(_SMALLEST_LOG, dtype=np.int64)
        self.timed = any(OPERATIONS[state.operation].timed for state in self.states)
        self._initial: dict[str, object] = {"rows": 0}
        self._columns: dict[str, Array] = {}
        self._summaries = [
            (place, {s for s in self.states if s.input == place and s.operation in _SUMMARIZED})
            for place in sorted({s.input for s in self.states if s.operation in _SUMMARIZED})
        ]
        self._new_column("rows", np.int64, 0)
        for state in self.states:
            for name, dtype, initial in OPERATIONS[state.operation].columns:
                self._new_column(state.column(name), dtype, initial)
        if tracked:
            self._new_column("touched", np.uint8, 0)

    # What is in it

    @property
    def size(self) -> int:
        """Number of groups, closed ones that have not been dropped yet included."""
        return int(self._counters[groups.GROUPS])

    @property
    def panes(self) -> Array:
        """Start of each group's pane, int64[size]."""
        return self._pane[: self.size]

    @property
    def ranks(self) -> Array:
        """Place of each group's first row: partition, then row number; int64[size]."""
        return self.first[: self.size]

    @property
    def late(self) -> tuple[int, int, int]:
        """Late rows, missed windows and the lateness needed, counted so far; set to go on from a snapshot."""
        rows, windows, needed = self._counters[_LATE_COUNTERS]
        return int(rows), int(windows), int(needed)

    @late.setter
    def late(self, counts: Sequence[int]) -> None:
        self._counters[_LATE_COUNTERS] = counts

    @property
    def late_rows(self) -> int:
        """Rows that were late for all their windows."""
        return int(self._counters[groups.LATE_ROWS])

    @property
    def missed_windows(self) -> int:
        """Windows missed by rows that entered others."""
        return int(self._counters[groups.MISSED_WINDOWS])

    @property
    def lateness_needed(self) -> int:
        """The lateness that would have kept every row in all its windows; 0 if none was late."""
        return int(self._counters[groups.LATENESS_NEEDED])

    def keys(self, selected: slice | Array) -> Array:
        """Flat words of the keys of some groups, as a copy."""
        chosen = self._keys.reshape(-1, self.words)[: self.size][selected]
        return (chosen.copy() if isinstance(selected, slice) else chosen).reshape(-1)

    def take_touched(self) -> Array:
        """The groups that have changed since this was last called, ascending."""
        touched = self._columns["touched"]
        changed = np.flatnonzero(touched[: self.size])
        touched[: self.size] = 0
        return changed

    def copied(self, selected: slice | Array) -> Groups:
        """Keys, panes and state of some groups, as copies."""
        stored = {n: c[: self.size][selected] for n, c in self._columns.items() if n != "touched"}
        if isinstance(selected, slice):
            stored = {name: column.copy() for name, column in stored.items()}
        return Groups(self.keys(selected), self.panes[selected].copy(), stored)

    def take(self) -> Groups:
        """Keys, panes and state of all groups, without copying them: the table begins anew, empty."""
        n = self.size
        columns = {name: column[:n] for name, column in self._columns.items() if name != "touched"}
        taken = Groups(self._keys[: n * self.words], self._pane[:n], columns)
        self._keys = np.empty(_SMALLEST_LOG * self.words, dtype=np.int64)
        self._pane = np.empty(_SMALLEST_LOG, dtype=np.int64)
        self.first = np.empty(_SMALLEST_LOG, dtype=np.int64)
        for name, column in self._columns.items():
            self._new_column(name, column.dtype, self._initial[name])
        self._forget_groups()
        return taken

    # What goes in

    def assign(
        self,
        begin: int,
        end: int,
        times: Array,
        keys: Array,
        *,
        clock: Array = _EMPTY,
        partition: Array = _EMPTY_PARTITIONS,
        base_row: int = 0,
        lateness: int = 0,
        closed: int = NO_TIME,
        out: Array,
    ) -> None:
        """Write the group of each row of [begin, end) to `out`; new groups are entered.

        Raises
        ------
        DataError
            If a row lies in a closed window although nothing can be late.
        """
        self.reserve(end - begin)
        before = self.size
        geometry = self.geometry.array(lateness, closed)
        times, clock, keys, partition = frozen(times), frozen(clock), frozen(keys), frozen(partition)
        assign = groups.assigner(self.words)
        while True:
            status = assign(
                begin, end, times, clock, keys, partition, geometry, self._counters, self._panes,
                self._directory, self._pool, self._keys, self._pane, self.first, base_row, out,
            )  # fmt: skip
            if status == groups.DONE:
                break
            begin = int(self._counters[groups.RESUME_ROW])
            if status == groups.NEEDS_POOL:
                used = int(self._counters[groups.POOL_USED])
                self._pool = _grown(self._pool, _more_room(len(self._pool)), used)
            else:
                self._more_panes()
        for name, column in self._columns.items():
            column[before : self.size] = self._initial[name]
        if self._counters[groups.BROKEN_PROMISES]:
            raise broken_promise()

    def fold(self, assigned: Array, inputs: Sequence[Input], times: Array, ranks: Array, rows: slice) -> None:
        """Fold the rows of the slice `rows`, whose groups are `assigned`, into all states.

        `ranks` may be empty if no state is timed.
        """
        keep = None
        if int(assigned.max(initial=0)) >= groups.SPECIAL:
            keep = assigned < groups.SPECIAL
            assigned = assigned[keep]
        assigned = frozen(assigned)
        done = self._summarize(assigned, inputs, rows) if keep is None else set()
        if not done:
            aggregate.count(assigned, self._columns["rows"])
        if "touched" in self._columns:
            aggregate.mark(assigned, self._columns["touched"])
        for place, column in enumerate(inputs):
            if column.valid is not None:
                missing = ~column.valid[rows]
                if keep is not None:
                    missing = missing[keep]
                aggregate.count(frozen(assigned[missing]), self._nulls(place))
        for state in self.states:
            if state in done:
                continue
            column = inputs[state.input]
            operation = OPERATIONS[state.operation]
            values, valid = column.values(state.operation)[rows], column.valid
            chosen = assigned
            if operation.timed:
                known = np.ones(len(values), np.uint8) if valid is None else valid[rows].view(np.uint8)
                arrays = [times[rows], ranks[rows], values, known]
                if keep is not None:
                    arrays = [array[keep] for array in arrays]
                operation.update(chosen, *map(frozen, arrays), *self._accumulators(state))
                continue
            if keep is not None:
                values = values[keep]
            if valid is not None:
                usable = valid[rows] if keep is None else valid[rows][keep]
                chosen, values = chosen[usable], values[usable]
            operation.update(frozen(chosen), frozen(values), *self._accumulators(state))

    def _summarize(self, assigned: Array, inputs: Sequence[Input], rows: slice) -> set[State]:
        """Count rows and fold the whole-number states of columns without nulls; returns those states."""
        done: set[State] = set()
        for place, states in self._summaries:
            column = inputs[place]
            if column.valid is not None or not column.words_compare:
                continue
            n = self._columns["rows"]
            accumulators, wanted = [], []
            for operation in _SUMMARIZED:
                state = State(operation, place)
                wanted.append(state in states)
                accumulators.append(self._accumulators(state)[0] if state in states else n)
            values = column.values(_SUMMARIZED[0])[rows]
            total, least, greatest = accumulators
            aggregate.summarize_int(
                assigned, values, n, total, least, greatest, not done, wanted[0], wanted[1], wanted[2]
            )
            done.update(states)
        return done

    def merge(self, assigned: Array, source: GroupTable, selected: Array) -> None:
        """Merge the states of the groups `selected` of `source` into the groups `assigned`, in that order."""
        assigned = frozen(assigned)
        for name in source.null_columns:
            self._add_nulls_column(name)
            aggregate.sum_int(assigned, frozen(source._columns[name][selected]), self._columns[name])
        aggregate.sum_int(assigned, frozen(source._columns["rows"][selected]), self._columns["rows"])
        for state in self.states:
            parts = [frozen(source._columns[name][selected]) for name in state.columns]
            OPERATIONS[state.operation].merge(assigned, *parts, *self._accumulators(state))

    def lower_ranks(self, assigned: Array, ranks: Array, new_from: int) -> None:
        """Let each group's rank be the least of its rows'; groups from `new_from` on have none yet."""
        self.first[new_from : self.size] = _HIGHEST_RANK
        aggregate.min_int(frozen(assigned), frozen(ranks), self.first)

    def load(self, keys: Array, panes: Array, ranks: Array, columns: dict[str, Array]) -> None:
        """Enter whole groups (distinct ones) with their states; the table must be empty."""
        rows = len(panes)
        out = np.empty(rows, dtype=np.uint32)
        partition = (ranks >> PARTITION_SHIFT).astype(np.uint32)
        self.assign(0, rows, panes, keys, partition=partition, out=out)
        assert self.size == rows
        self.first[:rows] = ranks
        for name, values in columns.items():
            self._add_nulls_column(name)
            self._columns[name][:rows] = values

    # What goes out

    def keep(self, kept: Array, keys: Array | None = None) -> None:
        """Drop all groups but these (in ascending order); `keys` replace theirs."""
        n = len(kept)
        keys = self.keys(kept) if keys is None else keys
        panes, ranks = self._pane[kept], self.first[kept]
        columns = {name: column[kept] for name, column in self._columns.items()}
        self._forget_groups()
        if n:
            self.load(keys, panes, ranks, columns)

    def _forget_groups(self) -> None:
        self._counters[[groups.GROUPS, groups.POOL_USED, groups.PANES]] = 0
        self._directory[:] = 0

    def widen_keys(self, words: int, keys: Array) -> None:
        """Go over to keys of `words` words; `keys` are those of all groups."""
        room = len(self._pane)
        n = self.size
        self.words = words
        self._keys = np.empty(room * words, dtype=np.int64)
        self.keep(np.arange(n), keys)

    # Room

    @property
    def null_columns(self) -> list[str]:
        """Names of the counts of nulls that exist."""
        return [name for name in self._columns if name.startswith("nulls_")]

    def _accumulators(self, state: State) -> list[Array]:
        return [self._columns[name] for name in state.columns]

    def _nulls(self, place: int) -> Array:
        return self._columns[nulls_column(place)]

    def _new_column(self, name: str, dtype: DTypeLike, initial: object) -> None:
        self._initial[name] = initial
        self._columns[name] = np.empty(len(self._pane), dtype=dtype)
        self._columns[name][: self.size] = initial

    def reserve(self, groups_more: int) -> None:
        """Room for so many more groups."""
        n = self.size
        room = len(self._pane)
        if n + groups_more <= room:
            return
        room = max(n + groups_more, _more_room(room))
        for name, column in self._columns.items():
            self._columns[name] = _grown(column, room, n)
        self._keys = _grown(self._keys, room * self.words, n * self.words)
        self._pane = _grown(self._pane, room, n)
        self.first = _grown(self.first, room, n)

    def count_nulls_of(self, inputs: Sequence[Input]) -> None:
        """Have a count of nulls for each input that has some; to be called before they are folded."""
        for place, column in enumerate(inputs):
            if column.valid is not None:
                self._add_nulls_column(nulls_column(place))

    def _add_nulls_column(self, name: str) -> None:
        if name not in self._columns:
            self._new_column(name, np.int64, 0)

    def _more_panes(self) -> None:
        self._panes = np.concatenate([self._panes, np.zeros_like(self._panes)])
        self._directory = np.zeros(2 * len(self._directory), dtype=np.uint32)
        groups.index_panes(self._panes, int(self._counters[groups.PANES]), self._directory)


def _more_room(room: int) -> int:
    return room * (2 if room < _LEAP_FROM else 8)


def _grown(array: Array, size: int, used: int) -> Array:
    larger = np.empty(size, dtype=array.dtype)
    larger[:used] = array[:used]
    return larger
