"""What a run is doing right now: counters that the run keeps, and frozen snapshots of them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import pyarrow as pa

    from arrowstream.types import JobState

RATE_SPAN_S = 3.0
"""The rate shown is that of the last seconds: long enough to be steady, short enough to be news."""


@runtime_checkable
class ProgressListener(Protocol):
    """Is told how far a run is, about ten times a second, on the thread that waits for the run.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> class Last:
    ...     def update(self, metrics): self.metrics = metrics
    >>> last = Last()
    >>> rows = ars.from_polars(pl.DataFrame({"a": [1, 2]})).collect(progress=last)
    >>> last.metrics.state, last.metrics.rows_in
    ('finished', 2)
    """

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
class ConnectorMetrics:
    """What a source or a sink has done in this run; unlike other counts, not over all runs of the job.

    Attributes
    ----------
    name
        The source or sink, as `explain()` calls it.
    kind
        "source" or "sink".
    files
        Opened, or published; 0 where there are none.
    rows
        Good rows read, or rows taken.
    bytes
        As they are stored; 0 where the connector does not know.
    errors
        Records or files that were dropped (`on_error="skip"`).
    dead_letters
        Records or files that became dead letters.
    seconds
        Spent in it, summed over its threads.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> report = ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda rows: None).run()
    >>> [(one.kind, one.name, one.rows) for one in report.connectors]
    [('source', 'DataFrame(2 rows)', 2), ('sink', 'batches <lambda>', 2)]
    """

    name: str
    kind: Literal["source", "sink"]
    files: int = 0
    rows: int = 0
    bytes: int = 0
    errors: int = 0
    dead_letters: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, kind: Literal["source", "sink"], counters: ConnectorCounters) -> ConnectorMetrics:
        """What a connector has counted itself."""
        return cls(name, kind, **{count: getattr(counters, count) for count in ConnectorCounters.__slots__})


def connectors_table(connectors: Sequence[ConnectorMetrics]) -> pa.Table:
    """A row for each connector, a column for each count."""
    import pyarrow as pa

    names = [field.name for field in fields(ConnectorMetrics)]
    dtypes = {"name": pa.string(), "kind": pa.string(), "seconds": pa.float64()}
    schema = pa.schema([(name, dtypes.get(name, pa.int64())) for name in names])
    return pa.Table.from_pylist([asdict(connector) for connector in connectors], schema)


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
        What the source and operators have dropped because of `on_error="skip"`, over all runs of the job.
    dead_letters
        What could not be read, and rows that operators made dead letters of, over all runs of the job.
    reload_errors
        How often a file of rules could not be read again, or had a mistake: the rules stayed as they were.
    watermark
        No earlier event time is expected; None as long as nothing is known.
    epochs
        Epochs closed.
    queue_bytes
        Waiting between threads.
    operators
        Each operator, from the source down.
    connectors
        The source and the sinks.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> with ars.from_polars(pl.DataFrame({"a": [1, 2]})).sink_batches(lambda rows: None).start() as live:
    ...     report = live.wait()
    >>> live.metrics.rows_in, live.metrics.fraction
    (2, 1.0)
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
    reload_errors: int = 0
    watermark: datetime | None = None
    epochs: int = 0
    queue_bytes: int = 0
    operators: tuple[OperatorMetrics, ...] = ()
    connectors: tuple[ConnectorMetrics, ...] = ()

    def connectors_table(self) -> pa.Table:
        """`connectors` as an Arrow table, one row each.

        Examples
        --------
        >>> Metrics(connectors=(ConnectorMetrics("in.csv", "source", rows=2),)).connectors_table().num_rows
        1
        """
        return connectors_table(self.connectors)

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
