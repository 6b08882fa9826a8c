"""Finds out, look by look, which file holds which content, and what there is to read.

For each look, in this order:

1. Files that are known (`KnownFiles`): grown, rewritten (what was in them is looked for elsewhere), or as
   they were. If one is not found it is read on for a while if it is still open; else it is looked for under
   another name in its folder, and then counts as gone.
2. Files that are not known (`NewFiles`): a copy of something that is gone goes on where that was; what may be
   a copy that is just being made waits until that is clear; everything else is new.

What they know is in one `Ledger`, under the follower's lock.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from arrowstream.connectors.files import waiting as waits
from arrowstream.connectors.files.known_files import KnownFiles
from arrowstream.connectors.files.ledger import Ledger
from arrowstream.connectors.files.new_files import NewFiles
from arrowstream.connectors.files.waiting import age_s, has_changed
from arrowstream.connectors.files.watch import seen_as, seen_at
from arrowstream.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arrowstream.connectors.files.contents import Content
    from arrowstream.connectors.files.finished import Finished
    from arrowstream.connectors.files.watch import Seen, Watch
    from arrowstream.types import ClockBy, Compression, Json, Position

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
        self._lock = threading.RLock()
        self._ledger = Ledger(clock_by, state, positions)
        self._known = KnownFiles(self._ledger)
        self._new = NewFiles(self._ledger, tails=tails, is_complete=is_complete, compression=compression)
        self._queues: dict[str, dict[Content, None]] = {}
        self._is_closed = False
        self._named: set[str] = set(positions)
        self._live: set[str] = set()
        self._looks = 0

    # The thread that watches

    def poll(self, timeout_s: float) -> list[str]:
        """Partitions that have something to read, which may be new; waits for a change until the timeout."""
        with self._lock:
            if any(self._queues.values()):  # a reader that has paused has to be woken
                timeout_s = min(timeout_s, _AGAIN_S)
        if self._ledger.again and self._looks:
            time.sleep(min(timeout_s, _AGAIN_S))  # what is waited for is a thread that reads
        if self._ledger.again or self._watch.wait(timeout_s):
            self._ledger.again = False
            self._look()
        with self._lock:
            if self._is_closed:
                self._ledger.at.close_all()
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
            self._ledger.at.close_all()
            self._lock.release()

    def waiting_for(self) -> str:
        """What has to happen for more rows to come, in words."""
        with self._lock:
            reasons = [self._watch.trouble] if self._watch.trouble else []
            reasons += [f"{path}: {reason}" for path, reason in self._ledger.denied.items()][:3]
            reasons += self._ledger.waiting.reasons()[:3]
            followed = sum(not content.whole for content in self._ledger.at.files.values())
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
                self._ledger.at.close(content)
            elif more:
                self._ledger.denied.pop(content.seen.path, None)
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
            return self._ledger.at.descriptor(content)

    def replaced(self, content: Content) -> None:
        """The file of this content holds another one by now."""
        with self._lock:
            content.busy = False
            status = None if content.descriptor is None else os.fstat(content.descriptor)
            self._known.replace(content, None if status is None else seen_as(content.seen.path, status))
            self._ledger.again = True

    def denied(self, content: Content, reason: str) -> None:
        """The file cannot be read at the moment; it is tried again with each look."""
        with self._lock:
            self._ledger.deny(content.seen.path, reason)
            content.read_as = None

    def unsettled(self, content: Content) -> bool:
        """Whether a whole file that could not be read has changed, or may still do so: then it waits."""
        with self._lock:
            now_seen = seen_at(content.seen.path)
            if now_seen is None:
                return False
            waited_s = self._ledger.waiting.so_far(now_seen)
            if waited_s is None:
                is_fresh = has_changed(content.seen, now_seen) or age_s(now_seen) < waits.INVALID_S
                if now_seen not in self._ledger.waiting and not is_fresh:
                    return False
                self._ledger.waiting.begin(now_seen, "is not complete yet")
            elif waited_s >= waits.INVALID_S:
                self._ledger.waiting.end(now_seen)
                return False
            content.seen = now_seen
            content.read_as = None
            return True

    def finish(self, content: Content) -> tuple[bytes, ...]:
        """A whole file has been read; gives what it is known by from now on."""
        with self._lock:
            keys = self._ledger.finished.keys_of(content.seen, content.descriptor)
            self._ledger.denied.pop(content.seen.path, None)
            self._ledger.at.drop(content)
            self._ledger.finished.add(keys)
            return keys

    def note(self, partition: str, finished: Finished) -> None:
        """Bring what a partition knows of finished files up to date, apart from those that it reads."""
        with self._lock:
            self._ledger.finished.tell(partition, finished)

    def is_over(self, partition: str) -> bool:
        """Whether a partition has no file any more that could still grow or be read."""
        with self._lock:
            if self._clock_by == "scan" or self._queues.get(partition) or self._looks == 0:
                return False
            return partition not in self._live

    def of_partition(self, partition: str) -> list[Content]:
        """The contents of a partition of which something has been handed on."""
        with self._lock:
            return [c for c in self._ledger.at.all() if c.partition == partition and c.handed is not None]

    def retire(self, partition: str, position: Position) -> None:
        """A partition is over, and all of its rows are handed on: remember the little that is needed."""
        with self._lock:
            self._named.discard(partition)
            self._queues.pop(partition, None)
            if not isinstance(position, dict):
                return  # it has come and gone without a row
            self._ledger.retire(position)

    def state(self) -> Json:
        """What has been retired."""
        with self._lock:
            return self._ledger.state()

    # Looking

    def _look(self) -> None:
        try:
            found = self._watch.look()
        except (OSError, ConnectorError) as error:
            if isinstance(error, ConnectorError) and not error.retryable:
                raise
            self._watch.trouble = f"looking for files failed: {error}"
            return
        with self._lock:
            unknown: dict[object, Seen] = {
                seen.file: seen for seen in found if not self._ledger.finished.has(seen)
            }
            if not unknown and self._ledger.at.files and (self._watch.is_away or self._is_unmounted()):
                return  # the folder is away for a while, not its files
            self._known.review(unknown)
            self._new.classify(unknown, found)
            for content in self._ledger.at.take_fresh():
                self._queues.setdefault(content.partition, {})[content] = None
            self._ledger.at.give_up(waits.GRACE_S, self._ledger.waiting.logs())
            self._ledger.keep(found, unknown.keys())
            self._find_live(found)
            self._looks += 1
            self._ledger.at.forget()
            self._ledger.finished.forget(found)

    def _find_live(self, found: Sequence[Seen]) -> None:
        """Which partitions have files that can still grow or be read."""
        self._live = {content.partition for content in self._ledger.at.files.values()}
        self._live.update(self._ledger.partition_of(path) for path in self._ledger.waiting.paths())
        if self._clock_by == "directory":  # one whose files are all read may get others
            self._live.update(self._ledger.partition_of(seen.path) for seen in found)

    def _is_unmounted(self) -> bool:
        """Whether there is another disk where the files were."""
        seen = next(iter(self._ledger.at.files.values())).seen
        try:
            return bool(seen.inode) and Path(seen.path).parent.stat().st_dev != seen.device
        except OSError:
            return False
