"""Finds out, look by look, which file holds which content, and what there is to read.

For each look, in this order:

1. Files that are known: grown, rewritten (what was in them is looked for elsewhere), or as they were.
2. Contents whose file is not found: if it is still open it is read on for a while; else it is looked for
   under another name in its folder, and then counts as gone.
3. Files that are not known: a copy of something that is gone goes on where that was; what may be a copy that
   is just being made waits until that is clear; everything else is new.
"""

from __future__ import annotations

import os
import threading
import time
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from arrowstream.connectors.files.compression import codec_of_content, without_codec
from arrowstream.connectors.files.contents import Content
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.finished import Finished, FinishedFiles
from arrowstream.connectors.files.rotations import log_of, oldest_first
from arrowstream.connectors.files.tail import HEAD_BYTES, begins_alike, is_known
from arrowstream.connectors.files.waiting import Waiting, age_s, has_changed
from arrowstream.connectors.files.watch import seen_as, seen_at
from arrowstream.connectors.files.whereabouts import GONE_MAX, Whereabouts, is_unlinked
from arrowstream.errors import ConnectorError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arrowstream.connectors.files.watch import Seen, Watch
    from arrowstream.types import ClockBy, Compression, Json, Position

_logger = getLogger("arrowstream.files")

GRACE_S = 5.0
"""How long a file that looks like the beginning of another one may be a copy that is just being made."""

SETTLE_S = 1.0
"""How long a file that is read as a whole must not have changed, if its end does not say that it is one."""

INVALID_S = 10.0
"""How long a file that cannot be read must not have changed before it counts as damaged."""

RETIRE_S = 60.0
"""How long a file that is not found any more is held open after it has last grown."""

_AGAIN_S = 0.02
_CLOSE_S = 1.0


