"""Carries out what the coordinator decides: the one object that the run loop talks to about delivery.

How the run loop uses it (all calls on the compute thread, except `abort`):

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

import os
import threading
import time
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from arrowstream.errors import ArrowStreamError, FencedError, StateError
from arrowstream.runtime.checkpoint import Checkpoint, done_name, read_record
from arrowstream.runtime.coordinator import Coordinator
from arrowstream.runtime.epoch_writer import EpochWriter, collect_garbage
from arrowstream.runtime.events import Abort, CutEpoch, EndOutbox, EpochClosed, Failed, Publish, Tick
from arrowstream.runtime.outbox import check_outbox
from arrowstream.runtime.recovery import (
    JOB_NAME,
    begin_job,
    job_description,
    load_state,
    must_publish,
    next_plan,
    occupy,
    read_prepare,
    require_apart,
    take_generation,
)
from arrowstream.runtime.sinks import SinkProgress, SinkSpec, SinkWorker
from arrowstream.state.stores import FolderStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    import polars as pl
    import pyarrow as pa

    from arrowstream.protocols import Snapshot, Store
    from arrowstream.runtime.checkpoint import Plan, Prepare
    from arrowstream.runtime.events import Event, Instruction
    from arrowstream.types import Json, Mode, PathLike

_Result = TypeVar("_Result")

_WAIT_S = 1.0  # no wait is endless: a missed wake-up costs this much


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
    unchanged from `recover`. `final` says that the input has ended: no epoch follows. The sinks
    `without_rows` have had none in any epoch: all that they can show is their columns. `conditions` is by
    operator id what it was told of the world outside: should the epoch be run again, it is told the same.
    """

    rows: int
    cursors: dict[str, Json]
    watermark: int
    snapshots: dict[str, Snapshot]
    counters: dict[str, Json]
    final: bool
    without_rows: frozenset[int] = frozenset()
    conditions: dict[str, Json] = field(default_factory=dict)


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
    (`rows_until_cut` takes care of it); `planned_final` says that it ends with the input, and
    `planned_conditions` are those it began under.
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
    planned_conditions: dict[str, Json] | None


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
        Outboxes are kept by the sink, else in the checkpoint's folder, else in a temporary one.
    every
        When epochs end.
    mode
        What to do with an output that is not empty and not this job's.
    queue_bytes
        Bound of each sink's queue; one frame always fits.
    threads
        On how many each sink may encode that can use several.
    clock, wall_clock
        Seconds: monotonic, and since 1970.
    """

    def __init__(
        self,
        *,
        sinks: Sequence[SinkSpec],
        job: JobSpec,
        checkpoint: PathLike | Store | None,
        every: EpochEvery,
        mode: Mode = "error",
        queue_bytes: int = 64 << 20,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._sinks = sinks
        self._job = job
        self._store = _as_store(checkpoint)
        self._every = every
        self._mode: Mode = mode
        self._queue_bytes = queue_bytes
        self._threads = threads
        self._clock = clock
        self._wall_clock = wall_clock
        self._workers: list[SinkWorker] = []
        self._writer: EpochWriter | None = None
        self._coordinator: Coordinator | None = None
        self._planned: Plan | None = None
        self._fence: Checkpoint | None = None
        self._failure: BaseException | None = None
        self._held = ExitStack()
        self._changed = threading.Condition()

    @property
    def progress(self) -> list[SinkProgress]:
        """What each sink has done so far in this process."""
        return [worker.progress for worker in self._workers]

    def recover(self) -> Recovered:
        """Check the job, fence older processes, publish what was prepared, load the state.

        Raises StateError (the checkpoint is in use in this process; changed query, input or output;
        damaged file; output of somebody else) and ConnectorError.
        """
        folder: Path | None = getattr(self._store, "folder", None)
        self._held.enter_context(occupy(str(folder or id(self._store))))
        outboxes = folder / "outbox" if folder else self._temporary_folder()
        self._workers = [
            SinkWorker(
                index,
                spec,
                outbox_folder=getattr(spec.sink, "outbox_folder", None)
                or outboxes / quote(spec.name, safe=""),
                queue_bytes=self._queue_bytes,
                threads=self._threads,
                on_event=self._handle,
            )
            for index, spec in enumerate(self._sinks)
        ]
        job_id = self._claim()
        generation, newest = take_generation(self._store, self._wall_clock)
        self._fence = Checkpoint(self._store, generation, None, self._wall_clock)
        try:
            return self._go_on(job_id, generation, read_prepare(self._store, newest))
        except ArrowStreamError as error:
            if (said := self._said(error)) is error:
                raise
            raise said from error

    def _go_on(self, job_id: str, generation: int, base: Prepare | None) -> Recovered:
        """Publish what was prepared, load the state, and be ready for the next epoch."""
        if isinstance(self._store, FolderStore):
            self._store.remove_leftovers()
        checkpoint = Checkpoint(self._store, generation, base, self._wall_clock)
        epoch = base.epoch if base else 0
        self._settle(checkpoint, base)
        complete = base is not None and base.final
        self._planned = None if complete else next_plan(self._store, epoch)
        loaded = load_state(self._store, base) if base and not complete else {}
        for worker in self._workers:
            worker.begin(epoch + 1)
        self._coordinator = Coordinator(
            sinks=len(self._workers), done=epoch, every_s=self._every.seconds, begun_s=self._clock()
        )
        self._writer = EpochWriter(checkpoint, self._workers, self._handle)
        return Recovered(
            job_id=job_id,
            generation=generation,
            epoch=epoch,
            complete=complete,
            cursors=base.cursors if base else None,
            watermark=base.watermark if base else None,
            snapshots={operator: OperatorState(*state) for operator, state in loaded.items()},
            counters=base.counters if base else {},
            planned_rows=self._planned.rows if self._planned else None,
            planned_final=self._planned.final if self._planned else False,
            planned_conditions=self._planned.conditions if self._planned else None,
        )

    def rows_until_cut(self, rows: int, *, is_empty: bool | None = None) -> int | None:
        """How many rows this epoch still takes after its first `rows`; 0: close it now; None: no limit.

        An epoch that `is_empty` (by default: without rows) goes on, however much time has passed.
        """
        if self._planned is not None:
            return None if self._planned.final else max(self._planned.rows - rows, 0)
        if self._every.rows is not None:
            return max(self._every.rows - rows, 0)
        self._handle(Tick(self._clock()))
        assert self._coordinator is not None
        is_empty = not rows if is_empty is None else is_empty
        return 0 if self._coordinator.cut_due and not is_empty else None

    def emit(self, sink_index: int, frame: pl.DataFrame, *, timeout_s: float) -> bool:
        """Hand rows of the current epoch to a sink; False if its queue stayed full for `timeout_s`.

        Raises what any thread of the driver has failed with.
        """
        self.check()
        return self._workers[sink_index].put(frame, timeout_s=timeout_s)

    def close_epoch(self, end: EpochEnd) -> None:
        """End the current epoch. Blocks only until the epoch before it is done; raises as `emit` does."""
        coordinator, writer = self._coordinator, self._writer
        assert coordinator is not None
        assert writer is not None
        self.check()
        epoch = coordinator.closed + 1
        if self._planned is not None and end.rows != self._planned.rows:
            raise StateError(
                f"epoch {epoch} had {self._planned.rows} rows before a crash, and {end.rows} now",
                hint="restore the input as it was, or start anew with another checkpoint and another output",
            )
        self._planned = None
        writer.ends[epoch] = end
        self._handle(EpochClosed(epoch, end.final, self._clock()))
        self._wait(lambda: coordinator.may_compute)

    def check(self) -> None:
        """Raise what any thread of the driver has failed with."""
        if self._failure is not None:
            self._failure = self._said(self._failure)
            raise self._failure

    def _said(self, error: BaseException) -> BaseException:
        """The error, or that a newer process has taken over: then nothing here need fit any more."""
        if self._fence is None or isinstance(error, FencedError) or not isinstance(error, ArrowStreamError):
            return error
        try:
            self._fence.require_newest()
        except FencedError as fenced:
            fenced.operator_id = error.operator_id
            fenced.__cause__ = error
            return fenced
        except ArrowStreamError:
            pass  # the store cannot be read: what has failed first says more
        return error

    @property
    def open_epoch(self) -> int:
        """The epoch that rows are now emitted for."""
        return self._coordinator.closed + 1 if self._coordinator else 1

    def done_epoch(self) -> int:
        """The last epoch that every sink has published; callable from any thread."""
        return self._coordinator.done if self._coordinator else 0

    def finish(self) -> None:
        """Wait until every closed epoch is done, then close the sinks. Raises as `emit` does."""
        coordinator = self._coordinator
        assert coordinator is not None
        self._wait(lambda: coordinator.settled)
        self._end(at_once=False)
        self.check()

    def abort(self, error: BaseException) -> None:
        """Stop all threads, publish nothing more, close the sinks. Idempotent; any thread; never hangs."""
        self._handle(Failed(error))
        self._end(at_once=True)

    def _claim(self) -> str:
        """Check whose checkpoint and whose outputs these are; take them."""
        description = job_description(
            canonical=self._job.canonical,
            fingerprint=self._job.fingerprint,
            inputs=self._job.inputs,
            sinks=[_describe(spec) for spec in self._sinks],
        )
        if self._mode == "overwrite":
            require_apart(description)
        job_id, begun = begin_job(self._store, description)
        try:
            for worker in self._workers:
                claim = getattr(worker.spec.sink, "claim", None)
                if claim is not None:
                    self._result(
                        worker.call(partial(claim, job_id=job_id, mode=self._mode, schema=worker.spec.schema))
                    )
        except BaseException:
            if begun:  # nothing has been done for this job yet: leave no checkpoint behind
                self._store.delete(JOB_NAME)
            raise
        return job_id

    def _settle(self, checkpoint: Checkpoint, base: Prepare | None) -> None:
        """Ask every sink for its marker, and finish the epoch that was prepared."""
        epoch = base.epoch if base else 0
        done = read_record(self._store, done_name(epoch)) is not None
        opened = [(worker, worker.open(checkpoint.generation)) for worker in self._workers]
        waiting = [
            worker
            for worker, marker in opened
            if must_publish(
                worker.spec.name,
                self._result(marker),
                epoch=epoch,
                done=done,
                delivery=worker.spec.sink.delivery,
            )
        ]
        if base is None:
            return
        outboxes = {outbox.sink: outbox for outbox in base.outboxes}
        for worker in waiting:
            check_outbox(outboxes[worker.spec.name], worker.outbox_folder)
        checkpoint.require_newest()
        for published in [worker.publish(epoch, outboxes[worker.spec.name]) for worker in waiting]:
            self._result(published)
        checkpoint.done(epoch)
        collect_garbage(checkpoint, base, self._workers)

    def _handle(self, event: Event) -> None:
        """Pass an event to the coordinator, and on to the threads what it instructs."""
        with self._changed:
            if isinstance(event, Failed) and self._failure is None:
                self._failure = event.error
            if self._coordinator is not None:
                for instruction in self._coordinator.handle(event):
                    self._carry_out(instruction)
            self._changed.notify_all()

    def _carry_out(self, instruction: Instruction) -> None:
        """Queue it for the thread that does it; never blocks."""
        assert self._writer is not None
        match instruction:
            case EndOutbox(epoch):
                without_rows = self._writer.ends[epoch].without_rows
                for worker in self._workers:
                    worker.end_epoch(show_columns=worker.index in without_rows)
            case Publish(epoch, sink):
                self._workers[sink].publish(epoch, self._workers[sink].outboxes[epoch])
            case Abort():
                self._writer.stop(at_once=True)
                for worker in self._workers:
                    worker.stop()
            case CutEpoch():
                pass  # `rows_until_cut` asks for it
            case _:
                self._writer.put(instruction)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            while not condition():
                self.check()
                self._changed.wait(_WAIT_S)
        self.check()

    def _result(self, future: Future[_Result]) -> _Result:
        while True:
            finished, _ = wait([future], timeout=_WAIT_S)
            self.check()
            if finished:
                return future.result()

    def _temporary_folder(self) -> Path:
        return Path(self._held.enter_context(TemporaryDirectory(prefix="arrowstream-")))

    def _end(self, *, at_once: bool) -> None:
        if self._writer is not None:
            self._writer.stop(at_once=at_once)
            self._writer.join()
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()
        self._held.close()


def _as_store(checkpoint: PathLike | Store | None) -> Store:
    if checkpoint is None:
        return MemoryStore()
    return FolderStore(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else checkpoint


def _describe(spec: SinkSpec) -> dict[str, Json]:
    """What a checkpoint pins of a sink: where it writes, and how."""
    identity = getattr(spec.sink, "identity", None)
    return {
        "name": spec.name,
        "delivery": spec.sink.delivery,
        "sink": identity() if identity is not None else type(spec.sink).__qualname__,
    }
