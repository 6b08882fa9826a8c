from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from datetime import datetime, timedelta

import polars as pl
import pytest

from arrowstream.connectors.memory.source import BatchesSource, FrameSource
from arrowstream.errors import ConnectorError, DataError, LateRowsWarning, PlanError, StateError
from arrowstream.plan import build
from arrowstream.runtime.job_run import JobRun
from arrowstream.runtime.local import run_job, start_job
from arrowstream.runtime.options import run_options

START = datetime(2026, 1, 1)
SECONDS = [1, 12, 3, 14, 9, 27, 31, 25, 44, 58]

pytestmark = pytest.mark.usefixtures("no_threads_left")


def frame_of(seconds):
    times = [START + timedelta(seconds=second) for second in seconds]
    return pl.DataFrame({"t": times, "x": range(len(times))}, schema={"t": pl.Datetime("us"), "x": pl.Int64})


SCHEMA = frame_of([]).schema


def options(**given):
    return run_options(environment={}, **given)


def rows_job(sink, source=None, name="rows"):
    return build.sinked(build.scan(source or FrameSource(frame_of(SECONDS))), sink, name)


def windows_job(sink, source=None, **scan_options):
    node = build.scan(source or FrameSource(frame_of(SECONDS)), event_time="t", **scan_options)
    return build.sinked(
        build.aggregate(build.window(node, "t", every="10s"), pl.col("x").sum()), sink, "windows"
    )


class Endless:
    """Rows without end, from a function that can be made to fail or to wait."""

    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self):
        second = 0
        while True:
            while not self.go_on.wait(0.01):
                yield frame_of([])
            yield frame_of([second])
            second += 1


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_job_publishes_everything_and_reports(epochs_sink):
    sink = epochs_sink()
    report = run_job([rows_job(sink)], options())
    assert [x for _, x in sink.rows] == list(range(10))
    assert (report.status, report.rows_in, report.rows_out, report.epochs) == ("finished", 10, 10, 1)
    assert report.rows_out_by_sink == {"rows": 10}
    assert report.seconds > 0


@pytest.mark.parametrize("batch_rows", [1, 3, "auto"])
def test_epochs_counted_in_rows_are_cut_exactly(epochs_sink, batch_rows):
    sink = epochs_sink()
    report = run_job([rows_job(sink)], options(checkpoint_every=4, batch_rows=batch_rows))
    assert sink.heights == [4, 4, 2]
    assert report.epochs == 3


@pytest.mark.parametrize("batch_rows", [1, 3, "auto"])
def test_what_an_epoch_publishes_depends_on_its_rows_alone(epochs_sink, batch_rows):
    sink = epochs_sink()
    with pytest.warns(LateRowsWarning):
        run_job([windows_job(sink, lateness="3s")], options(checkpoint_every=3, batch_rows=batch_rows))
    assert sink.heights == [0, 2, 2, 2]


def test_several_sinks_are_fed_by_one_read(epochs_sink):
    first, second = epochs_sink(), epochs_sink()
    source = build.scan(FrameSource(frame_of(SECONDS)))
    small = build.sinked(build.row_step(source, "filter", pl.col("x") < 3), first, "small")
    large = build.sinked(build.row_step(source, "filter", pl.col("x") >= 3), second, "large")
    report = run_job([small, large], options())
    assert report.rows_in == 10
    assert report.rows_out_by_sink == {"small": 3, "large": 7}
    assert len(first.rows) == 3
    assert len(second.rows) == 7


