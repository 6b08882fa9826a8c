"""The outbox: the encoded output of one sink for one epoch, on disk until the epoch is done.

It is a file, or a folder of files if the sink gives several.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from arrowstream import durable, failpoints
from arrowstream.durable import StoredFile
from arrowstream.errors import ConnectorError, StateError
from arrowstream.runtime.checkpoint import Outbox, numbers

if TYPE_CHECKING:
    from arrowstream.types import Piece

_HINT = "restore it from a copy, or start anew with another checkpoint and another output"
_OPEN_MAX = 64  # descriptors of one outbox: far below any limit of a process


class OutboxWriter(Protocol):
    """Writes one outbox. What it raises names the file; a failed write or fsync is final."""

    path: Path
    size_bytes: int

    @property
    def files(self) -> list[StoredFile]:
        """What is in it; without a name if the outbox is the file, which does not count without any bytes."""
        ...

    def open(self) -> None:
        """Create it, or empty what this process has left there."""
        ...

    def write(self, piece: Piece) -> None:
        """Append."""
        ...

    def hash(self, piece: Piece) -> None:
        """Take it into the SHA-256. Every piece, in the same order; on a thread of its own, or not."""
        ...

    def finish(self) -> str:
        """Make it durable; gives its SHA-256."""
        ...

    def close(self) -> None:
        """Close all files; idempotent."""
        ...


@dataclass(slots=True)
class OutboxFile:
    """An outbox of one file."""

    path: Path
    size_bytes: int = 0
    _behind: int = 0  # bytes on the way to the disk
    _descriptor: int = -1
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def files(self) -> list[StoredFile]:
        """One, unless it is empty."""
        return [StoredFile("", self.size_bytes, self._digest.hexdigest())] if self.size_bytes else []

    def open(self) -> None:
        """Create the file, or empty what this process has left there."""
        failpoints.hit("outbox.before")
        try:
            durable.make_folder(self.path.parent)
            durable.remove_tree(self.path)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise _failed(self.path, error) from error

    def write(self, piece: Piece) -> None:
        """Append bytes."""
        if isinstance(piece, tuple):
            raise _mixed(self.path)
        try:
            durable.write_all(self._descriptor, piece)
        except OSError as error:
            raise _failed(self.path, error) from error
        self.size_bytes += len(piece)
        self._behind = durable.begin_writing(self._descriptor, self._behind, self.size_bytes)

    def hash(self, piece: Piece) -> None:
        """Take it into the SHA-256."""
        if not isinstance(piece, tuple):
            self._digest.update(piece)

    def finish(self) -> str:
        """Make the file durable; gives its SHA-256."""
        failpoints.hit("outbox.written")
        try:
            os.fsync(self._descriptor)
            failpoints.hit("outbox.synced")
            durable.fsync_folder(self.path.parent)
        except OSError as error:
            raise _failed(self.path, error) from error
        failpoints.hit("outbox.after")
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


@dataclass(slots=True)
class _Written:
    """What one file of a folder has got so far."""

    size_bytes: int = 0
    behind: int = 0  # bytes on the way to the disk


@dataclass(slots=True)
class OutboxFolder:
    """An outbox of several files, of which any number may be unfinished, and few are open at a time."""

    path: Path
    size_bytes: int = 0
    _written: dict[str, _Written] = field(default_factory=dict)
    _digests: dict[str, hashlib._Hash] = field(default_factory=dict)
    _open: OrderedDict[str, int] = field(default_factory=OrderedDict)

    @property
    def files(self) -> list[StoredFile]:
        """By name."""
        return [
            StoredFile(name, written.size_bytes, self._digests[name].hexdigest())
            for name, written in sorted(self._written.items())
        ]

    def open(self) -> None:
        """Create the folder, or empty what this process has left there."""
        failpoints.hit("outbox.before")
        try:
            durable.make_folder(self.path.parent)
            durable.remove_tree(self.path)
            self.path.mkdir()
        except OSError as error:
            raise _failed(self.path, error) from error

    def write(self, piece: Piece) -> None:
        """Append bytes to the file that a piece names."""
        if not isinstance(piece, tuple):
            raise _mixed(self.path)
        name, content = piece
        try:
            descriptor = self._descriptor(name)
            durable.write_all(descriptor, content)
        except OSError as error:
            raise _failed(self.path / name, error) from error
        self.size_bytes += len(content)
        written = self._written[name]
        written.size_bytes += len(content)
        written.behind = durable.begin_writing(descriptor, written.behind, written.size_bytes)

    def hash(self, piece: Piece) -> None:
        """Take it into the SHA-256 of the file that it names."""
        if isinstance(piece, tuple):
            name, content = piece
            if name not in self._digests:
                self._digests[name] = hashlib.sha256()
            self._digests[name].update(content)

    def finish(self) -> str:
        """Make every file durable, then their folders; gives the SHA-256 over names and contents."""
        self.close()
        failpoints.hit("outbox.written")
        files = [self.path / name for name in self._written]
        within = {folder for path in files for folder in path.parents if folder.is_relative_to(self.path)}
        try:
            durable.fsync_all(files)
            failpoints.hit("outbox.synced")
            durable.fsync_all([*within, self.path, self.path.parent])
        except OSError as error:
            raise _failed(Path(error.filename or self.path), error) from error
        failpoints.hit("outbox.after")
        return durable.sha256_of_files(self.files)

    def close(self) -> None:
        """Close all files; idempotent."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, name: str) -> int:
        """The open file of this name; the one that has waited longest is closed for it."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        if name not in self._written:
            if not durable.is_name_within(name):
                raise ConnectorError(f"the sink's `encode` gave {name!r}, which is no name for a file")
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            self._written[name] = _Written()
            failpoints.hit("outbox.file")
        if len(self._open) == _OPEN_MAX:
            os.close(self._open.popitem(last=False)[1])
        self._open[name] = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        return self._open[name]


def outbox_path(folder: Path, epoch: int, generation: int) -> Path:
    """Every process has its own, so that none writes where another reads."""
    return folder / f"{epoch:08d}-{generation:08d}.outbox"


def outbox_writer(path: Path, first: Piece) -> OutboxWriter:
    """The writer for an outbox that begins with this piece."""
    return OutboxFolder(path) if isinstance(first, tuple) else OutboxFile(path)


def check_outbox(outbox: Outbox, folder: Path) -> None:
    """Raise StateError unless what is in `folder` is what PREPARE says."""
    path = folder / Path(outbox.path).name
    try:
        intact = _is_intact(path, outbox)
    except OSError as error:
        raise StateError(
            f"{path}, output that is still to be published, cannot be read: {error.strerror or error}",
            hint=_HINT,
        ) from error
    if not intact:
        raise StateError(
            f"{path}, output that is still to be published, is damaged: its checksum does not match",
            hint=_HINT,
        )


def remove_outboxes(folder: Path, epoch: int) -> None:
    """Remove the outboxes of all epochs up to `epoch`, also those of processes that were killed.

    Those of later epochs stay: an older process may be about to prepare them, and then they count.
    """
    for path in folder.glob("*.outbox"):
        if numbers(path.name)[0] <= epoch:
            durable.remove_tree(path)


def _is_intact(path: Path, outbox: Outbox) -> bool:
    if outbox.folder:
        path.stat()  # one that is gone is not one without files
        files = durable.stored_files(path)
        return durable.sha256_of_files(files) == outbox.sha256
    return path.stat().st_size == outbox.bytes and durable.sha256_of(path) == outbox.sha256


def _failed(path: Path, error: OSError) -> StateError:
    return StateError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="free or repair the disk, then run again: nothing is lost",
    )


def _mixed(path: Path) -> ConnectorError:
    return ConnectorError(
        f"the sink's `encode` gave bytes as well as (name, bytes) for {path.name}",
        hint="give bytes for one file an epoch, or (name, bytes) for several: the same in every piece",
    )
