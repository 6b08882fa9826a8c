"""The epoch protocol as a pure state machine: an event in, instructions out; no I/O, no clock, no threads.

An epoch N goes through these steps; the code below carries the same numbers.

1. **Close**: its last row is processed. Its sinks end their outboxes, its PLAN and its state are written.
2. **PREPARE N** when PLAN, state and all outboxes are durable *and* N-1 is done: at most one epoch is
   prepared and not done.
3. **COMMIT**: every sink publishes outbox N together with a marker N.
4. **DONE N** when every sink has published.
5. **Garbage**: what only epochs before N needed is removed.

Epoch N+1 is computed and may close meanwhile (its step 1 runs), N+2 may not begin before N is done.
After a failure nothing is instructed any more: what is prepared will be finished by the next run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arrowstream.errors import InternalError
from arrowstream.runtime.events import (
    Abort,
    CollectGarbage,
    CutEpoch,
    Done,
    EndOutbox,
    EpochClosed,
    Failed,
    OutboxReady,
    PlanWritten,
    Prepared,
    Publish,
    Published,
    StateWritten,
    Tick,
    WriteDone,
    WritePlan,
    WritePrepare,
    WriteState,
)

if TYPE_CHECKING:
    from arrowstream.runtime.events import Event, Instruction, Step


@dataclass(slots=True)
class _Progress:
    """How far a closed epoch is."""

    planned: bool = False
    state_written: bool = False
    outboxes: set[int] = field(default_factory=set)
    prepared: bool = False
    published: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Coordinator:
    """Decides what happens next. Used under a lock, by any thread.

    Parameters
    ----------
    sinks
        How many there are.
    done
        The last epoch that is done (0: none).
    every_s
        How long an epoch is at least (None: the time does not matter).
    begun_s
        When the current epoch began.
    """

    sinks: int
    done: int
    every_s: float | None
    begun_s: float
    closed: int = -1
    cut_due: bool = False
    ended: bool = False
    failure: BaseException | None = None
    _open: dict[int, _Progress] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.closed = self.done

    @property
    def settled(self) -> bool:
        """Whether every closed epoch is done."""
        return self.done == self.closed

    @property
    def may_compute(self) -> bool:
        """Whether rows of the epoch after the closed ones may be processed."""
        return self.closed <= self.done + 1

    def handle(self, event: Event) -> list[Instruction]:
        """Take note of `event`; what has to be done now comes out, in order."""
        if self.failure is not None:
            return []
        match event:
            case Tick(now_s):
                return self._cut_if_due(now_s)
            case Failed(error):
                self.failure = error
                return [Abort(error)]
            case EpochClosed(epoch, final, now_s):
                return self._close(epoch, final, now_s)
            case _:
                return self._step(event)

    def _step(self, event: Step) -> list[Instruction]:
        progress = self._open.get(event.epoch)
        if progress is None:
            raise InternalError(f"{event} is about an epoch that is not open")
        match event:
            case PlanWritten():
                progress.planned = True
            case StateWritten():
                progress.state_written = True
            case OutboxReady(_, sink):
                progress.outboxes.add(sink)
            case Prepared(epoch):  # 3. COMMIT
                return [Publish(epoch, sink) for sink in range(self.sinks)]
            case Published(epoch, sink):  # 4. DONE
                progress.published.add(sink)
                return [WriteDone(epoch)] if len(progress.published) == self.sinks else []
            case Done(epoch):  # 5. Garbage; then the epoch that has waited for this one may be prepared
                self.done = epoch
                del self._open[epoch]
                return [CollectGarbage(epoch), *self._prepare_if_ready(epoch + 1)]
        return self._prepare_if_ready(event.epoch)

    def _close(self, epoch: int, final: bool, now_s: float) -> list[Instruction]:  # noqa: FBT001 — a field
        """1. Close."""
        if epoch != self.closed + 1 or self.ended or not self.may_compute:
            raise InternalError(f"epoch {epoch} was closed out of turn: {self.done} is the last one done")
        self.closed, self.ended = epoch, final
        self.begun_s, self.cut_due = now_s, False
        self._open[epoch] = _Progress()
        return [EndOutbox(epoch), WritePlan(epoch), WriteState(epoch)]

    def _prepare_if_ready(self, epoch: int) -> list[Instruction]:
        """2. PREPARE."""
        progress = self._open.get(epoch)
        if progress is None or progress.prepared or epoch != self.done + 1:
            return []
        if not (progress.planned and progress.state_written and len(progress.outboxes) == self.sinks):
            return []
        progress.prepared = True
        return [WritePrepare(epoch)]

    def _cut_if_due(self, now_s: float) -> list[Instruction]:
        if self.every_s is None or self.cut_due or self.ended:
            return []
        # While the epoch before is not done, a cut would only make the computing wait: let this one grow.
        if not self.settled or now_s - self.begun_s < self.every_s:
            return []
        self.cut_due = True
        return [CutEpoch()]