class Crash(BaseException):
    pass


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_that_failed_is_continued_where_it_was(epochs_sink, tmp_path, epoch):
    golden = epochs_sink()
    with pytest.warns(LateRowsWarning):
        expected = run_job([windows_job(golden, lateness="3s")], options(checkpoint_every=3))

    def crash(number):
        if number == epoch:
            raise Crash

    sink = epochs_sink(on_publish=crash)
    settings = options(checkpoint=tmp_path / "state", checkpoint_every=3)
    with pytest.raises(Crash):
        run_job([windows_job(sink, lateness="3s")], settings)
    again = epochs_sink(published=sink.published)
    with pytest.warns(LateRowsWarning) if epoch < 4 else nullcontext():
        report = run_job([windows_job(again, lateness="3s")], settings)
    assert {number: frame.rows() for number, frame in again.published.items()} == {
        number: frame.rows() for number, frame in golden.published.items()
    }
    if epoch == 4:  # the last epoch was prepared: publishing it is all that was left
        assert report.status == "already_complete"
        return
    for name in ("status", "rows_in", "rows_out", "late_rows", "lateness_needed", "epochs", "watermark"):
        assert getattr(report, name) == getattr(expected, name), name
    assert run_job([windows_job(again, lateness="3s")], settings).status == "already_complete"


def test_a_changed_query_is_refused(epochs_sink, tmp_path):
    settings = options(checkpoint=tmp_path / "state")
    run_job([rows_job(epochs_sink())], settings)
    with pytest.raises(StateError):
        run_job([windows_job(epochs_sink())], settings)


def test_stop_finishes_the_epoch_and_the_job_can_be_continued(epochs_sink, tmp_path):
    sink, source = epochs_sink(), Endless()
    settings = options(checkpoint=tmp_path / "state", checkpoint_every="10ms")
    handle = start_job([rows_job(sink, BatchesSource(source, SCHEMA, bounded=False))], settings)
    until(lambda: len(sink.published) >= 2)
    report = handle.stop()
    assert handle.state == "stopped"
    assert report.status == "stopped"
    assert report.rows_in == report.rows_out == len(sink.rows)
    before = len(sink.rows)
    handle = start_job([rows_job(sink, BatchesSource(source, SCHEMA, bounded=False))], settings)
    until(lambda: len(sink.rows) > before)
    handle.stop()
    seconds = [(t - START).total_seconds() for t, _ in sink.rows]
    assert seconds == list(range(len(seconds)))


def test_stop_fills_an_epoch_that_is_counted_in_rows(epochs_sink):
    sink = epochs_sink()
    handle = start_job(
        [rows_job(sink, BatchesSource(Endless(), SCHEMA, bounded=False))], options(checkpoint_every=50)
    )
    until(lambda: sink.published)
    handle.stop()
    assert set(sink.heights) == {50}


def test_stop_does_not_wait_for_rows_that_do_not_come(epochs_sink):
    sink, source = epochs_sink(), Endless()
    handle = start_job(
        [rows_job(sink, BatchesSource(source, SCHEMA, bounded=False))], options(checkpoint_every=1_000_000)
    )
    until(lambda: handle.metrics.rows_in > 3)
    source.go_on.clear()
    report = handle.stop()
    assert report.rows_out == len(sink.rows) > 3


