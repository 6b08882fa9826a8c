"""Avro object container files: a header, and blocks that each end with the file's marker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from arrowstream.connectors.files.avro.codecs import BlockError, decompressor
from arrowstream.connectors.files.avro.schema import Node, parse_schema
from arrowstream.connectors.files.streams import BLOCK_BYTES, skip
from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC = b"Obj\x01"
MARKER_BYTES = 16
GROUP_BYTES_MAX = 4 * BLOCK_BYTES
"""A block that is larger is a group of its own, and not decoded at once."""

_HEADER_BYTES_MAX = 16 << 20
_HEADER_PIECE_BYTES = 1 << 16
_SEARCHED_BYTES_MIN, _SEARCHED_BYTES_MAX = 1 << 12, 1 << 20
_BLOCKS_MAX = 1 << 16  # that are looked for at once
_ORIGINAL_BYTES_MAX = 1 << 20  # of a damaged block that are handed on
_LEAST_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the first block, which begins at byte `size`."""

    root: Node
    codec: str
    marker: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Group:
    """Whole blocks behind one another, decompressed.

    `content` has room behind its end; `segments` are begin, end (in `content`) and records of each block;
    `offsets` is where each begins in the file, and where the one behind the last does.
    """

    content: np.ndarray[Any, Any]
    segments: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class DeadBlock:
    """A place in the file where no block can be read; `original` are its bytes if they are not too many."""

    offset: int
    next_offset: int
    error: str
    original: bytes | None


