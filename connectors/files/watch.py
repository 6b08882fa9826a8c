"""Which files there are at the moment, and waiting until that may have changed.

Local folders are watched by the system's notifications (watchfiles) where they serve, and looked at every
half second anyhow, because a network drive does not notify. Other places are looked at only.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass
from glob import glob, has_magic
from logging import getLogger
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from arrowstream.connectors.files.rotations import log_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

_logger = getLogger("arrowstream.files")

LOOK_S = 0.5
"""How often local files are looked at where nothing notifies of a change, and where something does."""

REMOTE_LOOK_S = 5.0
"""How often other places are asked for their files."""

_SHARE = 100  # a look may take a hundredth of the time: with many files there are fewer looks
_SHARE_WHEN_CHANGED = 10
_NOTIFIED_S = 0.02  # at least between two looks: changes come in crowds
_STEP_MS = 25  # notifications are gathered so long
_NOTIFY_MS = 200  # how long a wait for them cannot be interrupted
_HIDDEN_PREFIXES = (".", "_")


@dataclass(frozen=True, slots=True)
class Seen:
    """One file as it was when it was looked at. `version`: of a place that numbers its versions."""

    path: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int = 0
    device: int = 0
    inode: int = 0
    version: int | str | None = None

    @property
    def file(self) -> tuple[int, int] | str:
        """What stays the same when it is renamed, where the place knows that."""
        return (self.device, self.inode) if self.inode else self.path


class Watch(Protocol):
    """What a follower asks about files. Used by one thread, except for `close`."""

    trouble: str | None
    """Why less may have been seen than there is: a folder that is not there, or may not be read."""

    is_away: bool
    """Whether a whole folder could not be looked into, so that what was in it need not be gone."""

    def look(self) -> list[Seen]:
        """All files there are now, each once."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Whether it is time to look again; waits for that until the timeout."""
        ...

    def close(self) -> None:
        """End a wait, and the notifications. Any thread."""
        ...


class LocalWatch:
    """Files of this machine, by absolute patterns.

    Parameters
    ----------
    patterns
        Files, globs and folders. Of a folder the files below it that end in one of `suffixes`, rotated or
        not; names that begin with "." or "_" are left out.
    suffixes
        In lower case.
    notify
        Whether to use the system's notifications.
    """

    def __init__(self, patterns: Sequence[str], suffixes: tuple[str, ...], *, notify: bool = True) -> None:
        self.trouble: str | None = None
        self.is_away = False
        self._patterns = patterns
        self._suffixes = suffixes
        self._closed = threading.Event()
        self._looked_s = -LOOK_S * _SHARE
        self._took_s = 0.0
        self._notify = notify
        self._changes: Generator[object] | None = None
        self._watched: frozenset[tuple[str, int, int]] = frozenset()

    def look(self) -> list[Seen]:
        """See `Watch`."""
        began_s = monotonic()
        self.trouble, self.is_away = None, False
        found: dict[tuple[int, int] | str, Seen] = {}
        for pattern in self._patterns:
            for path in self._matches(pattern):
                seen = seen_at(path)
                # Of several names of one file (links) the first stands for it.
                if seen is not None and (seen.file not in found or _is_plainer(seen, found[seen.file])):
                    found[seen.file] = seen
        self._looked_s = monotonic()
        self._took_s = self._looked_s - began_s
        return list(found.values())

    def wait(self, timeout_s: float) -> bool:
        """See `Watch`."""
        deadline = monotonic() + timeout_s
        while not self._closed.is_set():
            now = monotonic()
            if now >= self._looked_s + max(LOOK_S, _SHARE * self._took_s):
                return True
            if now >= deadline:
                return False
            if self._notified(deadline - now):
                pause_s = self._looked_s + max(_NOTIFIED_S, _SHARE_WHEN_CHANGED * self._took_s) - monotonic()
                self._closed.wait(max(0.0, pause_s))
                return True
        return False

    def close(self) -> None:
        """See `Watch`."""
        self._closed.set()

    def _notified(self, left_s: float) -> bool:
        """Whether the system says that something has changed; waits a little for it."""
        roots = self._roots() if self._notify else frozenset()
        is_new = roots != self._watched
        if self._notify and is_new:  # a folder that was not there, or is another one by now
            self._watched = roots
            self._changes = self._start(sorted(path for path, _, _ in roots)) if roots else None
        if self._changes is None:
            self._closed.wait(min(left_s, LOOK_S / 4))
            return False
        try:
            return bool(next(self._changes, None)) or is_new  # nobody has watched since the last look
        except (OSError, RuntimeError) as error:
            _logger.info("folders are looked at every %g s, notifications failed: %s", LOOK_S, error)
            self._notify, self._changes = False, None
            return False

    def _start(self, roots: list[str]) -> Generator[object] | None:
        try:
            from watchfiles import watch
        except ImportError:
            self._notify = False
            return None
        return watch(
            *roots,
            watch_filter=None,
            debounce=_STEP_MS * 4,
            step=_STEP_MS,
            rust_timeout=_NOTIFY_MS,
            yield_on_timeout=True,
            stop_event=self._closed,
            raise_interrupt=False,
            recursive=any(_is_deep(pattern) for pattern in self._patterns),
            ignore_permission_denied=True,
        )

    def _roots(self) -> frozenset[tuple[str, int, int]]:
        """The folders in which something can happen, with what tells them from others of their name."""
        roots = set()
        for pattern in self._patterns:
            root = root_of(pattern)
            try:
                status = root.stat()
            except OSError:
                continue
            roots.add((str(root), status.st_dev, status.st_ino))
        return frozenset(roots)

    def _matches(self, pattern: str) -> Iterator[str]:
        root = root_of(pattern)
        try:
            with os.scandir(root):
                pass
        except FileNotFoundError:
            self.trouble, self.is_away = f"the folder {root} does not exist yet", True
            return
        except OSError as error:
            self.trouble, self.is_away = f"the folder {root} cannot be read: {error.strerror}", True
            return
        if Path(pattern).is_dir():
            yield from self._below(pattern)
        elif not has_magic(pattern) or Path(pattern).exists():
            if not Path(pattern).exists():
                self.trouble = f"{pattern} does not exist yet"
            yield pattern
        else:
            for match in glob(pattern, recursive=True):  # noqa: PTH207 - takes absolute patterns too
                if not Path(match).is_dir():
                    yield os.path.normpath(match)
                elif "**" not in pattern:  # with "**" the files below match by themselves
                    yield from self._below(match)

    def _below(self, directory: str) -> Iterator[str]:
        def denied(error: OSError) -> None:
            if isinstance(error, PermissionError):
                self.trouble = f"the folder {error.filename} may not be read: permission denied"

        for folder, subfolders, names in os.walk(directory, onerror=denied):
            subfolders[:] = [name for name in subfolders if not name.startswith(_HIDDEN_PREFIXES)]
            for name in names:
                if not name.startswith(_HIDDEN_PREFIXES) and log_of(name).lower().endswith(self._suffixes):
                    yield os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - a text, thousands of times