def test_drain_closes_the_open_windows(epochs_sink):
    sink = epochs_sink()
    handle = start_job(
        [windows_job(sink, BatchesSource(Endless(), SCHEMA, bounded=False), lateness="1h")], options()
    )
    until(lambda: handle.metrics.rows_in > 25)
    assert not sink.rows
    report = handle.stop(drain=True)
    assert report.status == "stopped"
    assert len(sink.rows) == -(-report.rows_in // 10)


def test_metrics_and_silence_of_a_running_job(epochs_sink):
    source = Endless()
    handle = start_job(
        [windows_job(epochs_sink(), BatchesSource(source, SCHEMA, bounded=False), lateness="1h")], options()
    )
    until(lambda: handle.metrics.rows_in > 5)
    metrics = handle.metrics
    assert metrics.state == "running"
    assert [each.operator_id for each in metrics.operators] == ["event-time-1", "window-2"]
    assert metrics.watermark == handle.watermark or handle.watermark > metrics.watermark
    assert "window-2:" in handle.explain_silence()
    assert "rows wait in open windows; the watermark is at 2025-12-31 23:" in handle.explain_silence()
    assert "which is 1h behind" in handle.explain_silence()
    handle.stop()
    assert handle.explain_silence() == "the run has ended: stopped"


def test_a_failure_in_an_operator_names_it_and_nothing_hangs(epochs_sink):
    def fail(frame):
        raise ValueError("no luck")

    node = build.map_batches(build.scan(FrameSource(frame_of(SECONDS))), fail)
    with pytest.raises(DataError) as caught:
        run_job([build.sinked(node, epochs_sink(), "out")], options())
    assert caught.value.operator_id == "map-batches-2"
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__cause__.__traceback__ is not None


def test_a_failure_in_a_sink_surfaces(epochs_sink):
    def fail(_epoch):
        raise OSError("disk full")

    handle = start_job([rows_job(epochs_sink(on_publish=fail))], options())
    with pytest.raises(Exception, match="disk full"):
        handle.wait()
    assert handle.state == "failed"


def test_a_limit_ends_the_job(epochs_sink):
    sink = epochs_sink()
    node = build.limit(build.scan(BatchesSource(Endless(), SCHEMA, bounded=False)), 5)
    report = run_job([build.sinked(node, sink, "out")], options(checkpoint_every=3))
    assert report.status == "finished"
    assert len(sink.rows) == 5


def test_epochs_by_duration_follow_the_clock(epochs_sink):
    sink, source = epochs_sink(), Endless()
    now = [0.0]
    job = JobRun(
        [rows_job(sink, BatchesSource(source, SCHEMA, bounded=False))],
        options(checkpoint_every="5s"),
        clock=lambda: now[0],
    )
    thread = threading.Thread(target=job.run)
    thread.start()
    until(lambda: job.metrics().rows_in > 3)
    assert not sink.published
    now[0] = 5.0
    until(lambda: sink.published)
    job.request_stop(drain=False)
    thread.join(10)
    assert not thread.is_alive()


def test_a_checkpoint_needs_input_that_can_be_read_again(epochs_sink, tmp_path):
    job = rows_job(epochs_sink(), BatchesSource(iter([frame_of(SECONDS)]), SCHEMA))
    with pytest.raises(PlanError, match=r"checkpoint: this source can be read only once.*\n  hint: give"):
        run_job([job], options(checkpoint=tmp_path / "state"))
    assert not (tmp_path / "state").exists()


def test_silence_of_rows_that_wait_for_the_end_of_the_epoch(epochs_sink):
    source = Endless()
    settings = options(checkpoint_every=1_000_000)
    handle = start_job([rows_job(epochs_sink(), BatchesSource(source, SCHEMA, bounded=False))], settings)
    until(lambda: handle.metrics.rows_out)
    assert "will be published when the epoch ends, after 1,000,000 rows of input" in handle.explain_silence()
    source.go_on.clear()
    handle.stop()


def test_an_error_of_the_source_says_so(epochs_sink):
    def batches():
        yield frame_of([1])
        raise OSError("cable cut")

    with pytest.raises(ConnectorError) as caught:
        run_job([rows_job(epochs_sink(), BatchesSource(batches, SCHEMA))], options())
    assert "cable cut" in str(caught.value)
    assert caught.value.operator_id == "scan"


def test_an_interrupt_finishes_the_epoch_and_is_raised_again(epochs_sink):
    class Interrupting:
        def update(self, metrics):
            if metrics.rows_in > 3 and metrics.state == "running":
                raise KeyboardInterrupt

    sink = epochs_sink()
    job = rows_job(sink, BatchesSource(Endless(), SCHEMA, bounded=False))
    with pytest.raises(KeyboardInterrupt):
        run_job([job], options(checkpoint_every=10, progress=Interrupting()))
    assert set(sink.heights) == {10}


def test_a_listener_that_fails_ends_the_run(epochs_sink):
    class Failing:
        def update(self, metrics):
            raise ZeroDivisionError

    job = rows_job(epochs_sink(), BatchesSource(Endless(), SCHEMA, bounded=False))
    with pytest.raises(ZeroDivisionError):
        run_job([job], options(progress=Failing()))
