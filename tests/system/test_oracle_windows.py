"""Windows give what Polars gives for the whole input, sorted stably by time."""

from __future__ import annotations

import math
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from system.random_aggregations import (
    aggregations,
    assert_close,
    assert_same,
    exact_sum,
    exact_variance,
    scale_of,
)
from system.random_plans import applied, collected, plans
from system.random_rows import FLOATS, KEYS, columns, frames, times

import arrowstream as ars

EXAMPLES = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
FIRST_ROW = "first row of the group"


@st.composite
def grids(draw, *, hopping: bool):
    """every, period, offset as integers of the column's unit."""
    every = draw(st.sampled_from([1, 50, 100, 170]))
    periods = [every, 2 * every, 3 * every, every + 20, every * 5 // 2, max(every // 2, 1)]
    period = draw(st.sampled_from(periods)) if hopping else every
    return every, period, draw(st.sampled_from([0, 0, 13, -7, every]))


@st.composite
def rows_and_keys(draw, *, rows_max=30):
    """Rows with columns of any type, and names of up to three of them to group by."""
    rows = draw(st.integers(0, rows_max))
    keys = [f"k{i}" for i in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3])))]
    few = [draw(columns(name, rows, KEYS)) for name in keys]
    if rows and draw(st.booleans()):  # few groups, so that each has several rows
        picks = draw(st.lists(st.integers(0, min(rows, 3) - 1), min_size=rows, max_size=rows))
        few = [column.gather(picks) for column in few]
    values = [draw(columns(f"c{i}", rows)) for i in range(draw(st.integers(1, 3)))]
    return pl.DataFrame([draw(times(rows)), *few, *values]), keys


def durations(frame, **units):
    unit = frame.schema["t"].time_unit
    return {name: f"{value}{unit}" for name, value in units.items()}


def in_windows(frame, every, period, offset):
    """Each row once for every window that it lies in, with the start of the window."""
    time = pl.col("t").to_physical()
    last = (time - offset) // every * every + offset
    hops = range(-(-period // every))
    return pl.concat(
        frame.with_columns(start=last - hop * every).filter(pl.col("start") + period > time) for hop in hops
    )


@EXAMPLES
@given(data=st.data(), drawn=rows_and_keys(), grid=grids(hopping=False), boundaries=st.booleans())
def test_tumbling_is_group_by_dynamic_of_polars(data, drawn, grid, boundaries):
    frame, keys = drawn
    every, period, offset = grid
    aggs = data.draw(aggregations(frame.schema, keys), "aggs")
    options = durations(frame, every=every, period=period, offset=offset)
    options |= {
        "include_boundaries": boundaries,
        "label": data.draw(st.sampled_from(["left", "right"]), "label"),
    }
    options |= {"group_by": keys or None}
    # In the order of time, as a stream sees the rows of a window.
    rows = frame.sort("t", maintain_order=True).lazy()
    numbered = frame.with_row_index(FIRST_ROW).sort("t", FIRST_ROW).lazy()
    try:
        oracle = collected(rows.group_by_dynamic("t", **options).agg(*aggs))
    except POLARS_ERRORS:
        assume(False)
    order = collected(numbered.group_by_dynamic("t", **options).agg(pl.col(FIRST_ROW).min()))
    oracle = oracle.with_columns(order[FIRST_ROW]).sort("t", FIRST_ROW).drop(FIRST_ROW)
    stream = ars.from_polars(frame, event_time="t").group_by_dynamic("t", **options).agg(*aggs)
    assert stream.collect_schema() == oracle.schema
    whole = stream.collect(progress=False)
    assert_close(whole, oracle, scale_of(frame))
    for batch_rows in data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=2), "batch_rows"):
        assert_same(stream.collect(progress=False, batch_rows=batch_rows), whole)


@EXAMPLES
@given(data=st.data(), drawn=rows_and_keys(rows_max=20), grid=grids(hopping=True))
def test_hopping_is_the_query_over_rows_exploded_into_their_windows(data, drawn, grid):
    frame, keys = drawn
    assume(grid[0] > 1 or grid[1] < 4)
    aggs = data.draw(aggregations(frame.schema, keys), "aggs")
    assume(not any("all()" in str(expr) for expr in aggs))  # would see the start of the window as well
    exploded = in_windows(frame.with_row_index(FIRST_ROW), *grid).sort("start", "t", FIRST_ROW)
    rows = exploded.drop(FIRST_ROW)
    try:
        oracle = _by_window(rows, keys, aggs)
    except POLARS_ERRORS:
        assume(False)
    order = _by_window(exploded, keys, [pl.col(FIRST_ROW).min()])
    oracle = (
        oracle.with_columns(order[FIRST_ROW]).sort("start", FIRST_ROW).drop(FIRST_ROW)
        .with_columns(pl.col("start").cast(frame.schema["t"]))
    )  # fmt: skip
    every, period, offset = grid
    options = durations(frame, every=every, period=period, offset=offset)
    stream = (
        ars.from_polars(frame, event_time="t")
        .group_by_dynamic("t", group_by=keys or None, **options)
        .agg(*aggs)
    )
    whole = stream.collect(progress=False)
    assert_close(whole.rename({"t": "start"}), oracle, scale_of(frame))
    for batch_rows in data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=2), "batch_rows"):
        assert_same(stream.collect(progress=False, batch_rows=batch_rows), whole)


