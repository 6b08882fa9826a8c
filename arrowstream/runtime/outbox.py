"""The outbox: the encoded output of one sink for one epoch, in a file, until the epoch is done."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from arrowstream import durable, failpoints
from arrowstream.errors import StateError
from arrowstream.runtime.checkpoint import Outbox, numbers

_HINT = "restore it from a copy, or start anew with another checkpoint and another output"


@dataclass(slots=True)
class OutboxWriter:
    """Writes one outbox. What it raises names the file; a failed write or fsync is final."""

    path: Path
    size_bytes: int = 0
    _descriptor: int = -1
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def open(self) -> None:
        """Create the file, or empty what this process has left there."""
        failpoints.hit("outbox.before")
        try:
            durable.make_folder(self.path.parent)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise _failed(self.path, error) from error

    def write(self, piece: bytes | memoryview) -> None:
        """Append."""
        self._digest.update(piece)
        self.size_bytes += len(piece)
        try:
            durable.write_all(self._descriptor, piece)
        except OSError as error:
            raise _failed(self.path, error) from error

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


def outbox_path(folder: Path, epoch: int, generation: int) -> Path:
    """Every process has its own, so that none writes where another reads."""
    return folder / f"{epoch:08d}-{generation:08d}.outbox"


def check_outbox(outbox: Outbox, folder: Path) -> None:
    """Raise StateError unless the file in `folder` is what PREPARE says."""
    path = folder / Path(outbox.path).name
    try:
        intact = path.stat().st_size == outbox.bytes and durable.sha256_of(path) == outbox.sha256
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
            path.unlink(missing_ok=True)


def _failed(path: Path, error: OSError) -> StateError:
    return StateError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="free or repair the disk, then run again: nothing is lost",
    )
