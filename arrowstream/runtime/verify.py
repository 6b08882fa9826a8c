"""Whether a checkpoint could be used: reads all of it, changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arrowstream import durable
from arrowstream.errors import StateError
from arrowstream.runtime.checkpoint import (
    Prepare,
    done_name,
    epoch_name,
    location,
    numbers,
    read_typed,
)
from arrowstream.runtime.outbox import check_outbox
from arrowstream.runtime.recovery import JOB_NAME, newest_prepare
from arrowstream.state.stores import FolderStore

if TYPE_CHECKING:
    from arrowstream.protocols import Store
    from arrowstream.types import PathLike

_OUTBOXES = "outbox/"  # encoded output, not a blob: checked against the PREPARE that names it


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one file of a checkpoint."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def verify(folder: PathLike) -> list[Finding]:
    """All that is wrong with a checkpoint folder; an empty list if a run can go on from it.

    Every file's checksum is computed. What killed processes have left behind is not wrong: it is ignored
    and removed by the next run.
    """
    store = FolderStore(folder)
    damaged = [
        Finding(location(store, name), problem)
        for name in store.names()
        if not name.startswith(_OUTBOXES) and (problem := _damage(store, name)) is not None
    ]
    if store.get(JOB_NAME) is None:
        damaged.append(Finding(location(store, JOB_NAME), "missing: this is no checkpoint, or not all of it"))
    # Which PREPARE counts can be said only if all records can be read.
    return damaged or _check_newest(store)


def _damage(store: Store, name: str) -> str | None:
    sealed = store.get(name)
    if sealed is None:
        return None  # a run that goes on has removed it meanwhile
    try:
        durable.unseal(name, sealed, where=name)
    except StateError as error:
        return error.fact.removeprefix(f"{name} ")
    return None


def _check_newest(store: Store) -> list[Finding]:
    newest = newest_prepare(store)
    done = max((numbers(name)[0] for name in store.names("done/")), default=0)
    if done > (newest or (0, 0))[0]:
        return [Finding(location(store, done_name(done)), "its PREPARE is missing")]
    if newest is None:
        return []
    prepare = read_typed(store, epoch_name("prepare", *newest), Prepare)
    if prepare is None:
        return []
    findings = []
    for record in prepare.operators.values():
        for run in record.runs:
            sealed = store.get(run.name)
            if sealed is None:
                findings.append(Finding(location(store, run.name), "missing, but part of the state"))
            elif durable.sealed_sha256(sealed) != run.sha256:
                findings.append(Finding(location(store, run.name), "not the file that was written"))
    if prepare.epoch > done:
        for outbox in prepare.outboxes:
            try:
                check_outbox(outbox, Path(outbox.path).parent)
            except StateError as error:
                findings.append(Finding(outbox.path, error.fact.removeprefix(f"{outbox.path}, ")))
    return findings
