"""What a run is doing right now: counters that the run keeps, and frozen snapshots of them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from arrowstream.types import JobState

RATE_SPAN_S = 3.0
"""The rate shown is that of the last seconds: long enough to be steady, short enough to be news."""


@runtime_checkable
class ProgressListener(Protocol):
    """Is told how far a run is, about ten times a second, on the thread that waits for the run."""

    def update(self, metrics: Metrics) -> None:
        """Show it; the last call has a `state` other than "running" and "stopping"."""
        ...


@dataclass(frozen=True, slots=True)
class OperatorMetrics:
    """Counters of one operator.

    Attributes
    ----------
    operator_id
        Its name, as in `explain()` and in errors.
    rows_in, rows_out
        Rows taken and given since the start of this run.
    busy_s
        Seconds spent in it.
    """

    operator_id: str
    rows_in: int
    rows_out: int
    busy_s: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """One look at a run.

    Attributes
    ----------
    state
        As `RunningJob.state`.
    seconds
        Since the start of this run.
    rows_in
        Input rows read, over all runs of the job.
    rows_total
        How many there are, where the source knows.
    rows_per_s
        Input rows a second, over the last seconds.
    rows_out
        Rows given out, over all runs of the job.
    late_rows, missed_windows
        Rows that came too late for all of their windows; windows missed by rows that entered others.
    skipped_rows
        Rows dropped by operators because of `on_error="skip"`.
    dead_letters
        What could not be read, and rows that operators made dead letters of, over all runs of the job.
    watermark
        No earlier event time is expected; None as long as nothing is known.
    epochs
        Epochs closed.
    queue_bytes
        Waiting between threads.
    operators
        Each operator, from the source down.
    """

    state: JobState = "running"
    seconds: float = 0.0
    rows_in: int = 0
    rows_total: int | None = None
    rows_per_s: float = 0.0
    rows_out: int = 0
    late_rows: int = 0
    missed_windows: int = 0
    skipped_rows: int = 0
    dead_letters: int = 0
    watermark: datetime | None = None
    epochs: int = 0
    queue_bytes: int = 0
    operators: tuple[OperatorMetrics, ...] = ()

    @property
    def fraction(self) -> float | None:
        """How much of the input has been read, 0 to 1, where the source knows its length."""
        if not self.rows_total:
            return None
        return min(self.rows_in / self.rows_total, 1.0)


@dataclass(slots=True)
class Meter:
    """Counters of one operator, kept by the thread that runs it."""

    rows_in: int = 0
    rows_out: int = 0
    busy_s: float = 0.0

    def add(self, rows_in: int, rows_out: int, busy_s: float) -> None:
        """Count one call."""
        self.rows_in += rows_in
        self.rows_out += rows_out
        self.busy_s += busy_s


@dataclass(slots=True)
class RateMeter:
    """Rows a second over the last seconds."""

    clock: Callable[[], float] = time.monotonic
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self, rows: int) -> float:
        """Note that `rows` have been read by now, and give the rate."""
        now = self.clock()
        self._marks.append((now, rows))
        while len(self._marks) > 2 and now - self._marks[1][0] >= RATE_SPAN_S:
            self._marks.popleft()
        then, rows_then = self._marks[0]
        return (rows - rows_then) / (now - then) if now > then else 0.0
