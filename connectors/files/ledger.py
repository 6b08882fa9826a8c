"""What a follower knows of the files that are followed, that wait, that are finished, or cannot be read."""

from __future__ import annotations

import os
from logging import getLogger
from typing import TYPE_CHECKING, Any

from arrowstream.connectors.files.contents import Content
from arrowstream.connectors.files.finished import Finished, FinishedFiles
from arrowstream.connectors.files.rotations import log_of
from arrowstream.connectors.files.waiting import Waiting
from arrowstream.connectors.files.whereabouts import GONE_MAX, Whereabouts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from arrowstream.connectors.files.watch import Seen
    from arrowstream.types import ClockBy, Json, Position

_logger = getLogger("arrowstream.files")


class Ledger:
    """The state that the parts of a follower share, used under its lock.

    Attributes
    ----------
    at
        The contents that are followed, and where they are.
    waiting
        Files of which something has to become clear first.
    finished
        Files that have been read to their end.
    denied
        Why files cannot be read at the moment, by path.
    again
        Whether to look again at once: what is waited for is a thread that reads.

    Parameters
    ----------
    clock_by
        What is a partition.
    state, positions
        What an earlier run had handed on: of partitions that are over, and of the others by name.
    """

    def __init__(self, clock_by: ClockBy, state: Json, positions: Mapping[str, Position]) -> None:
        self.at = Whereabouts()
        self.waiting = Waiting()
        self.finished = FinishedFiles()
        self.denied: dict[str, str] = {}
        self.again = True
        self._clock_by = clock_by
        self._retired_gone: dict[str, list[Json]] = {}
        self._restore(state, positions)

    def partition_of(self, path: str) -> str:
        """The partition that the rows of a file belong to."""
        if self._clock_by == "scan":
            return "scan"
        return log_of(path) if self._clock_by == "file" else os.path.dirname(path)  # noqa: PTH120 - a text

    def deny(self, path: str, reason: str) -> None:
        """A file cannot be read at the moment; it is tried again with each look."""
        if path not in self.denied:
            self.denied[path] = reason
            _logger.warning("%s %s; trying again", path, reason)

    def revive(self, content: Content, seen: Seen) -> None:
        """A content has been found in a file."""
        self.at.revive(content, seen)
        self.waiting.end(seen)

    def keep(self, found: Sequence[Seen], unknown: Collection[object]) -> None:
        """After a look: of what was neither found nor is followed nothing waits, or is refused."""
        paths = {seen.path for seen in found}
        self.denied = {path: reason for path, reason in self.denied.items() if path in paths}
        self.waiting.keep({*unknown, *self.at.files})

    def retire(self, position: dict[str, Any]) -> None:
        """Remember the little that is needed of a partition that is over."""
        self.finished.retired.add(Finished(position["finished"]).keys())
        self._retired_gone.update(position["files"])
        for uid in list(self._retired_gone)[: max(0, len(self._retired_gone) - GONE_MAX)]:
            del self._retired_gone[uid]

    def state(self) -> Json:
        """What has been retired."""
        return {"files": dict(self._retired_gone), "finished": self.finished.retired.as_json()}

    def _restore(self, state: Json, positions: Mapping[str, Position]) -> None:
        known: dict[str, Content] = {}
        for partition, position in {**positions, "": state}.items():
            if not isinstance(position, dict):
                continue
            self.finished.restore(position["finished"], retired=not partition)
            for uid, saved in position["files"].items():
                owner = partition or self.partition_of(saved[0])
                if uid not in known:
                    known[uid] = Content.of_entry(owner, uid, saved)
                if not partition:
                    self._retired_gone[uid] = saved
        for content in sorted(known.values(), key=lambda content: content.seen.mtime_ns):
            self.at.restore(content)  # the oldest first: they are forgotten first
