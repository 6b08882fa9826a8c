"""The accumulators, each against a loop in plain Python."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.kernels import aggregate

GROUPS = 4
LEAST, GREATEST = -(2**63), 2**63 - 1
modest = settings(max_examples=40, deadline=None)

whole = st.one_of(st.integers(-9, 9), st.integers(LEAST, GREATEST), st.sampled_from([LEAST, GREATEST]))
any_float = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(width=64),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1.7e308]),
)
ordinary = st.floats(-1e12, 1e12, allow_subnormal=False)


def rows(*columns):
    """Rows of a group and one value a column."""
    return st.lists(st.tuples(st.integers(0, GROUPS - 1), *columns), max_size=40)


def of_groups(table):
    return np.array([row[0] for row in table], dtype=np.uint32)


def column(table, place, dtype):
    return np.array([row[place] for row in table], dtype=dtype)


def members(table, group, place=1):
    return [row[place] for row in table if row[0] == group]


def whole_numbers(initial=0):
    return np.full(GROUPS, initial, dtype=np.int64)


def floats(initial=0.0):
    return np.full(GROUPS, initial)


def valid(*flags):
    return np.array(flags, dtype=np.uint8)


def wrapped(number):
    return (number + 2**63) % 2**64 - 2**63


def same(left, right):
    return left == right or (math.isnan(left) and math.isnan(right))


def test_count_and_mark():
    groups = np.array([2, 0, 2], dtype=np.uint32)
    n, touched = whole_numbers(), np.zeros(GROUPS, dtype=np.uint8)
    aggregate.count(groups, n)
    aggregate.mark(groups, touched)
    assert n.tolist() == [1, 0, 2, 0]
    assert touched.tolist() == [1, 0, 1, 0]


def test_no_rows_change_nothing():
    none = np.zeros(0, dtype=np.uint32)
    total, least = whole_numbers(), whole_numbers(GREATEST)
    aggregate.sum_int(none, np.zeros(0, dtype=np.int64), total)
    aggregate.min_int(none, np.zeros(0, dtype=np.int64), least)
    assert total.tolist() == [0] * GROUPS
    assert least.tolist() == [GREATEST] * GROUPS


@modest
@given(rows(whole))
def test_whole_numbers(table):
    groups, values = of_groups(table), column(table, 1, np.int64)
    n, total, least, greatest = (
        whole_numbers(),
        whole_numbers(),
        whole_numbers(GREATEST),
        whole_numbers(LEAST),
    )
    aggregate.count(groups, n)
    aggregate.sum_int(groups, values, total)
    aggregate.min_int(groups, values, least)
    aggregate.max_int(groups, values, greatest)
    for group in range(GROUPS):
        own = members(table, group)
        assert n[group] == len(own)
        assert total[group] == wrapped(sum(own))
        assert least[group] == min(own, default=GREATEST)
        assert greatest[group] == max(own, default=LEAST)


@modest
@given(rows(whole), st.tuples(*[st.booleans()] * 4))
def test_one_pass_is_the_four_passes_that_are_asked_for(table, asked):
    groups, values = of_groups(table), column(table, 1, np.int64)

    def accumulators():
        return whole_numbers(), whole_numbers(), whole_numbers(GREATEST), whole_numbers(LEAST)

    together, apart, untouched = accumulators(), accumulators(), accumulators()
    aggregate.summarize_int(groups, values, *together, *asked)
    aggregate.count(groups, apart[0])
    for update, accumulator in zip(
        (aggregate.sum_int, aggregate.min_int, aggregate.max_int), apart[1:], strict=True
    ):
        update(groups, values, accumulator)
    for was_asked, got, passes, initial in zip(asked, together, apart, untouched, strict=True):
        assert got.tolist() == (passes if was_asked else initial).tolist()


def total_of(values):
    high, low = floats(), floats()
    aggregate.sum_float(np.zeros(len(values), dtype=np.uint32), np.array(values, dtype=np.float64), high, low)
    return high[0], low[0]


def test_a_sum_keeps_what_a_plain_one_loses():
    high, low = total_of([1e16, 1.0, 1.0, -1e16])
    assert (high, high + low) == (0.0, 2.0)
    assert sum([1e16, 1.0]) - 1e16 == 0.0


@modest
@given(st.lists(st.floats(0, 1e300, allow_subnormal=False), max_size=60))
def test_a_sum_is_fsum_within_one_ulp(values):
    exact = math.fsum(values)
    assert abs(sum(total_of(values)) - exact) <= math.ulp(exact)


@modest
@given(st.lists(ordinary, max_size=60))
def test_a_sum_that_cancels_loses_twice_the_digits_of_a_double(values):
    exact = math.fsum(values)
    lost = len(values) ** 2 * 2.0**-106 * math.fsum(map(abs, values))
    assert abs(sum(total_of(values)) - exact) <= math.ulp(exact) + lost


@modest
@given(st.lists(any_float, max_size=20))
def test_the_leading_part_is_a_plain_sum(values):
    plain = 0.0
    for value in values:
        plain += value
    assert same(total_of(values)[0], plain)


@modest
@given(rows(ordinary), st.integers(0, 40))
def test_merged_sums_are_the_sum(table, cut):
    groups, values = of_groups(table), column(table, 1, np.float64)
    high, low = floats(), floats()
    every = np.arange(GROUPS, dtype=np.uint32)
    for part in (slice(0, cut), slice(cut, None)):
        highs, lows = floats(), floats()
        aggregate.sum_float(groups[part], values[part], highs, lows)
        aggregate.merge_sum_float(every, highs, lows, high, low)
    for group in range(GROUPS):
        own = members(table, group)
        exact = math.fsum(own)
        lost = (len(own) + 2) ** 2 * 2.0**-106 * math.fsum(map(abs, own))
        assert abs(high[group] + low[group] - exact) <= math.ulp(exact) + lost


@pytest.mark.parametrize(
    ("values", "least", "greatest"),
    [
        ([], math.nan, math.nan),
        ([math.nan], math.nan, math.nan),
        ([math.nan, 2.0, math.nan, 1.0], 1.0, 2.0),
        ([math.inf, math.nan, -math.inf], -math.inf, math.inf),
    ],
)
def test_extremes_pass_over_nan(values, least, greatest):
    groups, array = np.zeros(len(values), dtype=np.uint32), np.array(values, dtype=np.float64)
    low, high = floats(math.nan), floats(math.nan)
    aggregate.min_float(groups, array, low)
    aggregate.max_float(groups, array, high)
    assert same(low[0], least)
    assert same(high[0], greatest)


@modest
@given(rows(any_float))
def test_extremes_of_floats(table):
    groups, values = of_groups(table), column(table, 1, np.float64)
    least, greatest = floats(math.nan), floats(math.nan)
    aggregate.min_float(groups, values, least)
    aggregate.max_float(groups, values, greatest)
    for group in range(GROUPS):
        numbers = [x for x in members(table, group) if not math.isnan(x)]
        assert same(least[group], min(numbers, default=math.nan))
        assert same(greatest[group], max(numbers, default=math.nan))


def spread_of(values):
    """Count, mean and sum of squared distances, without rounding."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact, Fraction()) / max(len(exact), 1)
    return len(exact), float(mean), float(sum(((x - mean) ** 2 for x in exact), Fraction()))


