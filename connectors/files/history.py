"""The memory of an output folder: whose it is, and which epochs it has.

An output `out/` holds data files only. Beside it, on the same file system, `.out.arrowstream/` holds

    job.json                    the job that the folder belongs to
    manifests/<epoch>.json      the epoch is published: its files, with their checksums
    outbox/                     encoded epochs that are not done yet, written by the engine

Publishing epoch N:

1. Write manifest N if absent: it decides which process publishes N, and is the marker of N.
2. link() the data from the outbox to its final name. A reader sees whole files only.
3. fsync the folder.

A manifest without its data file, after a crash, is completed by the next `marker`. Manifests are never
removed: a process that was frozen and wakes up much later still finds that it has lost.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from arrowstream import durable, failpoints
from arrowstream.errors import ConnectorError, FencedError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from arrowstream.types import Mode

_FOREIGN_SHOWN_MAX = 5
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK}
_OVERWRITE = 'mode="overwrite" replaces it; or write to another folder'


@dataclass(frozen=True, slots=True)
class Manifest:
    """A published epoch. `file` is None if it had no rows."""

    job: str
    epoch: int
    generation: int
    file: str | None
    sha256: str
    bytes: int
    outbox: str


class History:
    """The folder of an output and its history. Used on one thread; blocks on the disk.

    Parameters
    ----------
    folder
        Where the data files are; a real path.
    suffix
        Of the data files.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.home = folder.with_name(f".{folder.name}.arrowstream")
        self.outbox_folder = self.home / "outbox"
        self._suffix = suffix
        self._manifests = self.home / "manifests"
        self._job_file = self.home / "job.json"
        self._job = ""

    def claim(self, job_id: str, mode: Mode) -> None:
        """Make the folder this job's; StateError if it holds something that is not (or empty it)."""
        self._job = job_id
        with _disk_errors(self.folder):
            durable.make_folder(self.folder)
            durable.make_folder(self._manifests)
            durable.make_folder(self.outbox_folder)
            self._require_one_file_system()
            if self._owner() == job_id:
                return
            if self._data_files() or self._published_epochs():
                self._require_overwrite(mode)
                self._empty()
            self._job_file.unlink(missing_ok=True)  # of a job that has published nothing
            record = json.dumps({"job": job_id}).encode()
            if (
                not durable.put_new(self._job_file, durable.seal("job", record), failpoint="claim")
                and self._owner() != job_id
            ):
                raise StateError(
                    f"{self.folder} has just been taken by another job", hint="write to another folder"
                )

    def marker(self) -> int | None:
        """The last published epoch, completed; None if there is none."""
        with _disk_errors(self.home):
            durable.remove_temporaries(self._manifests)
            durable.fsync_folder(self._manifests)  # a name that a power cut could take back is no marker
            epochs = self._published_epochs()
        if not epochs:
            return None
        if len(epochs) != epochs[-1]:
            missing = next(epoch for epoch in range(1, epochs[-1]) if epoch not in set(epochs))
            raise StateError(
                f"{self._manifest_path(missing)} is missing, but later epochs are there",
                hint='restore the file from a copy, or start anew: another checkpoint, mode="overwrite"',
            )
        self._complete(self._manifest(epochs[-1]))
        return epochs[-1]

    def publish(self, epoch: int, generation: int, outbox: Path) -> None:
        """Publish the bytes of an outbox as epoch `epoch`; again, it does what is left to do."""
        with _disk_errors(self.folder):
            try:
                size, digest = outbox.stat().st_size, durable.sha256_of(outbox)
            except FileNotFoundError as error:
                raise FencedError(
                    f"{outbox} is gone: a newer process has published epoch {epoch}",
                    hint="let the newer process go on",
                ) from error
            manifest = Manifest(
                job=self._job,
                epoch=epoch,
                generation=generation,
                file=f"part-{epoch:08d}{self._suffix}" if size else None,
                sha256=digest,
                bytes=size,
                outbox=outbox.name,
            )
            text = json.dumps(asdict(manifest), sort_keys=True).encode()
            sealed = durable.seal(f"manifest/{epoch}", text)
            won = durable.put_new(self._manifest_path(epoch), sealed, failpoint="manifest")  # 1
        if not won:
            found = self._manifest(epoch)
            if (found.job, found.sha256) != (manifest.job, manifest.sha256):
                raise FencedError(
                    f"epoch {epoch} of {self.folder} has been published by another process, with other rows",
                    hint="let the other process go on",
                )
        self._complete(manifest)

    def _complete(self, manifest: Manifest) -> None:
        if manifest.file is None:
            return
        data, outbox = self.folder / manifest.file, self.outbox_folder / manifest.outbox
        with _disk_errors(self.folder):
            failpoints.hit("data.before")
            try:
                os.link(outbox, data)  # 2
            except FileExistsError:
                _require_as_published(data, outbox, manifest)
            except FileNotFoundError:
                if not data.exists():
                    raise StateError(
                        f"{data} was published, and is gone",
                        hint='restore the file, or start anew: another checkpoint, mode="overwrite"',
                    ) from None
                _require_as_published(data, outbox, manifest)
            failpoints.hit("data.linked")
            durable.fsync_folder(self.folder)  # 3
            failpoints.hit("data.after")

    def _manifest_path(self, epoch: int) -> Path:
        return self._manifests / f"{epoch:08d}.json"

    def _manifest(self, epoch: int) -> Manifest:
        record = _read(self._manifest_path(epoch), f"manifest/{epoch}")
        manifest = Manifest(**record)
        if manifest.job != self._job:
            raise StateError(
                f"{self._manifest_path(epoch)} is of another job ({manifest.job})",
                hint=_OVERWRITE,
            )
        return manifest

    def _published_epochs(self) -> list[int]:
        return sorted(int(path.stem) for path in self._manifests.glob("[0-9]*.json"))

    def _owner(self) -> str | None:
        if not self._job_file.exists():
            return None
        return str(_read(self._job_file, "job")["job"])

    def _data_files(self) -> list[str]:
        """What is in the folder; names that begin with "." or "_" are nobody's data."""
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith((".", "_")))

    def _require_overwrite(self, mode: Mode) -> None:
        """Raise StateError unless the folder holds data files only, and the user wants them removed."""
        names = self._data_files()
        foreign = [
            name for name in names if not name.endswith(self._suffix) or not (self.folder / name).is_file()
        ]
        if foreign:
            more = " …" if len(foreign) > _FOREIGN_SHOWN_MAX else ""
            raise StateError(
                f"{self.folder} holds what is not a {self._suffix} file: "
                f"{', '.join(foreign[:_FOREIGN_SHOWN_MAX])}{more}",
                hint='write to a folder of its own; mode="overwrite" removes data files only',
            )
        if mode != "overwrite":
            holds = f"{len(names)} file(s)" if names else "the history of an output"
            raise StateError(f"{self.folder} holds {holds} that are not of this job", hint=_OVERWRITE)

    def _empty(self) -> None:
        """Remove data files and history. The owner goes first: half emptied, it is nobody's."""
        self._job_file.unlink(missing_ok=True)
        durable.fsync_folder(self.home)
        for name in self._data_files():
            (self.folder / name).unlink(missing_ok=True)
        durable.fsync_folder(self.folder)
        for folder in (self._manifests, self.outbox_folder):
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            durable.fsync_folder(folder)
        durable.remove_temporaries(self.home)

    def _require_one_file_system(self) -> None:
        if self.folder.stat().st_dev != self.home.stat().st_dev:
            raise ConnectorError(
                f"{self.folder} is a file system of its own: {self.home.name} beside it is on another",
                hint=f"write to a folder inside it, for example {self.folder / 'result'}",
            )


def _read(path: Path, name: str) -> dict[str, Any]:
    record = json.loads(bytes(durable.unseal(name, path.read_bytes(), where=str(path))))
    assert isinstance(record, dict)
    return record


def _require_as_published(data: Path, outbox: Path, manifest: Manifest) -> None:
    with suppress(FileNotFoundError):  # the outbox of an epoch that is done is removed at any time
        if data.samefile(outbox):
            return
    if durable.sha256_of(data) != manifest.sha256:
        raise StateError(
            f"{data} is not what was published there: its checksum does not match",
            hint='restore the file, or start anew: another checkpoint, mode="overwrite"',
        )


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Errors of the disk as what they mean for an output. A failed fsync is not repeated."""
    try:
        yield
    except OSError as error:
        hint = "free or repair the disk, then run again: nothing is lost"
        if error.errno in _NO_LINKS:
            hint = "the file system has no hard links: write to another one"
        raise ConnectorError(f"{folder} cannot be written: {error.strerror or error}", hint=hint) from error
