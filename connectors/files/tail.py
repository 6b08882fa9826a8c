"""Growing files: what has been read of them, how it is known again elsewhere, and reading what is new.

What is followed is a *content*: a sequence of bytes that only grows. It is stored in one file at the moment,
and may be found in another one later: after a rename (the same file), or in a copy, compressed or not, that
begins with all that has been read. So a content remembers, besides where it was last seen,

- the checksum of its first bytes, by which it is looked for,
- the CRC-32 of everything read and of some shorter beginnings, by which a copy is proved,
- the checksum of the last bytes read, which are read again with the next ones: a file that was truncated
  or overwritten shows itself before a row of it is taken for new.
"""

from __future__ import annotations

import io
import os
import zlib
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from arrowstream.types import Json

HEAD_BYTES = 1024
"""Of a content that are compared first."""

LAST_BYTES = 64
"""Before the place where reading goes on, that are read and compared again."""

_MARK_DISTANCES = (64 << 20, 4 << 20, 256 << 10, 16 << 10, 1 << 10, 64)
"""How far behind the end shorter beginnings have their CRC kept: a copy may have been made before the end."""

_PIECE_BYTES = 1 << 20


def digest(content: bytes) -> str:
    """A short checksum that no accident repeats."""
    return blake2b(content, digest_size=8).hexdigest()


@dataclass(slots=True)
class Progress:
    """How much of a content has been read.

    `resume` is the format's: None, or a list that begins with the byte offset. `crc` and `marks` (offset and
    CRC-32, ascending) are of the bytes before it; `head` and `last` are checksums of the first and last of
    them. `slots` is how many rows and bad records they were.
    """

    resume: Json = None
    crc: int = 0
    marks: list[list[int]] = field(default_factory=list)
    head: str = ""
    last: str = ""
    slots: int = 0

    @property
    def offset(self) -> int:
        """Bytes read."""
        return int(self.resume[0]) if isinstance(self.resume, list) else 0

    @property
    def head_size(self) -> int:
        """Bytes that `head` is of."""
        return min(HEAD_BYTES, self.offset)

    @property
    def last_size(self) -> int:
        """Bytes that `last` is of."""
        return min(LAST_BYTES, self.offset)

    @property
    def kept_size(self) -> int:
        """Bytes before the offset that are read again: the whole head as long as it still grows."""
        return self.offset if self.offset < HEAD_BYTES else LAST_BYTES

    def as_json(self) -> list[Json]:
        """For a position."""
        return [self.resume, self.crc, self.marks, self.head, self.last, self.slots]

    @classmethod
    def of_json(cls, saved: Any) -> Progress:
        """From a position."""
        return cls(*saved)

    def after(self, before: bytes, new: bytes, resume: Json) -> Progress:
        """Progress after `new` bytes as well; `before` are the `kept_size` bytes before them."""
        offset = self.offset
        after = Progress(resume, self.crc, [], self.head, digest((before + new)[-LAST_BYTES:]), self.slots)
        assert after.offset == offset + len(new)
        if offset < HEAD_BYTES:
            after.head = digest((before + new)[:HEAD_BYTES])
        known = list(self.marks)
        at = 0
        cuts = {after.offset - distance - offset for distance in _MARK_DISTANCES}
        for cut in sorted(cut for cut in cuts if 0 < cut <= len(new)):
            after.crc = zlib.crc32(new[at:cut], after.crc)
            known.append([offset + cut, after.crc])
            at = cut
        after.crc = zlib.crc32(new[at:], after.crc)
        if offset:
            known.append([offset, self.crc])
        for distance in _MARK_DISTANCES:
            mark = max((mark for mark in known if mark[0] <= after.offset - distance), default=None)
            if mark is not None and mark not in after.marks:
                after.marks.append(mark)
        return after

    def shortened(self, stream: BinaryIO, offset: int) -> Progress:
        """The same for a copy, of which no more than `offset` bytes have been read."""
        assert isinstance(self.resume, list)
        progress, before = Progress(slots=self.slots), b""
        while progress.offset < offset:
            piece = stream.read(min(_PIECE_BYTES, offset - progress.offset))
            assert piece, "the copy has been read that far before"
            progress = progress.after(before, piece, [progress.offset + len(piece), *self.resume[1:]])
            before = (before + piece)[-progress.kept_size :]
        return progress

    def begins(self, stream: BinaryIO) -> int | None:
        """How many of the bytes read a stream begins with: all, or fewer if it ends before; else None.

        That a stream which ends before is the same is known if it has at least one marked beginning.
        """
        head = stream.read(self.head_size)
        if len(head) == self.head_size and digest(head) != self.head:
            return None
        if len(head) < self.head_size:
            stream, head = io.BytesIO(head), b""
        crc, at = zlib.crc32(head), len(head)
        proved = any(mark <= at for mark, _ in self.marks)
        for mark, expected in sorted([*self.marks, [self.offset, self.crc]]):
            if mark < at:
                continue
            while at < mark and (piece := stream.read(min(mark - at, _PIECE_BYTES))):
                crc = zlib.crc32(piece, crc)
                at += len(piece)
            if at < mark:
                return at if proved else None
            if crc != expected:
                return None
            proved = True
        return at


