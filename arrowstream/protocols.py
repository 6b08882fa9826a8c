"""The contracts between the engine and what is plugged into it: sources, sinks, operators, stores.

They are structural: a class that has the methods is one, no base class is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

    from arrowstream.types import Delivery, Json, Mode, Piece, Position


@dataclass(slots=True)
class ConnectorCounters:
    """What a reader or sink has done, counted by itself; read by other threads at any time.

    `rows` are good rows, `errors` records or files that were dropped, `dead_letters` those handed on,
    `bytes` as they are stored, `seconds` spent in the connector.
    """

    files: int = 0
    rows: int = 0
    bytes: int = 0
    errors: int = 0
    dead_letters: int = 0
    seconds: float = 0.0


@runtime_checkable
class Reader(Protocol):
    """Reads one partition from a position to its end. Used by one thread only; may block.

    A reader that knows more may also have `horizon(position, skip) -> int | None`: the smallest event
    time, in the unit of the event-time column, that this partition can still deliver after `position`
    and `skip` further rows (None: not known). It is a pure function of its arguments, and may be called
    from another thread while `read` runs: where epochs end must not change what has closed by then.

    What cannot be read may take a row's place: a frame then has the hidden column `config.DEAD` as its last
    one, and null in all others of that row. Positions and `max_rows` count such slots like rows. A reader
    that counts has `counters: ConnectorCounters`.

    Examples
    --------
    >>> import polars as pl
    >>> class Ones:
    ...     def __init__(self, position): self.row = position or 0
    ...     def read(self, max_rows):
    ...         rows = min(max_rows, 5 - self.row)  # there are five
    ...         self.row += rows
    ...         return (pl.DataFrame({"one": [1] * rows}), self.row) if rows else None
    ...     def close(self): pass
    >>> Ones(position=3).read(max_rows=100)[1], isinstance(Ones(None), Reader)
    (5, True)
    """

    def read(self, max_rows: int) -> tuple[pa.RecordBatch | pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after the last of them; None at the end.

        A batch may have no rows (nothing has come within a short wait): the engine calls again.
        """
        ...

    def close(self) -> None:
        """Release threads and files; called once, also after an error."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where rows come from. A source is a description: it opens nothing until `open` is called.

    `partitions()` names the units of order; each is read by a reader of its own. A *replayable* source
    gives the same rows in the same order when it is opened again at a position it returned.

    A source may also have
    `with_metadata(*, file: str | None, row: str | None) -> Source` (its schema then has, after all other
    columns, under these names, the path or URL of the file that a row comes from, `pl.String`, and the
    number of the row within its file, `pl.Int64` from 0, dead slots counted; called first, at most once),
    `project(columns) -> Source` (reads only these columns, in the order of the schema; not called where bad
    input is skipped or made dead letters, because what is bad must not depend on the query),
    `with_event_time(column) -> Source` (its readers then keep `horizon` for that column),
    `identity() -> Json` (what a checkpoint pins: path, size, modification time …),
    `idle_timeout: Duration | None` (how long the others wait for a partition without rows), and
    `follow(positions, state) -> Following`: it is then read through that, and `partitions()` are those it
    always has, or none if all of them come and go.

    Examples
    --------
    A whole one is at `arrowstream.scan`; those of files and frames are sources too:

    >>> import polars as pl
    >>> from arrowstream.connectors.memory.source import FrameSource
    >>> frame = FrameSource(pl.DataFrame({"a": [1, 2, 3]}))
    >>> frame.partitions(), frame.bounded, isinstance(frame, Source)
    (['scan'], True, True)
    >>> frame.open("scan", position=1).read(max_rows=10)[0]["a"].to_list()
    [2, 3]
    """

    @property
    def schema(self) -> pa.Schema:
        """Columns and types of every batch."""
        ...

    @property
    def bounded(self) -> bool:
        """Whether the input ends."""
        ...

    @property
    def replayable(self) -> bool:
        """Whether it can be read again from a position."""
        ...

    def partitions(self) -> Sequence[str]:
        """Names of the partitions, in their order."""
        ...

    def open(self, partition: str, position: Position | None) -> Reader:
        """A reader that starts right after `position` (None: at the beginning)."""
        ...


