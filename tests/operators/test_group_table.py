"""The table of groups: entering, folding, merging, dropping, widening, and what is handed out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.config import PARTITION_SHIFT
from arrowstream.runtime.operators.group_table import SINGLE_POINTS, Geometry, GroupTable, Input
from arrowstream.runtime.operators.states import State

modest = settings(max_examples=60, deadline=None)
TENS = Geometry(10, 0, 10, 10)
STATES = [State("sum_int", 0), State("max_int", 0), State("first", 0)]


def table(states=STATES, geometry=TENS, *, words=1, tracked=False):
    return GroupTable(words, geometry, states, tracked=tracked)


def enter(into, times, keys, values=None, *, partition=(), base_row=0):
    """Fold rows; returns the group of each."""
    times = np.array(times, dtype=np.int64)
    partition = np.array(partition, dtype=np.uint32)
    out = np.empty(len(times), dtype=np.uint32)
    into.assign(
        0, len(times), times, np.array(keys, dtype=np.int64), partition=partition, base_row=base_row, out=out
    )
    if values is not None:
        inputs = [Input(pl.Series(values, dtype=pl.Int64))]
        into.count_nulls_of(inputs)
        into.fold(out, inputs, times, np.arange(len(times)) + base_row, slice(0, len(times)))
    return out.tolist()


def seen(groups):
    """(pane, key) -> state of some groups, as plain numbers."""
    width = len(groups.keys) // max(len(groups.panes), 1)
    keys = [tuple(key) if width > 1 else key[0] for key in groups.keys.reshape(-1, max(width, 1)).tolist()]
    columns = {name: column.tolist() for name, column in groups.columns.items()}
    return {
        (pane, key): {name: column[i] for name, column in columns.items()}
        for i, (pane, key) in enumerate(zip(groups.panes.tolist(), keys, strict=True))
    }


def everything(of):
    return seen(of.copied(slice(None)))


def test_rows_are_folded_into_the_groups_of_their_panes():
    groups = table()
    assert enter(groups, [3, 12, 7, 8], [1, 1, 1, 2], [5, 6, None, 7]) == [0, 1, 0, 2]
    found = everything(groups)
    assert list(found) == [(0, 1), (10, 1), (0, 2)]
    assert [state["rows"] for state in found.values()] == [2, 1, 1]
    assert [state["nulls_0"] for state in found.values()] == [1, 0, 0]
    assert [state["sum_int_0_value"] for state in found.values()] == [5, 6, 7]
    assert groups.ranks.tolist() == [0, 1, 3]


def test_a_table_grows():
    groups = table()
    numbers = np.arange(5_000)
    assert enter(groups, numbers % 70 * 10, numbers, numbers) == numbers.tolist()
    assert enter(groups, numbers % 70 * 10, numbers, numbers, base_row=5_000) == numbers.tolist()
    found = groups.copied(slice(None))
    assert found.columns["sum_int_0_value"].tolist() == (2 * numbers).tolist()
    assert found.columns["rows"].tolist() == [2] * 5_000


def test_nulls_are_counted_from_the_first_on():
    groups = table()
    enter(groups, [1, 1], [1, 2], [5, 6])
    assert groups.null_columns == []
    enter(groups, [1, 1, 1], [1, 3, 1], [None, None, 4], base_row=2)
    assert groups.null_columns == ["nulls_0"]
    assert groups.copied(slice(None)).columns["nulls_0"].tolist() == [1, 0, 1]


def test_what_was_taken_does_not_change():
    groups = table()
    enter(groups, [1, 2], [1, 2], [5, 6])
    taken, copied = groups.take(), None
    before = seen(taken)
    assert groups.size == 0
    enter(groups, [1, 2, 3], [1, 2, 3], [50, 60, 70], base_row=2)
    copied = groups.copied(slice(0, 1))
    enter(groups, [1], [1], [1_000], base_row=5)
    assert seen(taken) == before
    assert seen(copied)[0, 1]["sum_int_0_value"] == 50
    assert everything(groups)[0, 1]["sum_int_0_value"] == 1_050


def test_touched_groups_are_told_once():
    groups = table(tracked=True)
    enter(groups, [1, 2, 3], [1, 2, 3], [1, 1, 1])
    assert groups.take_touched().tolist() == [0, 1, 2]
    assert groups.take_touched().tolist() == []
    enter(groups, [1, 2, 3], [3, 9, 3], [1, 1, 1], base_row=3)
    groups.keep(np.array([0, 2, 3]))
    assert groups.take_touched().tolist() == [1, 2]


def test_dropping_groups_keeps_the_others_as_they_are():
    groups = table()
    enter(groups, [1, 11, 2, 21], [1, 1, 2, 1], [5, None, 7, 8])
    before = everything(groups)
    groups.keep(np.array([1, 3]))
    assert everything(groups) == {place: before[place] for place in ((10, 1), (20, 1))}
    assert groups.ranks.tolist() == [1, 3]
    assert enter(groups, [11, 1], [1, 1], [1, 1], base_row=4) == [0, 2]
    assert everything(groups)[0, 1]["sum_int_0_value"] == 1


def test_keys_can_be_widened():
    groups = table()
    enter(groups, [1, 2], [7, 8], [5, 6])
    groups.widen_keys(2, np.array([7, 0, 8, 0]))
    assert enter(groups, [1, 1], [7, 0, 7, 1], [10, 20], base_row=2) == [0, 2]
    assert {place: state["sum_int_0_value"] for place, state in everything(groups).items()} == {
        (0, (7, 0)): 15,
        (0, (8, 0)): 6,
        (0, (7, 1)): 20,
    }


def test_partitions_are_apart_until_they_are_merged():
    groups, merged = table(), table(geometry=SINGLE_POINTS)
    assert enter(groups, [5, 5, 6], [1, 1, 1], [1, 2, 4], partition=[3, 0, 3]) == [0, 1, 0]
    order = np.array([1, 0])
    out = np.empty(2, dtype=np.uint32)
    merged.assign(0, 2, groups.panes[order], groups.keys(order), out=out)
    merged.merge(out, groups, order)
    merged.lower_ranks(out, groups.ranks[order], 0)
    assert everything(merged)[0, 1]["sum_int_0_value"] == 7
    assert merged.ranks.tolist() == [1]
    assert groups.ranks.tolist() == [3 << PARTITION_SHIFT, 1]


rows = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 2), st.none() | st.integers(-9, 9)), max_size=30)


def folded(table_, some, base_row=0):
    times, keys, values = (list(column) for column in zip(*some, strict=True)) if some else ([], [], [])
    enter(table_, times, keys, values, base_row=base_row)
    return table_


@modest
@given(rows, st.integers(0, 30), st.sets(st.integers(0, 30)))
def test_saving_and_loading_is_going_on(some, cut, dropped):
    """Whatever is dropped on the way and reloaded elsewhere, the states of the rest are the same."""
    one = folded(table(), some)
    other = folded(table(), some[:cut])
    kept = np.array([g for g in range(other.size) if g not in dropped], dtype=np.int64)
    gone = {place for group, place in enumerate(everything(other)) if group in dropped}
    other.keep(kept)
    saved, ranks = other.copied(slice(None)), other.ranks.copy()
    third = table()
    third.load(saved.keys, saved.panes, ranks, saved.columns)
    folded(third, some[cut:], base_row=cut)
    expected, found = everything(one), everything(third)
    for state in (*expected.values(), *found.values()):
        state.setdefault("nulls_0", 0)
    for place, state in expected.items():
        if place not in gone:
            assert found[place] == state


@modest
@given(rows, st.integers(0, 30))
def test_merging_is_folding_on(some, cut):
    one = folded(table(), some)
    parts = [folded(table(), some[:cut]), folded(table(), some[cut:], base_row=cut)]
    merged = table(geometry=SINGLE_POINTS)
    for part in parts:
        chosen = np.arange(part.size)
        out = np.empty(part.size, dtype=np.uint32)
        before = merged.size
        merged.assign(0, part.size, part.panes, part.keys(chosen), out=out)
        merged.merge(out, part, chosen)
        merged.lower_ranks(out, part.ranks, before)
    expected, found = everything(one), everything(merged)
    for state in (*expected.values(), *found.values()):
        state.setdefault("nulls_0", 0)
    assert found == expected
    assert merged.ranks.tolist() == one.ranks.tolist()


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64, pl.Int8], ids=str)
def test_one_pass_over_whole_numbers_is_as_good_as_several(dtype):
    """Without nulls, sum, minimum and maximum of a column are folded in one pass; with one, in three."""
    states = [State(operation, 0) for operation in ("sum_int", "min_int", "max_int")]
    values = [1, 120, 7, 0, 100]
    tables = [table(states), table(states)]
    for groups, column in zip(tables, (values, [*values, None]), strict=True):
        enter(groups, [1] * len(column), [0] * len(column))
        inputs = [Input(pl.Series(column, dtype=dtype))]
        groups.count_nulls_of(inputs)
        assigned = np.zeros(len(column), dtype=np.uint32)
        groups.fold(assigned, inputs, np.zeros(len(column)), np.zeros(0), slice(0, len(column)))
    one, several = (everything(groups)[0, 0] for groups in tables)
    assert (one["rows"], several["rows"], several["nulls_0"]) == (5, 6, 1)
    for state in states:
        assert one[state.columns[0]] == several[state.columns[0]]
