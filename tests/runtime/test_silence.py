from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from arrowstream.config import NO_TIME, PARTITION
from arrowstream.connectors.memory.source import FrameSource
from arrowstream.plan import build
from arrowstream.runtime.metrics import RateMeter
from arrowstream.runtime.pipeline import Pipeline
from arrowstream.runtime.silence import explain_silence

START = datetime(2026, 1, 1)


def rows(*seconds):
    times = [START + timedelta(seconds=second) for second in seconds]
    return pl.DataFrame({"t": times}, schema={"t": pl.Datetime("us")})


def windows(**scan_options):
    node = build.scan(FrameSource(rows()), event_time="t", **scan_options)
    return build.aggregate(build.window(node, "t", every="10s"), pl.len())


def test_nothing_has_come():
    assert explain_silence(Pipeline([windows()])) == "no row has come from the source yet"


def test_no_row_passes_a_filter():
    node = build.row_step(build.scan(FrameSource(rows())), "filter", pl.col("t").is_null())
    pipeline = Pipeline([node])
    pipeline.push(rows(1, 2))
    assert explain_silence(pipeline) == "rows-2: none of 2 rows has passed it"


def test_the_source_does_not_know_the_earliest_time():
    pipeline = Pipeline([windows()])
    pipeline.push(rows(1, 12))
    pipeline.advance(NO_TIME)
    assert explain_silence(pipeline).splitlines() == [
        (
            "event-time-1: the watermark is minus infinity until the input ends: without lateness it is the "
            "earliest 't' that is still to be read, which this source cannot tell"
        ),
        "window-2: 2 rows wait in open windows",
    ]


def test_a_partition_holds_the_watermark_back():
    pipeline = Pipeline([windows(lateness="5s")], partitions=("a", "b"))
    first = rows(1, 12).with_columns(pl.Series(PARTITION, [0, 0], pl.UInt32))
    pipeline.push(first)
    pipeline.advance(NO_TIME)
    assert "as long as partition 'b' has delivered no row" in explain_silence(pipeline)
    pipeline.push(rows(3).with_columns(pl.Series(PARTITION, [1], pl.UInt32)))
    pipeline.advance(NO_TIME)
    assert explain_silence(pipeline) == (
        "window-2: 3 rows wait in open windows; the watermark is at 2025-12-31 23:59:58, "
        "which is 5s behind the latest row; partition 'b' is furthest behind"
    )


def test_rows_are_coming_out():
    pipeline = Pipeline([windows()])
    pipeline.push(rows(1, 12))
    pipeline.finish()
    assert explain_silence(pipeline) == "rows are coming out: 2 rows so far"


def test_the_rate_is_that_of_the_last_seconds():
    now = [0.0]
    meter = RateMeter(lambda: now[0])
    rate = meter.rate(0)
    assert rate == 0
    for second in range(1, 11):
        now[0] = second
        rate = meter.rate(second * (100 if second <= 5 else 200))
    assert rate == 200
