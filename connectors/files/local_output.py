"""An output in a local folder: data files are hard links to the outbox, hence whole from the first moment on.

`.out.arrowstream/outbox/` beside the history holds the encoded epochs that are not done yet; the engine
writes them. Output, history and outbox are on one file system. `place` links the data, then fsyncs folders.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from arrowstream import durable, failpoints
from arrowstream.connectors.files.history import RESTORE, DataFile, Manifest
from arrowstream.errors import ConnectorError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK}


class LocalOutput:
    """A `Medium` in a local folder. Blocks on the disk.

    Parameters
    ----------
    folder
        Where the data files are; a real path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder.with_name(f".{folder.name}.arrowstream")
        self.outbox_folder = self.home / "outbox"
        self._manifests = self.home / "manifests"

    @property
    def label(self) -> str:
        """The folder."""
        return str(self.folder)

    def make(self) -> None:
        """Create the folders; ConnectorError unless they are on one file system."""
        with _disk_errors(self.folder):
            durable.make_folder(self.folder)
            durable.make_folder(self._manifests)
            durable.make_folder(self.outbox_folder)
            if self.folder.stat().st_dev != self.home.stat().st_dev:
                raise ConnectorError(
                    f"{self.folder} is a file system of its own: {self.home.name} beside it is on another",
                    hint=f"write to a folder inside it, for example {self.folder / 'result'}",
                )

    def take_over(self) -> None:
        """Remove temporary files. A name that a power cut could take back is no marker: fsync."""
        with _disk_errors(self.home):
            durable.remove_temporaries(self._manifests)
            durable.fsync_folder(self._manifests)

    def location(self, record: str) -> str:
        """The path of a record."""
        return str(self.home / record)

    def read(self, record: str) -> bytes | None:
        """A record, or None."""
        with _disk_errors(self.home):
            try:
                return (self.home / record).read_bytes()
            except FileNotFoundError:
                return None

    def put_new(self, record: str, payload: bytes, *, failpoint: str) -> bool:
        """Write a record durably if absent."""
        with _disk_errors(self.folder):
            return durable.put_new(self.home / record, payload, failpoint=failpoint)

    def remove(self, record: str) -> None:
        """Remove a record durably."""
        with _disk_errors(self.folder):
            (self.home / record).unlink(missing_ok=True)
            durable.fsync_folder((self.home / record).parent)

    def epochs(self) -> list[int]:
        """The epochs that have a manifest."""
        if not self._manifests.is_dir():
            return []
        with _disk_errors(self.home):
            return sorted(int(path.stem) for path in self._manifests.glob("[0-9]*.json"))

    def data_names(self) -> list[str]:
        """Files, and folders that are not of a partition (with "/" at their end)."""
        return sorted(self._data_names(self.folder))

    def empty(self) -> None:
        """Remove data files, the folders of partitions, manifests and outboxes."""
        with _disk_errors(self.folder):
            for name in self.data_names():
                (self.folder / name).unlink(missing_ok=True)
            self._remove_partitions(self.folder)
            durable.fsync_folder(self.folder)
            for folder in (self._manifests, self.outbox_folder):
                for path in folder.iterdir():
                    durable.remove_tree(path)
                durable.fsync_folder(folder)
            durable.remove_temporaries(self.home)

    def place(self, manifest: Manifest, outbox: Path) -> None:
        """link() every file to its final name, then fsync the folders."""
        if not manifest.files:
            return
        with _disk_errors(self.folder):
            folders = {(self.folder / file.name).parent for file in manifest.files}
            for folder in sorted(folders - {self.folder}):
                self._make_partition(folder.relative_to(self.folder).parts)
            for file in manifest.files:
                failpoints.hit("data.before")
                self._link(file, outbox / file.source)
                failpoints.hit("data.linked")
            durable.fsync_all(sorted(folders))
            failpoints.hit("data.after")

    def complete(self, manifest: Manifest) -> bool:
        """Link what is not linked yet; StateError if a file and its outbox are gone."""
        self.place(manifest, self.outbox_folder / manifest.outbox)
        return True

    def missing(self, manifest: Manifest) -> list[str]:
        """Names of the files of an epoch that are not there."""
        return [file.name for file in manifest.files if not (self.folder / file.name).is_file()]

    def url(self, name: str) -> str:
        """Where a data file is."""
        return str(self.folder / name)

    def _link(self, file: DataFile, source: Path) -> None:
        data = self.folder / file.name
        try:
            os.link(source, data)
        except FileExistsError:
            _require_as_published(data, source, file)
        except (FileNotFoundError, NotADirectoryError):
            if not data.exists():
                raise StateError(f"{data} was published, and is gone", hint=RESTORE) from None
            _require_as_published(data, source, file)

    def _make_partition(self, parts: Sequence[str]) -> None:
        """Create the folder of a partition; ConnectorError if a link leads out of the output on the way."""
        folder = self.folder
        for part in parts:
            folder /= part
            if folder.is_symlink():
                raise ConnectorError(
                    f"{folder} is a link: nothing is written through it",
                    hint="remove the link, then run again: nothing is lost",
                )
            durable.make_folder(folder)

    def _data_names(self, folder: Path) -> Iterator[str]:
        for entry in os.scandir(folder):
            name = os.path.relpath(entry.path, self.folder).replace(os.sep, "/")
            if entry.name.startswith((".", "_")):
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield name
            elif "=" in entry.name:
                yield from self._data_names(folder / entry.name)
            else:
                yield f"{name}/"

    def _remove_partitions(self, folder: Path) -> None:
        for path in folder.glob("*=*"):
            if path.is_dir() and not path.is_symlink():
                self._remove_partitions(path)
                with suppress(OSError):  # it holds hidden files, which are not ours
                    path.rmdir()


def _require_as_published(data: Path, source: Path, file: DataFile) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        # The outbox of an epoch that is done is removed at any time.
        if data.samefile(source):
            return
    if durable.sha256_of(data) != file.sha256:
        raise StateError(f"{data} is not what was published there: its checksum does not match", hint=RESTORE)


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
