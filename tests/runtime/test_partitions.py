"""Several partitions, with the definitions of the watermark and of late rows written out in plain Python."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.connectors.memory.source import FrameReader
from arrowstream.errors import LateRowsWarning
from arrowstream.plan import build
from arrowstream.runtime.local import iterate, run_job
from arrowstream.runtime.options import run_options

START = datetime(2026, 1, 1)
SCHEMA = pl.Schema({"t": pl.Datetime("us"), "x": pl.Int64})
EVERY = 10


@dataclass(frozen=True)
class PartitionedSource:
    """A frame for each partition."""

    frames: tuple[pl.DataFrame, ...]
    event_time: str | None = None
    bounded = True
    replayable = True

    @property
    def schema(self):
        return self.frames[0].to_arrow(compat_level=pl.CompatLevel.oldest()).schema

    @property
    def polars_schema(self):
        return SCHEMA

    def partitions(self):
        return [f"p{index}" for index in range(len(self.frames))]

    def with_event_time(self, column):
        return PartitionedSource(self.frames, column)

    def open(self, partition, position):
        return FrameReader(self.frames[int(partition[1:])], self.event_time, position or 0)


def source_of(partitions):
    frames, x = [], 0
    for seconds in partitions:
        times = [START + timedelta(seconds=second) for second in seconds]
        frames.append(pl.DataFrame({"t": times, "x": range(x, x + len(times))}, schema=SCHEMA))
        x += len(times)
    return PartitionedSource(tuple(frames))


def in_order(partitions):
    """All rows by (running maximum, partition, position): (second, x, clock of the row)."""
    rows, x = [], 0
    for partition, seconds in enumerate(partitions):
        clock = None
        for position, second in enumerate(seconds):
            highest = second if clock is None else max(clock, second)
            rows.append((highest, partition, position, second, x, clock))
            clock, x = highest, x + 1
    return [row[3:] for row in sorted(rows)]


def in_time(partitions, lateness):
    """Rows whose window had not ended at their clock, and the others."""
    kept, late = [], []
    for second, x, clock in in_order(partitions):
        end = second - second % EVERY + EVERY
        is_late = lateness is not None and clock is not None and end <= clock - lateness
        (late if is_late else kept).append((second, x))
    return kept, late


def sums(rows):
    found = {}
    for second, x in rows:
        window = START + timedelta(seconds=second - second % EVERY)
        found[window] = found.get(window, 0) + x
    return sorted(found.items())


def roots_of(partitions, lateness):
    node = build.scan(
        source_of(partitions),
        event_time="t",
        lateness=None if lateness is None else timedelta(seconds=lateness),
    )
    windows = build.window(node, "t", every=f"{EVERY}s")
    return node, build.aggregate(windows, pl.col("x").sum()), build.late_rows(windows)


partitions_of_seconds = st.lists(st.lists(st.integers(0, 45), max_size=8), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(partitions_of_seconds, st.sampled_from([None, 0, 3, 12]), st.sampled_from([1, 2, 5, "auto"]))
def test_rows_windows_and_late_rows_are_those_of_the_definition(partitions, lateness, batch_rows):
    options = run_options(batch_rows=batch_rows, environment={})
    kept, late = in_time(partitions, lateness)
    rows, windows, late_rows = roots_of(partitions, lateness)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LateRowsWarning)
        assert [x for frame in iterate(rows, options) for x in frame["x"]] == [
            x for _, x, _ in in_order(partitions)
        ]
        assert [row for frame in iterate(windows, options) for row in frame.rows()] == sums(kept)
        assert [x for frame in iterate(late_rows, options) for x in frame["x"]] == [x for _, x in late]


@settings(deadline=None, max_examples=25)
@given(partitions_of_seconds, st.sampled_from([None, 3]), st.integers(1, 6))
def test_what_each_epoch_publishes_does_not_depend_on_batches(epochs_sink, partitions, lateness, epoch_rows):
    published, reports = [], []
    for batch_rows in (1, 3, "auto"):
        sinks = [epochs_sink() for _ in range(3)]
        roots = roots_of(partitions, lateness)
        named = zip(roots, sinks, ("rows", "windows", "late"), strict=True)
        jobs = [build.sinked(node, sink, name) for node, sink, name in named]
        settings_ = run_options(batch_rows=batch_rows, checkpoint_every=epoch_rows, environment={})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LateRowsWarning)
            reports.append(run_job(jobs, settings_))
        published.append([{epoch: frame.rows() for epoch, frame in sink.published.items()} for sink in sinks])
    assert published[0] == published[1] == published[2]
    kept, late = in_time(partitions, lateness)
    assert [row for rows in published[0][1].values() for row in rows] == sums(kept)
    for report in reports:
        assert report.rows_in == len(kept) + len(late)
        assert report.late_rows == len(late)
        assert report.epochs == report.rows_in // epoch_rows + 1


@settings(deadline=None, max_examples=25)
@given(partitions_of_seconds, st.integers(0, 4))
def test_the_lateness_that_is_said_to_be_needed_keeps_every_row(epochs_sink, partitions, lateness):
    def report_of(given_lateness):
        node = build.scan(source_of(partitions), event_time="t", lateness=given_lateness)
        windows = build.aggregate(build.window(node, "t", every=f"{EVERY}s"), pl.len())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LateRowsWarning)
            return run_job([build.sinked(windows, epochs_sink(), "out")], run_options(environment={}))

    report = report_of(timedelta(seconds=lateness))
    assert (report.lateness_needed is None) == (report.late_rows == 0)
    if report.lateness_needed is not None:
        assert report_of(report.lateness_needed).late_rows == 0


class Crash(BaseException):
    """As if the process had been killed."""


@settings(deadline=None, max_examples=25)
@given(partitions_of_seconds, st.sampled_from([None, 3]), st.integers(1, 6), st.data())
def test_crashes_change_nothing(epochs_sink, partitions, lateness, epoch_rows, data):
    def run(published, folder, batch_rows, crash_at=None):
        def publish(epoch):
            if epoch == crash_at:
                raise Crash

        sinks = [epochs_sink(published=each) for each in published]
        sinks[0].on_publish = publish
        named = zip(roots_of(partitions, lateness), sinks, ("rows", "windows", "late"), strict=True)
        jobs = [build.sinked(node, sink, name) for node, sink, name in named]
        run_job(
            jobs,
            run_options(
                batch_rows=batch_rows, checkpoint_every=epoch_rows, checkpoint=folder, environment={}
            ),
        )

    def rows_of(published):
        return [{epoch: frame.rows() for epoch, frame in each.items()} for each in published]

    epochs = sum(map(len, partitions)) // epoch_rows + 1
    golden, found = ({}, {}, {}), ({}, {}, {})
    batch_sizes = st.sampled_from([1, 2, "auto"])
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", LateRowsWarning)
        run(golden, Path(folder) / "golden", "auto")
        for crash_at in sorted(data.draw(st.sets(st.integers(1, epochs), max_size=3))):
            with pytest.raises(Crash):
                run(found, Path(folder) / "state", data.draw(batch_sizes), crash_at)
        run(found, Path(folder) / "state", data.draw(batch_sizes))
    assert rows_of(found) == rows_of(golden)
