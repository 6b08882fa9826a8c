"""Partial states of aggregations: one small loop an accumulator, over rows whose groups are known.

Every update takes the rows' groups and values, in the order of folding, and changes the accumulators in
place. Where a state is merged by the same arithmetic as a row (sums of integers, minimum, first …) the update
is also the merge; `merge_sum_float` and `merge_variance` are the others.

Shape   groups: uint32[n], values: int64[n] or float64[n]; accumulators: one value a group
Null    the caller drops rows with nulls and counts them
Cost    O(n), about 1 ns a row while the groups are in cache; allocates nothing
"""

from __future__ import annotations

from typing import Any

from arrowstream.kernels.compile import kernel


@kernel
def count(groups: Any, n: Any) -> None:
    """Rows a group."""
    for i in range(groups.size):
        n[groups[i]] += 1


@kernel
def mark(groups: Any, touched: Any) -> None:
    """Set `touched` for every group that has a row."""
    for i in range(groups.size):
        touched[groups[i]] = 1


@kernel
def sum_int(groups: Any, values: Any, total: Any) -> None:
    """Sum of int64, wrapping as Polars' does."""
    for i in range(groups.size):
        total[groups[i]] += values[i]


@kernel
def sum_float(groups: Any, values: Any, high: Any, low: Any) -> None:
    """Sum of float64 as an unevaluated pair high + low (double-double).

    `high` takes the very steps of a plain sum, so that infinities and NaN come out as they do there; `low`
    is then NaN and to be ignored.
    """
    for i in range(groups.size):
        g = groups[i]
        x = values[i]
        h = high[g]
        s = h + x
        v = s - h
        low[g] += (h - (s - v)) + (x - v)
        high[g] = s


@kernel
def merge_sum_float(groups: Any, highs: Any, lows: Any, high: Any, low: Any) -> None:
    """Add pairs high + low to the pairs of the groups."""
    for i in range(groups.size):
        g = groups[i]
        x = highs[i]
        h = high[g]
        s = h + x
        v = s - h
        low[g] += ((h - (s - v)) + (x - v)) + lows[i]
        high[g] = s


@kernel
def min_int(groups: Any, values: Any, least: Any) -> None:
    """Minimum; begin with the largest int64."""
    for i in range(groups.size):
        g = groups[i]
        least[g] = min(least[g], values[i])


@kernel
def max_int(groups: Any, values: Any, greatest: Any) -> None:
    """Maximum; begin with the smallest int64."""
    for i in range(groups.size):
        g = groups[i]
        greatest[g] = max(greatest[g], values[i])


@kernel
def summarize_int(
    groups: Any,
    values: Any,
    n: Any,
    total: Any,
    least: Any,
    greatest: Any,
    counted: bool,
    summed: bool,
    with_least: bool,
    with_greatest: bool,
) -> None:
    """`count`, `sum_int`, `min_int` and `max_int` of one column in one pass, those that are asked for.

    Rows of one group follow one another closely, and each waits for the one before: together they wait once.
    """
    for i in range(groups.size):
        g = groups[i]
        value = values[i]
        if counted:
            n[g] += 1
        if summed:
            total[g] += value
        if with_least:
            least[g] = min(least[g], value)
        if with_greatest:
            greatest[g] = max(greatest[g], value)


@kernel
def min_float(groups: Any, values: Any, least: Any) -> None:
    """Minimum that ignores NaN unless there is nothing else; begin with NaN."""
    for i in range(groups.size):
        g = groups[i]
        old = least[g]
        if values[i] < old or old != old:  # noqa: PLR0124 - true for NaN only
            least[g] = values[i]


@kernel
def max_float(groups: Any, values: Any, greatest: Any) -> None:
    """Maximum that ignores NaN unless there is nothing else; begin with NaN."""
    for i in range(groups.size):
        g = groups[i]
        old = greatest[g]
        if values[i] > old or old != old:  # noqa: PLR0124 - true for NaN only
            greatest[g] = values[i]


@kernel
def variance(groups: Any, values: Any, n: Any, mean: Any, squares: Any) -> None:
    """Count, mean and sum of squared distances from the mean (Welford)."""
    for i in range(groups.size):
        g = groups[i]
        n[g] += 1
        distance = values[i] - mean[g]
        mean[g] += distance / n[g]
        squares[g] += distance * (values[i] - mean[g])


@kernel
def merge_variance(
    groups: Any, counts: Any, means: Any, squares_in: Any, n: Any, mean: Any, squares: Any
) -> None:
    """Merge states of `variance` (Chan)."""
    for i in range(groups.size):
        g = groups[i]
        if counts[i] == 0:
            continue
        if n[g] == 0:
            n[g], mean[g], squares[g] = counts[i], means[i], squares_in[i]
            continue
        total = n[g] + counts[i]
        distance = means[i] - mean[g]
        squares[g] += squares_in[i] + distance * distance * (n[g] * (counts[i] / total))
        mean[g] += distance * (counts[i] / total)
        n[g] = total


@kernel
def first(
    groups: Any,
    times: Any,
    ranks: Any,
    values: Any,
    valid: Any,
    time: Any,
    rank: Any,
    value: Any,
    known: Any,
) -> None:
    """The value of the earliest row, of equals the one of least rank; begin with the largest time and rank.

    Values are 64-bit patterns; `valid` and `known` are uint8, 0 for null.
    """
    for i in range(groups.size):
        g = groups[i]
        if times[i] < time[g] or (times[i] == time[g] and ranks[i] < rank[g]):
            time[g] = times[i]
            rank[g] = ranks[i]
            value[g] = values[i]
            known[g] = valid[i]


@kernel
def last(
    groups: Any,
    times: Any,
    ranks: Any,
    values: Any,
    valid: Any,
    time: Any,
    rank: Any,
    value: Any,
    known: Any,
) -> None:
    """The value of the latest row, of equals the one of highest rank; begin with the smallest of both."""
    for i in range(groups.size):
        g = groups[i]
        if times[i] > time[g] or (times[i] == time[g] and ranks[i] > rank[g]):
            time[g] = times[i]
            rank[g] = ranks[i]
            value[g] = values[i]
            known[g] = valid[i]
