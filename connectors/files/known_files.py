"""Files that are followed: grown, rewritten, deleted, or as they were."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from arrowstream.connectors.files import waiting as waits
from arrowstream.connectors.files.contents import Content
from arrowstream.connectors.files.tail import is_known
from arrowstream.connectors.files.waiting import has_changed
from arrowstream.connectors.files.watch import seen_at

if TYPE_CHECKING:
    from arrowstream.connectors.files.ledger import Ledger
    from arrowstream.connectors.files.watch import Seen


class KnownFiles:
    """Keeps what is known of followed files true, look by look. Used under the follower's lock."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def review(self, unknown: dict[object, Seen]) -> None:
        """Take the files that are followed out of what was found, and take note of how they are now.

        What is left in `unknown` is not known: also a file that holds another content by now.
        """
        now = time.monotonic()
        for content in list(self._ledger.at.files.values()):
            seen = unknown.pop(content.seen.file, None)
            if content.busy:
                self._ledger.again |= seen is None
            elif seen is None:
                self._miss(content, now)
            elif not self._is_still(content, seen):
                unknown[seen.file] = seen
        if unknown:
            self._check_replaced()

    def replace(self, content: Content, seen: Seen | None) -> None:
        """A file holds other bytes than those read of it: from here on it is a content of its own."""
        self._ledger.at.part(content)
        if seen is None:
            return
        other = Content(content.partition, seen, columns=content.columns)
        other.headless = content.columns is not None
        self._ledger.at.files[seen.file] = other
        if seen.size_bytes:
            self._ledger.at.enqueue(other)

    def _is_still(self, content: Content, seen: Seen) -> bool:
        """Take note of how a known file is now; False if it turns out to be another one."""
        if not content.known and not self._recognised(content, seen):
            self._ledger.at.part(content)
            return False
        if content.is_begun and not seen.inode and has_changed(content.seen, seen):
            self._ledger.at.part(
                content
            )  # an object that was replaced: what is left of it cannot be had any more
            return False
        if not content.whole and seen.size_bytes < content.progress.offset:
            self.replace(content, seen)
            return True
        content.moved(seen, gone=False)
        content.quiet_s = None
        if content.whole:
            waited_s = self._ledger.waiting.so_far(seen)
            if waited_s is None or waited_s >= waits.INVALID_S:
                self._ledger.at.enqueue(content)
        elif (seen.size_bytes, seen.mtime_ns) != content.read_as:
            self._ledger.at.enqueue(content)
        return True

    def _recognised(self, content: Content, seen: Seen) -> bool:
        """Whether the file of a position is still the same one."""
        if content.whole or not seen.inode:
            content.known = (seen.size_bytes, seen.version) == (content.seen.size_bytes, content.seen.version)
            return content.known
        try:
            with Path(seen.path).open("rb") as file:
                content.known = is_known(file.fileno(), content.progress)
        except OSError:
            return True  # not now: reading it will tell
        return content.known

    def _check_replaced(self) -> None:
        """Before files are looked at that may be copies of what was in another one."""
        for content in list(self._ledger.at.files.values()):
            if not self._is_unchanged(content):
                self.replace(content, seen_at(content.seen.path))

    def _is_unchanged(self, content: Content) -> bool:
        """Whether a file still holds what was read of it, as far as can be told now."""
        now = seen_at(content.seen.path)
        if content.whole or content.busy or not content.is_begun or now is None:
            return True
        if now.file != content.seen.file or (now.size_bytes, now.mtime_ns) == content.read_as:
            return True
        try:
            return is_known(self._ledger.at.descriptor(content), content.progress)
        except OSError:
            return True

    def _miss(self, content: Content, now: float) -> None:
        """The file of a content is not found under a name that is asked for."""
        if content.descriptor is None:
            self._ledger.at.part(content)
            return
        if content.quiet_s is None:
            self._ledger.at.lose(content)
        status = os.fstat(content.descriptor)
        if (status.st_size, status.st_mtime_ns) != content.read_as:
            content.quiet_s = now
            self._ledger.at.enqueue(content)
        elif content.quiet_s is None:
            content.quiet_s = now
        elif now - content.quiet_s >= waits.RETIRE_S:
            if status.st_size > content.progress.offset and not content.last_call:
                content.last_call = True
                self._ledger.at.enqueue(content)
            else:
                self._ledger.at.part(content)
                self._ledger.at.lost.pop(content, None)
