"""Folders of files as outputs: one file an epoch, published exactly once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from arrowstream.connectors.files import encode
from arrowstream.connectors.files.history import History
from arrowstream.errors import InternalError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import polars as pl

    from arrowstream.types import Delivery, Json, Mode, PathLike

_PARQUET_COMPRESSIONS = ("zstd", "snappy", "lz4", "gzip", "brotli", "uncompressed")
_IPC_COMPRESSIONS = ("zstd", "lz4", "uncompressed")


@dataclass(slots=True)
class _FolderSink:
    """What the formats have in common: where files go, and how they get there.

    The sink writes to the folder and to `.<name>.arrowstream` beside it. Its methods are called on one
    thread and block on the disk; after a crash `open` completes what `publish` has begun.
    """

    path: PathLike
    folder: Path = field(init=False)
    _history: History = field(init=False, repr=False)
    _generation: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = _output_folder(self.path, self._suffix)
        self._history = History(self.folder, self._suffix)

    @property
    def _suffix(self) -> str:
        raise NotImplementedError

    @property
    def delivery(self) -> Delivery:
        """Exactly once: an epoch that is published is never published again."""
        return "exactly_once"

    @property
    def outbox_folder(self) -> Path:
        """On the file system of the output, as a data file is a link to its outbox."""
        return self._history.outbox_folder

    def claim(self, *, job_id: str, mode: Mode, schema: pl.Schema) -> None:
        """Make the folder this job's.

        Raises StateError if it holds data of anything else. With `mode="overwrite"` that data is removed
        first: all files that end as this format's do, and nothing if there is anything else. Names that
        begin with "." or "_" do not count.
        """
        self.check_schema(schema)
        self._history.claim(job_id, mode)

    def open(self, generation: int) -> int | None:
        """Complete the last published epoch, and give its number."""
        self._generation = generation
        return self._history.marker()

    def publish(self, epoch: int, outbox: bytes | Path) -> None:
        """Make the epoch's file visible; an epoch without rows has none."""
        if not isinstance(outbox, Path):
            raise InternalError("a file is published from its outbox file")
        self._history.publish(epoch, self._generation, outbox)

    def close(self) -> None:
        """Nothing is kept open."""

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that the format cannot hold."""
        raise NotImplementedError


@dataclass(slots=True)
class ParquetSink(_FolderSink):
    """A folder of Parquet files `part-<epoch>.parquet`, exactly once.

    The bytes depend on the rows of an epoch alone. Categories are kept.

    Parameters
    ----------
    path
        The folder; it is created. It must be empty, or this job's.
    compression, compression_level
        As in `pl.DataFrame.write_parquet`.
    row_group_size
        Rows of a row group (the last one of a file may have less).
    """

    compression: str = "zstd"
    compression_level: int | None = None
    row_group_size: int = encode.ROW_GROUP_ROWS

    def __post_init__(self) -> None:
        _FolderSink.__post_init__(self)
        _check_option("compression", self.compression, _PARQUET_COMPRESSIONS)
        _check_level(self.compression, self.compression_level)
        _check_rows("row_group_size", self.row_group_size)

    @property
    def _suffix(self) -> str:
        return ".parquet"

    def encode(self, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
        """A Parquet file; nothing if there is no batch."""
        return encode.encode_parquet(
            batches,
            compression="none" if self.compression == "uncompressed" else self.compression,
            compression_level=self.compression_level,
            row_group_rows=self.row_group_size,
        )

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Parquet cannot hold."""
        encode.check_schema(schema, "Parquet")

    def identity(self) -> Json:
        """Place and format, as a checkpoint pins them."""
        return {
            "format": "parquet",
            "path": str(self.folder),
            "compression": self.compression,
            "compression_level": self.compression_level,
            "row_group_size": self.row_group_size,
        }


@dataclass(slots=True)
class IpcSink(_FolderSink):
    """A folder of Arrow IPC files `part-<epoch>.arrow`, exactly once.

    The bytes depend on the rows of an epoch alone. Categories are written as strings.

    Parameters
    ----------
    path
        The folder; it is created. It must be empty, or this job's.
    compression
        As in `pl.DataFrame.write_ipc`.
    record_batch_size
        Rows of a record batch (the last one of a file may have less).
    """

    compression: Literal["uncompressed", "lz4", "zstd"] = "zstd"
    record_batch_size: int = encode.ROW_GROUP_ROWS

    def __post_init__(self) -> None:
        _FolderSink.__post_init__(self)
        _check_option("compression", self.compression, _IPC_COMPRESSIONS)
        _check_rows("record_batch_size", self.record_batch_size)

    @property
    def _suffix(self) -> str:
        return ".arrow"

    def encode(self, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
        """An Arrow IPC file; nothing if there is no batch."""
        return encode.encode_ipc(
            batches,
            compression=None if self.compression == "uncompressed" else self.compression,
            batch_rows=self.record_batch_size,
        )

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that Arrow IPC cannot hold."""
        encode.check_schema(schema, "Arrow IPC")

    def identity(self) -> Json:
        """Place and format, as a checkpoint pins them."""
        return {
            "format": "ipc",
            "path": str(self.folder),
            "compression": self.compression,
            "record_batch_size": self.record_batch_size,
        }


def _output_folder(path: PathLike, suffix: str) -> Path:
    text = os.fspath(path)
    if "://" in text:
        raise PlanError(
            f"{text} is a URL, outputs can only be written to local folders so far",
            hint="write to a local folder, and copy it from there",
        )
    folder = Path(os.path.realpath(Path(text).expanduser()))
    if folder.is_file() or folder.suffix in {suffix, ".parquet", ".arrow", ".ipc", ".feather"}:
        raise PlanError(
            f"{text} names a file, but an output is a folder that gets a file an epoch",
            hint=f'name a folder, for example "{Path(text).with_suffix("")}/"',
        )
    if folder == folder.parent:
        raise PlanError(f"{text} cannot be an output", hint="name a folder inside it")
    return folder


def _check_option(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise PlanError(f"{name}={value!r} is not known", choices=choices)


def _check_level(compression: str, level: int | None) -> None:
    if level is None:
        return
    try:
        low, high = (
            pa.Codec.minimum_compression_level(compression),
            pa.Codec.maximum_compression_level(compression),
        )
    except (ValueError, pa.ArrowInvalid) as error:
        raise PlanError(
            f"compression_level={level} was given, but {compression} has no levels",
            hint='leave it out, or use compression="zstd"',
        ) from error
    if not low <= level <= high:
        raise PlanError(
            f"compression_level={level} is not between {low} and {high}, the levels of {compression}"
        )


def _check_rows(name: str, rows: int) -> None:
    if rows < 1:
        raise PlanError(f"{name}={rows} is not a number of rows", hint="leave it out for a good size")
