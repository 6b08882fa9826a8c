"""Carries out what the coordinator decides: the one object that the run loop talks to about delivery.

How the run loop uses it (all calls on the compute thread, except `abort` and `request_cut`):

    driver = EpochDriver(sinks=…, job=…, checkpoint="state/", every=EpochEvery(rows=1_000_000))
    try:
        recovered = driver.recover()                 # fences, finishes what was prepared, loads state
        if not recovered.complete:
            while True:
                room = driver.rows_until_cut(rows)   # None: no limit; 0: close the epoch now
                …
                while not driver.emit(0, frame, timeout_s=0.1): …    # False: the sink is behind
                …
                driver.close_epoch(EpochEnd(…))      # rows of the next epoch may follow at once
        driver.finish()                              # waits until everything is published
    except BaseException as error:
        driver.abort(error)                          # publishes nothing more; never hangs
        raise
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl
    import pyarrow as pa

    from arrowstream.protocols import Sink, Snapshot, Store
    from arrowstream.types import Json, Mode, PathLike


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """One output of a run. `name` is unique in the run and stable over restarts."""

    name: str
    sink: Sink
    schema: pl.Schema


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a checkpoint belongs to.

    `canonical` is the plan as stable text (differences are shown from it), `fingerprint` its hash, and
    `inputs` what every source says about itself (`source.identity()`), by the scan's name.
    """

    canonical: str
    fingerprint: str
    inputs: dict[str, Json]


@dataclass(frozen=True, slots=True)
class EpochEvery:
    """When an epoch ends: after `seconds`, or after exactly `rows` input rows. One of the two is given."""

    seconds: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """All that is known when the last row of an epoch has been processed and its output emitted.

    `snapshots` is by operator id; tables in it are not changed afterwards. `counters` comes back
    unchanged from `recover`. `final` says that the input has ended: no epoch follows.
    """

    rows: int
    cursors: dict[str, Json]
    watermark: int
    snapshots: dict[str, Snapshot]
    counters: dict[str, Json]
    final: bool


@dataclass(frozen=True, slots=True)
class OperatorState:
    """What `Operator.restore` is given."""

    values: dict[str, Json]
    runs: list[tuple[int, pa.Table]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a run starts.

    `epoch` is the last one that is published (0: none); `cursors` is None at the very beginning.
    `complete`: the input had ended and everything is published, so there is nothing to do.
    `planned_rows`: the next epoch was begun before a crash and has to end after exactly as many rows
    (`rows_until_cut` takes care of it); `planned_final` says that it ends with the input.
    """

    job_id: str
    generation: int
    epoch: int
    complete: bool
    cursors: dict[str, Json] | None
    watermark: int | None
    snapshots: dict[str, OperatorState]
    counters: dict[str, Json]
    planned_rows: int | None
    planned_final: bool


@dataclass(slots=True)
class SinkProgress:
    """What a sink has done so far in this process; read by metrics, written by the sink's thread."""

    rows: int = 0
    batches: int = 0
    bytes: int = 0
    busy_s: float = 0.0
    published_epoch: int = 0


@dataclass(slots=True)
class EpochDriver:
    """Runs the epoch protocol for one run.

    Parameters
    ----------
    sinks
        In the order of the plan's roots: `emit` takes the index.
    job
        What the checkpoint is checked against.
    checkpoint
        A folder, a store, or None: the same protocol over a store in memory, a new job every time.
    every
        When epochs end.
    mode
        What to do with an output that is not empty and not this job's.
    queue_bytes
        Bound of each sink's queue; one frame always fits.
    clock, wall_clock
        Seconds: monotonic, and since 1970.

    Raises
    ------
    StateError
        From the constructor, if another run of this process uses the checkpoint.
    """

    sinks: Sequence[SinkSpec]
    job: JobSpec
    checkpoint: PathLike | Store | None
    every: EpochEvery
    mode: Mode = "error"
    queue_bytes: int = 64 << 20
    clock: Callable[[], float] | None = None
    wall_clock: Callable[[], float] | None = None
    progress: list[SinkProgress] = field(default_factory=list)

    def recover(self) -> Recovered:
        """Check the job, fence older processes, publish what was prepared, load the state.

        Raises StateError (changed query, input or output; damaged file; output of somebody else),
        ConnectorError. Nothing of an output is touched before all checks have passed.
        """
        raise NotImplementedError

    def rows_until_cut(self, rows: int) -> int | None:
        """How many rows this epoch still takes after its first `rows`; 0: close it now; None: no limit."""
        raise NotImplementedError

    def request_cut(self) -> None:
        """Let `rows_until_cut` say 0 until the epoch is closed (`stop()`); callable from any thread."""
        raise NotImplementedError

    def emit(self, sink_index: int, frame: pl.DataFrame, *, timeout_s: float) -> bool:
        """Hand rows of the current epoch to a sink; False if its queue stayed full for `timeout_s`.

        Raises what any thread of the driver has failed with.
        """
        raise NotImplementedError

    def close_epoch(self, end: EpochEnd) -> None:
        """End the current epoch. Blocks only until the epoch before it is done; raises as `emit` does."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise what any thread of the driver has failed with."""
        raise NotImplementedError

    def done_epoch(self) -> int:
        """The last epoch that every sink has published; callable from any thread."""
        raise NotImplementedError

    def finish(self) -> None:
        """Wait until every closed epoch is done, then close the sinks. Raises as `emit` does."""
        raise NotImplementedError

    def abort(self, error: BaseException) -> None:
        """Stop all threads, publish nothing more, close the sinks. Idempotent; any thread; never hangs."""
        raise NotImplementedError