def close(got, expected, scale):
    return abs(got - expected) <= 1e-12 * abs(expected) + 1e-13 * scale


@modest
@given(rows(st.floats(-1e6, 1e6)), st.integers(0, 40))
def test_variance_at_once_and_merged(table, cut):
    groups, values = of_groups(table), column(table, 1, np.float64)
    at_once, merged = [floats() for _ in range(3)], [floats() for _ in range(3)]
    every = np.arange(GROUPS, dtype=np.uint32)
    aggregate.variance(groups, values, *at_once)
    for part in (slice(0, cut), slice(cut, None)):
        states = [floats() for _ in range(3)]
        aggregate.variance(groups[part], values[part], *states)
        aggregate.merge_variance(every, *states, *merged)
    for group in range(GROUPS):
        own = members(table, group)
        n, mean, squares = spread_of(own)
        largest = max(map(abs, own), default=0.0)
        for states in (at_once, merged):
            assert states[0][group] == n
            assert close(states[1][group], mean, largest)
            assert close(states[2][group], squares, largest**2)


def test_variance_of_large_numbers_that_are_close_together():
    n, mean, squares = floats(), floats(), floats()
    values = np.array([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    aggregate.variance(np.zeros(4, dtype=np.uint32), values, n, mean, squares)
    assert (n[0], mean[0], squares[0]) == (4, 1e9 + 10, 90.0)


times = st.one_of(st.integers(-2, 2), st.integers(LEAST + 1, GREATEST - 1))


@modest
@given(rows(times, st.integers(0, 3), whole, st.integers(0, 1)), st.integers(0, 40))
def test_first_and_last(table, cut):
    arrays = [of_groups(table), *(column(table, place, np.int64) for place in (1, 2, 3))]
    arrays.append(column(table, 4, np.uint8))
    for update, initial, better in (
        (aggregate.first, GREATEST, lambda row, best: row[:2] < best[:2]),
        (aggregate.last, LEAST, lambda row, best: row[:2] > best[:2]),
    ):
        state = whole_numbers(initial), whole_numbers(initial), whole_numbers(), valid(*[0] * GROUPS)
        for part in (slice(0, cut), slice(cut, None)):
            update(*(array[part] for array in arrays), *state)
        for group in range(GROUPS):
            best = (initial, initial, 0, 0)
            for owner, *row in table:
                if owner == group and better(tuple(row), best):
                    best = tuple(row)
            assert tuple(part[group] for part in state) == best


@pytest.mark.parametrize("ranks", [[0, 1, 2], [2, 0, 1]])
def test_of_equal_times_first_takes_the_least_rank_and_last_the_highest(ranks):
    groups = np.zeros(3, dtype=np.uint32)
    values = np.array(ranks) + 10
    arrays = [groups, np.array([5, 5, 5]), np.array(ranks), values, (values != 12).astype(np.uint8)]
    first = whole_numbers(GREATEST), whole_numbers(GREATEST), whole_numbers(), valid(0, 0, 0, 0)
    last = whole_numbers(LEAST), whole_numbers(LEAST), whole_numbers(), valid(0, 0, 0, 0)
    aggregate.first(*arrays, *first)
    aggregate.last(*arrays, *last)
    assert (first[2][0], first[3][0]) == (10, 1)
    assert (last[2][0], last[3][0]) == (12, 0)
