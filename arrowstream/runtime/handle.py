"""A run on a thread of its own, and how others wait for it and stop it."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - what it does at the end of the program comes after what is below
import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol

from arrowstream.errors import InternalError
from arrowstream.runtime.options import seconds
from arrowstream.runtime.report import warn_of_lost_rows

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from arrowstream.runtime.metrics import Metrics, ProgressListener
    from arrowstream.runtime.report import Report
    from arrowstream.types import Duration, JobState

POLL_S = 0.1
"""No wait is longer, so that Ctrl-C is heard everywhere."""

EXIT_GRACE_S = 30.0
"""How long the end of the program waits for jobs that nobody stopped: as long as `stop` does by default."""

_unsettled: weakref.WeakSet[RunningHandle] = weakref.WeakSet()
"""Runs that go on, and those that have failed without anybody having been told."""

_logger = logging.getLogger("arrowstream")


class Runnable(Protocol):
    """What a handle runs."""

    def run(self) -> Report:
        """Run to the end; on the handle's thread."""
        ...

    def request_stop(self, *, drain: bool) -> None:
        """Finish the epoch, then return from `run`; with `drain`, close all windows first. Any thread."""
        ...

    def request_abort(self) -> None:
        """Leave `run` with an exception as soon as possible. Any thread."""
        ...

    def metrics(self) -> Metrics:
        """How far it is. Any thread."""
        ...

    def explain_silence(self) -> str:
        """Why nothing is coming out. Any thread."""
        ...


class RunningHandle:
    """A run in the background.

    Parameters
    ----------
    job
        What to run; starts at once.
    """

    def __init__(self, job: Runnable) -> None:
        self._job = job
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._state: JobState = "running"
        self._report: Report | None = None
        self._failure: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._warned = False
        self._aborted = False
        self._thread = threading.Thread(target=self._run, name="arrowstream-run", daemon=True)
        _unsettled.add(self)
        self._thread.start()

    def _run(self) -> None:
        try:
            report = self._job.run()
        except BaseException as error:  # noqa: BLE001 - the task loop: it is raised again in `wait`
            self._failure, self._traceback = error, error.__traceback__
            self._enter("failed")
        else:
            self._report = report
            self._enter("stopped" if report.status == "stopped" else "finished")
            _unsettled.discard(self)
        finally:
            self._done.set()

    def _enter(self, state: JobState) -> None:
        with self._lock:
            self._state = state

    @property
    def state(self) -> JobState:
        """Where the run is in its life."""
        return self._state

    @property
    def metrics(self) -> Metrics:
        """How far it is."""
        from dataclasses import replace

        return replace(self._job.metrics(), state=self._state)

    @property
    def watermark(self) -> datetime | None:
        """No earlier event time is expected; None as long as nothing is known."""
        return self._job.metrics().watermark

    def explain_silence(self) -> str:
        """Why nothing is coming out at the moment."""
        if self._done.is_set():
            return f"the run has ended: {self._state}"
        return self._job.explain_silence()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the run; whether it has come. Raises nothing."""
        return self._done.wait(timeout_s)

    def wait(
        self, timeout: Duration | float | None = None, *, progress: ProgressListener | None = None
    ) -> Report:
        """Wait for the end of the run.

        Parameters
        ----------
        timeout
            How long to wait at most; None: as long as it takes.
        progress
            Whom to tell meanwhile how far it is.

        Raises
        ------
        TimeoutError
            If the run has not ended by then; it goes on.
        BaseException
            What the run failed with, with its own traceback.
        """
        timeout_s = seconds("timeout", timeout)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._done.wait(POLL_S if deadline is None else _until(deadline)):
            if progress is not None:
                progress.update(self.metrics)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"the job is still {self._state} after {timeout_s:g} s")
        if progress is not None:
            progress.update(self.metrics)
        return self.result()

    def result(self) -> Report:
        """The report of a run that has ended, or what it failed with."""
        if self._failure is not None:
            _unsettled.discard(self)
            raise self._failure.with_traceback(self._traceback)
        if self._report is None:
            raise InternalError("the result of a run that has not ended")
        if not self._warned:
            self._warned = True
            warn_of_lost_rows(self._report)
        return self._report

    def request_stop(self, *, drain: bool = False) -> None:
        """Ask the run to finish its epoch and end; returns at once."""
        with self._lock:
            if self._state not in {"running", "stopping"}:
                return
            self._state = "stopping"
        self._job.request_stop(drain=drain)

    def stop(self, *, drain: bool = False, timeout: Duration | float | None = "30s") -> Report:
        """Finish the epoch and end; with `drain`, also close the windows that are open.

        Raises
        ------
        TimeoutError
            If the epoch takes longer; the run goes on stopping.
        """
        self.request_stop(drain=drain)
        return self.wait(timeout)

    def tell(self) -> None:
        """Log what the run has failed with, if it has: nobody will ask for it any more."""
        if self._failure is not None and not self._aborted:
            _logger.error("a job in the background has failed", exc_info=self._failure)

    def abort(self) -> None:
        """Ask the run to fail as soon as possible; returns at once. The checkpoint stays as it is."""
        self._aborted = True
        self._job.request_abort()


def run_in_foreground(job: Runnable, progress: ProgressListener | None = None) -> Report:
    """Run a job while waiting for it; KeyboardInterrupt finishes the epoch, a second one does not.

    The job has a thread of its own, so that an interrupt never hits an operator or a sink half-way.
    """
    handle = RunningHandle(job)
    try:
        return handle.wait(progress=progress)
    except KeyboardInterrupt:
        try:
            handle.request_stop()
            handle.wait(progress=progress)
        except KeyboardInterrupt:
            handle.abort()
            raise
        raise
    except BaseException:  # of the listener, if not of the run: nobody waits for the run any more
        if not handle.join(0):
            handle.abort()
        raise


def _stop_all() -> None:
    """Stop what still runs when the program ends: threads that outlive Python's end abort the process."""
    deadline = time.monotonic() + EXIT_GRACE_S
    handles = list(_unsettled)
    for handle in handles:
        handle.request_stop()
    for handle in handles:
        if not handle.join(max(deadline - time.monotonic(), 0.0)):
            handle.abort()
        handle.tell()


# `atexit` comes too late: Python has shut all pools of threads by then, and the end of an epoch needs some.
threading._register_atexit(_stop_all)  # type: ignore[attr-defined]  # noqa: SLF001 - there is nothing public


def _until(deadline: float) -> float:
    return min(max(deadline - time.monotonic(), 0.0), POLL_S)