def _by_window(rows, keys, aggs):
    return collected(rows.lazy().group_by(*keys, "start", maintain_order=True).agg(*aggs))


@EXAMPLES
@given(data=st.data(), frame=frames(rows_max=25), batch_rows=st.integers(1, 12))
def test_windows_after_row_steps(data, frame, batch_rows):
    plan = data.draw(plans(frame.schema, steps_max=3, keep=("t",)), "plan")
    assume(not any(step.text.startswith("unpivot") for step in plan))  # its order is Polars' own
    try:
        rows = collected(applied(plan, frame.lazy()))
    except POLARS_ERRORS:
        assume(False)
    assume(rows["t"].null_count() == 0)
    keys = data.draw(st.sampled_from([[], [c for c in rows.columns if c != "t"][:1]]), "keys")
    assume(not any(rows.schema[key].is_nested() or rows.schema[key] == pl.Null for key in keys))
    aggs = data.draw(aggregations(rows.schema, keys), "aggs")
    options = durations(frame, every=100) | {"group_by": keys or None}
    try:
        numbered = rows.with_row_index(FIRST_ROW).sort("t", FIRST_ROW).lazy()
        oracle = collected(numbered.drop(FIRST_ROW).group_by_dynamic("t", **options).agg(*aggs))
    except POLARS_ERRORS:
        assume(False)
    order = collected(numbered.group_by_dynamic("t", **options).agg(pl.col(FIRST_ROW).min()))
    oracle = oracle.with_columns(order[FIRST_ROW]).sort("t", FIRST_ROW).drop(FIRST_ROW)
    stream = applied(plan, ars.from_polars(frame, event_time="t")).group_by_dynamic("t", **options).agg(*aggs)
    whole = stream.collect(progress=False)
    assert_close(whole, oracle, scale_of(rows))
    assert_same(stream.collect(progress=False, batch_rows=batch_rows), whole)


@EXAMPLES
@given(
    values=st.lists(st.one_of(st.none(), FLOATS, st.floats(width=64), st.floats(-1e3, 1e3)), max_size=40),
    dtype=st.sampled_from([pl.Float64, pl.Float32]),
    batch_rows=st.integers(1, 12),
    hops=st.sampled_from([1, 3]),
    data=st.data(),
)
def test_float_sums_are_those_of_exact_arithmetic(values, dtype, batch_rows, hops, data):
    moments = data.draw(st.lists(st.integers(0, 90), min_size=len(values), max_size=len(values)), "times")
    frame = pl.DataFrame(
        {
            "t": pl.Series(moments, dtype=pl.Int64).cast(pl.Datetime("ms")),
            "x": pl.Series(values, dtype=dtype, strict=False),
        }
    )
    x = pl.col("x")
    result = (
        ars.from_polars(frame, event_time="t")
        .group_by_dynamic("t", every="30ms", period=f"{30 * hops}ms")
        .agg(sum=x.sum(), mean=x.mean(), var=x.var(), spread=x.std(0))
        .collect(progress=False, batch_rows=batch_rows)
    )
    epsilon = 2.0**-52 if dtype == pl.Float64 else 2.0**-23
    for start, total, mean, var, spread in result.cast({pl.Datetime: pl.Int64}).rows():
        inside = frame.filter(pl.col("t").to_physical().is_between(start, start + 30 * hops, closed="left"))
        floats = inside["x"].drop_nulls().cast(pl.Float64).to_list()
        sum_of_sizes = sum(abs(v) for v in floats if math.isfinite(v))
        slack = 2.0**-90 * sum_of_sizes if math.isfinite(sum_of_sizes) else math.inf
        exact = exact_sum(floats)
        _assert_float(total, exact, epsilon, slack)
        _assert_float(mean, exact / len(floats) if floats else None, 2 * epsilon, slack)
        if any(abs(v) > 1e150 for v in floats if math.isfinite(v)):
            continue  # the square of a deviation overflows
        for found, ddof, root in ((var, 1, False), (spread, 0, True)):
            exact = exact_variance(floats, ddof)
            if exact is None or math.isnan(exact):
                _assert_float(found, exact, 0, 0)
                continue
            # Updating a mean one value at a time costs digits where the mean is large beside the spread.
            largest = max(abs(v) for v in floats)
            error = 100 * len(floats) * (2.0**-52 * math.sqrt(exact) * largest + (2.0**-52 * largest) ** 2)
            if root:
                error = math.sqrt(exact + error) - math.sqrt(max(exact - error, 0))
                exact = math.sqrt(exact)
            _assert_float(found, exact, 4 * epsilon, error)