class Following(Protocol):
    """One run's hold on a source whose partitions come and go, or may be quiet for long.

    Begun with `source.follow(positions, state)`: the positions of an earlier run by partition, and its
    `state()`. Rows come from readers as ever, only that `read` is not called before `poll` has named the
    partition, and should not wait: a batch without rows says that there is nothing now, None that the
    partition has gone (it may come again). Such a reader may also have `within(position, rows) -> Position`:
    the position after only the first `rows` rows of the batch that came with `position`. Without it,
    reading from the position before that batch must give the same rows first, whatever came meanwhile.

    Examples
    --------
    One that is told by a queue which partitions have something to read; `open` gives their readers:

    >>> import queue
    >>> class Told:
    ...     def __init__(self): self.names = queue.Queue()
    ...     def poll(self, timeout_s):
    ...         try: return [self.names.get(timeout=timeout_s)]
    ...         except queue.Empty: return []
    ...     def open(self, partition): raise NotImplementedError
    ...     def retire(self, partition, position): pass
    ...     def state(self): return None
    ...     def waiting_for(self): return "a name in the queue"
    ...     def close(self): pass
    >>> told = Told()
    >>> told.names.put("first")
    >>> told.poll(timeout_s=1), told.poll(timeout_s=0.01)
    (['first'], [])
    """

    def poll(self, timeout_s: float) -> list[str]:
        """Partitions that have something to read, new ones among them; waits for that. By one thread."""
        ...

    def open(self, partition: str) -> Reader:
        """A reader of a partition that `poll` has named or `positions` had, at its position."""
        ...

    def retire(self, partition: str, position: Position) -> None:
        """All rows of a partition that has gone are handed out; its position is not kept by the engine."""
        ...

    def state(self) -> Json:
        """What has to be remembered of those that were retired; kept in every checkpoint, so be brief."""
        ...

    def waiting_for(self) -> str:
        """What has to happen for further rows to come, in words. Any thread."""
        ...

    def close(self) -> None:
        """End a wait in `poll`, and release everything; readers are closed apart. Any thread."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where results go, epoch by epoch.

    1. `open` fences older writers and says which epoch this sink has published last (None: none yet).
    2. `encode` turns the batches of one epoch into bytes, or into an iterator of bytes that is
       consumed while the batches still arrive. For several files an epoch it is an iterator of
       `(relative file name, bytes)`, in which the pieces of several files may alternate. It must be a pure
       function of the rows, however they are cut into batches.
    3. The engine makes the encoded epoch durable: the *outbox*, a file, or a folder of the named files.
    4. `publish` makes it visible together with a marker of the epoch, atomically and idempotently. It is
       given the bytes if `encode` returned bytes, else the path of the durable file or folder (a file without
       bytes if there was no piece). After a crash it is called again with the same outbox.

    All methods are called on the sink's own thread, and may block; `publish` of an epoch may be called
    while `encode` of the next one waits for its next batch. Where a job ends and has had no rows at all,
    `encode` is given one batch without rows, so that the output can show its columns. A sink may also have
    `outbox_folder` (where the engine keeps this sink's outboxes; default: in the checkpoint),
    `claim(job_id=, mode=)` (raises StateError if the place holds something that is not this job's),
    `check_schema(schema)` (PlanError for a type it cannot hold), `identity() -> Json` and
    `encoded(epoch, files)` (told before `publish` what an outbox that this process has encoded holds:
    `arrowstream.durable.StoredFile`s, of which the one of an outbox that is a file has no name). What it
    has as `encode_frames(frames, threads=)` is called in place of `encode`, with the frames of Polars and
    the number of threads that it may encode on.

    Examples
    --------
    >>> import pyarrow as pa
    >>> class Counts:
    ...     delivery = "at_least_once"
    ...     def open(self, generation): return None
    ...     def encode(self, batches): return str(sum(batch.num_rows for batch in batches)).encode()
    ...     def publish(self, epoch, outbox): print(f"epoch {epoch}: {outbox.decode()} rows")
    ...     def close(self): pass
    >>> isinstance(Counts(), Sink)
    True
    >>> Counts().publish(1, Counts().encode([pa.record_batch({"a": [1, 2]})]))
    epoch 1: 2 rows
    """

    @property
    def delivery(self) -> Delivery:
        """What survives a crash between `publish` and the engine's note of it."""
        ...

    def open(self, generation: int) -> int | None:
        """Take over as writer number `generation`; returns the last published epoch."""
        ...

    def encode(self, batches: Iterable[pa.RecordBatch]) -> bytes | Iterator[bytes] | Iterator[Piece]:
        """The bytes to publish for one epoch."""
        ...

    def publish(self, epoch: int, outbox: bytes | Path) -> None:
        """Make epoch `epoch` visible, once."""
        ...

    def close(self) -> None:
        """Release what `open` took; called once, also after an error."""
        ...


@runtime_checkable
class ClaimingSink(Sink, Protocol):
    """A sink whose place outlives the job, and so has to be checked before it is written to."""

    def claim(self, *, job_id: str, mode: Mode, schema: pl.Schema) -> None:
        """Raise StateError if the place holds something that is not this job's (or empty it: `overwrite`)."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """An immutable piece of operator state.

    `table` is None for a run that an earlier snapshot handed over already and that is still needed.
    """

    id: int
    table: pa.Table | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state of one operator: small values, and its live runs in the order of writing."""

    values: dict[str, Json] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()


class Operator(Protocol):
    """A pure state machine over frames: no I/O, no clock. Used by one thread at a time.

    Frames may carry hidden columns (`arrowstream.config.CLOCK`, `PARTITION`).
    """

    @property
    def operator_id(self) -> str:
        """Name in errors, metrics and checkpoints."""
        ...

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """Take rows in; what can be emitted at once comes out."""
        ...

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """No row before `watermark` follows, in units of the event-time column (`END_OF_TIME`: none at all).

        Returns what can be emitted now, and the watermark of the output.
        """
        ...

    def snapshot(self) -> Snapshot:
        """State after the rows processed so far; only new runs carry a table."""
        ...

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Take over the state of a snapshot; called once, before any `process`."""
        ...


class Store(Protocol):
    """Durable blobs by name ("epochs/00000001.json"). A name once put never changes its bytes."""

    def put(self, name: str, payload: bytes) -> bool:
        """Write durably if absent; False if the name exists (whoever wrote it first has won)."""
        ...

    def get(self, name: str) -> bytes | None:
        """The bytes, or None if there are none."""
        ...

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with `prefix`, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Remove a blob; no error if it is gone."""
        ...
