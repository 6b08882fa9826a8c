"""One query, one answer: what a stream gives is what Polars gives over the whole input, in order of time."""

from __future__ import annotations

import warnings

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from system.frames import aggregations, frames, plans

import arrowstream as ars

EXAMPLES = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


def applied(plan, stream):
    for step in plan:
        stream = step(stream)
    return stream


def windows_of(frame, every, period, offset):
    """Each row once for every window that it lies in, with the start of the window."""
    time = pl.col("t").to_physical()
    last = (time - offset) // every * every + offset
    hops = range(-(-period // every))
    exploded = [
        frame.with_columns(start=last - hop * every).filter(pl.col("start") + period > time) for hop in hops
    ]
    return pl.concat(exploded)


def expected(rows, keys, aggs, dtype):
    """Polars' own result over the exploded rows, sorted stably by time; groups by window and first row."""
    return (
        rows.sort("t", "row")
        .group_by("start", *keys, maintain_order=True)
        .agg(*aggs, pl.col("row").min())
        .sort("start", "row")
        .select(*keys, pl.col("start").cast(dtype).alias("t"), *(a.meta.output_name() for a in aggs))
    )


def same(result, oracle):
    """Equal, floats to a tolerance: Polars' own sums are not compensated."""
    assert_frame_equal(result, oracle, rel_tol=1e-6, abs_tol=1e-9)


def same_bits(result, reference):
    assert result.schema == reference.schema
    assert result.equals(reference, null_equal=True)


@EXAMPLES
@given(frame=frames(), plan=plans, batch_rows=st.sampled_from([1, 2, 7, 1000]))
def test_row_steps(frame, plan, batch_rows):
    stream = applied(plan, ars.from_polars(frame, event_time="t"))
    oracle = applied(plan, frame.lazy()).collect()
    assert_frame_equal(stream.collect(progress=False, batch_rows=batch_rows), oracle)
    assert stream.collect_schema() == oracle.schema


@EXAMPLES
@given(data=st.data(), frame=frames(), plan=plans, batch_rows=st.sampled_from([1, 3, 11]))
def test_windows(data, frame, plan, batch_rows):
    every = data.draw(st.sampled_from([50, 100, 170]), "every")
    period = data.draw(st.sampled_from([every, every, 2 * every, every + 20, 30]), "period")
    offset = data.draw(st.sampled_from([0, 0, 13]), "offset")
    keys = data.draw(st.sampled_from([["a"], ["n"], ["a", "b"], []]), "keys")
    aggs = data.draw(aggregations(applied(plan, frame.lazy()).collect_schema()), "aggs")
    unit = frame.schema["t"].time_unit
    stream = (
        applied(plan, ars.from_polars(frame, event_time="t"))
        .group_by_dynamic(
            "t",
            every=f"{every}{unit}",
            period=f"{period}{unit}",
            offset=f"{offset}{unit}",
            group_by=keys or None,
        )
        .agg(*aggs)
    )
    rows = applied(plan, frame.lazy()).collect().with_row_index("row")
    oracle = expected(windows_of(rows, every, period, offset), keys, aggs, frame.schema["t"])
    whole = stream.collect(progress=False)
    same(whole, oracle)
    same_bits(stream.collect(progress=False, batch_rows=batch_rows), whole)


@EXAMPLES
@given(data=st.data(), frame=frames(disorder=400), lateness=st.sampled_from([0, 20, 150]))
def test_late_rows(data, frame, lateness):
    every = data.draw(st.sampled_from([50, 100]), "every")
    period = data.draw(st.sampled_from([every, 3 * every, every + 25]), "period")
    unit = frame.schema["t"].time_unit
    windows = ars.from_polars(frame, event_time="t", lateness=f"{lateness}{unit}").group_by_dynamic(
        "t", every=f"{every}{unit}", period=f"{period}{unit}", group_by="n"
    )
    aggs = [pl.len().alias("rows"), pl.col("n").sum().alias("total"), pl.col("t").max().alias("newest")]
    # The definition, in plain Python: a window is missed if it ends at or before the row's watermark.
    highest, entered, late, needed = None, [], [], 0
    for row, time in enumerate(frame["t"].to_physical().to_list()):
        watermark = None if highest is None else highest - lateness
        starts = [s for s in range(time // every * every - period - every, time + 1, 1) if s % every == 0]
        inside = [s for s in starts if s <= time < s + period]
        kept = [s for s in inside if watermark is None or s + period > watermark]
        missed = [s for s in inside if s not in kept]
        needed = max([needed, *(highest - (s + period) + 1 for s in missed)]) if missed else needed
        entered += [(row, s) for s in kept]
        if inside and not kept:
            late.append(row)
        highest = time if highest is None else max(highest, time)
    numbered = frame.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    pairs = pl.DataFrame(entered, schema={"row": pl.Int64, "start": pl.Int64}, orient="row")
    oracle = expected(
        pairs.join(numbered, on="row", how="left", maintain_order="left"), ["n"], aggs, frame.schema["t"]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = windows.agg(*aggs).collect(
            progress=False, batch_rows=data.draw(st.sampled_from([1, 5, 100]))
        )
    same(result, oracle)
    assert_frame_equal(windows.late().collect(progress=False, batch_rows=3), frame[late])
    assert bool(caught) == bool(late or len(entered) < _all_pairs(frame, every, period))
    if needed:
        enough = ars.from_polars(frame, event_time="t", lateness=f"{needed}{unit}").group_by_dynamic(
            "t", every=f"{every}{unit}", period=f"{period}{unit}", group_by="n"
        )
        assert enough.late().collect(progress=False).height == 0


def _all_pairs(frame, every, period):
    return windows_of(frame, every, period, 0).height


@pytest.mark.parametrize("every", ["1mo", "1d", "1w", "3h"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_calendar_windows_are_those_of_truncate(every, zone):
    times = pl.datetime_range(
        pl.datetime(2026, 3, 20), pl.datetime(2026, 4, 9), "37m", time_unit="ms", eager=True
    ).dt.replace_time_zone(zone, non_existent="null")
    frame = pl.DataFrame({"t": times, "v": range(len(times))}).drop_nulls()
    result = (
        ars.from_polars(frame, event_time="t")
        .group_by_dynamic("t", every=every)
        .agg(pl.col("v").sum(), rows=pl.len())
        .collect(progress=False, batch_rows=100)
    )
    oracle = (
        frame.group_by(pl.col("t").dt.truncate(every), maintain_order=True)
        .agg(pl.col("v").sum(), rows=pl.len())
        .sort("t")
    )
    assert_frame_equal(result, oracle)