class Input:
    """A window on a stream: `data[begin:end]` has not been used yet, and begins at byte `offset` of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._readinto: Any = getattr(stream, "readinto", None)
        self.data = np.empty(_HEADER_PIECE_BYTES + _padding(), np.uint8)
        self.begin = 0
        self.end = 0
        self.offset = 0

    def more(self, size_bytes: int, room_bytes: int = 0) -> bool:
        """Read up to so many bytes behind `end`; False if there are none.

        `room_bytes` will be wanted in all: memory that is not written to costs nothing, so that a damaged
        block can claim what it likes.
        """
        left = self.end - self.begin
        if self.end + size_bytes + _padding() > self.data.size:
            data = self.data
            if left + size_bytes + _padding() > data.size:
                data = np.empty(max(left + size_bytes, room_bytes + BLOCK_BYTES) + _padding(), np.uint8)
            data[:left] = self.data[self.begin : self.end].copy()
            self.data, self.begin, self.end = data, 0, left
        room = self.data[self.end : self.end + size_bytes]
        if self._readinto is not None:
            count = int(self._readinto(room.data) or 0)
        else:
            piece = self._stream.read(size_bytes)
            count = len(piece)
            room[:count] = np.frombuffer(piece, np.uint8)
        self.end += count
        return count > 0

    def used(self, size_bytes: int) -> None:
        """Go on behind so many bytes."""
        self.begin += size_bytes
        self.offset += size_bytes

    def go_to(self, offset: int) -> None:
        """Go on at a later byte of the stream."""
        distance = offset - self.offset
        available = self.end - self.begin
        if distance > available:
            distance = available + skip(self._stream, distance - available)
            self.begin = self.end = 0
            self.offset += distance
        else:
            self.used(distance)

    def view(self, begin: int, end: int) -> memoryview:
        """Bytes of the window, counted from `begin`."""
        return memoryview(self.data.data)[self.begin + begin : self.begin + end]

    def find(self, needle: bytes) -> int:
        """Where the bytes are, counted from `begin`; -1 if nowhere."""
        # A copy, because a memoryview cannot be searched: of little first, as they may be near.
        start, size, available = 0, _SEARCHED_BYTES_MIN, self.end - self.begin
        while start < available:
            piece = bytes(self.view(start, min(start + size, available)))
            if (found := piece.find(needle)) >= 0:
                return start + found
            start += max(len(piece) - len(needle) + 1, 1)
            size = min(4 * size, _SEARCHED_BYTES_MAX)
        return -1


def read_header(source: Input, path: str) -> Header | None:
    """The header, after which `source` stands at the first block; None for a file without anything in it.

    Raises  DataError, PlanError (a schema that no table can hold)
    """
    metadata: dict[bytes, bytes] = {}
    cursor = _Cursor(source, path)
    magic = cursor.take(len(MAGIC), at_end=b"")
    if not magic:
        return None
    if magic != MAGIC:
        raise DataError(
            f"{path} is not an Avro file: it begins with {magic!r}",
            hint="read it with the scan of its own format, or leave it out",
        )
    while count := cursor.number():
        if count < 0:
            count = -count
            cursor.number()
        if count > _HEADER_BYTES_MAX:
            raise cursor.damaged()
        for _ in range(count):
            key = cursor.take(cursor.number())
            metadata[key] = cursor.take(cursor.number())
    marker = cursor.take(MARKER_BYTES)
    if b"avro.schema" not in metadata:
        raise DataError(
            f"{path} is an Avro file without a schema", hint="the file is damaged: write it again"
        )
    root = parse_schema(metadata[b"avro.schema"], path)
    codec = metadata.get(b"avro.codec", b"null").decode(errors="replace") or "null"
    decompressor(codec, path)
    source.used(cursor.position)
    return Header(root, codec, marker, source.offset)


class _Cursor:
    """Reads the few small things of a header."""

    def __init__(self, source: Input, path: str) -> None:
        self._source = source
        self._path = path
        self.position = 0

    def take(self, size: int, at_end: bytes | None = None) -> bytes:
        if not 0 <= size <= _HEADER_BYTES_MAX - self.position:
            raise self.damaged()
        source = self._source
        while source.end - source.begin < self.position + size:
            if not source.more(_HEADER_PIECE_BYTES):
                if at_end is not None and source.end == source.begin:
                    return at_end
                raise DataError(
                    f"{self._path} ends within its header, at byte {source.end - source.begin}",
                    hint="the file is cut short: write it again, or leave it out",
                )
        taken = bytes(source.view(self.position, self.position + size))
        self.position += size
        return taken

    def number(self) -> int:
        raw = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            raw |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (raw >> 1) ^ -(raw & 1)
        raise self.damaged()

    def damaged(self) -> DataError:
        return DataError(
            f"{self._path} has a damaged Avro header, at byte {self.position}",
            hint="the file is damaged or of another format: write it again, or leave it out",
        )


def read_blocks(
    source: Input, header: Header, path: str, *, bytes_max: int, rows_max: int
) -> Iterator[Group | DeadBlock]:
    """All blocks from where `source` stands; what cannot be read is passed over up to the next marker.

    A group has at most `rows_max` records, unless a single block has more.

    Cost    holds about BLOCK_BYTES, or one block if it is larger; none of more than `bytes_max`
    """
    unpack = decompressor(header.codec, path)
    finder = _Finder(source, header, bytes_max, is_plain=unpack is None)
    while True:
        found, broken = finder.find()
        if len(found):
            starts = source.offset + np.append(0, found[:, 1] - source.begin + MARKER_BYTES)
            group = Group(source.data, found, starts)
            if unpack is None:
                yield from _cut(group, rows_max)
            else:
                for unpacked in _unpacked(group, unpack, header.root.least_bytes, bytes_max):
                    if isinstance(unpacked, DeadBlock):
                        yield unpacked
                    else:
                        yield from _cut(unpacked, rows_max)
            source.used(int(starts[-1]) - source.offset)
        if broken is not None:
            yield finder.resynchronised(broken)
        elif not len(found):
            return


class _Finder:
    """Finds blocks in the window of an input, and gets more of it when that is needed."""

    def __init__(self, source: Input, header: Header, bytes_max: int, *, is_plain: bool) -> None:
        self._source = source
        self._marker = header.marker
        self._bytes_max = bytes_max
        self._least = header.root.least_bytes if is_plain else _LEAST_UNKNOWN
        self._segments = np.zeros(3 * _BLOCKS_MAX, np.int64)
        self._sync = np.frombuffer(header.marker, np.uint64)
        self._found = np.zeros(3, np.int64)

    def find(self) -> tuple[np.ndarray[Any, Any], str | None]:
        """Blocks at the beginning of the window, and what is wrong behind them; neither: the end."""
        from arrowstream.kernels.avro_blocks import find_blocks
        from arrowstream.kernels.avro_decode import BROKEN

        source, found = self._source, self._found
        while True:
            status = find_blocks(
                source.data, source.end, source.begin, self._sync, self._least, self._segments, found
            )
            count = int(found[0])
            if count or status == BROKEN:
                broken = None
                if status == BROKEN:
                    broken = "no block is here, or it does not end with the file's marker"
                return self._segments[: 3 * count].reshape(-1, 3), broken
            wanted = int(found[2])
            if wanted > self._bytes_max:
                fact = f"a block of {wanted:,} bytes, more than the {self._bytes_max:,} that one may have"
                return self._segments[:0].reshape(-1, 3), fact
            available = source.end - source.begin
            if not source.more(BLOCK_BYTES, wanted):
                broken = "the file ends within the block" if available else None
                return self._segments[:0].reshape(-1, 3), broken

    def resynchronised(self, error: str) -> DeadBlock:
        """Pass over what is no block: up to where one begins, behind a marker, or to the end."""
        offset = self._source.offset
        pieces: list[bytes] = []
        kept = 0
        while True:
            size, is_behind_marker = self._damaged_bytes()
            if kept + size <= _ORIGINAL_BYTES_MAX:
                pieces.append(bytes(self._source.view(0, size)))
            kept += size
            self._source.used(size)
            if is_behind_marker:
                if self._begins_block(0) is not False:
                    break
                continue
            self._found[2] = 0  # it was told of the place where we no longer are
            if not self._source.more(BLOCK_BYTES):
                left = self._source.end - self._source.begin
                pieces.append(bytes(self._source.view(0, left)))
                kept += left
                self._source.used(left)
                break
        original = b"".join(pieces) if kept <= _ORIGINAL_BYTES_MAX else None
        return DeadBlock(offset, self._source.offset, error, original)

    def _damaged_bytes(self) -> tuple[int, bool]:
        """How much of the window cannot be read, and whether it ends with a marker."""
        source, claimed = self._source, int(self._found[2])
        # Only its marker is wrong if a whole block begins where it says that it ends.
        if 0 < claimed <= self._bytes_max and self._begins_block(claimed):
            return claimed, True
        at = source.find(self._marker)
        if at >= 0:
            return at + MARKER_BYTES, True
        return max(source.end - source.begin - MARKER_BYTES + 1, 0), False

    def _begins_block(self, place: int) -> bool | None:
        """Whether a whole block begins there in the window; None if the file ends before that can be told.

        As much is read as that takes: what is damaged must not depend on where reading began.
        """
        from arrowstream.kernels.avro_blocks import find_blocks
        from arrowstream.kernels.avro_decode import BROKEN

        source, found, segment = self._source, self._found, np.zeros(3, np.int64)
        found[2] = 0  # it was told of another place, and may be any number
        while True:
            if source.begin + place < source.end:
                begin = source.begin + place
                status = find_blocks(source.data, source.end, begin, self._sync, self._least, segment, found)
                if found[0]:
                    return True
                if status == BROKEN or found[2] > self._bytes_max:
                    return False
            if not source.more(BLOCK_BYTES, place + int(found[2])):
                return None


def _cut(group: Group, rows_max: int) -> Iterator[Group]:
    """The same blocks in groups of not too many records and bytes, unless a single one has more."""
    rows, sizes = np.cumsum(group.segments[:, 2]), np.cumsum(group.segments[:, 1] - group.segments[:, 0])
    first, rows_before, bytes_before = 0, 0, 0
    while first < len(rows):
        last = min(
            int(np.searchsorted(rows, rows_before + rows_max, side="right")),
            int(np.searchsorted(sizes, bytes_before + GROUP_BYTES_MAX, side="right")),
        )
        last = max(last, first + 1)
        yield Group(group.content, group.segments[first:last], group.offsets[first : last + 1])
        first, rows_before, bytes_before = last, int(rows[last - 1]), int(sizes[last - 1])


def _unpacked(
    group: Group, unpack: Callable[[memoryview, int], Any], least_bytes: int, bytes_max: int
) -> Iterator[Group | DeadBlock]:
    """The blocks of a group decompressed, about BLOCK_BYTES at once."""
    from arrowstream.kernels.avro_decode import EMPTY_ITEMS_MAX

    contents: list[Any] = []
    counts: list[int] = []
    total, first = 0, 0
    stored = memoryview(group.content.data)
    for index, (begin, end, records) in enumerate(group.segments.tolist()):
        error = None
        try:
            content = unpack(stored[begin:end], bytes_max)
            if records > (len(content) // least_bytes if least_bytes else EMPTY_ITEMS_MAX):
                error = f"{len(content):,} bytes cannot hold {records:,} records"
            else:
                contents.append(content)
                counts.append(records)
                total += len(content)
        except BlockError as damage:
            error = f"it cannot be decompressed: {damage}"
        if contents and (error is not None or total >= BLOCK_BYTES or index + 1 == len(group.segments)):
            after = index + (error is None)
            yield _joined(contents, counts, group.offsets[first : after + 1])
            contents, counts, total = [], [], 0
        if error is not None:
            offset, following = int(group.offsets[index]), int(group.offsets[index + 1])
            original = bytes(stored[begin:end]) if end - begin <= _ORIGINAL_BYTES_MAX else None
            yield DeadBlock(offset, following, error, original)
        if not contents:
            first = index + 1


def _joined(contents: list[Any], counts: list[int], offsets: np.ndarray[Any, Any]) -> Group:
    segments = np.empty((len(contents), 3), np.int64)
    segments[:, 1] = np.cumsum([len(piece) for piece in contents])
    segments[0, 0] = 0
    segments[1:, 0] = segments[:-1, 1]
    segments[:, 2] = counts
    content = np.frombuffer(b"".join([*contents, bytes(_padding())]), np.uint8)
    return Group(content, segments, offsets)


def _padding() -> int:
    from arrowstream.kernels.avro_blocks import BLOCK_PADDING_BYTES

    return BLOCK_PADDING_BYTES
