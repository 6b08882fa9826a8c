"""A store in a folder of a local file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from arrowstream import durable
from arrowstream.errors import InternalError, StateError

if TYPE_CHECKING:
    from arrowstream.types import PathLike


class FolderStore:
    """One file a blob; "/" in a name is a sub-folder.

    Blocks on the disk; any thread and any number of processes may use the same folder. What `put` has
    returned True for survives a crash and a power cut. The folder appears with the first `put`.

    Errors of the disk (full, not writable, a failed fsync) are a StateError, and nothing is retried.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(os.path.realpath(Path(folder).expanduser()))

    def put(self, name: str, payload: bytes) -> bool:
        """Write durably if absent; False if the name exists."""
        path = self._path(name)
        failpoint = Path(name).parts[0].removesuffix(".json")
        try:
            durable.make_folder(path.parent)
            return durable.put_new(path, payload, failpoint=failpoint)
        except OSError as error:
            raise _failed(f"{path} cannot be written", error) from error

    def get(self, name: str) -> bytes | None:
        """The bytes, or None if there are none."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed(f"{path} cannot be read", error) from error

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with `prefix`, sorted."""
        top = self.folder / prefix.rpartition("/")[0]
        found = []
        for folder, _, files in os.walk(top):
            within = Path(folder).relative_to(self.folder)
            found += [(within / file).as_posix() for file in files if not file.startswith(".")]
        return sorted(name for name in found if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Remove a blob; no error if it is gone."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(f"{path} cannot be removed", error) from error

    def location(self, name: str) -> str:
        """How errors name a blob: its path."""
        return str(self._path(name))

    def remove_leftovers(self) -> None:
        """Remove temporary files of killed writers; call it only after fencing all older processes."""
        for folder, _, _ in os.walk(self.folder):
            durable.remove_temporaries(Path(folder))

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if any(part in {"", ".", ".."} or part.startswith(".") or "\0" in part for part in parts):
            raise InternalError(f"{name!r} is not the name of a blob")
        return self.folder.joinpath(*parts)


def _failed(fact: str, error: OSError) -> StateError:
    return StateError(
        f"{fact}: {error.strerror or error}", hint="free or repair the disk, then run again: nothing is lost"
    )