class Follower:
    """The state of one run that follows files. `poll` and `close` are for one thread, `take` … for others.

    Parameters
    ----------
    watch
        Which files there are.
    clock_by
        What is a partition.
    tails
        Whether uncompressed files are read as they grow; else every file is read once, as a whole.
    is_complete
        Whether the end of a file says that it is complete; raises if it is not, None if nothing says so.
    compression
        Of the files.
    state, positions
        What an earlier run had handed on: of partitions that are over, and of the others by name.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        clock_by: ClockBy,
        tails: bool,
        is_complete: Callable[[Seen], bool | None],
        compression: Compression,
        state: Json,
        positions: Mapping[str, Position],
    ) -> None:
        self._watch = watch
        self._clock_by = clock_by
        self._tails = tails
        self._is_complete = is_complete
        self._compression: Compression = compression
        self._lock = threading.RLock()
        self._at = Whereabouts()
        self._queues: dict[str, dict[Content, None]] = {}
        self._waiting = Waiting()
        self._finished = FinishedFiles()
        self._retired_gone: dict[str, list[Json]] = {}
        self._denied: dict[str, str] = {}
        self._is_closed = False
        self._named: set[str] = set(positions)
        self._live: set[str] = set()
        self._looks = 0
        self._again = True
        self._restore(state, positions)

    # The thread that watches

    def poll(self, timeout_s: float) -> list[str]:
        """Partitions that have something to read, which may be new; waits for a change until the timeout."""
        with self._lock:
            if any(self._queues.values()):  # a reader that has paused has to be woken
                timeout_s = min(timeout_s, _AGAIN_S)
        if self._again and self._looks:
            time.sleep(min(timeout_s, _AGAIN_S))  # what is waited for is a thread that reads
        if self._again or self._watch.wait(timeout_s):
            self._again = False
            self._look()
        with self._lock:
            if self._is_closed:
                self._at.close_all()
                return []
            ready = [name for name, queue in self._queues.items() if queue]
            over = [name for name in self._named if name not in self._live and name not in ready]
            self._named.update(ready)
            return ready + over

    def close(self) -> None:
        """End a wait, and let go of all files; not waiting for a look at large ones."""
        self._is_closed = True
        self._watch.close()
        if self._lock.acquire(timeout=_CLOSE_S):
            self._at.close_all()
            self._lock.release()

    def waiting_for(self) -> str:
        """What has to happen for more rows to come, in words."""
        with self._lock:
            reasons = [self._watch.trouble] if self._watch.trouble else []
            reasons += [f"{path}: {reason}" for path, reason in self._denied.items()][:3]
            reasons += self._waiting.reasons()[:3]
            followed = sum(not content.whole for content in self._at.files.values())
        lines = f", and for new lines in {followed} files" if followed else ""
        told = f"waiting for new files{lines}"
        return "; ".join([told, *reasons])

    # Threads that read

    def take(self, partition: str) -> Content | None:
        """The next content of a partition that has something to read; it is the caller's until `put_back`."""
        with self._lock:
            queue = self._queues.get(partition)
            while queue:
                content = next(iter(queue))
                del queue[content]
                if not content.dropped and not content.gone:
                    content.busy = True
                    return content
            return None

    def put_back(self, content: Content, *, more: bool) -> None:
        """Done with it for now; with `more` it is the next one again."""
        with self._lock:
            content.busy = False
            if self._is_closed:
                self._at.close(content)
            elif more:
                self._denied.pop(content.seen.path, None)
                queue = self._queues.setdefault(content.partition, {})
                self._queues[content.partition] = {content: None, **queue}

    def descriptor(self, content: Content) -> int:
        """The open file of a content.

        Raises
        ------
        FileNotFoundError
            It is not at its place any more: the next look finds out where it is.
        OSError
            It cannot be opened.
        """
        with self._lock:
            return self._at.descriptor(content)

    def replaced(self, content: Content) -> None:
        """The file of this content holds another one by now."""
        with self._lock:
            content.busy = False
            status = None if content.descriptor is None else os.fstat(content.descriptor)
            self._replace(content, None if status is None else seen_as(content.seen.path, status))
            self._again = True

    def denied(self, content: Content, reason: str) -> None:
        """The file cannot be read at the moment; it is tried again with each look."""
        with self._lock:
            path = content.seen.path
            if path not in self._denied:
                self._denied[path] = reason
                _logger.warning("%s %s; trying again", path, reason)
            content.read_as = None

    def unsettled(self, content: Content) -> bool:
        """Whether a whole file that could not be read has changed, or may still do so: then it waits."""
        with self._lock:
            now_seen = seen_at(content.seen.path)
            if now_seen is None:
                return False
            waited_s = self._waiting.so_far(now_seen)
            if waited_s is None:
                is_fresh = has_changed(content.seen, now_seen) or age_s(now_seen) < INVALID_S
                if now_seen not in self._waiting and not is_fresh:
                    return False
                self._waiting.begin(now_seen, "is not complete yet")
            elif waited_s >= INVALID_S:
                self._waiting.end(now_seen)
                return False
            content.seen = now_seen
            content.read_as = None
            return True

    def finish(self, content: Content) -> tuple[bytes, ...]:
        """A whole file has been read; gives what it is known by from now on."""
        with self._lock:
            keys = self._finished.keys_of(content.seen, content.descriptor)
            self._denied.pop(content.seen.path, None)
            self._at.drop(content)
            self._finished.add(keys)
            return keys

    def note(self, partition: str, finished: Finished) -> None:
        """Bring what a partition knows of finished files up to date, apart from those that it reads."""
        with self._lock:
            self._finished.tell(partition, finished)

    def is_over(self, partition: str) -> bool:
        """Whether a partition has no file any more that could still grow or be read."""
        with self._lock:
            if self._clock_by == "scan" or self._queues.get(partition) or self._looks == 0:
                return False
            return partition not in self._live

    def of_partition(self, partition: str) -> list[Content]:
        """The contents of a partition of which something has been handed on."""
        with self._lock:
            return [c for c in self._at.all() if c.partition == partition and c.handed is not None]

    def retire(self, partition: str, position: Position) -> None:
        """A partition is over, and all of its rows are handed on: remember the little that is needed."""
        with self._lock:
            self._named.discard(partition)
            self._queues.pop(partition, None)
            if not isinstance(position, dict):
                return  # it has come and gone without a row
            self._finished.retired.add(Finished(position["finished"]).keys())
            self._retired_gone.update(position["files"])
            for uid in list(self._retired_gone)[: max(0, len(self._retired_gone) - GONE_MAX)]:
                del self._retired_gone[uid]

    def state(self) -> Json:
        """What has been retired."""
        with self._lock:
            return {"files": dict(self._retired_gone), "finished": self._finished.retired.as_json()}

    # Looking

    def _restore(self, state: Json, positions: Mapping[str, Position]) -> None:
        known: dict[str, Content] = {}
        for partition, position in {**positions, "": state}.items():
            if not isinstance(position, dict):
                continue
            self._finished.restore(position["finished"], retired=not partition)
            for uid, saved in position["files"].items():
                owner = partition or self._partition_of(saved[0])
                if uid not in known:
                    known[uid] = Content.of_entry(owner, uid, saved)
                if not partition:
                    self._retired_gone[uid] = saved
        for content in known.values():
            self._at.restore(content)

    def _look(self) -> None:
        try:
            found = self._watch.look()
        except (OSError, ConnectorError) as error:
            if isinstance(error, ConnectorError) and not error.retryable:
                raise
            self._watch.trouble = f"looking for files failed: {error}"
            return
        with self._lock:
            unknown = {seen.file: seen for seen in found if not self._finished.has(seen)}
            if not unknown and self._at.files and (self._watch.is_away or self._is_unmounted()):
                return  # the folder is away for a while, not its files
            now = time.monotonic()
            paths = {seen.path for seen in found}
            for content in list(self._at.files.values()):
                seen = unknown.pop(content.seen.file, None)
                if content.busy:
                    self._again = self._again or seen is None
                elif seen is None:
                    self._miss(content, now)
                elif not self._is_still(content, seen):
                    unknown[seen.file] = seen
            if unknown:
                self._check_replaced()
            matched = set(unknown)
            for seen in self._siblings(found):
                unknown.setdefault(seen.file, seen)
            for seen in sorted(unknown.values(), key=lambda seen: oldest_first(seen.path)):
                self._classify(seen, matched=seen.file in matched)
            for content in self._at.take_fresh():
                self._queues.setdefault(content.partition, {})[content] = None
            self._at.give_up(GRACE_S, self._waiting.logs())
            self._denied = {path: why for path, why in self._denied.items() if path in paths}
            self._waiting.keep(unknown.keys() | self._at.files.keys())
            self._find_live(found)
            self._looks += 1
            self._at.forget()
            self._finished.forget(found)

    def _find_live(self, found: Sequence[Seen]) -> None:
        """Which partitions have files that can still grow or be read."""
        self._live = {content.partition for content in self._at.files.values()}
        self._live.update(self._partition_of(path) for path in self._waiting.paths())
        if self._clock_by == "directory":  # one whose files are all read may get others
            self._live.update(self._partition_of(seen.path) for seen in found)

    def _is_unmounted(self) -> bool:
        """Whether there is another disk where the files were."""
        seen = next(iter(self._at.files.values())).seen
        try:
            return bool(seen.inode) and Path(seen.path).parent.stat().st_dev != seen.device
        except OSError:
            return False

    def _is_still(self, content: Content, seen: Seen) -> bool:
        """Take note of how a known file is now; False if it turns out to be another one."""
        if not content.known and not self._recognised(content, seen):
            self._at.part(content)
            return False
        if content.is_begun and not seen.inode and has_changed(content.seen, seen):
            self._at.part(content)  # an object that was replaced: what is left of it cannot be had any more
            return False
        content.moved(seen, gone=False)
        content.quiet_s = None
        if content.whole:
            waited_s = self._waiting.so_far(seen)
            if waited_s is None or waited_s >= INVALID_S:
                self._at.enqueue(content)
        elif seen.size_bytes < content.progress.offset:
            self._replace(content, seen)
        elif (seen.size_bytes, seen.mtime_ns) != content.read_as:
            self._at.enqueue(content)
        return True

    def _check_replaced(self) -> None:
        """Before files are looked at that may be copies of what was in another one."""
        for content in list(self._at.files.values()):
            if not self._is_unchanged(content):
                self._replace(content, seen_at(content.seen.path))

    def _is_unchanged(self, content: Content) -> bool:
        """Whether a file still holds what was read of it, as far as can be told now."""
        now = seen_at(content.seen.path)
        if content.whole or content.busy or not content.is_begun or now is None:
            return True
        if now.file != content.seen.file or (now.size_bytes, now.mtime_ns) == content.read_as:
            return True
        try:
            return is_known(self.descriptor(content), content.progress)
        except OSError:
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

    def _replace(self, content: Content, seen: Seen | None) -> None:
        """A file holds other bytes than those read of it: from here on it is a content of its own."""
        self._at.part(content)
        if seen is None:
            return
        other = Content(content.partition, seen, columns=content.columns)
        other.headless = content.columns is not None
        self._at.files[seen.file] = other
        if seen.size_bytes:
            self._at.enqueue(other)

    def _miss(self, content: Content, now: float) -> None:
        """The file of a content is not found under a name that is asked for."""
        if content.descriptor is None:
            self._at.part(content)
            return
        if content.quiet_s is None:
            self._at.lost[content] = now  # what was begun in its place may have been rotated away, too
        status = os.fstat(content.descriptor)
        if (status.st_size, status.st_mtime_ns) != content.read_as:
            content.quiet_s = now
            self._at.enqueue(content)
        elif content.quiet_s is None:
            content.quiet_s = now
        elif now - content.quiet_s >= RETIRE_S:
            if status.st_size > content.progress.offset and not content.last_call:
                content.last_call = True
                self._at.enqueue(content)
            else:
                self._at.part(content)
                self._at.lost.pop(content, None)

    def _siblings(self, found: Sequence[Seen]) -> list[Seen]:
        """Files beside those that are gone which may hold what was in them; renamed ones are followed."""
        lost = [content for content in self._at.lost if not content.dropped]
        there = {seen.file for seen in found}
        siblings: dict[object, Seen] = {}
        for folder in {str(Path(content.seen.path).parent) for content in lost if content.seen.inode}:
            of_folder = [content for content in lost if str(Path(content.seen.path).parent) == folder]
            logs = {log_of(content.seen.path) for content in of_folder}
            for seen in _files_in(folder):
                if seen.file in there or seen.file in self._at.files:
                    continue
                same = next((c for c in of_folder if c.seen.file == seen.file and c.gone), None)
                if same is not None and self._is_renamed(same, seen):
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
        self._revive(content, seen)
        self._at.hold(content, descriptor)
        return True

    def _classify(self, seen: Seen, *, matched: bool) -> None:
        """Find out what a file is that is not known."""
        if not seen.size_bytes:
            return
        if not seen.inode:
            self._begin_whole(seen, None)
            return
        try:
            descriptor = os.open(seen.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        except OSError as error:
            self.denied(Content("", seen), f"cannot be opened: {error.strerror}")
            return
        try:
            self._denied.pop(seen.path, None)
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
        for content in self._at.homeless(head, self._partition_of(seen.path)):
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                stream.seek(0)
                read = content.progress.begins(stream)
                if read is None:
                    continue
                if not content.is_handed:  # first what has been read of it has to be on its way
                    self._again = True
                    return
                if read < content.progress.offset:
                    stream.seek(0)
                    content.progress = content.progress.shortened(stream, read)
                    content.skip = 0
                    content.hand(content.progress, 0)
                self._revive(content, seen)
                if not matched:
                    self._at.hold(content, os.dup(descriptor))
                return
        if self._may_be_a_copy(seen, descriptor, head) or not (matched or self._is_newer(seen)):
            return
        content = Content(self._partition_of(seen.path), seen)
        self._at.files[seen.file] = content
        if not matched:
            self._at.hold(content, os.dup(descriptor))
        self._at.enqueue(content)

    def _classify_whole(self, seen: Seen, descriptor: int, *, matched: bool, compressed: bool) -> None:
        keys = self._finished.keys_of(seen, descriptor)
        if self._finished.are(keys):
            self._finished.note(self._partition_of(seen.path), keys)
            return
        if not self._has_settled(seen):
            return
        if not (self._tails and compressed and self._is_rotation(seen, keys)) and (
            matched or self._is_newer(seen)
        ):
            self._begin_whole(seen, keys)
        content = self._at.files.get(seen.file)
        if content is not None and not matched:
            self._at.hold(content, os.dup(descriptor))

    def _begin_whole(self, seen: Seen, keys: tuple[bytes, ...] | None) -> None:
        if self._finished.are(self._finished.keys_of(seen, None) if keys is None else keys):
            return
        self._waiting.end(seen)
        content = Content(self._partition_of(seen.path), seen, whole=True)
        self._at.files[seen.file] = content
        self._at.enqueue(content)

    def _is_rotation(self, seen: Seen, keys: tuple[bytes, ...]) -> bool:
        """Whether a compressed file holds a content that was followed, or may be going to."""
        try:
            with self._content_of(seen) as stream:
                head = stream.read(HEAD_BYTES)
            for content in self._at.homeless(head, self._partition_of(seen.path)):
                with self._content_of(seen) as stream:
                    read = content.progress.begins(stream)
                if read is None:
                    continue
                if not content.is_handed:
                    self._again = True
                elif read < content.progress.offset:
                    self._at.drop(content)
                    self._finished.note(content.partition, keys)
                else:
                    content.whole = True
                    self._revive(content, seen)
                return True
            twins = list(self._at.alike(head, seen))
        except (*LIBRARY_ERRORS, DataError, EOFError):
            return False  # reading it as a new file tells what is wrong with it
        if not twins:
            return False
        path = twins[0].seen.path
        # One that is still to be read, or is compressed beside itself, is waited for as long as it takes.
        if any(is_unlinked(twin) or twin.seen.path == without_codec(seen.path) for twin in twins):
            self._waiting.seconds(seen, f"holds the same as {path}")
            return True
        return self._waiting.seconds(seen, f"may be a copy of {path}") < GRACE_S

    def _revive(self, content: Content, seen: Seen) -> None:
        """A content has been found in a file."""
        self._at.revive(content, seen)
        self._waiting.end(seen)

    def _may_be_a_copy(self, seen: Seen, descriptor: int, head: bytes) -> bool:
        """Whether to wait, as a file looks like the beginning of one that is still there."""
        if age_s(seen) >= GRACE_S and seen not in self._waiting:
            return False
        for content in self._at.alike(head, seen):
            other = content.descriptor
            try:
                other = os.open(content.seen.path, os.O_RDONLY) if other is None else other
                if begins_alike(descriptor, other):
                    return self._waiting.seconds(seen, f"may be a copy of {content.seen.path}") < GRACE_S
                if not is_known(other, content.progress):  # truncated just now
                    self._again = True
                    return True
            except OSError:
                continue
            finally:
                if content.descriptor is None and other is not None:
                    os.close(other)
        self._waiting.end(seen)
        return False

    def _is_newer(self, seen: Seen) -> bool:
        """Whether a rotation was begun and rotated away while nobody looked."""
        log = log_of(seen.path)
        before = [content.seen.mtime_ns for content in self._at.lost if log_of(content.seen.path) == log]
        return bool(before) and seen.mtime_ns > min(before)

    def _has_settled(self, seen: Seen) -> bool:
        try:
            is_complete = self._is_complete(seen)
        except (*LIBRARY_ERRORS, DataError):
            is_complete = False
        if is_complete is not None:
            return is_complete or self._waiting.seconds(seen, "is not complete yet") >= INVALID_S
        if age_s(seen) >= SETTLE_S and seen not in self._waiting:
            return True
        return self._waiting.seconds(seen, "has just been written") >= SETTLE_S

    def _content_of(self, seen: Seen) -> BinaryIO:
        return decompressed(
            cast("BinaryIO", Path(seen.path).open("rb")), seen.path, compression=self._compression
        )

    def _partition_of(self, path: str) -> str:
        if self._clock_by == "scan":
            return "scan"
        return log_of(path) if self._clock_by == "file" else os.path.dirname(path)  # noqa: PTH120 - a text


def _files_in(folder: str) -> list[Seen]:
    try:
        with os.scandir(folder) as entries:
            seen = [seen_at(entry.path) for entry in entries]
    except OSError:
        return []
    return [file for file in seen if file is not None]
