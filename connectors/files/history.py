"""The memory of an output: whose it is, and which epochs it has.

An output `out/` holds data files only. Beside it, `.out.arrowstream/` holds

    job.json                    the job that the output belongs to
    manifests/<epoch>.json      the epoch is published: its files, with their checksums

Publishing epoch N:

1. Write manifest N if absent: it decides which process publishes N.
2. Every data file gets its final name (`Medium.place`). A reader sees whole files only.

A manifest without all of its data, after a crash, is completed: by the next `marker` where the outbox is
within reach, else by the engine, which is told N-1. Manifests are never removed: a process that was
frozen and wakes up much later still finds that it has lost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from arrowstream import durable
from arrowstream.durable import StoredFile
from arrowstream.errors import FencedError, StateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from arrowstream.types import Mode

RESTORE = 'restore the file, or start anew: another checkpoint, mode="overwrite"'

_FOREIGN_SHOWN_MAX = 5
_OVERWRITE = 'mode="overwrite" replaces it; or write to another folder'
_JOB = "job.json"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A published file: its name in the output, and in the outbox ("": the outbox itself is the file)."""

    name: str
    source: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A published epoch, of any number of files. `sha256` is over all of them, under the outbox's names."""

    job: str
    epoch: int
    generation: int
    files: list[DataFile]
    sha256: str
    outbox: str


class Medium(Protocol):
    """What an output is kept on. Used on one thread; blocks.

    What it raises names the output: ConnectorError for the disk or the service, StateError for what is
    there. Names of records are relative to the history, names of data to the output.
    """

    @property
    def label(self) -> str:
        """How errors name the output."""
        ...

    def make(self) -> None:
        """Create what is missing."""
        ...

    def take_over(self) -> None:
        """Remove what killed writers have left; called when they are fenced."""
        ...

    def location(self, record: str) -> str:
        """How errors name a record."""
        ...

    def read(self, record: str) -> bytes | None:
        """A record, or None."""
        ...

    def put_new(self, record: str, payload: bytes, *, failpoint: str) -> bool:
        """Write a record durably if absent; False if it is there."""
        ...

    def remove(self, record: str) -> None:
        """Remove a record; no error if it is gone."""
        ...

    def epochs(self) -> list[int]:
        """The epochs that have a manifest, durably; in order."""
        ...

    def data_names(self) -> list[str]:
        """What is in the output; names that begin with "." or "_" are nobody's data."""
        ...

    def empty(self) -> None:
        """Remove all data and all manifests."""
        ...

    def place(self, manifest: Manifest, outbox: Path) -> None:
        """Give every file of an epoch its final name; StateError if another one has it."""
        ...

    def complete(self, manifest: Manifest) -> bool:
        """Whether all files of the last epoch are in place, after having done what can be done about it."""
        ...

    def missing(self, manifest: Manifest) -> list[str]:
        """Names of the files of an epoch that are not there."""
        ...

    def url(self, name: str) -> str:
        """Where a data file is: a path or URL to read it from."""
        ...


