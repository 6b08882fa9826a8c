"""What a follower knows of each file, in memory and as a position."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from arrowstream.connectors.files.rotations import log_of
from arrowstream.connectors.files.tail import Progress, digest
from arrowstream.connectors.files.watch import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from arrowstream.types import Json


@dataclass(slots=True, eq=False)
class Content:
    """A sequence of bytes that is read once, wherever it is stored.

    Attributes
    ----------
    partition
        Whose rows these are.
    seen
        The file it is in, as it was last seen.
    whole
        Whether that file is read as something complete, which does not grow any more.
    progress, skip
        What has been read, and how many slots after it are to be dropped, as they were handed on before.
    handed
        The same of what has been handed on to the engine.
    gone
        Whether there is no such file any more; a copy may still come.
    known
        Whether the file is sure to be the one of the position.
    columns
        Names of the file's columns in its own order, once they are known.
    headless
        Whether the file does not say them: it was truncated, and its writer went on.
    descriptor
        The file, held open.
    read_as
        Size and time of the file when it was last read to its end.
    quiet_s
        Since when a file that is not found any more has not grown.
    last_call
        Whether what is there now is all there will be: a last line without a newline is one.
    refused
        Whether the file does not fit the scan, and is a dead letter.
    dropped
        Whether it is of no interest any more.
    reading
        What the decoder knows of the file.
    uid
        Its name in positions.
    """

    partition: str
    seen: Seen
    whole: bool = False
    progress: Progress = field(default_factory=Progress)
    skip: int = 0
    handed: tuple[Progress, int] | None = None
    gone: bool = False
    known: bool = True
    columns: list[str] | None = None
    headless: bool = False
    descriptor: int | None = None
    busy: bool = False
    read_as: tuple[int, int] | None = None
    quiet_s: float | None = None
    last_call: bool = False
    refused: bool = False
    dropped: bool = False
    reading: Any = None
    uid: str = field(default_factory=lambda: uuid4().hex[:12])
    _entry: list[Json] | None = None

    def entry(self) -> list[Json] | None:
        """For a position; None if nothing of it has been handed on."""
        if self.handed is None or self.dropped:
            return None
        if self._entry is None:
            self._entry = self.entry_of(*self.handed)
        return self._entry

    def entry_of(self, progress: Progress, skip: int) -> list[Json]:
        """For a position in which so much of it has been handed on."""
        seen = self.seen
        flags = (1 if self.whole else 0) | (2 if self.gone else 0) | (4 if self.refused else 0)
        place: list[Json] = [seen.path, seen.device, seen.inode, seen.size_bytes, seen.mtime_ns, seen.version]
        columns = self.columns if self.headless else None
        return [*place, flags, columns, skip, *progress.as_json()]

    @property
    def is_begun(self) -> bool:
        """Whether something has been read of it."""
        return self.progress.resume is not None or self.skip > 0

    @property
    def is_handed(self) -> bool:
        """Whether all that has been read has been handed on."""
        return self.handed is not None and self.handed[0] is self.progress

    def hand(self, progress: Progress, skip: int) -> None:
        """So much has been handed on."""
        self.handed = (progress, skip)
        self._entry = None

    def moved(self, seen: Seen, *, gone: bool) -> None:
        """It is in this file now, or was in it at last."""
        if (seen.path, seen.file, gone) != (self.seen.path, self.seen.file, self.gone):
            self._entry = None
        self.seen, self.gone = seen, gone

    @classmethod
    def of_entry(cls, partition: str, uid: str, saved: Any) -> Content:
        """From a position; whether the file is still the one has to be found out."""
        path, device, inode, size, mtime_ns, version, flags, columns, skip, *progress = saved
        content = cls(
            partition,
            Seen(path, size, mtime_ns, 0, device, inode, version),
            whole=bool(flags & 1),
            progress=Progress.of_json(progress),
            skip=skip,
            gone=bool(flags & 2),
            refused=bool(flags & 4),
            columns=columns,
            headless=columns is not None,
            known=False,
            uid=uid,
        )
        content.hand(content.progress, skip)
        return content

    def close(self) -> None:
        """Let go of the file."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def beginning_with(
    head: bytes, contents: Iterable[Content], or_else: Callable[[Content], bool]
) -> Iterator[Content]:
    """Those whose first bytes are those of `head`; of those that cannot be compared, what `or_else` says."""
    digests: dict[int, str] = {}
    for content in contents:
        size = content.progress.head_size
        if 0 < size <= len(head):
            if size not in digests:
                digests[size] = digest(head[:size])
            if digests[size] == content.progress.head:
                yield content
        elif or_else(content):
            yield content


class Heads:
    """Contents by their first bytes and by their log, so that no file is compared with thousands of others.

    It says which ones may begin as a file does; some may have been read on since they were added.
    """

    def __init__(self, contents: Iterable[Content]) -> None:
        self._by_head: dict[int, dict[str, list[Content]]] = {}
        self._by_log: dict[str, list[Content]] = {}
        for content in contents:
            self.add(content)

    def add(self, content: Content) -> None:
        """One more."""
        size = content.progress.head_size
        if size:
            self._by_head.setdefault(size, {}).setdefault(content.progress.head, []).append(content)
        self._by_log.setdefault(log_of(content.seen.path), []).append(content)

    def alike(self, head: bytes, log: str) -> dict[Content, None]:
        """Those that begin as `head` does, and all of the log: of some of them nothing has been read yet."""
        found = dict.fromkeys(self._by_log.get(log, ()))
        for size, contents in self._by_head.items():
            if size <= len(head):
                found.update(dict.fromkeys(contents.get(digest(head[:size]), ())))
        return found
