from __future__ import annotations

import threading
import traceback

import pytest

from arrowstream.errors import DataError, LateRowsWarning
from arrowstream.runtime import handle as handles
from arrowstream.runtime.handle import RunningHandle, run_in_foreground
from arrowstream.runtime.metrics import Metrics
from arrowstream.runtime.report import Report

pytestmark = pytest.mark.usefixtures("no_threads_left")


class Job:
    """Runs until it is told what to do."""

    def __init__(self, outcome=None):
        self.outcome = outcome
        self.calls = []
        self.go_on = threading.Event()

    def run(self):
        assert self.go_on.wait(20)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome or Report(status="finished")

    def request_stop(self, *, drain):
        self.calls.append(f"stop drain={drain}")
        self.outcome = Report(status="stopped")
        self.go_on.set()

    def request_abort(self):
        self.calls.append("abort")
        self.go_on.set()

    def metrics(self):
        return Metrics(rows_in=7)

    def explain_silence(self):
        return "it waits"


def test_a_run_that_finishes():
    job = Job()
    handle = RunningHandle(job)
    assert handle.state == "running"
    assert handle.metrics == Metrics(rows_in=7, state="running")
    assert handle.explain_silence() == "it waits"
    job.go_on.set()
    assert handle.wait() == Report(status="finished")
    assert handle.state == "finished"
    assert handle.metrics.state == "finished"
    assert handle.stop() == Report(status="finished")
    assert job.calls == []


def test_stop():
    job = Job()
    handle = RunningHandle(job)
    assert handle.stop(drain=True).status == "stopped"
    assert handle.state == "stopped"
    assert job.calls == ["stop drain=True"]


def test_waiting_has_an_end_and_the_run_goes_on():
    job = Job()
    handle = RunningHandle(job)
    with pytest.raises(TimeoutError, match=r"the job is still running after 0.01 s"):
        handle.wait("10ms")
    assert handle.state == "running"
    job.go_on.set()
    handle.wait(timeout=5)


def test_a_stop_that_takes_too_long():
    job = Job()
    job.request_stop = lambda *, drain: None
    handle = RunningHandle(job)
    with pytest.raises(TimeoutError, match=r"the job is still stopping after 0.01 s"):
        handle.stop(timeout=0.01)
    assert handle.state == "stopping"
    job.go_on.set()
    assert handle.wait().status == "finished"


def test_a_failure_is_raised_again_with_its_own_traceback_each_time():
    job = Job(outcome=DataError("broken"))
    handle = RunningHandle(job)
    job.go_on.set()
    lengths = set()
    for _ in range(3):
        with pytest.raises(DataError, match="broken") as caught:
            handle.wait()
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert frames[-1].name == "run"
        lengths.add(len(frames))
    assert len(lengths) == 1
    assert handle.state == "failed"


def test_late_rows_are_warned_of_once():
    job = Job(outcome=Report(status="finished", late_rows=1, lateness_needed="3s"))
    handle = RunningHandle(job)
    job.go_on.set()
    with pytest.warns(LateRowsWarning):
        handle.wait()
    handle.wait()


class Interrupting:
    """A listener that presses Ctrl-C as often as it is told to."""

    def __init__(self, times):
        self.times = times

    def update(self, metrics):
        if self.times and metrics.state in {"running", "stopping"}:
            self.times -= 1
            raise KeyboardInterrupt


def test_an_interrupt_finishes_the_epoch_and_is_raised_again():
    job = Job()
    with pytest.raises(KeyboardInterrupt):
        run_in_foreground(job, Interrupting(1))
    assert job.calls == ["stop drain=False"]


def test_a_second_interrupt_breaks_the_run_off(monkeypatch):
    monkeypatch.setattr(handles, "POLL_S", 0.001)
    job = Job()
    job.request_stop = lambda *, drain: job.calls.append("stop")
    with pytest.raises(KeyboardInterrupt):
        run_in_foreground(job, Interrupting(2))
    assert job.calls == ["stop", "abort"]


def test_the_end_of_the_program_stops_what_still_runs():
    job, ended = Job(), RunningHandle(Job(Report(status="finished")))
    ended._job.go_on.set()
    ended.wait()
    handle = RunningHandle(job)
    handles._stop_all()
    assert job.calls == ["stop drain=False"]
    assert handle.state == "stopped"
    assert ended._job.calls == []


def test_a_job_that_does_not_stop_by_the_end_of_the_program_is_broken_off(monkeypatch):
    monkeypatch.setattr(handles, "EXIT_GRACE_S", 0.01)
    job = Job()
    job.request_stop = lambda *, drain: job.calls.append("stop")
    handle = RunningHandle(job)
    handles._stop_all()
    assert job.calls == ["stop", "abort"]
    handle.join(20)
