"""What Arrow IPC says of the size of its messages, read before anything is decoded."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pyarrow as pa

from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTINUATION = 0xFFFFFFFF
_BLOCK_BYTES = 24
_BUFFER_BYTES = 16
_PREFIX_BYTES = 8  # of a compressed buffer: its size when decompressed
_DICTIONARIES, _BATCHES = 2, 3  # fields of the footer
_RECORD_BATCH, _DICTIONARY_BATCH, _SCHEMA = 3, 2, 1  # kinds of messages
_KINDS = {_RECORD_BATCH: "batch", _DICTIONARY_BATCH: "dictionary", _SCHEMA: "schema"}
_BODY = 3  # field of a message
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3  # fields of a record batch


class IpcBlock(NamedTuple):
    """Where a message is: its metadata, and its body behind it."""

    start: int
    metadata_bytes: int
    body_bytes: int

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.start + self.metadata_bytes + self.body_bytes


class BatchSize(NamedTuple):
    """Rows of a batch, and bytes of its buffers when they are decompressed."""

    rows: int
    decoded_bytes: int


class MessageHead(NamedTuple):
    """What the metadata of a message say: of which kind it is, and how large its body."""

    kind: str
    body_bytes: int
    compressed: tuple[tuple[int, int], ...] = ()  # where buffers are in the body, and their bytes


def decoded_bytes(head: MessageHead, body: bytes) -> int:
    """Bytes of the compressed buffers of a message when they are decompressed.

    Raises
    ------
    DataError
        They are not in its body.
    """
    total = 0
    for offset, size in head.compressed:
        if size >= _PREFIX_BYTES:
            if not 0 <= offset <= len(body) - size:
                raise DataError("a buffer is not in the body of its message")
            (decoded,) = struct.unpack_from("<q", body, offset)
            if decoded < -1:
                raise DataError("a buffer has a size below zero")
            total += size - _PREFIX_BYTES if decoded == -1 else decoded
    return total


def message_head(metadata: bytes) -> MessageHead:
    """The head of one message of a stream: a "schema", a "dictionary" or a "batch".

    Parameters
    ----------
    metadata
        What stands between the sizes before a message and its body.

    Raises
    ------
    DataError
        It is no such message.
    """
    try:
        root = _Table(metadata, struct.unpack_from("<I", metadata, 0)[0])
        kind, body = root.field(1), root.field(_BODY)
        name = None if kind is None else _KINDS.get(metadata[_checked(kind)])
        header = root.table(2)
        size = 0 if body is None else struct.unpack_from("<q", metadata, _checked(body))[0]
        if name is None or header is None or size < 0:
            raise DataError("it is not a message of a stream")
        if name == "schema":
            return MessageHead(name, size)
        batch = header.table(1) if name == "dictionary" else header
        if batch is None:
            raise DataError("it is a dictionary without values")
        if batch.field(_COMPRESSION) is None:
            return MessageHead(name, size)
        start, count = batch.vector(_BUFFERS, _BUFFER_BYTES)
        buffers = struct.iter_unpack("<qq", metadata[start : start + count * _BUFFER_BYTES])
        return MessageHead(name, size, tuple(buffers))
    except (struct.error, IndexError) as error:
        raise DataError("the message points out of itself") from error


def blocks(tail: bytes) -> tuple[list[IpcBlock], list[IpcBlock]]:
    """The dictionaries and the record batches that the footer of a file names.

    Parameters
    ----------
    tail
        The file from its footer on.

    Raises
    ------
    pa.ArrowInvalid
        It is no such footer.
    """
    try:
        footer = _Table(tail, struct.unpack_from("<I", tail, 0)[0])
        return _blocks(footer, _DICTIONARIES), _blocks(footer, _BATCHES)
    except struct.error as error:
        raise pa.ArrowInvalid("the footer points out of itself") from error


def batch_size(metadata: bytes, prefix: Callable[[int], bytes]) -> BatchSize:
    """The size of a batch, of record batches as well as dictionaries.

    Parameters
    ----------
    metadata
        Of the message, with the sizes before it.
    prefix
        Gives the 8 bytes at a place in its body.

    Raises
    ------
    pa.ArrowInvalid
        It is no such message.
    """
    try:
        (first,) = struct.unpack_from("<I", metadata, 0)
        start = 8 if first == _CONTINUATION else 4
        root = _Table(metadata, start + struct.unpack_from("<I", metadata, start)[0])
        return _batch_size(root, prefix)
    except (IndexError, struct.error) as error:
        raise pa.ArrowInvalid("the batch points out of itself") from error


def file_sizes(stream: BinaryIO, tail: bytes) -> tuple[list[BatchSize], list[BatchSize]]:
    """The sizes of all dictionaries and of all record batches of a file.

    Raises
    ------
    pa.ArrowInvalid
        One is not where the footer says.
    """
    size_bytes = stream.seek(0, io.SEEK_END)
    dictionaries, batches = (
        [block_size(stream, block, size_bytes) for block in kind] for kind in blocks(tail)
    )
    return dictionaries, batches


def block_size(stream: BinaryIO, block: IpcBlock, size_bytes: int) -> BatchSize:
    """The size of the batch in a block of a file of `size_bytes`.

    Raises
    ------
    pa.ArrowInvalid
        It is not there.
    """
    if min(block) < 0 or block.end > size_bytes:
        raise pa.ArrowInvalid("it is said to lie outside of the file")
    body = block.start + block.metadata_bytes

    def prefix(offset: int) -> bytes:
        stream.seek(body + _checked(offset))
        return stream.read(_PREFIX_BYTES)

    stream.seek(block.start)
    return batch_size(stream.read(block.metadata_bytes), prefix)


class _Table(NamedTuple):
    """A table of a flatbuffer."""

    buffer: bytes
    at: int

    def field(self, index: int) -> int | None:
        """Where a field is."""
        table = self.at - struct.unpack_from("<i", self.buffer, _checked(self.at))[0]
        (size,) = struct.unpack_from("<H", self.buffer, _checked(table))
        if 4 + 2 * index >= size:
            return None
        (offset,) = struct.unpack_from("<H", self.buffer, _checked(table + 4 + 2 * index))
        return self.at + offset if offset else None

    def table(self, index: int) -> _Table | None:
        """The table that a field points to."""
        at = self.field(index)
        return None if at is None else _Table(self.buffer, self._target(at))

    def vector(self, index: int, item_bytes: int) -> tuple[int, int]:
        """Where the items of a field are, and how many."""
        at = self.field(index)
        if at is None:
            return 0, 0
        start = self._target(at)
        (count,) = struct.unpack_from("<I", self.buffer, start)
        if start + 4 + count * item_bytes > len(self.buffer):
            raise struct.error
        return start + 4, count

    def _target(self, at: int) -> int:
        (offset,) = struct.unpack_from("<I", self.buffer, _checked(at))
        return int(at + offset)


def _blocks(footer: _Table, index: int) -> list[IpcBlock]:
    start, count = footer.vector(index, _BLOCK_BYTES)
    items = footer.buffer[start : start + count * _BLOCK_BYTES]
    return [IpcBlock(*block) for block in struct.iter_unpack("<qi4xq", items)]


def _batch_size(root: _Table, prefix: Callable[[int], bytes]) -> BatchSize:
    message = root.buffer
    kind = root.field(1)
    header = root.table(2)
    if kind is not None and header is not None and message[kind] == _DICTIONARY_BATCH:
        header = header.table(1)
    elif kind is None or message[kind] != _RECORD_BATCH:
        header = None
    if header is None:
        raise pa.ArrowInvalid("the message is not a batch")
    at = header.field(_LENGTH)
    rows = 0 if at is None else struct.unpack_from("<q", message, at)[0]
    start, count = header.vector(_BUFFERS, _BUFFER_BYTES)
    buffers = list(struct.iter_unpack("<qq", message[start : start + count * _BUFFER_BYTES]))
    if header.field(_COMPRESSION) is None:
        return BatchSize(rows, sum(size for _, size in buffers))
    total = 0
    for offset, size in buffers:
        if size >= _PREFIX_BYTES:
            (decoded,) = struct.unpack("<q", prefix(offset))
            total += size - _PREFIX_BYTES if decoded == -1 else decoded
            if decoded < -1:
                raise pa.ArrowInvalid("a buffer has a size below zero")
    return BatchSize(rows, total)


def _checked(at: int) -> int:
    """Python would count from the end."""
    if at < 0:
        raise struct.error
    return at
