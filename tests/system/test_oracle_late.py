"""Late rows, several partitions, the order of output: against the definition, written out in plain Python."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from itertools import pairwise

import polars as pl
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from system.random_aggregations import aggregations, assert_close, assert_same, scale_of
from system.random_plans import collected
from system.random_rows import KEYS, columns, times

import arrowstream as ars

EXAMPLES = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@dataclass(frozen=True)
class Grid:
    """Windows [offset + k * every, ... + period)."""

    every: int
    period: int
    offset: int

    def windows_of(self, time):
        """Starts of all windows that hold `time`, by trying every start near it."""
        lowest = (time - self.period - self.offset) // self.every - 1
        starts = [self.offset + self.every * k for k in range(lowest, (time - self.offset) // self.every + 2)]
        return [start for start in starts if start <= time < start + self.period]


@dataclass
class Verdict:
    """What the definition says about every row."""

    entered: list[tuple[int, int]] = field(default_factory=list)  # row, start of window
    late: list[int] = field(default_factory=list)
    missed_windows: int = 0
    needed: int = 0


def in_merged_order(partitions):
    """Rows as (partition, position, time), by (running maximum, partition, position)."""
    rows = []
    for partition, moments in enumerate(partitions):
        highest = None
        for position, time in enumerate(moments):
            if time is not None:
                highest = time if highest is None else max(highest, time)
            rows.append(((-(2**63) if highest is None else highest), partition, position, time))
    return [(partition, position, time) for _, partition, position, time in sorted(rows, key=lambda r: r[:3])]


def judged(partitions, grid, lateness):
    """The definition: a window is missed if it ends at or before the watermark of the row's own partition.

    That watermark is the largest time of the rows before it in its partition, minus the lateness.
    """
    verdict = Verdict()
    highest = dict.fromkeys(range(len(partitions)))
    for number, (partition, _, time) in enumerate(in_merged_order(partitions)):
        if time is None:
            continue
        before = highest[partition]
        watermark = None if before is None or lateness is None else before - lateness
        windows = grid.windows_of(time)
        kept = [start for start in windows if watermark is None or start + grid.period > watermark]
        missed = [start for start in windows if start not in kept]
        verdict.entered += [(number, start) for start in kept]
        if windows and not kept:
            verdict.late.append(number)
        elif missed:
            verdict.missed_windows += len(missed)
        for start in missed:
            verdict.needed = max(verdict.needed, before - (start + grid.period) + 1)
        highest[partition] = time if before is None else max(before, time)
    return verdict


def oracle_of(frame, partitions, verdict, keys, aggs):
    """Polars over the rows that entered, window by window, in the order of the design.

    `frame` is in merged order. Within a group rows are in the order of time, partition, position; groups come
    by window, then by their first row: the lowest (partition, position).
    """
    merged = in_merged_order(partitions)
    places = pl.DataFrame(
        {"__partition": [row[0] for row in merged], "__position": [row[1] for row in merged]},
        schema={"__partition": pl.Int64, "__position": pl.Int64},
    )
    pairs = pl.DataFrame(verdict.entered, schema={"__row": pl.Int64, "start": pl.Int64}, orient="row")
    numbered = frame.hstack(places).with_columns(__row=pl.int_range(pl.len(), dtype=pl.Int64))
    rows = pairs.join(numbered, on="__row", how="left", maintain_order="left").sort(
        "start", "t", "__partition", "__position"
    )
    lean = rows.drop("__row", "__partition", "__position")
    by_window = collected(lean.lazy().group_by("start", *keys, maintain_order=True).agg(*aggs))
    first = (
        pl.struct("__partition", "__position").sort_by("__partition", "__position").first().alias("__first")
    )
    order = collected(rows.lazy().group_by("start", *keys, maintain_order=True).agg(first)).unnest("__first")
    named = [name for name in by_window.columns if name not in {"start", *keys}]
    return (
        by_window.with_columns(order["__partition"], order["__position"])
        .sort("start", "__partition", "__position")
        .select(*keys, pl.col("start").cast(frame.schema["t"]).alias("t"), *named)
    )


@st.composite
def partitioned(draw, *, partitions_max=4):
    """A frame with one event time in disorder, cut into partitions, each with some rows or none."""
    rows = draw(st.integers(0, 30))
    frame = pl.DataFrame(
        [
            draw(times(rows, disorder=draw(st.sampled_from([0, 60, 400])))),
            draw(columns("k", rows, KEYS)),
            draw(columns("c0", rows)),
            draw(columns("c1", rows)),
        ]
    )
    if rows and draw(st.booleans()):
        picks = draw(st.lists(st.integers(0, min(rows, 3) - 1), min_size=rows, max_size=rows))
        frame = frame.with_columns(frame["k"].gather(picks))
    count = draw(st.integers(1, partitions_max))
    cuts = sorted(draw(st.lists(st.integers(0, rows), min_size=count - 1, max_size=count - 1)))
    parts = [frame[begin:end] for begin, end in pairwise([0, *cuts, rows])]
    if draw(st.booleans()):  # all at the same time, not one after the other
        dtype, low = frame.schema["t"], frame["t"].min()
        parts = [
            part.with_columns((pl.col("t") - pl.col("t").min() + low).cast(dtype)) if len(part) else part
            for part in parts
        ]
    return parts


grids = st.builds(
    lambda every, hops, extra, offset: Grid(every, max(1, every * hops + extra), offset),
    st.sampled_from([1, 50, 100]),
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([0, 0, 0, 17, -20]),
    st.sampled_from([0, 13]),
)


def windows_on(stream, grid, unit, keys):
    return stream.group_by_dynamic(
        "t",
        every=f"{grid.every}{unit}",
        period=f"{grid.period}{unit}",
        offset=f"{grid.offset}{unit}",
        group_by=keys or None,
    )


def written(parts, folder, row_group_size):
    for number, part in enumerate(parts):
        part.write_parquet(folder / f"p{number}.parquet", row_group_size=row_group_size)
    return folder


@EXAMPLES
@given(
    data=st.data(),
    parts=partitioned(),
    grid=grids,
    lateness=st.sampled_from([None, 0, 20, 150]),
    keys=st.sampled_from([[], ["k"], ["k"]]),
    batch_rows=st.lists(st.integers(1, 12), min_size=1, max_size=2),
)
def test_partitions_with_clocks_of_their_own(data, parts, grid, lateness, keys, batch_rows, tmp_path_factory):
    unit = parts[0].schema["t"].time_unit
    aggs = data.draw(aggregations(parts[0].schema, keys), "aggs")
    assume(not any("all()" in str(expr) for expr in aggs))
    moments = [part["t"].to_physical().to_list() for part in parts]
    merged = in_merged_order(moments)
    whole = pl.concat(
        [parts[partition][position : position + 1] for partition, position, _ in merged] or parts
    )
    verdict = judged(moments, grid, lateness)
    try:
        oracle = oracle_of(whole, moments, verdict, keys, aggs)
    except POLARS_ERRORS:
        assume(False)
    folder = written(parts, tmp_path_factory.mktemp("parts"), data.draw(st.integers(1, 9), "row group"))
    scan = ars.scan_parquet(
        folder,
        event_time="t",
        lateness=None if lateness is None else f"{lateness}{unit}",
        clock_by="file",
    )
    windows = windows_on(scan, grid, unit, keys)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = windows.agg(*aggs).collect(progress=False)
    assert_close(result, oracle, scale_of(whole))
    told = [str(warning.message) for warning in caught if warning.category is ars.LateRowsWarning]
    assert bool(told) == bool(verdict.late or verdict.missed_windows)
    assert_frame_equal(windows.late().collect(progress=False), whole[verdict.late])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ars.LateRowsWarning)
        for rows in batch_rows:
            assert_same(windows.agg(*aggs).collect(progress=False, batch_rows=rows), result)
            assert_same(windows.late().collect(progress=False, batch_rows=rows), whole[verdict.late])
        report = ars.run(
            [windows.agg(*aggs).sink_batches(_nothing), windows.late().sink_batches(_nothing)],
            progress=False,
            batch_rows=batch_rows[0],
        )
    _check_counts(report, verdict, whole, result)
    if verdict.needed:
        _check_needed(report.lateness_needed, folder, grid, unit, keys)


def _nothing(frame):
    pass


def _check_counts(report, verdict, whole, result):
    assert report.rows_in == whole.height
    assert report.rows_out == result.height + len(verdict.late)
    assert list(report.rows_out_by_sink.values()) == [result.height, len(verdict.late)]
    assert (report.late_rows, report.missed_windows) == (len(verdict.late), verdict.missed_windows)
    assert (report.lateness_needed is None) == (verdict.needed == 0)


def _check_needed(suggested, folder, grid, unit, keys):
    """The suggestion keeps every row, and anything shorter does not."""

    def report(lateness):
        scan = ars.scan_parquet(folder, event_time="t", lateness=lateness, clock_by="file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ars.LateRowsWarning)
            return windows_on(scan, grid, unit, keys).agg(pl.len()).sink_batches(_nothing).run(progress=False)

    enough = report(suggested)
    assert (enough.late_rows, enough.missed_windows, enough.lateness_needed) == (0, 0, None)
    unit_ns = {"ms": 1_000_000, "us": 1_000, "ns": 1}[unit]
    shorter = _nanoseconds(suggested) - unit_ns
    too_little = report(f"{shorter}ns")
    assert too_little.late_rows + too_little.missed_windows > 0


def _nanoseconds(duration):
    """Of a Polars duration, by asking Polars."""
    begin = pl.Series([0]).cast(pl.Datetime("ns"))
    return begin.dt.offset_by(duration).to_physical().item()


@EXAMPLES
@given(
    data=st.data(),
    frame=partitioned(partitions_max=1).map(lambda parts: parts[0]),
    grid=grids,
    lateness=st.sampled_from([0, 20, 150]),
    batch_rows=st.integers(1, 12),
)
def test_event_time_declared_after_other_steps(data, frame, grid, lateness, batch_rows):
    """The watermark sees the rows that enter `with_event_time`: a filter before counts, one after not."""
    unit = frame.schema["t"].time_unit
    nulls = data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame)), "nulls")
    before = data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame)), "filtered before")
    after = data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame)), "filtered after")
    flags = pl.DataFrame(
        {"before": before, "after": after, "hole": nulls},
        schema=dict.fromkeys(("before", "after", "hole"), pl.Boolean),
    )
    frame = frame.hstack(flags).with_columns(
        (pl.when(~pl.col("hole")).then(pl.col("t").dt.offset_by("0ns"))).alias("u")
    )
    stream = (
        ars.from_polars(frame)
        .filter("before")
        .with_event_time("u", lateness=f"{lateness}{unit}", on_error="skip")
        .filter("after")
        .select("k", n=pl.col("c0").is_null(), t=pl.col("u"))
    )
    entering = frame.filter("before")
    moments = entering["u"].to_physical().to_list()
    verdict = judged([moments], grid, lateness)
    chosen = {row for row, passed in enumerate(entering["after"]) if passed}
    rows = [(row, start) for row, start in verdict.entered if row in chosen]
    late = [row for row in verdict.late if row in chosen]
    passed = entering.select("k", n=pl.col("c0").is_null(), t=pl.col("u"))
    aggs = [pl.len().alias("rows"), pl.col("k").last()]
    oracle = oracle_of(passed, [moments], Verdict(rows), ["n"], aggs)
    windows = windows_on(stream, grid, unit, ["n"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ars.LateRowsWarning)
        result = windows.agg(*aggs).collect(progress=False, batch_rows=batch_rows)
        report = windows.late().sink_batches(_nothing).run(progress=False)
    assert_frame_equal(result, oracle)
    assert_frame_equal(windows.late().collect(progress=False, batch_rows=batch_rows), passed[late])
    assert report.skipped_rows == entering["u"].null_count()


@EXAMPLES
@given(
    frame=partitioned(partitions_max=1).map(lambda parts: parts[0]),
    lateness=st.sampled_from([None, 0, 150]),
    hops=st.sampled_from([1, 2]),
    batch_rows=st.lists(st.integers(1, 12), min_size=1, max_size=2),
)
def test_windows_of_windows(frame, lateness, hops, batch_rows):
    """A stream of windows is a stream again: its event time is the start, and no row of it is late."""
    unit = frame.schema["t"].time_unit
    stream = ars.from_polars(
        frame, event_time="t", lateness=None if lateness is None else f"{lateness}{unit}"
    )
    inner = stream.group_by_dynamic("t", every=f"50{unit}", period=f"{50 * hops}{unit}", group_by="k").agg(
        n=pl.len()
    )
    outer = (
        inner.filter(pl.col("n") > 1)
        .group_by_dynamic("t", every=f"100{unit}", period=f"{100 * hops}{unit}")
        .agg(groups=pl.len(), rows=pl.col("n").sum(), most=pl.col("n").median(), last=pl.col("k").last())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ars.LateRowsWarning)
        first = inner.collect(progress=False).filter(pl.col("n") > 1)
        whole = outer.collect(progress=False)
        for rows in batch_rows:
            assert_same(outer.collect(progress=False, batch_rows=rows), whole)
    starts = first["t"].to_physical().to_list()
    entered = [(row, s) for row, time in enumerate(starts) for s in Grid(100, 100 * hops, 0).windows_of(time)]
    aggs = [
        pl.len().alias("groups"),
        pl.col("n").sum().alias("rows"),
        pl.col("n").median().alias("most"),
        pl.col("k").last().alias("last"),
    ]
    assert_frame_equal(whole, oracle_of(first, [starts], Verdict(entered), [], aggs))
