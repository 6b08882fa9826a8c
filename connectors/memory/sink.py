"""A user's function as output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from arrowstream.errors import InternalError, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from arrowstream.types import Delivery, Json


_LENGTH_BYTES = 8


@dataclass(slots=True)
class BatchesSink:
    """Calls a function with the rows of every epoch, **at least once**.

    After a crash the last epoch may come again, whole: the function has to bear that. It is called on
    the sink's thread, may block, and what it raises ends the run.

    Parameters
    ----------
    function
        Called with a `pl.DataFrame`; what it returns is ignored.
    chunk_size
        Rows of a frame (the last one of an epoch may have less); None: as they come.
    """

    function: Callable[[pl.DataFrame], object]
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise PlanError(
                f"{self.function!r} cannot be called", hint="give a function that takes a pl.DataFrame"
            )
        if self.chunk_size is not None and self.chunk_size < 1:
            raise PlanError(
                f"chunk_size={self.chunk_size} is not a number of rows",
                hint="leave it out: batches as they come",
            )

    @property
    def delivery(self) -> Delivery:
        """The function is called before the engine can note it."""
        return "at_least_once"

    def open(self, generation: int) -> int | None:  # noqa: ARG002 — the protocol's
        """A function has no memory of what it was given."""
        return None

    def encode(self, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
        """Every batch as an Arrow IPC stream of its own, behind its length: each has its own categories."""
        for batch in batches:
            if batch.num_rows:
                buffer = pa.BufferOutputStream()
                with pa.ipc.new_stream(buffer, batch.schema) as writer:
                    writer.write_batch(batch)
                stream = buffer.getvalue()
                yield len(stream).to_bytes(_LENGTH_BYTES, "little")
                yield stream.to_pybytes()

    def publish(self, epoch: int, outbox: bytes | Path) -> None:  # noqa: ARG002 — the protocol's
        """Call the function with all rows."""
        if not isinstance(outbox, Path):
            raise InternalError("batches are published from their outbox file")
        for frame in _chunks(_read(outbox), self.chunk_size):
            self.function(frame)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Arrow cannot hold."""
        for name, dtype in schema.items():
            try:
                pl.DataFrame(schema={name: dtype}).to_arrow(compat_level=pl.CompatLevel.oldest())
            except (pa.ArrowException, pl.exceptions.PolarsError) as error:
                raise PlanError(
                    f"column '{name}' is {dtype}, which Arrow cannot hold",
                    hint="cast it, for example to pl.Decimal(38, 0) or pl.String, or drop it",
                ) from error

    def identity(self) -> Json:
        """The function's name, as a checkpoint pins it."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"format": "batches", "function": name, "chunk_size": self.chunk_size}

    def close(self) -> None:
        """Nothing is kept open."""


def _read(path: Path) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        while length := file.read(_LENGTH_BYTES):
            stream = file.read(int.from_bytes(length, "little"))
            yield pl.DataFrame(pa.ipc.open_stream(stream).read_all())


def _chunks(frames: Iterator[pl.DataFrame], rows: int | None) -> Iterator[pl.DataFrame]:
    """The rows in frames of exactly `rows` (the last one less)."""
    if rows is None:
        yield from frames
        return
    waiting: list[pl.DataFrame] = []
    waiting_rows = 0
    for frame in frames:
        start = 0
        while start < frame.height:
            piece = frame.slice(start, rows - waiting_rows)
            start += piece.height
            waiting.append(piece)
            waiting_rows += piece.height
            if waiting_rows == rows:
                yield pl.concat(waiting)
                waiting, waiting_rows = [], 0
    if waiting:
        yield pl.concat(waiting)
