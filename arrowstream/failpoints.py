"""Named places at which a test can kill, stop or fail the process; free when off.

Every step that makes something durable has a failpoint before and after it, so that a test can stop
there and prove that a restart finishes the job. `ARROWSTREAM_FAILPOINTS` switches them on for a process:

    ARROWSTREAM_FAILPOINTS="prepare.before=kill"                  SIGKILL at the first time it is reached
    ARROWSTREAM_FAILPOINTS="data.linked=stop@3,done.after=kill"   SIGSTOP at the third; several
    ARROWSTREAM_FAILPOINTS="runs.synced=raise"                    raises `Crash`

Started again with the same setting, a process dies in the same place again.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arrowstream.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = "ARROWSTREAM_FAILPOINTS"

BLOBS = ("job", "generation", "base", "plan", "runs", "prepare", "done", "claim", "manifest")
"""What is written by put-if-absent: seven kinds in the checkpoint, two in an output's history."""

PUT_STEPS = ("before", "written", "synced", "linked", "after")
"""Temporary file written, fsynced, linked to its name; folder fsynced (after)."""

NAMES = (
    *(f"{blob}.{step}" for blob in BLOBS for step in PUT_STEPS),
    "outbox.before",  # an epoch's encoded output, sink by sink
    "outbox.file",  # one of several is begun
    "outbox.written",
    "outbox.synced",
    "outbox.after",
    "publish.before",  # the engine asks a sink to publish
    "publish.after",
    "data.before",  # a data file gets its final name
    "data.linked",
    "data.after",
    "object.before",  # data objects are put
    "object.begun",  # a large one, in parts
    "object.part",
    "object.put",
    "object.after",
    "garbage.before",  # what a later epoch has made superfluous
    "garbage.epoch",
    "garbage.runs",
    "garbage.after",
)
"""All failpoints."""

ACTIONS = ("kill", "stop", "raise")


class Crash(BaseException):
    """Stands for the death of the process: no handler of `Exception` may survive it."""


@dataclass(slots=True)
class _Armed:
    """The failpoints that are on, and how often each was reached."""

    actions: dict[str, tuple[str, int]]
    reached: list[str] = field(default_factory=list)
    crashed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, name: str) -> None:
        if name not in NAMES:
            raise InternalError(f"there is no failpoint {name!r}")
        with self.lock:
            self.reached.append(name)
            action, nth = self.actions.get(name, ("", 0))
            due = self.crashed or (action != "" and self.reached.count(name) == nth)
            # A dead process does nothing more: after a `raise`, every thread fails at its next step.
            self.crashed = self.crashed or (due and action == "raise")
            crashed = self.crashed
        if crashed:
            raise Crash(name)
        if due:
            os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


_armed: _Armed | None = None


def hit(name: str) -> None:
    """The place `name` is reached. Nothing happens unless a test has armed the failpoints."""
    if _armed is None:
        return
    _armed.reach(name)


def arm(settings: str) -> None:
    """Switch failpoints on, as `ARROWSTREAM_FAILPOINTS` does; an empty text only records what is reached.

    Raises InternalError for an unknown name or action.
    """
    global _armed  # noqa: PLW0603 — one switch for the process, so that being off costs one comparison
    _armed = _Armed(dict(_parse(setting) for setting in settings.split(",") if setting.strip()))


def disarm() -> None:
    """Switch all failpoints off."""
    global _armed  # noqa: PLW0603 — see `arm`
    _armed = None


@contextmanager
def armed(settings: str = "") -> Iterator[list[str]]:
    """Failpoints on within a `with` block; gives the list of names in the order they are reached.

    Examples
    --------
    >>> with armed() as reached:
    ...     hit("plan.before")
    >>> reached
    ['plan.before']
    """
    arm(settings)
    assert _armed is not None
    try:
        yield _armed.reached
    finally:
        disarm()


def _parse(setting: str) -> tuple[str, tuple[str, int]]:
    name, _, action = setting.strip().partition("=")
    action, _, nth = action.partition("@")
    if name not in NAMES:
        raise InternalError(f"there is no failpoint {name!r}", choices=NAMES)
    if action not in ACTIONS:
        raise InternalError(f"a failpoint cannot {action!r}", choices=ACTIONS)
    return name, (action, int(nth or 1))


if os.environ.get(ENVIRONMENT):
    arm(os.environ[ENVIRONMENT])
