"""Windows against Polars over the same rows, however they are cut, restored or spread over partitions."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_frame_equal

from arrowstream.config import END_OF_TIME
from arrowstream.errors import DataError
from arrowstream.runtime.operators import folded, key_codec, runs

modest = settings(max_examples=30, deadline=None)

ROWS = {
    "t": pl.Datetime("us"),
    "k": pl.Int64,
    "s": pl.String,
    "x": pl.Int32,
    "f": pl.Float64,
    "b": pl.Boolean,
}
FOLDED = (
    pl.len().alias("n"),
    col("x").count().alias("x_count"),
    col("x").sum().alias("x_sum"),
    col("x").min().alias("x_min"),
    col("x").max().alias("x_max"),
    col("x").mean().alias("x_mean"),
    col("x").first().alias("x_first"),
    col("x").last().alias("x_last"),
    col("f").sum().alias("f_sum"),
    col("f").mean().alias("f_mean"),
    col("f").min().alias("f_min"),
    col("f").max().alias("f_max"),
    col("f").var().alias("f_var"),
    col("f").std().alias("f_std"),
    col("f").first().alias("f_first"),
    col("b").any().alias("b_any"),
    col("b").all().alias("b_all"),
    col("b").sum().alias("b_sum"),
    (col("x") + 1).max().alias("x_max_plus"),
)
KEPT = (
    col("x").median().alias("x_median"),
    col("x").implode().alias("x_list"),
    col("f").filter(col("x") > 0).count().alias("f_where"),
    (col("x").max() - col("x").min()).alias("x_range"),
    col("s").max().alias("s_max"),
)

LONG = "a string with more than twelve bytes"


times = st.one_of(st.integers(-60, 60), st.integers(-60, 60), st.integers(-(10**15), 10**15))
values = (
    st.one_of(st.none(), st.sampled_from([0, 1, -1, 2**62, -(2**48), 1 << 48])),
    st.one_of(st.none(), st.sampled_from(["", "a", "twelve bytes", LONG, LONG + "2"])),
    st.one_of(st.none(), st.integers(-9, 9)),
    st.one_of(st.none(), st.integers(-8, 8).map(lambda x: x / 4), st.sampled_from([0.1, -0.0, 1e10])),
    st.one_of(st.none(), st.booleans()),
)
tables = st.lists(st.tuples(times, *values), max_size=40)
grids = st.fixed_dictionaries(
    {
        "every": st.sampled_from(["10us", "7us"]),
        "period": st.sampled_from([None, "30us", "21us", "4us", "1us", "10us"]),
        "offset": st.sampled_from([None, "3us", "-2us"]),
        "lateness": st.sampled_from([None, None, "0us", "5us", "40us"]),
        "group_by": st.sampled_from([None, ["k"], ["s"], ["k", "s"], ["b"], ["f", "s", "k"]]),
    }
)
cut_points = st.lists(st.integers(0, 40), max_size=4)


def cut(points, rows):
    return sorted({min(point, rows) for point in points})


@settings(modest, max_examples=80)
@given(st.data())
def test_any_rows(windows, data):
    node = windows.node(ROWS, *FOLDED, *KEPT, **data.draw(grids))
    rows = data.draw(tables)
    windows.check(node, windows.frame(rows, ROWS), cut(data.draw(cut_points), len(rows)))


@settings(modest, max_examples=50)
@given(st.data())
def test_any_rows_of_several_partitions(windows, data):
    rows = data.draw(tables)
    partitions = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    node = windows.node(ROWS, *FOLDED, *KEPT, **data.draw(grids))
    cuts = cut(data.draw(cut_points), len(rows))
    windows.check(node, windows.frame(rows, ROWS, partitions=partitions), cuts, partitions=3)


@settings(modest, max_examples=30)
@given(st.data())
def test_any_rows_in_tight_places(windows, data):
    """All that is done a portion at a time, or only from some size on, is done always."""
    rows = data.draw(tables)
    node = windows.node(ROWS, *FOLDED, **data.draw(grids))
    cuts = cut(data.draw(cut_points), len(rows))
    usual = windows.check(node, windows.frame(rows, ROWS), cuts)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as helper:
        patch.setattr(folded, "BLOCK_ROWS", 3)
        patch.setattr(folded, "_COMPACT_FROM_GROUPS", 1)
        patch.setattr(folded, "_MERGE_ENTRIES", 2)
        patch.setattr(key_codec, "_SMALLEST_ARENA_BYTES", 8)
        patch.setattr(runs, "_REWRITE_SLACK_ROWS", 0)
        patch.setattr(runs, "_RUNS_MAX", 3)
        tight = windows.check(node, windows.frame(rows, ROWS), cuts, helper=helper)
    assert tight.result.equals(usual.result)


# Results, seen


def seconds(*numbers):
    return [datetime(2026, 1, 1) + timedelta(seconds=number) for number in numbers]


def test_tumbling(windows):
    rows = pl.DataFrame(
        {"t": seconds(3, 4, 12, 9, 31), "k": ["a", "b", "a", "a", "b"], "x": [1, 2, 3, 4, None]}
    )
    node = windows.node(rows.schema, pl.len(), total=col("x").sum(), every="10s", group_by="k")
    assert_frame_equal(
        windows.check(node, rows, [2, 3]).result,
        pl.DataFrame(
            {
                "k": ["a", "b", "a", "b"],
                "t": seconds(0, 0, 10, 30),
                "len": [2, 1, 1, 1],
                "total": [5, 2, 3, 0],
            },
            schema_overrides={"len": pl.get_index_type()},
        ),
    )


def test_hopping_gives_every_window_that_holds_the_row(windows):
    rows = pl.DataFrame({"t": seconds(7), "x": [1]})
    node = windows.node(rows.schema, col("x").sum(), every="5s", period="10s")
    assert windows.check(node, rows).result.rows() == [(seconds(0)[0], 1), (seconds(5)[0], 1)]


def test_windows_close_while_rows_come(windows):
    rows = pl.DataFrame({"t": seconds(1, 12, 11, 25, 40)})
    node = windows.node(rows.schema, pl.len(), every="10s")
    closed = windows.replay(node, rows, [1, 2, 3, 4]).frames
    assert [frame.rows() for frame in closed] == [
        [(seconds(0)[0], 1)],
        [(seconds(10)[0], 2)],
        [(seconds(20)[0], 1)],
        [(seconds(40)[0], 1)],
    ]


def test_the_watermark_of_the_output_is_the_start_of_the_first_open_window(windows):
    node = windows.node({"t": pl.Datetime("us")}, pl.len(), every="5us", period="10us")
    operator = windows.replay(node, windows.frame([(0,)], {"t": pl.Datetime("us")})).operator
    assert operator.on_watermark(END_OF_TIME) == ([], END_OF_TIME)
    fresh = windows.begin(node)
    assert fresh.on_watermark(9) == ([], 0)
    assert fresh.on_watermark(10) == ([], 5)
    assert fresh.on_watermark(3) == ([], 5)  # it never goes back


TIMES = {"t": pl.Datetime("us"), "x": pl.Int64}


def test_late_rows_and_missed_windows(windows):
    # Windows [0, 10), [5, 15), [10, 20) …; 5 us of lateness; the clock of the last two rows is 20.
    node = windows.node(TIMES, col("x").implode(), every="5us", period="10us", lateness="5us")
    rows = windows.frame([(1, 1), (20, 2), (12, 3), (7, 4)], TIMES)
    done = windows.check(node, rows, [1, 3])
    by_start = dict(done.result.select(col("t").to_physical(), "x").iter_rows())
    assert by_start == {-5: [1], 0: [1], 10: [3], 15: [2], 20: [2]}
    assert done.operator.late_rows == 1  # 7 lies in [0, 10) and [5, 15)
    assert done.operator.missed_windows == 1  # 12 lies in [5, 15) too
    assert done.operator.lateness_needed == 20 - 10 + 1


def test_with_the_lateness_that_was_needed_nothing_is_late(windows):
    rows = windows.frame([(1, 1), (20, 2), (12, 3), (7, 4)], TIMES)
    for lateness, late in ((11, None), (10, 11)):
        node = windows.node(TIMES, pl.len(), every="5us", period="10us", lateness=f"{lateness}us")
        assert windows.check(node, rows).operator.lateness_needed == late


@pytest.mark.parametrize("aggregate", [col("x").sum(), col("x").median()], ids=["folded", "kept"])
@pytest.mark.parametrize("every", ["10us", "1mo"])
def test_a_row_of_a_closed_window_is_an_error_where_nothing_can_be_late(windows, every, aggregate):
    node = windows.node(TIMES, aggregate, every=every)
    operator = windows.begin(node)
    operator.process(windows.frame([(5, 1)], TIMES))
    operator.on_watermark(20 if every == "10us" else 35 * 86_400 * 10**6)
    operator.process(windows.frame([(40 * 86_400 * 10**6, 1)], TIMES))
    with pytest.raises(DataError, match="a row is older than the source's statistics say"):
        operator.process(windows.frame([(9, 1)], TIMES))


def test_groups_come_by_window_and_first_row(windows):
    rows = windows.frame([(15, 1), (5, 2), (14, 2), (3, 1), (1, 3)], TIMES)
    node = windows.node(TIMES, n=pl.len(), every="10us", group_by="x")
    assert windows.check(node, rows).result.get_column("x").to_list() == [2, 1, 3, 1, 2]


def test_the_first_row_of_a_group_is_by_partition_then_position(windows):
    rows = windows.frame([(1, 1), (1, 2), (1, 3), (1, 1)], TIMES, partitions=[1, 1, 0, 0])
    node = windows.node(TIMES, n=pl.len(), every="10us", group_by="x")
    done = windows.check(node, rows, [1, 3], partitions=2)
    assert done.result.get_column("x").to_list() == [3, 1, 2]


@pytest.mark.parametrize("period", ["10us", "20us"])
def test_of_equal_times_the_lower_partition_comes_first(windows, period):
    rows = windows.frame([(5, 1), (5, 2), (5, 3), (4, 4)], TIMES, partitions=[1, 0, 1, 1])
    node = windows.node(
        TIMES,
        first=col("x").first(),
        last=col("x").last(),
        rows=col("x").implode(),
        every="10us",
        period=period,
    )
    last = windows.check(node, rows, [1], partitions=2).result.rows()[-1]
    assert last[1:] == (4, 3, [4, 2, 1, 3])


def test_equal_times_of_rows_that_miss_a_window(windows):
    # The last row of partition 0 misses [0, 10), and so enters [5, 15) by itself: still before partition 1.
    rows = windows.frame([(7, 1), (12, 2), (7, 3)], TIMES, partitions=[1, 0, 0])
    node = windows.node(
        TIMES,
        first=col("x").first(),
        last=col("x").last(),
        rows=col("x").implode(),
        every="5us",
        period="10us",
        lateness="0us",
    )
    done = windows.check(node, rows, partitions=2)
    assert done.operator.missed_windows == 1
    assert (5, 3, 2, [3, 1, 2]) in done.result.with_columns(col("t").to_physical()).rows()


# Bits


def test_sums_of_floats_are_fsum_to_the_last_place(windows):
    numbers = np.random.default_rng(1).lognormal(0, 6, 3_000)
    rows = pl.DataFrame({"t": np.arange(3_000), "k": np.arange(3_000) % 7, "f": numbers})
    rows = rows.with_columns(col("t").cast(pl.Datetime("us")))
    node = windows.node(
        rows.schema, col("f").sum(), mean=col("f").mean(), every="500us", period="1500us", group_by="k"
    )
    for key, start, total, mean in windows.check(node, rows, [1_000, 1_001]).result.iter_rows():
        at = (start - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        own = [x for i, x in enumerate(numbers) if i % 7 == key and at <= i < at + 1_500]
        assert abs(total - math.fsum(own)) <= math.ulp(total)
        assert abs(mean - math.fsum(own) / len(own)) <= math.ulp(mean)


def test_sums_that_cancel(windows):
    schema = {"t": pl.Datetime("us"), "f": pl.Float64}
    rows = windows.frame([(0, 1e16), (3, 1.0), (5, 1.0), (8, -1e16)], schema)
    node = windows.node(schema, col("f").sum(), every="2us", period="10us")
    found = dict(windows.replay(node, rows, [1, 2, 3]).result.with_columns(col("t").to_physical()).rows())
    assert found[0] == 2.0


SPECIAL = [math.nan, math.inf, -math.inf, -0.0, 1.5, None, 1e300]


@modest
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(SPECIAL)), max_size=12), cut_points)
def test_nan_infinities_and_zeros(windows, rows, points):
    schema = {"t": pl.Datetime("us"), "f": pl.Float64}
    kinds = ("sum", "mean", "min", "max", "first", "last", "count")
    aggregates = [getattr(col("f"), kind)().alias(kind) for kind in kinds]
    node = windows.node(schema, *aggregates, every="10us", period="20us")
    windows.check(node, windows.frame(rows, schema), cut(points, len(rows)))


def test_many_rows_on_two_threads(windows):
    rng = np.random.default_rng(3)
    n = 200_000
    rows = pl.select(
        t=pl.Series(np.arange(n) + rng.integers(-50, 50, n)).cast(pl.Datetime("us")),
        k=pl.Series(rng.integers(0, 30_000, n)),
        x=pl.Series(rng.integers(-(2**40), 2**40, n)),
        y=pl.when(pl.Series(np.arange(n) > 100_000)).then(pl.Series(rng.random(n))),
    )
    for period in ("60000us", "90000us"):
        node = windows.node(
            rows.schema,
            pl.len(),
            col("x").sum(),
            low=col("x").min(),
            y=col("y").sum(),
            y_count=col("y").count(),
            y_first=col("y").first(),
            every="60000us",
            period=period,
            group_by="k",
        )
        one = windows.replay(node, rows)
        with ThreadPoolExecutor(1) as helper:
            two = windows.replay(node, rows, helper=helper)
        assert_frame_equal(one.result, windows.in_windows(node, rows))
        assert two.result.equals(one.result)


# Columns of the result


def test_boundaries_and_label(windows):
    rows = pl.DataFrame({"t": seconds(3), "k": ["a"]})
    options = {"every": "5s", "period": "20s", "group_by": "k", "include_boundaries": True}
    for label, place in (("left", 0), ("right", 1)):
        node = windows.node(rows.schema, pl.len(), label=label, **options)
        result = windows.replay(node, rows).result
        assert result.columns == ["k", "_lower_boundary", "_upper_boundary", "t", "len"]
        starts = seconds(-15, -10, -5, 0)
        assert result.get_column("_lower_boundary").to_list() == starts
        assert result.get_column("_upper_boundary").to_list() == [t + timedelta(seconds=20) for t in starts]
        assert result.get_column("t").to_list() == result.to_series(1 + place).to_list()


def test_no_rows(windows):
    for aggregates in ([pl.len()], [col("x").median().alias("middle")], []):
        node = windows.node(TIMES, *aggregates, every="10us", group_by="x")
        assert windows.check(node, windows.frame([], TIMES)).frames == []


def test_windows_without_aggregates_are_the_distinct_keys(windows):
    rows = windows.frame([(1, 1), (2, 2), (3, 1), (11, 1)], TIMES)
    node = windows.node(TIMES, every="10us", group_by="x")
    assert windows.check(node, rows, [2]).result.get_column("x").to_list() == [1, 2, 1]


# The calendar


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("every", ["1mo", "1d", "3h", "1w"])
def test_windows_of_the_calendar_are_those_of_truncate(windows, every, zone):
    begin, end = datetime(2026, 3, 1), datetime(2026, 4, 15)
    times = pl.datetime_range(begin, end, "47m", eager=True, time_unit="us")
    if zone:
        times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    rows = pl.DataFrame({"t": times, "x": range(len(times))}).with_columns(k=col("x") % 3)
    disordered = rows.sort(col("x") + (col("x") * 7 % 5) * 9)
    node = windows.node(
        rows.schema, col("x").sum(), col("x").median().alias("middle"), every=every, group_by="k"
    )
    expected = windows.in_windows(node, disordered, disordered.get_column("t").dt.truncate(every))
    for options in ({}, {"cuts": [1, 500, 501, 777]}, {"cuts": [100, 800], "restored": True}):
        assert_frame_equal(windows.replay(node, disordered, **options).result, expected)


def test_late_rows_of_calendar_windows(windows):
    zone = "Europe/Berlin"
    days = [datetime(2026, 3, 28, 12), datetime(2026, 3, 29, 23), datetime(2026, 3, 30, 1)]
    times = [days[0], days[1], days[0], days[2], days[1], days[0]]
    rows = pl.DataFrame({"t": pl.Series(times).dt.replace_time_zone(zone), "x": [1, 2, 3, 4, 5, 6]})
    for aggregate in (col("x").sum(), col("x").implode()):
        # Sunday, of 23 hours, ends at midnight: one hour before Monday's first row.
        node = windows.node(rows.schema, aggregate, every="1d", lateness="2h")
        for cuts, restored in (([], False), ([1, 2, 3, 4], True)):
            done = windows.replay(node, rows, cuts, restored=restored)
            totals = [x if isinstance(x, int) else sum(x) for x in done.result.get_column("x")]
            assert totals == [1, 7, 4]
            assert done.operator.late_rows == 2
            hours = done.operator.lateness_needed / 3_600e6
            assert hours == pytest.approx(24)  # from Sunday's midnight to Monday 1:00
