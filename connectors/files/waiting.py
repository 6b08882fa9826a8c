"""Files that wait until something about them is clear, and for how long they have not changed meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arrowstream.connectors.files.rotations import log_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from arrowstream.connectors.files.watch import Seen

GRACE_S = 5.0
"""How long a file that looks like the beginning of another one may be a copy that is just being made."""

SETTLE_S = 1.0
"""How long a file that is read as a whole must not have changed, if its end does not say that it is one."""

INVALID_S = 10.0
"""How long a file that cannot be read must not have changed before it counts as damaged."""

RETIRE_S = 60.0
"""How long a file that is not found any more is held open after it has last grown."""

_DAY_S = 86400.0


@dataclass(slots=True)
class _Since:
    """A file as it was when its time began."""

    seen: Seen
    at_s: float
    reason: str


class Waiting:
    """Waits by file, each with its reason."""

    def __init__(self) -> None:
        self._since: dict[object, _Since] = {}

    def __contains__(self, seen: Seen) -> bool:
        return seen.file in self._since

    def seconds(self, seen: Seen, reason: str) -> float:
        """Let a file wait, or go on waiting; for how many seconds it has not changed meanwhile.

        One that is met for the first time has been waiting since its last change.
        """
        now = time.monotonic()
        since = self._since.get(seen.file)
        if since is None or has_changed(since.seen, seen):
            before_s = min(age_s(seen), _DAY_S) if since is None else 0.0
            self._since[seen.file] = since = _Since(seen, now - before_s, reason)
        return now - since.at_s

    def begin(self, seen: Seen, reason: str) -> None:
        """Let a file wait from now on."""
        self._since[seen.file] = _Since(seen, time.monotonic(), reason)

    def so_far(self, seen: Seen) -> float | None:
        """How long a file has been waiting as it is; None if it is not, or has changed."""
        since = self._since.get(seen.file)
        return None if since is None or has_changed(since.seen, seen) else time.monotonic() - since.at_s

    def end(self, seen: Seen) -> None:
        """The file waits no longer, if it did."""
        self._since.pop(seen.file, None)

    def keep(self, files: Collection[object]) -> None:
        """All other files are gone."""
        self._since = {file: since for file, since in self._since.items() if file in files}

    def paths(self) -> list[str]:
        """Of all files that wait."""
        return [since.seen.path for since in self._since.values()]

    def logs(self) -> set[str]:
        """The logs that they are rotations of."""
        return {log_of(path) for path in self.paths()}

    def reasons(self) -> list[str]:
        """What they wait for, in words."""
        return [f"{since.seen.path} {since.reason}" for since in self._since.values()]


def has_changed(before: Seen, now: Seen) -> bool:
    """Whether something was written to a file."""
    return (before.size_bytes, before.mtime_ns, before.version) != (
        now.size_bytes,
        now.mtime_ns,
        now.version,
    )


def age_s(seen: Seen) -> float:
    """How long ago a file was last changed or renamed, by the clock of the day; 0 if that lies ahead."""
    return max(0.0, time.time() - max(seen.mtime_ns, seen.ctime_ns) / 1e9)
