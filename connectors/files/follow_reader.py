"""Reads what a follower finds, file by file, and says how far each was handed on."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import DEAD
from arrowstream.connectors.files.errors import LIBRARY_ERRORS, ChangedError, translated
from arrowstream.connectors.files.finished import Finished
from arrowstream.connectors.files.place_errors import AbsentError
from arrowstream.connectors.files.stream_reader import count_dead
from arrowstream.connectors.files.tail import Progress, Replaced, read_new
from arrowstream.errors import ConnectorError, DataError
from arrowstream.protocols import ConnectorCounters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.connectors.files.contents import Content
    from arrowstream.connectors.files.followed import Followed
    from arrowstream.connectors.files.follower import Follower
    from arrowstream.connectors.files.streams import Block
    from arrowstream.types import Json, Position

CHUNK_BYTES = 4 << 20
"""Of a growing file that are read and parsed at once."""

_LINE_BYTES_MAX = 256 << 20
_READ_S = 0.2  # how long one `read` goes on where files have changed and no whole line has come
_SKIP = 8  # where in an entry of a position the slots stand that are handed on after its progress


@dataclass(slots=True)
class _Ready:
    """Slots that have been read, with how far their content was handed on before them, and is after them."""

    content: Content
    frame: pl.DataFrame
    before: Progress
    skip: int
    after: Progress
    left: int = 0  # slots that are to be dropped after it, too
    finished: tuple[bytes, ...] | None = None


class FollowReader:
    """Reads one partition of what a follower finds. Each batch is of one file.

    May block on the disk only: where nothing is new, `read` gives a batch without rows at once.
    """

    def __init__(self, partition: str, follower: Follower, followed: Followed, position: Position) -> None:
        self.counters = ConnectorCounters()
        self._partition = partition
        self._follower = follower
        self._followed = followed
        self._contents = dict.fromkeys(follower.of_partition(partition))
        self._finished = Finished(position["finished"] if isinstance(position, dict) else None)
        self._nothing = pl.DataFrame(schema=followed.schema)
        self._ready: deque[_Ready] = deque()
        self._whole: dict[Content, Iterator[Block]] = {}
        self._is_untold = False  # whether more has been handed on than the last position says

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows, none if nothing is new; None if no file is left that may grow."""
        assert max_rows > 0
        began_s = perf_counter()
        ready = self._next()
        self.counters.seconds += perf_counter() - began_s
        if ready is None:
            if self._follower.is_over(self._partition) and not self._is_untold:
                return None
            return self._nothing, self._position(None)
        content, taken = ready.content, ready.frame
        if taken.height > max_rows:
            taken = taken.head(max_rows)
            rest, skip = ready.frame.slice(max_rows), ready.skip + max_rows
            self._ready.appendleft(_Ready(content, rest, ready.before, skip, ready.after))
            content.hand(ready.before, skip)
        else:
            content.hand(ready.after, 0)
        self._contents[content] = None
        self.counters.rows += taken.height
        if DEAD in taken.columns:
            count_dead(self.counters, taken, self._followed.decoder.on_error)
        return taken, self._position([content.uid, content.entry_of(ready.before, ready.skip)])

    def _next(self) -> _Ready | None:
        """The next slots; on the way to them notes which files are finished."""
        while True:
            if not self._ready:
                self._fill()
            if not self._ready:
                return None
            ready = self._ready.popleft()
            if ready.finished is not None:
                self._finished.add(ready.finished)
            if ready.frame.height:
                return ready
            ready.content.hand(ready.after, ready.left)
            self._contents[ready.content] = None
            self._is_untold = True

    def within(self, position: Position, rows: int) -> Position:
        """The position after only `rows` rows of the batch that `position` was given with."""
        assert isinstance(position, dict)
        uid, entry = position["from"]
        begun = [*entry[:_SKIP], entry[_SKIP] + rows, *entry[_SKIP + 1 :]]
        return {**position, "files": {**position["files"], uid: begun}, "from": None}

    def close(self) -> None:
        """Let go of the files that are read as a whole."""
        self._whole.clear()
        self._ready.clear()

    def _position(self, origin: Json) -> Position:
        self._is_untold = False
        # In this order: what is found to be finished meanwhile must not be in neither of the two.
        entries = {content.uid: content.entry() for content in self._contents}
        self._follower.note(self._partition, self._finished)
        if None in entries.values():
            self._contents = {content: None for content in self._contents if content.entry() is not None}
            entries = {uid: entry for uid, entry in entries.items() if entry is not None}
        return {"files": entries, "finished": self._finished.as_json(), "from": origin}

    def _fill(self) -> None:
        """Read of the next contents until there is something."""
        until_s = monotonic() + _READ_S
        while not self._ready and monotonic() < until_s:
            content = self._follower.take(self._partition)
            if content is None:
                self._whole = {file: blocks for file, blocks in self._whole.items() if not file.gone}
                return
            more = False
            try:
                more = self._read_whole(content) if content.whole else self._read_tail(content)
            except Replaced:
                self._follower.replaced(content)
            except FileNotFoundError:
                pass  # renamed or deleted just now: the next look finds out
            except PermissionError as error:
                self._follower.denied(content, f"cannot be opened: {error.strerror}")
            except (AbsentError, ChangedError):
                self._follower.replaced(content)
            except ConnectorError as error:
                if content.seen.inode or not error.retryable:
                    raise
                self._follower.denied(content, f"cannot be read for now: {error.fact}")
            except DataError as error:
                if content.whole or self._followed.decoder.on_error == "raise":
                    raise
                self._refuse(content, error)
            except LIBRARY_ERRORS as error:
                raise translated(error, content.seen.path, self._followed.name) from error
            finally:
                self._follower.put_back(content, more=more)

    # Growing files

    def _read_tail(self, content: Content) -> bool:
        """Read what is new, up to a chunk; whether there is more."""
        descriptor = self._follower.descriptor(content)
        status = os.fstat(descriptor)
        if content.refused:
            content.read_as = (status.st_size, status.st_mtime_ns)
            return False
        left = status.st_size - content.progress.offset
        if left < 0:
            raise Replaced
        if not self._followed.knows(content, descriptor):
            content.read_as = (status.st_size, status.st_mtime_ns)
            return False
        size = CHUNK_BYTES
        while True:
            before, new = read_new(descriptor, content.progress, min(size, left))
            if new[:1] == b"\0" and not content.progress.offset:
                return self._pass_hole(content, new)
            read = self._parse(content, before, new, all_there=left <= size)
            if read or size >= left:
                break
            if size >= _LINE_BYTES_MAX:
                raise DataError(
                    f"{content.seen.path} has no end of a line in {size >> 20} MiB from byte "
                    f"{content.progress.offset} on",
                    hint="this is no file of lines",
                )
            size *= 4  # a long line
        self.counters.bytes += read
        if left <= size:
            content.read_as = (status.st_size, status.st_mtime_ns)
            return False
        return True

    def _refuse(self, content: Content, error: DataError) -> None:
        """A file that does not fit the scan is one bad record, however it grows."""
        content.refused = True
        self._add(content, self._followed.decoder.dead_file(content.seen.path, error), content.progress)

    def _pass_hole(self, content: Content, new: bytes) -> bool:
        """A writer went on at its old place in a file that was truncated: before it there is nothing."""
        hole = new[: len(new) - len(new.lstrip(b"\0"))]
        content.progress = content.progress.after(b"", hole, [len(hole), 1])
        content.hand(content.progress, 0)
        self._contents[content] = None
        return True

    def _parse(self, content: Content, before: bytes, new: bytes, *, all_there: bool) -> int:
        """Rows out of new bytes; gives how many of the bytes were whole lines."""
        total = 0
        growing = not (content.last_call and all_there)
        for block in self._followed.lines(new, content, growing=growing):
            assert isinstance(block.resume, list)
            size = block.resume[0] - content.progress.offset
            after = content.progress.after(before, new[total : total + size], block.resume)
            before = (before + new[total : total + size])[-after.kept_size :]
            total += size
            self._add(content, block.frame, after)
        return total

    def _add(
        self,
        content: Content,
        frame: pl.DataFrame,
        after: Progress,
        finished: tuple[bytes, ...] | None = None,
    ) -> None:
        after = replace(after, slots=content.progress.slots + frame.height)
        frame = self._followed.shaped(frame, content)
        skipped = min(content.skip, frame.height)
        left = content.skip - skipped
        frame = frame.slice(skipped) if skipped else frame
        before, content.progress, content.skip = content.progress, after, left
        self._ready.append(_Ready(content, frame, before, skipped, after, left, finished))

    # Whole files

    def _read_whole(self, content: Content) -> bool:
        """Read the next block; whether there is more."""
        path = content.seen.path
        blocks = self._whole.pop(content, None)
        try:
            if blocks is None:
                descriptor = self._follower.descriptor(content) if content.seen.inode else None
                blocks = self._followed.blocks(content, descriptor)
                self.counters.files += 1
                self.counters.bytes += content.seen.size_bytes
            block = next(blocks, None)
        except (*LIBRARY_ERRORS, DataError, EOFError) as error:
            told = translated(error, path, self._followed.name)
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            if not isinstance(told, DataError) or self._followed.decoder.on_error == "raise":
                if isinstance(told, DataError) and self._follower.unsettled(content):
                    return False
                raise told from error
            if self._follower.unsettled(content):
                return False
            self._add(
                content,
                self._followed.decoder.dead_file(path, told),
                content.progress,
                self._follower.finish(content),
            )
            return False
        if block is None:
            self._add(content, self._nothing, content.progress, self._follower.finish(content))
            return False
        after = replace(content.progress, resume=block.resume)
        self._whole[content] = blocks
        self._add(content, block.frame, after)
        return True
