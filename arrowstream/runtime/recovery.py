"""How a process takes over a checkpoint: whose it is, who else is there, where it stands.

The order is the proof of correctness:

1. The folder is not in use by another run of this process (`occupy`).
2. The job record fits the query, input and outputs (`begin_job`): else nothing has been touched.
3. Take a higher generation (`take_generation`): older processes cannot prepare or publish from here on.
4. Only then ask each sink for its marker, and publish what was prepared (`must_publish`).
5. Load the state (`load_state`), and go on.
"""

from __future__ import annotations

import difflib
import json
import os
import threading
import uuid
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from arrowstream import durable
from arrowstream.errors import PlanError, StateError
from arrowstream.runtime.checkpoint import (
    Base,
    Plan,
    Prepare,
    base_name,
    epoch_name,
    generation_name,
    is_valid,
    location,
    numbers,
    read_record,
    read_typed,
    write_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arrowstream.protocols import Store
    from arrowstream.runtime.checkpoint import RunRef
    from arrowstream.types import Delivery, Json

JOB_NAME = "job.json"

_RESTORE = "restore it from a copy, or start anew with another checkpoint and another output"
_DIFFERENCES_SHOWN_MAX = 40  # lines; more do not help a reader

_in_use: set[str] = set()
_in_use_lock = threading.Lock()


@contextmanager
def occupy(folder: str) -> Iterator[None]:
    """Hold a checkpoint for one run of this process; StateError if another run holds it."""
    with _in_use_lock:
        if folder in _in_use:
            raise StateError(
                f"the checkpoint {folder} is in use by another run of this process",
                hint="wait for that run or stop it, or give this one a checkpoint of its own",
            )
        _in_use.add(folder)
    try:
        yield
    finally:
        with _in_use_lock:
            _in_use.discard(folder)


def job_description(
    *, canonical: str, fingerprint: str, inputs: dict[str, Json], sinks: list[dict[str, Json]]
) -> dict[str, Any]:
    """The part of a job record that must not change from run to run."""
    return {"plan": canonical, "fingerprint": fingerprint, "inputs": inputs, "sinks": sinks}


def require_apart(description: dict[str, Any]) -> None:
    """Raise PlanError if an output would be emptied of what is to be read."""
    for sink in description["sinks"]:
        folder = sink["sink"].get("path") if isinstance(sink["sink"], dict) else None
        for text in _texts(description["inputs"]):
            if folder and text.startswith(f"{folder}{os.sep}"):
                raise PlanError(
                    f"{sink['name']} would overwrite {text}, which is read",
                    hint="write to another folder",
                    operator_id=sink["name"],
                )


def begin_job(store: Store, description: dict[str, Any]) -> tuple[str, bool]:
    """The id of the checkpoint's job, and whether it begins now.

    Raises StateError that shows the difference if the checkpoint is another job's.
    """
    found = read_record(store, JOB_NAME)
    if found is None:
        if names := store.names():
            raise StateError(
                f"{location(store, JOB_NAME)} is missing, but there is {location(store, names[0])}",
                hint="restore the file from a copy, or give an empty folder as checkpoint",
            )
        record = {
            "id": str(uuid.uuid4()),
            "description": description,
            "versions": {
                "format": durable.FORMAT_VERSION,
                "arrowstream": _version(),
                "polars": pl.__version__,
            },
        }
        if write_record(store, JOB_NAME, record):
            return str(record["id"]), True
        found = read_record(store, JOB_NAME)
        assert found is not None
    # As JSON has it: what was written is compared with what would be written.
    wanted = json.loads(json.dumps(description))
    if found["description"] != wanted:
        raise StateError(
            f"the checkpoint {location(store, JOB_NAME)} belongs to another job\n"
            + _difference(found["description"], wanted),
            hint="give this job a new checkpoint folder (and output), or restore the query, input and output "
            "that the checkpoint was begun with",
        )
    return str(found["id"]), False


def take_generation(store: Store, wall_clock: Callable[[], float]) -> tuple[int, tuple[int, int] | None]:
    """Fence all older processes; gives this process's number and which PREPARE to go on from.

    1. Write down a higher generation: older processes that look for one stop.
    2. Find the newest valid PREPARE: all that an older process may still publish is among them.
    3. Write it down: what older processes prepare from now on is void.
    """
    while True:
        generation = max((numbers(name)[0] for name in store.names("generation/")), default=0) + 1
        record = {"generation": generation, "wall_time_s": wall_clock(), "process": os.getpid()}
        if write_record(store, generation_name(generation), record):  # 1
            break
    newest = newest_prepare(store)  # 2
    epoch, writer = newest or (0, 0)
    write_record(store, base_name(generation), asdict(Base(generation, epoch, writer)))  # 3
    return generation, newest


def newest_prepare(store: Store) -> tuple[int, int] | None:
    """Epoch and generation of the newest PREPARE that counts."""
    bases = [read_typed(store, name, Base) for name in store.names("base/")]
    known = [base for base in bases if base is not None]
    keys = [numbers(name) for name in store.names("prepare/")]
    return max(((epoch, writer) for epoch, writer in keys if is_valid(epoch, writer, known)), default=None)


def read_prepare(store: Store, key: tuple[int, int] | None) -> Prepare | None:
    """The PREPARE of an epoch and generation; StateError if it is damaged or has gone meanwhile."""
    if key is None:
        return None
    name = epoch_name("prepare", *key)
    prepare = read_typed(store, name, Prepare)
    if prepare is None:
        raise StateError(f"{location(store, name)} has disappeared while it was looked at")
    return prepare


def next_plan(store: Store, done_epoch: int) -> Plan | None:
    """The PLAN of the epoch after `done_epoch`, if a process got as far as that: the newest one's."""
    names = [name for name in store.names("plan/") if numbers(name)[0] == done_epoch + 1]
    return read_typed(store, names[-1], Plan) if names else None


def load_state(
    store: Store, prepare: Prepare
) -> dict[str, tuple[dict[str, Json], list[tuple[int, pa.Table]]]]:
    """Values and runs by operator; StateError naming a run that is damaged or missing."""
    return {
        operator: (record.values, [(run.id, _load_run(store, run)) for run in record.runs])
        for operator, record in prepare.operators.items()
    }


def must_publish(sink: str, marker: int | None, *, epoch: int, done: bool, delivery: Delivery) -> bool:
    """Whether the prepared epoch has to be given to a sink that has `marker`.

    ====================  =====================================================
    M = N                 it has it
    M = N-1               it must get it
    else                  stop: the checkpoint or the output was set back, or
                          somebody else has written
    no marker at all      (at least once) it gets it unless N is done
    ====================  =====================================================
    """
    if marker is None and delivery == "at_least_once":
        return epoch > 0 and not done
    if (marker or 0) == epoch:
        return False
    if (marker or 0) == epoch - 1 and not done:
        return True
    found = f"epoch {marker}" if marker else "nothing"
    prepared = f"epoch {epoch}" if epoch else "nothing"
    raise StateError(
        f"{sink} has published {found}, but the checkpoint has prepared {prepared}",
        hint="the checkpoint or the output was set back, removed, or written by somebody else: restore both "
        'from one time, or start anew with another checkpoint and mode="overwrite"',
        operator_id=sink,
    )


def _load_run(store: Store, run: RunRef) -> pa.Table:
    where = location(store, run.name)
    sealed = store.get(run.name)
    if sealed is None:
        raise StateError(f"{where}, a part of the state, is missing", hint=_RESTORE)
    payload = durable.unseal(run.name, sealed, where=where)
    if durable.sealed_sha256(sealed) != run.sha256:
        raise StateError(f"{where} is not the file that was written", hint=_RESTORE)
    return pa.ipc.open_file(pa.py_buffer(payload)).read_all()


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    lines = list(
        difflib.unified_diff(
            _as_lines(before), _as_lines(after), "the checkpoint's job", "this job", n=1, lineterm=""
        )
    )
    more = len(lines) - _DIFFERENCES_SHOWN_MAX
    shown = [f"  {line}" for line in lines[:_DIFFERENCES_SHOWN_MAX]]
    return "\n".join([*shown, f"  … {more} more lines"] if more > 0 else shown)


def _texts(value: Json) -> Iterator[str]:
    """All texts in a JSON value, wherever they are."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _as_lines(description: dict[str, Any]) -> list[str]:
    """A job as text in which a change shows as a changed line."""
    lines = ["query:", *(f"  {line}" for line in str(description["plan"]).splitlines())]
    for title in ("inputs", "sinks"):
        lines += [f"{title}:"]
        lines += json.dumps(description[title], indent=2, sort_keys=True, ensure_ascii=False).splitlines()[
            1:-1
        ]
    if description["fingerprint"]:
        lines.append(f"fingerprint: {description['fingerprint']}")
    return lines


def _version() -> str:
    try:
        return metadata.version("arrowstream")
    except metadata.PackageNotFoundError:
        return "unknown"
