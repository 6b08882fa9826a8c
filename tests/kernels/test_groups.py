"""The fused pass over rows, against the definition of windows and lateness in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import PARTITION_SHIFT
from arrowstream.kernels import groups
from arrowstream.kernels.groups import LATE, NO_WINDOW, PARTLY_LATE

NO_TIME = -(2**63)
modest = settings(max_examples=60, deadline=None)
RNG = np.random.default_rng(7)


@dataclass
class Grid:
    """Windows [start, start + period) at every start congruent to origin."""

    every: int
    period: int
    origin: int = 0

    @property
    def width(self):
        return gcd(self.every, self.period)

    def windows(self, time):
        last = (time - self.origin) // self.every * self.every + self.origin
        earliest = last - (self.period // self.every + 1) * self.every
        return [s for s in range(earliest, last + 1, self.every) if s <= time < s + self.period]

    def pane(self, time):
        return (time - self.origin) // self.width * self.width + self.origin


class Table:
    """A caller of the kernel that gives it as little room as possible, so that it has to ask for more."""

    def __init__(self, grid, words=1, *, lateness=0, closed=NO_TIME):
        self.words = words
        numbers = [grid.width, grid.origin, grid.every, grid.period, lateness, closed]
        self.geometry = np.array(numbers, dtype=np.int64)
        self.counters = np.zeros(groups.COUNTERS, dtype=np.int64)
        self.panes = np.zeros(groups.PANE_COLUMNS, dtype=np.int64)
        self.directory = np.zeros(2, dtype=np.uint32)
        self.pool = np.empty(1 << groups.SMALLEST_BITS, dtype=np.uint32)
        self.keys = np.empty(0, dtype=np.int64)
        self.pane, self.first = np.empty((2, 0), dtype=np.int64)

    def assign(self, times, keys, *, clock=(), partition=(), cuts=(), base_row=0):
        arrays = [np.array(x, dtype=np.int64).reshape(-1) for x in (times, clock, keys)]
        arrays.append(np.array(partition, dtype=np.uint32))
        for array in arrays:
            array.flags.writeable = False
        n = len(times)
        out = np.zeros(n, dtype=np.uint32)
        for begin, end in zip([0, *cuts], [*cuts, n], strict=True):
            self._assign(begin, end, arrays, base_row, out)
        return out

    def _assign(self, begin, end, arrays, base_row, out):
        room = self.size + end - begin
        self.keys = np.resize(self.keys, room * self.words)
        self.pane, self.first = np.resize(self.pane, room), np.resize(self.first, room)
        while True:
            status = groups.assigner(self.words)(
                begin, end, *arrays, self.geometry, self.counters, self.panes, self.directory, self.pool,
                self.keys, self.pane, self.first, base_row, out,
            )  # fmt: skip
            if status == groups.DONE:
                return
            begin = int(self.counters[groups.RESUME_ROW])
            if status == groups.NEEDS_POOL:
                self.pool = np.concatenate([self.pool, np.full_like(self.pool, 0xDEAD)])
            else:
                self.panes = np.concatenate([self.panes, np.zeros_like(self.panes)])
                self.directory = np.zeros(2 * self.directory.size, dtype=np.uint32)
                groups.index_panes(self.panes, int(self.counters[groups.PANES]), self.directory)

    @property
    def size(self):
        return int(self.counters[groups.GROUPS])

    @property
    def log(self):
        """(key, pane, partition, first row) of every group."""
        keys = self.keys.reshape(-1, self.words)[: self.size]
        ranks = [divmod(rank, 1 << PARTITION_SHIFT) for rank in self.first[: self.size].tolist()]
        return [
            (tuple(key), pane, *rank)
            for key, pane, rank in zip(keys.tolist(), self.pane.tolist(), ranks, strict=False)
        ]

    def counter(self, name):
        return int(self.counters[name])


@dataclass
class Expected:
    """What the definition says."""

    groups: list = field(default_factory=list)
    log: list = field(default_factory=list)
    late: int = 0
    missed: int = 0
    needed: int = 0


def expected(grid, times, keys, *, clock=(), partition=(), lateness=0, base_row=0):
    found = Expected()
    place = {}
    for row, (time, key) in enumerate(zip(times, keys, strict=True)):
        own = partition[row] if len(partition) else 0
        ends = [start + grid.period for start in grid.windows(time)]
        missed = []
        if len(clock) and clock[row] != NO_TIME:
            missed = [end for end in ends if end <= clock[row] - lateness]
            found.needed = max([found.needed, *(clock[row] - end + 1 for end in missed)])
        if not ends:
            found.groups.append(NO_WINDOW)
        elif len(missed) == len(ends):
            found.groups.append(LATE)
            found.late += 1
        elif missed:
            found.groups.append(PARTLY_LATE)
            found.missed += len(missed)
        else:
            group = (grid.pane(time), own, tuple(key))
            if group not in place:
                place[group] = len(place)
                found.log.append((tuple(key), group[0], own, base_row + row))
            found.groups.append(place[group])
    return found


def check(grid, times, keys, *, lateness=0, cuts=(), words=1, **rows):
    table = Table(grid, words, lateness=lateness)
    got = table.assign(times, keys, cuts=cuts, **rows)
    wanted = expected(grid, times, keys, lateness=lateness, **rows)
    assert got.tolist() == [int(g) for g in wanted.groups]
    assert table.log == wanted.log
    assert table.counter(groups.LATE_ROWS) == wanted.late
    assert table.counter(groups.MISSED_WINDOWS) == wanted.missed
    assert table.counter(groups.LATENESS_NEEDED) == wanted.needed
    return table


def test_tumbling():
    table = Table(Grid(10, 10))
    assert table.assign([3, 12, 4, -1], [7, 7, 7, 7]).tolist() == [0, 1, 0, 2]
    assert table.log == [((7,), 0, 0, 0), ((7,), 10, 0, 1), ((7,), -10, 0, 3)]


def test_hopping_shares_panes():
    table = Table(Grid(every=4, period=6))
    assert table.assign([0, 1, 2, 3], [5, 5, 5, 5]).tolist() == [0, 0, 1, 1]
    assert [pane for _, pane, _, _ in table.log] == [0, 2]


def test_gaps_between_windows():
    table = Table(Grid(every=10, period=5, origin=1))
    assert table.assign([0, 1, 5, 6, 11], [5] * 5).tolist() == [NO_WINDOW, 0, 0, NO_WINDOW, 1]


def test_late_for_all_or_some_windows():
    # 7 lies in [0, 10) and [5, 15); 3 in [-5, 5) and [0, 10).
    table = Table(Grid(every=5, period=10), lateness=2)
    got = table.assign([7, 7, 7, 3], [1] * 4, clock=[11, 12, 17, 7])
    assert got.tolist() == [0, PARTLY_LATE, LATE, PARTLY_LATE]
    assert table.counter(groups.LATE_ROWS) == 1
    assert table.counter(groups.MISSED_WINDOWS) == 2
    assert table.counter(groups.LATENESS_NEEDED) == 17 - 10 + 1


def test_before_anything_is_known_nothing_is_late():
    table = Table(Grid(10, 10), lateness=3)
    assert table.assign([-(10**15)], [1], clock=[NO_TIME]).tolist() == [0]


def test_a_row_of_a_closed_window_breaks_a_promise():
    table = Table(Grid(10, 10), closed=10)
    assert table.assign([10, 9, 20], [1, 1, 1]).tolist() == [0, LATE, 1]
    assert table.counter(groups.BROKEN_PROMISES) == 1


def test_partitions_keep_apart():
    table = Table(Grid(10, 10))
    assert table.assign([1, 1, 1], [4, 4, 4], partition=[2, 0, 2]).tolist() == [0, 1, 0]
    assert table.log == [((4,), 0, 2, 0), ((4,), 0, 0, 1)]


def test_no_rows():
    check(Grid(10, 10), [], [])


grids = st.builds(Grid, st.integers(1, 12), st.integers(1, 30), st.integers(0, 11))
near, far = st.integers(-40, 40), st.integers(-(2**60), 2**60)
words = st.one_of(
    st.integers(-2, 2),
    st.integers(-3, 3).map(lambda x: x << 48),
    st.sampled_from([-(2**63), 2**63 - 1, -1]),
)


@st.composite
def inputs(draw):
    key_words = draw(st.integers(1, 3))
    key = st.tuples(*[words] * key_words)
    rows = draw(st.lists(st.tuples(st.one_of(near, near, far), key, st.integers(0, 2)), max_size=50))
    times, keys, partitions = ([row[place] for row in rows] for place in range(3))
    if not draw(st.booleans()):
        partitions = []
    clock, lateness = [], 0
    if draw(st.booleans()):
        lateness = draw(st.integers(0, 40))
        maximum = {}
        for row, time in enumerate(times):
            own = partitions[row] if partitions else 0
            clock.append(maximum.get(own, NO_TIME))
            maximum[own] = max(maximum.get(own, NO_TIME), time)
    cuts = sorted(draw(st.lists(st.integers(0, len(times)), max_size=3)))
    return {
        "times": times, "keys": keys, "clock": clock, "partition": partitions, "lateness": lateness,
        "cuts": cuts, "words": key_words, "base_row": draw(st.sampled_from([0, 10**9])),
    }  # fmt: skip


@modest
@given(grids, inputs())
def test_any_rows(grid, rows):
    check(grid, **rows)


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("shift", [0, 20, 32, 44], ids=lambda s: f"multiples of 2^{s}")
def test_many_keys_in_one_pane_outgrow_their_index(words, shift):
    many = 100_000 if shift == 0 else 5_000  # from 65,536 groups on, lines are asked for ahead
    keys = (RNG.permutation(many) << shift).astype(np.int64)
    keys = np.repeat(keys, words)
    if words == 2:
        keys[::2] = 1 << 40
    table = Table(Grid(10, 10), words)
    everything = np.arange(many, dtype=np.uint32)
    assert (table.assign(np.zeros(many), keys) == everything).all()
    again = RNG.permutation(many)
    seen = keys.reshape(-1, words)[again]
    assert (table.assign(np.zeros(many), seen) == everything[again]).all()
    assert table.size == many


def test_many_panes_in_any_order():
    starts = RNG.permutation(3_000) * 10 - 15_000
    check(Grid(10, 10), starts.tolist(), [(0,)] * len(starts))