def _assert_float(found, exact, epsilon, slack):
    if exact is None:
        assert found is None
    elif math.isnan(exact):
        assert math.isnan(found)
    elif epsilon > 1e-10 and abs(exact) > 3e38:  # beyond float32
        assert math.isinf(found) == math.isinf(exact) or math.isinf(found)
    elif math.isinf(exact) or math.isinf(found):
        assert found == exact or (abs(exact) > 1.7e308 and slack > 0)
    else:
        assert abs(found - exact) <= epsilon * abs(exact) + slack + (1e-37 if epsilon > 1e-10 else 1e-300)


@pytest.mark.parametrize(
    "keys",
    [
        [Decimal("1.674"), Decimal("1.9"), Decimal(1), Decimal("1.674")],
        [Decimal(10) ** 30, Decimal(10) ** 30 + 1, None, Decimal(10) ** 30],
        [[1, 2], [1], None, [1, 2]],
        [{"a": 1, "b": None}, {"a": 1, "b": 2}, {"a": None, "b": None}, {"a": 1, "b": None}],
        [b"\x00", b"", None, b"\x00"],
        [0.0, float("nan"), -0.0, float("nan")],
        ["", None, "x" * 20, ""],
    ],
)
def test_groups_without_aggregations(keys):
    frame = pl.DataFrame({"t": pl.Series([0, 1, 2, 3]).cast(pl.Datetime("ms")), "k": keys})
    stream = ars.from_polars(frame, event_time="t").group_by_dynamic("t", every="1s", group_by="k").agg()
    oracle = frame.group_by("k", maintain_order=True).agg(pl.col("t").min().dt.truncate("1s"))
    assert_frame_equal(stream.collect(progress=False), oracle)


@pytest.mark.parametrize("every", ["1mo", "1q", "1d", "1w", "3h", "2mo"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("offset", ["0h", "1h", "-30m"])
def test_calendar_windows_are_those_of_truncate(every, zone, offset):
    moments = pl.datetime_range(
        pl.datetime(2026, 3, 20), pl.datetime(2026, 4, 9), "37m", time_unit="ms", eager=True
    ).dt.replace_time_zone(zone, non_existent="null")
    frame = pl.DataFrame({"t": moments, "v": range(len(moments))}).drop_nulls()
    result = (
        ars.from_polars(frame, event_time="t")
        .group_by_dynamic("t", every=every, offset=offset)
        .agg(pl.col("v").sum(), rows=pl.len())
        .collect(progress=False, batch_rows=100)
    )
    if zone in (None, "UTC") and not every.endswith(("mo", "q")):
        start = (
            pl.col("t").dt.offset_by(f"-{offset}".replace("--", "")).dt.truncate(every).dt.offset_by(offset)
        )
        oracle = frame.group_by(start, maintain_order=True).agg(pl.col("v").sum(), rows=pl.len()).sort("t")
        assert_frame_equal(result, oracle)
    elif offset == "0h":
        start = pl.col("t").dt.truncate(every)
        oracle = frame.group_by(start, maintain_order=True).agg(pl.col("v").sum(), rows=pl.len()).sort("t")
        assert_frame_equal(result, oracle)
    assert result["rows"].sum() == frame.height
    assert result["t"].is_sorted()


@pytest.mark.parametrize("key", ["pl.lit('x')", "pl.col('t').dt.second()", "pl.col('x') * 0"])
def test_bits_do_not_depend_on_what_polars_knows_to_be_sorted(key):
    """Polars notes that a column is sorted, depending on where batches end, and sums up otherwise then."""
    rows = 3_000
    frame = pl.DataFrame(
        {
            "t": pl.Series(range(rows)).cast(pl.Datetime("ms")),
            "x": [math.sin(row) for row in range(rows)],
        }
    )
    stream = (
        ars.from_polars(frame.with_columns(pl.col("t").set_sorted()), event_time="t")
        .with_columns(k=eval(key))
        .group_by_dynamic("t", every="1s", group_by="k")
        .agg(pl.col("x").sum() / pl.len(), s=pl.col("x").skew(), a=pl.col("k").arg_max())
    )
    whole = stream.collect(progress=False)
    for batch_rows in (1, 2, 7, 1_000):
        assert_same(stream.collect(progress=False, batch_rows=batch_rows), whole)
