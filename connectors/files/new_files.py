"""Files that are not followed yet: what may be in them, and what becomes of them.

A copy of a content that has lost its file goes on where that was; what may be a copy that is just being made
waits until that is clear; everything else is new.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from arrowstream.connectors.files import waiting as waits
from arrowstream.connectors.files.compression import codec_of_content, without_codec
from arrowstream.connectors.files.contents import Content
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.rotations import log_of, oldest_first
from arrowstream.connectors.files.tail import HEAD_BYTES, begins_alike, is_known
from arrowstream.connectors.files.waiting import age_s, has_changed
from arrowstream.connectors.files.watch import seen_as, seen_at
from arrowstream.connectors.files.whereabouts import is_unlinked
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrowstream.connectors.files.ledger import Ledger
    from arrowstream.connectors.files.watch import Seen
    from arrowstream.types import Compression


class NewFiles:
    """Finds out what unknown files are. Used under the follower's lock.

    Parameters
    ----------
    ledger
        What is known of the others.
    tails
        Whether uncompressed files are read as they grow; else every file is read once, as a whole.
    is_complete
        Whether the end of a file says that it is complete; raises if it is not, None if nothing says so.
    compression
        Of the files.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        tails: bool,
        is_complete: Callable[[Seen], bool | None],
        compression: Compression,
    ) -> None:
        self._ledger = ledger
        self._tails = tails
        self._is_complete = is_complete
        self._compression: Compression = compression

    def classify(self, unknown: dict[object, Seen], found: Sequence[Seen]) -> None:
        """Find out what files are, the oldest rotations first; adds those beside them that matter."""
        matched = set(unknown)
        for seen in self._siblings(found):
            unknown.setdefault(seen.file, seen)
        for seen in sorted(unknown.values(), key=lambda seen: oldest_first(seen.path)):
            self._classify(seen, matched=seen.file in matched)

    def _siblings(self, found: Sequence[Seen]) -> list[Seen]:
        """Files beside those that are gone which may hold what was in them; renamed ones are followed."""
        lost = {content: loss for content, loss in self._ledger.at.lost.items() if content.seen.inode}
        there = {seen.file for seen in found}
        siblings: dict[object, Seen] = {}
        for folder in {str(Path(loss.path).parent) for loss in lost.values()}:
            of_folder = {c: loss for c, loss in lost.items() if str(Path(loss.path).parent) == folder}
            logs = {log_of(loss.path) for loss in of_folder.values()}
            gone = [content for content in of_folder if content.gone and not content.dropped]
            for seen in _files_in(folder):
                if seen.file in there or seen.file in self._ledger.at.files:
                    continue
                # The number of a deleted file may have been given to another one: several may have had it.
                if any(self._is_renamed(content, seen) for content in gone if content.seen.file == seen.file):
                    continue
                if log_of(seen.path) in logs:
                    siblings[seen.file] = seen
        return list(siblings.values())

    def _is_renamed(self, content: Content, seen: Seen) -> bool:
        """Go on with a file under a name that was not asked for."""
        try:
            descriptor = os.open(seen.path, os.O_RDONLY)
        except OSError:
            return False
        is_same = (
            seen.size_bytes == content.seen.size_bytes
            if content.whole
            else is_known(descriptor, content.progress)
        )
        if not is_same:
            os.close(descriptor)
            return False
        self._ledger.revive(content, seen)
        self._ledger.at.hold(content, descriptor)
        return True

    def _classify(self, seen: Seen, *, matched: bool) -> None:
        """Find out what a file is that is not known."""
        if not seen.size_bytes:
            return
        if not seen.inode:
            self._begin_object(seen)
            return
        try:
            descriptor = os.open(seen.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        except OSError as error:
            self._ledger.deny(seen.path, f"cannot be opened: {error.strerror}")
            return
        try:
            self._ledger.denied.pop(seen.path, None)
            if seen_as(seen.path, os.fstat(descriptor)).file != seen.file:
                return
            head = os.pread(descriptor, HEAD_BYTES, 0)
            compressed = codec_of_content(head) is not None and self._compression != "uncompressed"
            if not self._tails or compressed:
                self._classify_whole(seen, descriptor, matched=matched, compressed=compressed)
            else:
                self._classify_tail(seen, descriptor, head, matched=matched)
        finally:
            os.close(descriptor)

    def _classify_tail(self, seen: Seen, descriptor: int, head: bytes, *, matched: bool) -> None:
        for content in self._ledger.at.homeless(head, self._ledger.partition_of(seen.path)):
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                stream.seek(0)
                read = content.progress.begins(stream)
                if read is None:
                    continue
                if not content.is_handed:  # first what has been read of it has to be on its way
                    self._ledger.again = True
                    return
                if read < content.progress.offset:
                    stream.seek(0)
                    content.progress = content.progress.shortened(stream, read)
                    content.skip = 0
                    content.hand(content.progress, 0)
                self._ledger.revive(content, seen)
                if not matched:
                    self._ledger.at.hold(content, os.dup(descriptor))
                return
        if self._may_be_a_copy(seen, descriptor, head) or not (matched or self._is_newer(seen)):
            return
        content = Content(self._ledger.partition_of(seen.path), seen)
        self._ledger.at.files[seen.file] = content
        if not matched:
            self._ledger.at.hold(content, os.dup(descriptor))
        self._ledger.at.enqueue(content)

    def _classify_whole(self, seen: Seen, descriptor: int, *, matched: bool, compressed: bool) -> None:
        keys = self._ledger.finished.keys_of(seen, descriptor)
        if self._ledger.finished.are(keys):
            self._ledger.finished.note(self._ledger.partition_of(seen.path), keys)
            return
        if not self._has_settled(seen):
            return
        if not (self._tails and compressed and self._is_rotation(seen, keys)) and (
            matched or self._is_newer(seen)
        ):
            self._begin_whole(seen, keys)
        content = self._ledger.at.files.get(seen.file)
        if content is not None and not matched:
            self._ledger.at.hold(content, os.dup(descriptor))

    def _begin_object(self, seen: Seen) -> None:
        """A new object, or one that was away for a moment while it was read: it goes on where it was."""
        for content in self._ledger.at.lost:
            is_away = content.gone and not content.dropped and content.seen.path == seen.path
            if is_away and not has_changed(content.seen, seen):
                self._ledger.revive(content, seen)
                return
        self._begin_whole(seen, None)

    def _begin_whole(self, seen: Seen, keys: tuple[bytes, ...] | None) -> None:
        if self._ledger.finished.are(self._ledger.finished.keys_of(seen, None) if keys is None else keys):
            return
        self._ledger.waiting.end(seen)
        content = Content(self._ledger.partition_of(seen.path), seen, whole=True)
        self._ledger.at.files[seen.file] = content
        self._ledger.at.enqueue(content)

    def _is_rotation(self, seen: Seen, keys: tuple[bytes, ...]) -> bool:
        """Whether a compressed file holds a content that was followed, or may be going to."""
        try:
            with self._content_of(seen) as stream:
                head = stream.read(HEAD_BYTES)
            for content in self._ledger.at.homeless(head, self._ledger.partition_of(seen.path)):
                with self._content_of(seen) as stream:
                    read = content.progress.begins(stream)
                if read is None:
                    continue
                if not content.is_handed:
                    self._ledger.again = True
                elif read < content.progress.offset:
                    self._ledger.at.drop(content)
                    self._ledger.finished.note(content.partition, keys)
                else:
                    content.whole = True
                    self._ledger.revive(content, seen)
                return True
            twins = list(self._ledger.at.alike(head, seen))
        except (*LIBRARY_ERRORS, DataError, EOFError):
            return False  # reading it as a new file tells what is wrong with it
        if not twins:
            return False
        path = twins[0].seen.path
        # One that is still to be read, or is compressed beside itself, is waited for as long as it takes.
        if any(is_unlinked(twin) or twin.seen.path == without_codec(seen.path) for twin in twins):
            self._ledger.waiting.seconds(seen, f"holds the same as {path}")
            return True
        return self._ledger.waiting.seconds(seen, f"may be a copy of {path}") < waits.GRACE_S

    def _may_be_a_copy(self, seen: Seen, descriptor: int, head: bytes) -> bool:
        """Whether to wait, as a file looks like the beginning of one that is still there."""
        if age_s(seen) >= waits.GRACE_S and seen not in self._ledger.waiting:
            return False
        for content in self._ledger.at.alike(head, seen):
            other = content.descriptor
            try:
                other = os.open(content.seen.path, os.O_RDONLY) if other is None else other
                if begins_alike(descriptor, other):
                    return (
                        self._ledger.waiting.seconds(seen, f"may be a copy of {content.seen.path}")
                        < waits.GRACE_S
                    )
                if not is_known(other, content.progress):  # truncated just now
                    self._ledger.again = True
                    return True
            except OSError:
                continue
            finally:
                if content.descriptor is None and other is not None:
                    os.close(other)
        self._ledger.waiting.end(seen)
        return False

    def _is_newer(self, seen: Seen) -> bool:
        """Whether a rotation was begun and rotated away while nobody looked."""
        log = log_of(seen.path)
        before = [loss.mtime_ns for loss in self._ledger.at.lost.values() if log_of(loss.path) == log]
        return bool(before) and seen.mtime_ns > min(before)

    def _has_settled(self, seen: Seen) -> bool:
        try:
            is_complete = self._is_complete(seen)
        except (*LIBRARY_ERRORS, DataError):
            is_complete = False
        if is_complete is not None:
            return is_complete or self._ledger.waiting.seconds(seen, "is not complete yet") >= waits.INVALID_S
        if age_s(seen) >= waits.SETTLE_S and seen not in self._ledger.waiting:
            return True
        return self._ledger.waiting.seconds(seen, "has just been written") >= waits.SETTLE_S

    def _content_of(self, seen: Seen) -> BinaryIO:
        return decompressed(
            cast("BinaryIO", Path(seen.path).open("rb")), seen.path, compression=self._compression
        )


def _files_in(folder: str) -> list[Seen]:
    try:
        with os.scandir(folder) as entries:
            seen = [seen_at(entry.path) for entry in entries]
    except OSError:
        return []
    return [file for file in seen if file is not None]
