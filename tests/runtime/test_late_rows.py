from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.connectors.memory.source import FrameSource
from arrowstream.plan import build
from arrowstream.runtime.pipeline import Pipeline

START = datetime(2026, 1, 1)


def frame_of(seconds):
    return pl.DataFrame(
        {"t": pl.Series([START + timedelta(seconds=s) for s in seconds], dtype=pl.Datetime("us"))}
    )


def late_seconds(frame, *, lateness, batch_rows=None, **windows):
    node = build.scan(FrameSource(frame), event_time="t", lateness=lateness)
    pipeline = Pipeline([build.late_rows(build.window(node, "t", **windows))])
    frames = [late for piece in frame.iter_slices(batch_rows or 10) for _, late in pipeline.push(piece)]
    times = pl.concat([frame.clear(), *frames])["t"]
    return [int((time - START).total_seconds()) for time in times]


def plain_late(seconds, *, lateness, every, period):
    """The definition, written out: late is a row that has windows, all of them closed."""
    late, highest = [], None
    for second in seconds:
        last_end = second - second % every + period
        if second < last_end and highest is not None and last_end <= highest - lateness:
            late.append(second)
        highest = second if highest is None else max(highest, second)
    return late


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=30),
    st.integers(0, 5),
    st.sampled_from([(10, 10), (10, 20), (10, 4)]),
    st.integers(1, 30),
)
def test_late_rows_are_those_of_the_definition(seconds, lateness, grid, batch_rows):
    every, period = grid
    found = late_seconds(
        frame_of(seconds),
        lateness=timedelta(seconds=lateness),
        batch_rows=batch_rows,
        every=f"{every}s",
        period=f"{period}s",
    )
    assert found == plain_late(seconds, lateness=lateness, every=every, period=period)


def test_without_lateness_nothing_is_late():
    assert late_seconds(frame_of([50, 1]), lateness=None, every="10s") == []


@pytest.mark.parametrize("offset", ["0s", "3s"])
def test_the_bound_is_the_end_of_the_window(offset):
    shift = int(offset[0])
    seconds = [15 + shift, 9 + shift, 10 + shift]
    assert late_seconds(frame_of(seconds), lateness="5s", every="10s", offset=offset) == [9 + shift]


def test_calendar_windows():
    assert late_seconds(frame_of([86_400 * 40, 5, 86_400 * 32]), lateness="0s", every="1mo") == [5]
