"""The thread that writes a checkpoint while the next epoch is computed."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from arrowstream import failpoints
from arrowstream.errors import ArrowStreamError
from arrowstream.runtime.checkpoint import OperatorRecord, Prepare
from arrowstream.runtime.events import (
    CollectGarbage,
    Done,
    Failed,
    PlanWritten,
    Prepared,
    StateWritten,
    WriteDone,
    WritePlan,
    WritePrepare,
    WriteState,
)
from arrowstream.runtime.outbox import remove_outboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrowstream.runtime.checkpoint import Checkpoint
    from arrowstream.runtime.epochs import EpochEnd
    from arrowstream.runtime.events import Event, Instruction
    from arrowstream.runtime.sinks import SinkWorker

_WAIT_S = 1.0  # no wait is endless: a missed wake-up costs this much
_CLOSE_WAIT_S = 30.0  # how long closing waits for a disk that hangs


class EpochWriter:
    """Carries out the coordinator's instructions that write to the checkpoint, one after the other.

    `ends` is filled by the run loop before it closes an epoch.
    """

    def __init__(
        self, checkpoint: Checkpoint, workers: Sequence[SinkWorker], on_event: Callable[[Event], None]
    ) -> None:
        self.ends: dict[int, EpochEnd] = {}
        self._checkpoint = checkpoint
        self._workers = workers
        self._on_event = on_event
        self._records: dict[int, dict[str, OperatorRecord]] = {}
        self._prepared: dict[int, Prepare] = {}
        self._instructions: queue.SimpleQueue[Instruction | None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="arrowstream-checkpoint", daemon=True)
        self._thread.start()

    def put(self, instruction: Instruction) -> None:
        """Queue an instruction; at most those of two epochs ever wait."""
        self._instructions.put(instruction)

    def stop(self, *, at_once: bool) -> None:
        """End the thread: after all that is queued, or after what it is doing. Idempotent."""
        self._stopping = self._stopping or at_once
        self._instructions.put(None)

    def join(self) -> None:
        """Wait for the thread, but not for a disk that hangs."""
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_WAIT_S)

    def _run(self) -> None:
        try:
            while (instruction := self._next()) is not None:
                self._carry_out(instruction)
        except BaseException as error:  # noqa: BLE001 — a thread must not die silently
            if isinstance(error, ArrowStreamError):
                error.operator_id = error.operator_id or "checkpoint"
            self._on_event(Failed(error))

    def _next(self) -> Instruction | None:
        while not self._stopping:
            try:
                instruction = self._instructions.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            return None if self._stopping else instruction
        return None

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case WritePlan(epoch):
                end = self.ends[epoch]
                self._checkpoint.write_plan(
                    epoch,
                    rows=end.rows,
                    cursors=end.cursors,
                    watermark=end.watermark,
                    final=end.final,
                    conditions=end.conditions,
                )
                self._on_event(PlanWritten(epoch))
            case WriteState(epoch):
                self._records[epoch] = self._checkpoint.write_runs(epoch, self.ends[epoch].snapshots)
                self._on_event(StateWritten(epoch))
            case WritePrepare(epoch):
                self._prepared[epoch] = self._prepare(epoch)
                self._checkpoint.prepare(self._prepared[epoch])
                self._on_event(Prepared(epoch))
            case WriteDone(epoch):
                self._checkpoint.done(epoch)
                self._on_event(Done(epoch))
            case CollectGarbage(epoch):
                collect_garbage(self._checkpoint, self._prepared.pop(epoch), self._workers)

    def _prepare(self, epoch: int) -> Prepare:
        end = self.ends.pop(epoch)
        return Prepare(
            epoch=epoch,
            generation=self._checkpoint.generation,
            rows=end.rows,
            cursors=end.cursors,
            watermark=end.watermark,
            counters=end.counters,
            final=end.final,
            operators=self._records.pop(epoch),
            outboxes=[worker.outboxes[epoch] for worker in self._workers],
        )


def collect_garbage(checkpoint: Checkpoint, prepare: Prepare, workers: Sequence[SinkWorker]) -> None:
    """Remove what nobody needs after this epoch is done: records, state runs, outboxes."""
    failpoints.hit("garbage.before")
    checkpoint.collect_garbage(prepare)
    for worker in workers:
        remove_outboxes(worker.outbox_folder, prepare.epoch)
        for epoch in [kept for kept in list(worker.outboxes) if kept <= prepare.epoch]:
            worker.outboxes.pop(epoch, None)
    failpoints.hit("garbage.after")
