"""Where files are: the local disk, `memory://`, `s3://`, `http(s)://`, and whatever else fsspec opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from arrowstream.connectors.files.errors import changed, translated
from arrowstream.connectors.files.paths import Found, find_local, named, scheme_of
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from arrowstream.types import PathLike

_FILES_AHEAD = 8  # of which the first block is fetched


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file as it was when it was found.

    `path` is its absolute path or its URL without credentials: it names the file in errors, plans and
    checkpoints. `version` changes with the content: the modification time in nanoseconds, an ETag, a time;
    None where the place does not say. `hive_start` is where in `path` the keys of Hive partitions may
    begin, and `in_folder` whether the user named a folder above it rather than the file or a glob.
    """

    path: str
    size_bytes: int
    version: int | str | None
    hive_start: int = 0
    in_folder: bool = False


@runtime_checkable
class Place(Protocol):
    """One file system. Opens nothing until it is asked for a file; may be used by several threads.

    Errors are ConnectorErrors that name the file, never a credential; `retryable` where trying again may
    help. Nothing waits without an end: each request has a timeout, and is tried a few times.
    """

    @property
    def is_local(self) -> bool:
        """Whether its paths can be given to Polars as they are."""
        ...

    def find(self, patterns: PathLike | Iterable[PathLike], suffixes: tuple[str, ...]) -> list[FoundFile]:
        """All files that the patterns name, in natural order.

        A folder gives the files below it that end in one of `suffixes`; names that begin with "." or "_"
        are left out. A glob or a file name gives what it says, whatever its suffix.

        Raises
        ------
        PlanError
            Nothing is found, or one file is named twice.
        ConnectorError
            The place does not answer, or a file that was named is not there or not readable.
        """
        ...

    def stat(self, path: str) -> FoundFile:
        """The file as it is now."""
        ...

    def open(self, file: FoundFile | str) -> BinaryIO:
        """The bytes, read ahead in the background from now on; closed by the caller.

        It can seek, unless the place does not say how long the file is. Remote files
        (`remote_files.RemoteStream`) answer at the first `read`: several can be opened ahead.
        Given as it was found, it is that version or a ConnectorError: when it is opened, and where the
        place can tell, in the middle.
        """
        ...

    def check_unchanged(self, file: FoundFile) -> None:
        """Raise ConnectorError if it is gone or another one by now."""
        ...


def place_of(
    patterns: PathLike | Iterable[PathLike], storage_options: Mapping[str, Any] | None = None
) -> Place:
    """The one place that all patterns are in.

    Raises
    ------
    PlanError
        Local paths and URLs mixed, or of several kinds; a kind of URL that nobody knows; `storage_options`
        for local files.
    ConnectorError
        The package that reads such URLs is not installed.
    """
    texts = named(patterns)
    kinds = dict.fromkeys(scheme_of(text) for text in texts)
    if len(kinds) > 1:
        among = " and ".join("local paths" if kind is None else f"{kind}:// URLs" for kind in kinds)
        raise PlanError(f"{among} in one scan", hint="one scan reads one place: scan each apart")
    if next(iter(kinds)) is not None:
        from arrowstream.connectors.files.remote import RemotePlace  # fsspec is not for local files

        return RemotePlace(texts, storage_options)
    if storage_options:
        raise PlanError("storage_options are for URLs, these files are local", hint="leave them out")
    return LocalPlace()


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """The local disk; never through fsspec."""

    @property
    def is_local(self) -> bool:
        """See `Place`."""
        return True

    def find(self, patterns: PathLike | Iterable[PathLike], suffixes: tuple[str, ...]) -> list[FoundFile]:
        """See `Place`."""
        return [self._status(found) for found in find_local(patterns, suffixes)]

    def stat(self, path: str) -> FoundFile:
        """See `Place`."""
        return self._status(Found(path))

    def open(self, file: FoundFile | str) -> BinaryIO:
        """See `Place`."""
        if isinstance(file, FoundFile):
            self.check_unchanged(file)
        path = file.path if isinstance(file, FoundFile) else file
        try:
            return Path(path).open("rb")
        except OSError as error:
            raise translated(error, path, "data") from error

    def check_unchanged(self, file: FoundFile) -> None:
        """See `Place`."""
        check_same(file, self.stat(file.path))

    def _status(self, found: Found) -> FoundFile:
        try:
            status = Path(found.path).stat()
        except OSError as error:
            raise translated(error, found.path, "data") from error
        return FoundFile(found.path, status.st_size, status.st_mtime_ns, found.hive_start, found.in_folder)


class OpenedAhead:
    """Opens files one after the other; remote ones before it is their turn, so that small ones come fast.

    Parameters
    ----------
    files
        All of them, in the order in which they will be opened.
    """

    def __init__(self, place: Place, files: Sequence[FoundFile]) -> None:
        self._place = place
        self._files = files
        self._ahead: dict[int, BinaryIO] = {}

    def open(self, index: int) -> BinaryIO:
        """See `Place.open`."""
        for earlier in [other for other in self._ahead if other < index]:
            self._ahead.pop(earlier).close()
        stream = self._ahead.pop(index, None) or self._place.open(self._files[index])
        if not self._place.is_local:
            for later in range(index + 1, min(index + 1 + _FILES_AHEAD, len(self._files))):
                if later not in self._ahead and self._files[later].size_bytes >= 0:
                    self._ahead[later] = self._place.open(self._files[later])
        return stream

    def close(self) -> None:
        """Close what was opened, but not asked for."""
        for stream in self._ahead.values():
            stream.close()
        self._ahead.clear()


def check_same(file: FoundFile, now: FoundFile) -> None:
    """Raise ConnectorError if a file is not what it was when it was found."""
    if (now.size_bytes, now.version) != (file.size_bytes, file.version):
        raise changed(file.path)