class Section(io.RawIOBase):
    """Bytes in memory as a stream in which they lie at their place in the file."""

    def __init__(self, content: bytes, start: int) -> None:
        super().__init__()
        self._content = memoryview(content)
        self._start = start
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, from `start` on."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of the file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._start + len(self._content)}
        self._at = base[whence] + offset
        return self._at

    def tell(self) -> int:
        """Where in the file it is."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """The next bytes; what lies before the section cannot be read."""
        begin = self._at - self._start
        if begin < 0:
            raise OSError(f"byte {self._at} is not in memory")
        target = memoryview(buffer).cast("B")
        piece = self._content[begin : begin + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class Replaced(Exception):  # noqa: N818 - no error: it happens to logs every day
    """A file does not have the bytes any more that have been read of it."""


def read_new(descriptor: int, progress: Progress, size: int) -> tuple[bytes, bytes]:
    """The last bytes read before, and at most `size` new ones after them.

    Raises
    ------
    Replaced
        They are not there any more.
    OSError
        The disk fails.
    """
    kept = progress.kept_size
    content = _pread(descriptor, progress.offset - kept, kept + size)
    before, new = content[:kept], content[kept:]
    if progress.offset and digest(before[-progress.last_size :]) != progress.last:
        raise Replaced
    if os.fstat(descriptor).st_size < progress.offset + len(new):  # truncated while it was read
        raise Replaced
    return before, new


def is_known(descriptor: int, progress: Progress) -> bool:
    """Whether a file still begins and goes on as what has been read of it."""
    if os.fstat(descriptor).st_size < progress.offset:
        return False
    if digest(_pread(descriptor, 0, progress.head_size)) != progress.head and progress.offset:
        return False
    start = progress.offset - progress.last_size
    return not progress.offset or digest(_pread(descriptor, start, progress.last_size)) == progress.last


def begins_alike(short: int, long: int) -> bool:
    """Whether a file looks like the beginning of another one: in its first and its last bytes."""
    size = os.fstat(short).st_size
    if size > os.fstat(long).st_size:
        return False
    if _pread(short, 0, min(size, HEAD_BYTES)) != _pread(long, 0, min(size, HEAD_BYTES)):
        return False
    last = min(size, HEAD_BYTES)
    return _pread(short, size - last, last) == _pread(long, size - last, last)


def _pread(descriptor: int, start: int, size: int) -> bytes:
    """All bytes there are, up to `size`: one call may give fewer."""
    content = os.pread(descriptor, size, start)
    while len(content) < size and (more := os.pread(descriptor, size - len(content), start + len(content))):
        content += more
    return content
