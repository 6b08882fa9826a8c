"""What a checkpoint holds, and how a running job adds to it.

Blobs of the store, each sealed with its name and checksum (`arrowstream.durable`):

    job.json                                  whose checkpoint it is; written once
    generation/<generation>.json              a process has taken over; older ones are fenced
    base/<generation>.json                    the PREPARE that it goes on from
    plan/<epoch>-<generation>.json            PLAN: input ranges of an epoch
    runs/<operator>/<id>-<epoch>-<generation>.arrow   state run, as Arrow IPC
    prepare/<epoch>-<generation>.json         PREPARE: snapshot, cursors, outboxes
    done/<epoch>.json                         DONE: every sink has published

**Fencing.** A process that takes over writes down, in this order: a generation above all others, and the
newest PREPARE that it finds then. One of an older generation that appears after that counts for nothing
(`is_valid`), so an older process cannot disturb a newer one. As a process looks for newer generations
*after* its PREPARE is durable, and before any sink publishes, whatever it publishes has been found by the
newer one. No PREPARE is ever lost to another process, and none has to be waited for.

A process that was frozen leaves blobs of epochs that are long over. They are older than the newest valid
PREPARE, hence ignored, and go with the garbage.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import pyarrow as pa

from arrowstream import durable, failpoints
from arrowstream.errors import FencedError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrowstream.protocols import Snapshot, Store
    from arrowstream.types import Json

_IPC_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

_Record = TypeVar("_Record", "Base", "Plan", "Prepare")


@dataclass(frozen=True, slots=True)
class Base:
    """The PREPARE that process `generation` goes on from (epoch 0: none)."""

    generation: int
    base_epoch: int
    base_generation: int


@dataclass(frozen=True, slots=True)
class Plan:
    """PLAN: what an epoch reads, and by operator what it has seen of the world outside the input."""

    epoch: int
    generation: int
    start: dict[str, Json] | None
    end: dict[str, Json]
    rows: int
    watermark: int
    final: bool
    wall_time_s: float
    conditions: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRef:
    """A state run: where it is, and what it must contain."""

    id: int
    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """The snapshot of one operator: small values, and all runs that are still live."""

    values: dict[str, Json]
    runs: list[RunRef]


@dataclass(frozen=True, slots=True)
class Outbox:
    """The encoded output of one sink, durable in a file, or in a folder of several files.

    `sha256` is then over their names and contents. `whole`: the sink is given bytes, not the path.
    """

    sink: str
    path: str
    sha256: str
    bytes: int
    rows: int
    whole: bool
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Prepare:
    """PREPARE: everything that is needed to publish an epoch and to go on after it."""

    epoch: int
    generation: int
    rows: int
    cursors: dict[str, Json]
    watermark: int
    counters: dict[str, Json]
    final: bool
    operators: dict[str, OperatorRecord]
    outboxes: list[Outbox]


def generation_name(generation: int) -> str:
    """Name of the blob."""
    return f"generation/{generation:08d}.json"


def base_name(generation: int) -> str:
    """Name of the blob."""
    return f"base/{generation:08d}.json"


def epoch_name(kind: str, epoch: int, generation: int) -> str:
    """Name of a PLAN or PREPARE.

    Examples
    --------
    >>> epoch_name("plan", 7, 2)
    'plan/00000007-00000002.json'
    """
    return f"{kind}/{epoch:08d}-{generation:08d}.json"


def done_name(epoch: int) -> str:
    """Name of the blob."""
    return f"done/{epoch:08d}.json"


def numbers(name: str) -> tuple[int, ...]:
    """The numbers in the last part of a name.

    Examples
    --------
    >>> numbers("runs/window/00000012-00000007-00000002.arrow")
    (12, 7, 2)
    """
    return tuple(int(part) for part in name.rpartition("/")[2].partition(".")[0].split("-"))


def location(store: Store, name: str) -> str:
    """How errors name a blob: as a path where the store has paths."""
    named = getattr(store, "location", None)
    return str(named(name)) if named else name


def write_record(store: Store, name: str, record: dict[str, Any]) -> bool:
    """Put a JSON blob if absent."""
    try:
        text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InternalError(f"{name} cannot be written as JSON: {error}") from error
    return store.put(name, durable.seal(name, text.encode()))


def read_record(store: Store, name: str) -> dict[str, Any] | None:
    """The JSON of a blob, None if it is not there; StateError naming it if it is damaged."""
    sealed = store.get(name)
    if sealed is None:
        return None
    record = json.loads(bytes(durable.unseal(name, sealed, where=location(store, name))))
    assert isinstance(record, dict)
    return record


def read_typed(store: Store, name: str, kind: type[_Record]) -> _Record | None:
    """A blob as the record that it holds."""
    record = read_record(store, name)
    if record is None:
        return None
    if kind is Prepare:
        record["operators"] = {
            operator: OperatorRecord(values=saved["values"], runs=[RunRef(**run) for run in saved["runs"]])
            for operator, saved in record["operators"].items()
        }
        record["outboxes"] = [Outbox(**outbox) for outbox in record["outboxes"]]
    return kind(**record)


def is_valid(epoch: int, generation: int, bases: list[Base]) -> bool:
    """Whether a PREPARE counts: no process that took over later had begun before it."""
    return all(
        epoch < base.base_epoch or (epoch, generation) == (base.base_epoch, base.base_generation)
        for base in bases
        if base.generation > generation
    )


class Checkpoint:
    """Writes the records of one process. Used on one thread; blocks on the store.

    Parameters
    ----------
    store
        Where to.
    generation
        The number of this process.
    base
        The PREPARE that it goes on from.
    wall_clock
        Seconds since 1970, noted in the records.
    """

    def __init__(
        self, store: Store, generation: int, base: Prepare | None, wall_clock: Callable[[], float]
    ) -> None:
        self.store = store
        self.generation = generation
        self._wall_clock = wall_clock
        self._cursors = base.cursors if base else None
        self._runs: dict[str, dict[int, RunRef]] = {
            operator: {run.id: run for run in record.runs}
            for operator, record in (base.operators if base else {}).items()
        }

    def require_newest(self) -> None:
        """Raise FencedError if a newer process has taken over."""
        newest = max(map(numbers, self.store.names("generation/")), default=(0,))[0]
        if newest > self.generation:
            raise FencedError(
                f"a newer process has taken over {location(self.store, 'job.json').removesuffix('job.json')}"
                f" (generation {newest}, this one is {self.generation})",
                hint="this process has published nothing since; let the newer one go on",
            )

    def write_plan(
        self,
        epoch: int,
        *,
        rows: int,
        cursors: dict[str, Json],
        watermark: int,
        final: bool,
        conditions: dict[str, Json],
    ) -> None:
        """PLAN: durable on return."""
        plan = Plan(
            epoch=epoch,
            generation=self.generation,
            start=self._cursors,
            end=cursors,
            rows=rows,
            watermark=watermark,
            final=final,
            wall_time_s=self._wall_clock(),
            conditions=conditions,
        )
        self._write("plan", epoch, asdict(plan))
        self._cursors = cursors

    def write_runs(self, epoch: int, snapshots: dict[str, Snapshot]) -> dict[str, OperatorRecord]:
        """Write the new state runs, durable on return; gives what PREPARE says about each operator."""
        records = {}
        for operator, snapshot in snapshots.items():
            known = self._runs.get(operator, {})
            live = {
                run.id: known[run.id]
                if run.table is None
                else self._write_run(operator, epoch, run.id, run.table)
                for run in snapshot.runs
            }
            self._runs[operator] = live
            records[operator] = OperatorRecord(values=snapshot.values, runs=list(live.values()))
        return records

    def prepare(self, prepare: Prepare) -> None:
        """PREPARE: durable, and not fenced, on return: only now may sinks publish.

        1. Nobody newer is there: else the record would only be garbage.
        2. Write it.
        3. Nobody newer is there: so whoever takes over later finds this PREPARE, and finishes it.
        """
        self.require_newest()
        self._write("prepare", prepare.epoch, asdict(prepare))
        self.require_newest()

    def done(self, epoch: int) -> None:
        """DONE: durable on return."""
        self.require_newest()
        write_record(self.store, done_name(epoch), {"epoch": epoch, "generation": self.generation})

    def collect_garbage(self, prepare: Prepare) -> None:
        """Remove what nobody needs after this epoch is done: repeated, it removes what is left.

        Runs and PREPAREs of later epochs stay, whoever wrote them: they may still be wanted.
        """
        epoch = prepare.epoch
        for kind in ("plan", "prepare", "done"):
            for name in self.store.names(f"{kind}/"):
                if numbers(name)[0] < epoch:
                    self.store.delete(name)
        for kind in ("base", "generation"):
            for name in self.store.names(f"{kind}/"):
                if numbers(name)[0] < self.generation:
                    self.store.delete(name)
        failpoints.hit("garbage.epoch")
        live = {run.name for record in prepare.operators.values() for run in record.runs}
        for name in self.store.names("runs/"):
            if name not in live and numbers(name)[1] <= epoch:
                self.store.delete(name)
        failpoints.hit("garbage.runs")

    def _write(self, kind: str, epoch: int, record: dict[str, Any]) -> None:
        name = epoch_name(kind, epoch, self.generation)
        if not write_record(self.store, name, record):
            raise InternalError(f"{location(self.store, name)} was there before its epoch")

    def _write_run(self, operator: str, epoch: int, run_id: int, table: pa.Table) -> RunRef:
        name = f"runs/{quote(operator, safe='')}/{run_id:08d}-{epoch:08d}-{self.generation:08d}.arrow"
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema, options=_IPC_OPTIONS) as writer:
            writer.write_table(table.unify_dictionaries())
        payload = memoryview(buffer.getvalue())
        sealed = durable.seal(name, payload)
        if not self.store.put(name, sealed):
            raise InternalError(f"{location(self.store, name)} was there before its epoch")
        return RunRef(id=run_id, name=name, sha256=durable.sealed_sha256(sealed), bytes=len(payload))
