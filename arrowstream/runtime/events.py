"""What the coordinator is told (events), and what it wants done (instructions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class EpochClosed:
    """The last row of `epoch` is processed; `final`: the input has ended."""

    epoch: int
    final: bool
    now_s: float


@dataclass(frozen=True, slots=True)
class PlanWritten:
    """PLAN is durable."""

    epoch: int


@dataclass(frozen=True, slots=True)
class StateWritten:
    """All new state runs are durable."""

    epoch: int


@dataclass(frozen=True, slots=True)
class OutboxReady:
    """The outbox of one sink is durable."""

    epoch: int
    sink: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """PREPARE is durable, and no newer process was there after it."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Published:
    """One sink has published."""

    epoch: int
    sink: int


@dataclass(frozen=True, slots=True)
class Done:
    """DONE is durable."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Something went wrong, anywhere."""

    error: BaseException


Step: TypeAlias = PlanWritten | StateWritten | OutboxReady | Prepared | Published | Done
"""Something that an epoch needed has been done."""

Event: TypeAlias = EpochClosed | Tick | Failed | Step


@dataclass(frozen=True, slots=True)
class EndOutbox:
    """Tell every sink that the epoch has no more rows."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Write PLAN."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WriteState:
    """Write the new state runs."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WritePrepare:
    """Write PREPARE, unless a newer process is there."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Let one sink publish."""

    epoch: int
    sink: int


@dataclass(frozen=True, slots=True)
class WriteDone:
    """Write DONE."""

    epoch: int


@dataclass(frozen=True, slots=True)
class CollectGarbage:
    """Remove what only epochs before this one needed."""

    epoch: int


@dataclass(frozen=True, slots=True)
class CutEpoch:
    """Close the current epoch at the next row."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop everything."""

    error: BaseException


Instruction: TypeAlias = (
    EndOutbox
    | WritePlan
    | WriteState
    | WritePrepare
    | Publish
    | WriteDone
    | CollectGarbage
    | CutEpoch
    | Abort
)