class PolledWatch:
    """Files of any place, which is asked for them now and then.

    Parameters
    ----------
    find
        Gives all files that a pattern names now. FileNotFoundError: there are none. Another OSError, and a
        ConnectorError that is retryable: none are known at the moment.
    patterns
        Each is asked for by itself: what one of them does not find does not hide the files of the others.
    every_s
        How often to ask; None: REMOTE_LOOK_S.
    """

    def __init__(
        self, find: Callable[[str], list[Seen]], patterns: Sequence[str], every_s: float | None = None
    ) -> None:
        self.trouble: str | None = None
        self.is_away = False
        self._find = find
        self._patterns = patterns
        self._every_s = REMOTE_LOOK_S if every_s is None else every_s
        self._looked_s = -float("inf")
        self._closed = threading.Event()

    def look(self) -> list[Seen]:
        """See `Watch`."""
        self.trouble = None
        found: dict[str, Seen] = {}
        try:
            for pattern in self._patterns:
                try:
                    found.update((seen.path, seen) for seen in self._find(pattern))
                except FileNotFoundError as error:
                    self.trouble = str(error)
        finally:  # a place that fails is not asked more often than one that answers
            self._looked_s = monotonic()
        return list(found.values())

    def wait(self, timeout_s: float) -> bool:
        """See `Watch`."""
        due_s = self._looked_s + self._every_s - monotonic()
        return not self._closed.wait(max(0.0, min(due_s, timeout_s))) and due_s <= timeout_s

    def close(self) -> None:
        """See `Watch`."""
        self._closed.set()


def seen_at(path: str) -> Seen | None:
    """A regular file (or one that a link leads to) as it is now; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a text, thousands of times
    except OSError:
        return None
    return seen_as(path, status) if stat.S_ISREG(status.st_mode) else None


def seen_as(path: str, status: os.stat_result) -> Seen:
    """The same from what the system says."""
    return Seen(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)


def root_of(pattern: str) -> Path:
    """The deepest folder that all files of a pattern lie in.

    Examples
    --------
    >>> root_of("/data/2026-*/x.csv").as_posix(), root_of("/data/x.csv").as_posix()
    ('/data', '/data')
    """
    path = Path(pattern)
    if path.is_dir():
        return path
    parts = path.parts[:-1]
    fixed = next((index for index, part in enumerate(parts) if has_magic(part)), len(parts))
    return Path(*parts[:fixed])


def _is_deep(pattern: str) -> bool:
    path = Path(pattern)
    return path.is_dir() or root_of(pattern) != path.parent


def _is_plainer(seen: Seen, other: Seen) -> bool:
    """Whether `other` is a symbolic link to what `seen` is itself."""
    return os.path.islink(other.path) and not os.path.islink(seen.path)  # noqa: PTH114 - a text
