"""Which content is in which file, which are in none, and which files are held open."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from logging import getLogger
from typing import TYPE_CHECKING, NamedTuple

from arrowstream.connectors.files.contents import Heads, beginning_with
from arrowstream.connectors.files.rotations import log_of, oldest_first
from arrowstream.connectors.files.tail import HEAD_BYTES
from arrowstream.connectors.files.watch import seen_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.contents import Content
    from arrowstream.connectors.files.watch import Seen

_logger = getLogger("arrowstream.files")

GONE_MAX = 256
"""Contents without a file that are remembered, in case a copy comes."""

_OPEN_MAX = 256  # files held open: what is read seldom is opened again


class Loss(NamedTuple):
    """The file that a content has lost, and when that was noticed."""

    path: str
    mtime_ns: int
    since_s: float


class Whereabouts:
    """The contents of a follower, which uses it under its lock.

    Attributes
    ----------
    files
        By `Seen.file` what is in it.
    gone
        What is in no file any more, the oldest first.
    lost
        What has lost its file (or a name that is asked for): it is looked for.
    """

    def __init__(self) -> None:
        self.files: dict[object, Content] = {}
        self.gone: list[Content] = []
        self.lost: dict[Content, Loss] = {}
        self._fresh: dict[Content, None] = {}
        self._open: dict[Content, None] = {}
        self._heads: Heads | None = None  # of this look, if it was needed

    def restore(self, content: Content) -> None:
        """One of a position."""
        if not content.gone:
            self.files[content.seen.file] = content
            return
        self.lose(content)  # its copy, and what was begun in its place, may be anywhere by now
        if not content.whole:
            self.gone.append(content)

    def begin(self, content: Content) -> None:
        """A new one, to be read."""
        self.files[content.seen.file] = content
        self.enqueue(content)

    def all(self) -> set[Content]:
        """Wherever they are."""
        return {*self.files.values(), *self.gone, *self.lost}

    def descriptor(self, content: Content) -> int:
        """The open file of a content.

        Raises
        ------
        FileNotFoundError
            It is not at its place any more: the next look finds out where it is.
        OSError
            It cannot be opened.
        """
        if content.descriptor is None:
            self._reopen(content)
        self._open.pop(content, None)
        self._open[content] = None
        for other in list(self._open)[: max(0, len(self._open) - _OPEN_MAX)]:
            if not other.busy and other.quiet_s is None:
                other.close()
                del self._open[other]
        assert content.descriptor is not None
        return content.descriptor

    def part(self, content: Content) -> None:
        """A content has lost its file."""
        self.close(content)
        self._fresh.pop(content, None)
        if self.files.get(content.seen.file) is content:
            del self.files[content.seen.file]
        # What is there now may be another content, and newer than what that one will be compared with.
        mtime_ns = min(
            content.seen.mtime_ns, content.read_as[1] if content.read_as else content.seen.mtime_ns
        )
        content.moved(replace(content.seen, mtime_ns=mtime_ns), gone=True)
        content.known = True
        if not content.is_begun:
            content.dropped = True
            return
        self.lose(content)
        if not content.whole:
            self.gone.append(content)

    def lose(self, content: Content) -> None:
        """Look for a content from now on, and for what may have been begun in its place and rotated away."""
        before = self.lost.get(content)
        mtime_ns = content.seen.mtime_ns if before is None else min(before.mtime_ns, content.seen.mtime_ns)
        self.lost[content] = Loss(content.seen.path, mtime_ns, time.monotonic())

    def give_up(self, after_s: float, logs: set[str]) -> None:
        """Look no longer for what is found, or lost for so long; unless a file of its log waits.

        That file may hold what is lost, or what was begun after it.
        """
        now = time.monotonic()
        for content, loss in list(self.lost.items()):
            if log_of(loss.path) in logs:
                continue
            is_found = not content.gone and content.quiet_s is None
            if is_found or content.dropped or now - loss.since_s >= after_s:
                del self.lost[content]
                if content.whole and not is_found and not content.dropped:
                    content.dropped = True
                    _logger.warning("%s is gone before it was read to its end", content.seen.path)

    def hold(self, content: Content, descriptor: int) -> None:
        """Keep a file open that is not found by the names asked for."""
        content.descriptor = descriptor
        content.quiet_s = time.monotonic()
        self._open[content] = None

    def homeless(self, head: bytes, partition: str) -> Iterator[Content]:
        """Contents without a file, or whose file is deleted and read to its end, that begin with `head`."""
        deleted = [content for content in self._open if self._is_read_and_deleted(content)]
        same = [
            content
            for content in (*deleted, *reversed(self.gone))
            if content.partition == partition or content.progress.head_size == HEAD_BYTES
        ]
        return beginning_with(head, same, lambda content: content.progress.head_size > 0)  # a shorter copy?

    @staticmethod
    def _is_read_and_deleted(content: Content) -> bool:
        if not is_unlinked(content) or content.descriptor is None or content.busy or content.whole:
            return False
        status = os.fstat(content.descriptor)
        is_read = (status.st_size, status.st_mtime_ns) == content.read_as
        return is_read or status.st_size <= content.progress.offset

    def revive(self, content: Content, seen: Seen) -> None:
        """A content has been found in a file."""
        if content in self.gone:
            self.gone.remove(content)
        if self.files.get(content.seen.file) is content:
            del self.files[content.seen.file]
        self.close(content)
        content.moved(seen, gone=False)
        content.known, content.quiet_s, content.read_as = True, None, None
        self.files[seen.file] = content
        self.enqueue(content)

    def alike(self, head: bytes, seen: Seen) -> Iterator[Content]:
        """Contents that are followed and begin with the same bytes, as far as that can be told unopened."""
        log = log_of(seen.path)
        if self._heads is None:
            self._heads = Heads(self.files.values())
        others = [
            content
            for content in self._heads.alike(head, log)
            if self.files.get(content.seen.file) is content
            and not content.whole
            and content.seen.file != seen.file
        ]
        return beginning_with(head, others, lambda content: log_of(content.seen.path) == log)

    def enqueue(self, content: Content) -> None:
        """Let it be read after this look."""
        self._fresh[content] = None
        if self._heads is not None:
            self._heads.add(content)

    def take_fresh(self) -> list[Content]:
        """What there is to read since it was last asked, in order of names."""
        fresh = [content for content in self._fresh if not content.gone and not content.dropped]
        self._fresh.clear()
        self._heads = None
        return sorted(fresh, key=lambda content: oldest_first(content.seen.path))

    def drop(self, content: Content) -> None:
        """Forget a content: its file is finished, and known by its keys."""
        self.close(content)
        content.dropped = True
        if self.files.get(content.seen.file) is content:
            del self.files[content.seen.file]
        if content in self.gone:
            self.gone.remove(content)

    def _reopen(self, content: Content) -> None:
        descriptor = os.open(content.seen.path, os.O_RDONLY)
        if seen_as(content.seen.path, os.fstat(descriptor)).file != content.seen.file:
            os.close(descriptor)
            raise FileNotFoundError(content.seen.path)
        content.descriptor = descriptor

    def close(self, content: Content) -> None:
        """Let go of its file."""
        content.close()
        self._open.pop(content, None)

    def close_all(self) -> None:
        """Let go of all files that nobody reads."""
        for content in list(self._open):
            if not content.busy:
                self.close(content)

    def forget(self) -> None:
        """Let go of the oldest that are in no file."""
        for content in self.gone[: max(0, len(self.gone) - GONE_MAX)]:
            self.drop(content)


def is_unlinked(content: Content) -> bool:
    """Whether the file of a content has been deleted, and is still held open."""
    if content.quiet_s is None or content.descriptor is None:
        return False
    return os.fstat(content.descriptor).st_nlink == 0
