from __future__ import annotations

import threading
import warnings
from datetime import datetime, timedelta

import polars as pl
import pytest

from arrowstream.connectors.memory.source import BatchesSource, FrameSource
from arrowstream.errors import DataError, LateRowsWarning
from arrowstream.plan import build
from arrowstream.runtime.local import iterate
from arrowstream.runtime.options import run_options

START = datetime(2026, 1, 1)

pytestmark = pytest.mark.usefixtures("no_threads_left")


def frame_of(seconds):
    times = [START + timedelta(seconds=second) for second in seconds]
    return pl.DataFrame({"t": times, "x": range(len(times))}, schema={"t": pl.Datetime("us"), "x": pl.Int64})


def options(**given):
    return run_options(environment={}, **given)


def collect(node, **given):
    return pl.concat([pl.DataFrame(schema=node.schema), *iterate(node, options(**given))])


def windows(source, **scan_options):
    node = build.scan(source, event_time="t", **scan_options)
    return build.aggregate(build.window(node, "t", every="10s"), pl.len(), pl.col("x").sum())


def test_steps_without_state():
    frame = frame_of(range(5))
    node = build.row_step(build.scan(FrameSource(frame)), "filter", pl.col("x") % 2 == 0)
    assert collect(node).equals(frame.filter(pl.col("x") % 2 == 0))


@pytest.mark.parametrize("batch_rows", [1, 2, 7, "auto"])
@pytest.mark.parametrize("lateness", [None, "3s"])
def test_the_result_does_not_depend_on_the_batches(batch_rows, lateness):
    node = windows(FrameSource(frame_of([1, 12, 3, 14, 9, 27, 31, 25])), lateness=lateness)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LateRowsWarning)
        found = collect(node, batch_rows=batch_rows)
    # With a lateness of 3 s, the 3 and the 9 come in time (12 - 3 < 10, 14 - 3 ≥ 10: the 9 does not).
    first = (3, 0 + 2 + 4) if lateness is None else (2, 0 + 2)
    assert found["len"].to_list() == [first[0], 2, 2, 1]
    assert found["x"].to_list() == [first[1], 1 + 3, 5 + 7, 6]


def test_nothing_runs_before_the_first_frame_is_asked_for():
    made = []

    def batches():
        made.append(1)
        yield frame_of([1])

    frames = iterate(build.scan(BatchesSource(batches, frame_of([]).schema)), options())
    assert not made
    next(frames)
    assert made
    frames.close()


def test_a_run_that_fails_stops_its_threads():
    """All of them, and not when Python gets round to collecting what the traceback holds."""
    large = frame_of(range(100_000))  # large enough for a part of the folding to be done on a thread

    def batches():
        yield large
        raise ValueError("the source fails")

    with pytest.raises(Exception, match="the source fails") as failed:
        collect(windows(BatchesSource(batches, large.schema), lateness="0s"), threads=2)
    running = [thread.name for thread in threading.enumerate()]
    assert not [name for name in running if name.startswith("arrowstream-fold")], failed


def test_windows_come_while_the_input_is_still_being_read():
    def batches():
        yield frame_of([1, 12])
        raise ValueError("the source fails after the first window")

    node = windows(BatchesSource(batches, frame_of([]).schema), lateness="0s")
    frames = iterate(node, options())
    assert next(frames)["len"].to_list() == [1]
    with pytest.raises(Exception, match="the source fails"):
        next(frames)


def test_closing_the_iterator_stops_reading():
    def batches():
        while True:
            yield frame_of([1])

    node = build.scan(BatchesSource(batches, frame_of([]).schema, bounded=False))
    frames = iterate(node, options())
    assert next(frames).height
    frames.close()


def test_a_limit_ends_unbounded_input():
    def batches():
        while True:
            yield frame_of([1, 2])

    node = build.limit(build.scan(BatchesSource(batches, frame_of([]).schema, bounded=False)), 3)
    assert collect(node)["x"].to_list() == [0, 1, 0]


def test_late_rows_are_warned_of_at_the_line_of_the_caller():
    node = windows(FrameSource(frame_of([1, 14, 9, 12])), lateness="3s")
    with pytest.warns(LateRowsWarning, match='1 row came too late.*\n.*lateness="5s"') as caught:
        collect(node)
    assert caught[0].filename == __file__
    collect(windows(FrameSource(frame_of([1, 14, 9, 12])), lateness="5s"))


def test_the_listener_is_told_to_the_end():
    class Listener:
        def __init__(self):
            self.told = []

        def update(self, metrics):
            self.told.append(metrics)

    listener = Listener()
    node = build.scan(FrameSource(frame_of(range(10))))
    list(iterate(node, options(progress=listener)))
    last = listener.told[-1]
    assert (last.state, last.rows_in, last.rows_out, last.rows_total, last.fraction) == (
        "finished",
        10,
        10,
        10,
        1.0,
    )
    failing = build.map_batches(node, lambda frame: frame.select("nothing"))
    with pytest.raises(DataError):
        list(iterate(failing, options(progress=listener)))
    assert listener.told[-1].state == "failed"
    frames = iterate(node, options(progress=listener, batch_rows=1))
    next(frames)
    frames.close()
    assert listener.told[-1].state == "stopped"


def test_only_what_is_looked_at_is_read():
    class Recording(FrameSource):
        projected = ()

        def project(self, columns):
            Recording.projected = tuple(columns)
            return super().project(columns)

    node = build.row_step(build.scan(Recording(frame_of([1]))), "select", y=pl.col("x") + 1)
    assert collect(node)["y"].to_list() == [1]
    assert Recording.projected == ("x",)