class History:
    """An output and its history. Used on one thread; blocks.

    Parameters
    ----------
    medium
        Where it is.
    suffix
        Of the data files.
    """

    def __init__(self, medium: Medium, suffix: str) -> None:
        self._medium = medium
        self._suffix = suffix
        self._job = ""

    def claim(self, job_id: str, mode: Mode) -> None:
        """Make the output this job's; StateError if it holds something that is not (or empty it)."""
        self._job = job_id
        self._medium.make()
        if self._owner() == job_id:
            return
        if self._medium.data_names() or self._medium.epochs():
            self._require_overwrite(mode)
            # The owner goes first: half emptied, it is nobody's.
            self._medium.remove(_JOB)
            self._medium.empty()
        self._medium.remove(_JOB)  # of a job that has published nothing
        record = durable.seal("job", json.dumps({"job": job_id}).encode())
        if not self._medium.put_new(_JOB, record, failpoint="claim") and self._owner() != job_id:
            raise StateError(
                f"{self._medium.label} has just been taken by another job", hint="write to another folder"
            )

    def marker(self) -> int | None:
        """The last epoch of which everything is published; None if there is none."""
        self._medium.take_over()
        epochs = self._medium.epochs()
        if not epochs:
            return None
        require_contiguous(self._medium, epochs)
        last = self._manifest(epochs[-1])
        return last.epoch if self._medium.complete(last) else last.epoch - 1 or None

    def publish(
        self, epoch: int, generation: int, outbox: Path, files: Sequence[StoredFile] | None = None
    ) -> None:
        """Publish an outbox as epoch `epoch`; again, it does what is left to do.

        `files` are what the outbox holds, if that is known. Else it is read for that.
        """
        stored = _stored_files(epoch, outbox) if files is None else files
        manifest = self._describe(epoch, generation, outbox.name, stored)
        owner = self._owner()
        if owner != self._job:
            record = f"{self._medium.location(_JOB)} is {'gone' if owner is None else 'of another job'}"
            raise FencedError(
                f"{self._medium.label} is no longer this job's: {record}", hint="let the other job go on"
            )
        sealed = durable.seal(
            f"manifest/{epoch}", json.dumps(asdict(manifest), sort_keys=True, ensure_ascii=False).encode()
        )
        if not self._medium.put_new(manifest_name(epoch), sealed, failpoint="manifest"):  # 1
            found = self._manifest(epoch)
            if found.sha256 != manifest.sha256:
                raise FencedError(
                    f"epoch {epoch} of {self._medium.label} has been published by another process, "
                    "with other rows",
                    hint="let the other process go on",
                )
        self._medium.place(manifest, outbox)  # 2

    def _describe(self, epoch: int, generation: int, outbox: str, stored: Sequence[StoredFile]) -> Manifest:
        files = [
            DataFile(data_name(epoch, file.name, self._suffix), file.name, file.bytes, file.sha256)
            for file in stored
        ]
        return Manifest(self._job, epoch, generation, files, durable.sha256_of_files(stored), outbox)

    def _manifest(self, epoch: int) -> Manifest:
        manifest = read_manifest(self._medium, epoch)
        if manifest.job != self._job:
            raise StateError(
                f"{self._medium.location(manifest_name(epoch))} is of another job ({manifest.job})",
                hint=_OVERWRITE,
            )
        return manifest

    def _owner(self) -> str | None:
        record = _unsealed(self._medium, _JOB, "job")
        return None if record is None else str(record["job"])

    def _require_overwrite(self, mode: Mode) -> None:
        """Raise StateError unless the output holds data files only, and the user wants them removed."""
        names = self._medium.data_names()
        foreign = [name for name in names if not self._is_data(name)]
        if foreign:
            more = " …" if len(foreign) > _FOREIGN_SHOWN_MAX else ""
            raise StateError(
                f"{self._medium.label} holds what is not a {self._suffix} file: "
                f"{', '.join(foreign[:_FOREIGN_SHOWN_MAX])}{more}",
                hint='write to a folder of its own; mode="overwrite" removes data files only',
            )
        if mode != "overwrite":
            holds = f"{len(names):,} files that are" if names else "the history of an output that is"
            if len(names) == 1:
                holds = f"{next(iter(names))}, which is"
            raise StateError(f"{self._medium.label} holds {holds} not of this job", hint=_OVERWRITE)

    def _is_data(self, name: str) -> bool:
        *folders, _ = name.split("/")
        return name.endswith(self._suffix) and all("=" in folder for folder in folders)


def manifest_name(epoch: int) -> str:
    """Name of the record.

    Examples
    --------
    >>> manifest_name(7)
    'manifests/00000007.json'
    """
    return f"manifests/{epoch:08d}.json"


def data_name(epoch: int, source: str, suffix: str) -> str:
    """The final name of a file of an outbox.

    Examples
    --------
    >>> data_name(7, "", ".csv"), data_name(7, "city=Rome/00001.csv", ".csv")
    ('part-00000007.csv', 'city=Rome/part-00000007-00001.csv')
    """
    if not source:
        return f"part-{epoch:08d}{suffix}"
    path = PurePosixPath(source)
    return str(path.with_name(f"part-{epoch:08d}-{path.name}"))


def read_manifest(medium: Medium, epoch: int) -> Manifest:
    """The manifest of an epoch; StateError if it is damaged or missing."""
    record = _unsealed(medium, manifest_name(epoch), f"manifest/{epoch}")
    if record is None:
        raise _missing(medium, epoch)
    files = [DataFile(**file) for file in record.pop("files")]
    manifest = Manifest(files=files, **record)
    names = [manifest.outbox, *(file.name for file in files), *(file.source for file in files if file.source)]
    if not all(map(durable.is_name_within, names)):
        raise StateError(
            f"{medium.location(manifest_name(epoch))} names files outside of the output", hint=RESTORE
        )
    return manifest


def require_contiguous(medium: Medium, epochs: list[int]) -> None:
    """Raise StateError naming the manifest that is missing among those of epochs 1 to the last."""
    if len(epochs) != epochs[-1]:
        known = set(epochs)
        raise _missing(medium, next(epoch for epoch in range(1, epochs[-1]) if epoch not in known))


def _stored_files(epoch: int, outbox: Path) -> list[StoredFile]:
    """What an outbox holds: a folder of files, or a file, which does not count without any bytes."""
    try:
        if outbox.is_dir():
            return durable.stored_files(outbox)
        size = outbox.stat().st_size
        return [StoredFile("", size, durable.sha256_of(outbox))] if size else []
    except FileNotFoundError as error:
        raise FencedError(
            f"{outbox} is gone: a newer process has published epoch {epoch}",
            hint="let the newer process go on",
        ) from error
    except OSError as error:
        raise StateError(
            f"{outbox} cannot be read: {error.strerror or error}",
            hint="repair the disk, then run again: nothing is lost",
        ) from error


def _missing(medium: Medium, epoch: int) -> StateError:
    return StateError(
        f"{medium.location(manifest_name(epoch))} is missing, but later epochs are there",
        hint='restore the file from a copy, or start anew: another checkpoint, mode="overwrite"',
    )


def _unsealed(medium: Medium, record: str, name: str) -> dict[str, Any] | None:
    sealed = medium.read(record)
    if sealed is None:
        return None
    found = json.loads(bytes(durable.unseal(name, sealed, where=medium.location(record))))
    assert isinstance(found, dict)
    return found
