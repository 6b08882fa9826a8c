"""Files as outputs: one file an epoch, or several, published exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.connectors.files.division import Division, divided
from arrowstream.connectors.files.encode import Encoding, encode_file
from arrowstream.connectors.files.history import History, Medium
from arrowstream.connectors.files.output import delivery_of, medium_of
from arrowstream.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from arrowstream.durable import StoredFile
    from arrowstream.types import Delivery, Json, Mode, PathLike, Piece


@dataclass(slots=True)
class FileSink:
    """A folder, or a prefix of objects, of data files `part-<epoch>…`.

    The bytes depend on the rows of an epoch alone. The sink writes to the folder and to `.<name>.arrowstream`
    beside it. Its methods are called on one thread and block on the disk or the service. After a crash
    `open`, or `publish` called again, completes what `publish` has begun.

    Parameters
    ----------
    path
        A local folder or a URL; it is created. It must be empty, or this job's.
    encoding
        The format.
    division
        How rows are divided into files.
    storage_options
        fsspec's keys for a URL; never shown, never stored.
    """

    path: PathLike
    encoding: Encoding
    division: Division = field(default_factory=Division)
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    _medium: Medium = field(init=False, repr=False)
    _history: History = field(init=False, repr=False)
    _generation: int = field(default=0, init=False, repr=False)
    _encoded: tuple[int, Sequence[StoredFile]] = field(default=(0, ()), init=False, repr=False)

    def __post_init__(self) -> None:
        self._medium = medium_of(self.path, self.storage_options)
        self._history = History(self._medium, self.encoding.suffix)

    @property
    def delivery(self) -> Delivery:
        """Exactly once: an epoch that is published is never published again.

        At least once where a put cannot be conditional: fsspec's places other than local folders, S3, memory.
        """
        return delivery_of(self.path)

    @property
    def outbox_folder(self) -> Path | None:
        """On the file system of a local output, as a data file is a link to its outbox; None: anywhere."""
        return getattr(self._medium, "outbox_folder", None)

    def claim(self, *, job_id: str, mode: Mode, schema: pl.Schema) -> None:
        """Make the output this job's.

        Raises StateError if it holds data of anything else. With `mode="overwrite"` that data is removed
        first: all files that end as this format's do, and nothing if there is anything else. Names that
        begin with "." or "_" do not count.
        """
        self.check_schema(schema)
        self._history.claim(job_id, mode)

    def open(self, generation: int) -> int | None:
        """Complete the last published epoch as far as possible, and give the last one that is complete."""
        self._generation = generation
        return self._history.marker()

    def encode(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Piece]:
        """The file, or the files, of an epoch; nothing if there is no batch."""
        return self.encode_frames(map(pl.DataFrame, batches), threads=1)

    def encode_frames(self, frames: Iterable[pl.DataFrame], *, threads: int) -> Iterator[Piece]:
        """The same of frames, some of them encoded at a time."""
        if self.division.divides:
            return divided(frames, self.encoding, self.division, threads=threads)
        return encode_file(frames, self.encoding, threads=threads)

    def encoded(self, epoch: int, files: Sequence[StoredFile]) -> None:
        """Take note of what the outbox of an epoch holds: it needs not be read for that."""
        self._encoded = (epoch, files)

    def publish(self, epoch: int, outbox: bytes | Path) -> None:
        """Make the epoch's files visible; an epoch without rows has none."""
        if not isinstance(outbox, Path):
            raise InternalError("a file is published from its outbox file")
        known, files = self._encoded
        self._history.publish(epoch, self._generation, outbox, files if known == epoch else None)

    def close(self) -> None:
        """Nothing is kept open."""

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that the format cannot hold, or that cannot divide rows."""
        self.division.check_schema(schema)
        self.encoding.check_schema(self.division.written(schema))

    def identity(self) -> Json:
        """Place, format and division, as a checkpoint pins them."""
        divided: dict[str, Json] = {"division": self.division.identity()} if self.division.divides else {}
        return {"path": self._medium.label, **self.encoding.identity(), **divided}
