"""Arrow IPC streams: messages behind one another, without the footer of a file."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast

import polars as pl
import pyarrow as pa

from arrowstream.connectors.files.arrow_frames import sound
from arrowstream.connectors.files.compression import FLOOR_BYTES, RATIO_MAX
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.ipc_sizes import MessageHead, decoded_bytes, message_head
from arrowstream.connectors.files.streams import Block, DeadSlot, with_dead
from arrowstream.errors import ConnectorError, DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrowstream.types import Json, OnError

FILE_MAGIC = b"ARROW1\x00\x00"
STREAM_MARK = b"\xff\xff\xff\xff"
HEAD_BYTES = len(FILE_MAGIC)

_METADATA_BYTES_MIN, _METADATA_BYTES_MAX = 8, 64 << 20
_READ_BYTES = 64 << 20  # at once: what a damaged message claims to have is read for as long as it comes
_ORIGINAL_BYTES_MAX = 1 << 20  # of a damaged batch that are handed on
_FOREIGN = (
    pa.types.is_union,
    pa.types.is_run_end_encoded,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
    pa.types.is_interval,
    pa.types.is_decimal256,
)
_ROWS_MAX = 2**32 - 2  # that a Polars frame can have


def layout(head: bytes) -> Literal["file", "stream"] | None:
    """Whether something that begins so is an Arrow IPC file or a stream; None if it is neither.

    Parameters
    ----------
    head
        At least HEAD_BYTES, unless there are not so many.

    Examples
    --------
    >>> layout(b"ARROW1" + bytes(10)), layout(bytes.fromhex("ffffffff" "a8000000")), layout(b"PAR1")
    ('file', 'stream', None)
    """
    if head.startswith(FILE_MAGIC):
        return "file"
    if head.startswith(STREAM_MARK):
        return "stream"
    # Before Arrow 0.15 a stream began with the size of its schema, and that with the place of its table.
    if len(head) >= HEAD_BYTES:
        size, table = struct.unpack_from("<II", head)
        if 0 < size <= _METADATA_BYTES_MAX and (size + 4) % 8 == 0 and 0 < table < size:
            return "stream"
    return None


@dataclass(frozen=True, slots=True)
class IpcStreamFormat:
    """Arrow IPC streams, also several behind one another.

    Parameters
    ----------
    decompressed_max
        How many bytes a message may have when it is decompressed; None: 1 GiB, or a thousand times what it is
        stored in if that is more.
    """

    decompressed_max: int | None = None

    @property
    def name(self) -> str:
        """See `StreamFormat`."""
        return "Arrow IPC stream"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See `StreamFormat`."""
        return (".arrows",)

    @property
    def has_types(self) -> bool:
        """See `StreamFormat`."""
        return True

    @property
    def is_sparse(self) -> bool:
        """See `StreamFormat`."""
        return False

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:
        """See `StreamFormat`; from the first message."""
        first = _Messages(stream, path).next()
        if first is None:
            return pl.Schema()
        return _polars_schema(_arrow_schema(first, path), path)

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,  # noqa: ARG002 — streams of others are not followed
    ) -> Iterator[Block]:
        """See `StreamFormat`. `resume` is [batches that are behind us, slots of them]."""
        messages = _Messages(stream, path)
        passed, slots = _checked(resume, path)
        while not messages.is_at_end:
            first = messages.next()
            if first is None:
                continue
            arrow_schema = _arrow_schema(first, path)
            if _polars_schema(arrow_schema, path) != schema:
                raise DataError(
                    f"{path}: the stream from byte {first.offset} on has other columns than the first",
                    hint="write streams of different columns into files of their own",
                )
            wanted = [arrow_schema.get_field_index(name) for name in columns]
            for read in _batches(first, messages, wanted, passed, self.decompressed_max):
                frame = read.frame
                if frame is None:
                    if on_error == "raise":
                        raise DataError(
                            f"{path}: record batch {read.number} (byte {read.offset}) cannot be read: "
                            f"{read.error}",
                            hint='write it again, or read the rest with on_error="skip" or "dead_letter"',
                            offset=slots,
                        )
                    letter = DeadSlot(0, read.original, read.error, f"record batch {read.number}")
                    nothing = pl.DataFrame(schema={name: schema[name] for name in columns})
                    frame = with_dead(nothing, [letter], path)
                else:
                    frame = frame.select(columns)
                slots += frame.height
                yield Block(frame, [read.number + 1, slots])

    def identity(self) -> Json:
        """See `StreamFormat`."""
        return {"format": "ipc_stream"}


class _Message(NamedTuple):
    """One message; `prefix` is what stands before its metadata."""

    head: MessageHead
    offset: int
    prefix: bytes
    metadata: bytes
    body: bytes


class _Read(NamedTuple):
    """The rows of a batch, or why there are none. Batches are counted from 0."""

    number: int
    offset: int
    frame: pl.DataFrame | None
    error: str = ""
    original: bytes | None = None


class _Messages:
    """Cuts a stream into messages, and counts its `batches`; PyArrow would take memory on their word."""

    def __init__(self, stream: BinaryIO, path: str) -> None:
        self._stream = stream
        self._path = path
        self._offset = 0
        self.batches = 0
        self.is_at_end = False

    def next(self) -> _Message | None:
        """The next message; None where a stream ends. Another one can follow, unless `is_at_end`."""
        offset = self._offset
        prefix = self._read(4, may_end=True)
        if not prefix:
            self.is_at_end = True
            return None
        if prefix == STREAM_MARK:
            prefix += self._read(4)
        size = int.from_bytes(prefix[-4:], "little")
        if size == 0:
            return None
        if not _METADATA_BYTES_MIN <= size <= _METADATA_BYTES_MAX:
            raise self.damaged(offset, f"metadata of {size:,} bytes")
        metadata = self._read(size)
        try:
            head = message_head(metadata)
        except DataError as error:
            raise self.damaged(offset, error.fact) from error
        body = self._read(head.body_bytes)
        self.batches += head.kind == "batch"
        return _Message(head, offset, prefix, metadata, body)

    def _read(self, size: int, *, may_end: bool = False) -> bytes:
        """So many bytes; fewer only at the end of the file, if it may end here."""
        pieces: list[bytes] = []
        left = size
        while left and (piece := self._stream.read(min(left, _READ_BYTES))):
            pieces.append(piece)
            left -= len(piece)
        self._offset += size - left
        if left and not (may_end and left == size):
            raise DataError(
                f"{self._path} ends within a message, at byte {self._offset}",
                hint="the file is cut short: write it again, or leave it out",
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def damaged(self, offset: int, fact: str) -> DataError:
        return DataError(
            f"{self._path}: there is no message of an Arrow IPC stream at byte {offset}: {fact}",
            hint="the file is damaged or of another format: write it again, or leave it out",
        )


class _Feed(io.RawIOBase):
    """Hands messages on to PyArrow, without copying them."""

    def __init__(self) -> None:
        self._pieces: list[memoryview] = []

    def readable(self) -> bool:
        return True

    def put(self, message: _Message) -> None:
        self._pieces += [memoryview(piece) for piece in message[2:] if piece]

    def clear(self) -> None:
        self._pieces = []

    def read(self, size: int = -1) -> Any:
        if not self._pieces:
            return b""
        piece = self._pieces[0]
        if 0 <= size < len(piece):
            self._pieces[0] = piece[size:]
            return piece[:size]
        return self._pieces.pop(0)


def _batches(
    first: _Message, messages: _Messages, wanted: list[int], passed: int, bytes_max: int | None
) -> Iterator[_Read]:
    """The batches of one stream that begins with the message `first`, without the first `passed`."""
    feed = _Feed()
    feed.put(first)
    options = pa.ipc.IpcReadOptions(included_fields=wanted)
    reader = pa.ipc.open_stream(feed, options=options)
    has_new_dictionary = False
    while (message := messages.next()) is not None:
        if message.head.kind == "schema":
            raise messages.damaged(message.offset, "a schema within a stream")
        if message.head.kind == "dictionary":
            try:
                _check_size(message, bytes_max)
            except DataError as error:
                raise messages.damaged(message.offset, f"a dictionary of {error.fact}") from error
            feed.put(message)
            has_new_dictionary = True
            continue
        if messages.batches <= passed:
            continue
        try:
            _check_size(message, bytes_max)
            feed.put(message)
            frame = _frame(reader.read_next_batch())
        except (*LIBRARY_ERRORS, DataError, StopIteration, ValueError) as error:
            if has_new_dictionary:
                # What follows would be looked up in a dictionary that lacks what could not be read.
                raise messages.damaged(
                    message.offset, f"a dictionary before it is damaged: {error}"
                ) from error
            feed.clear()
            pieces = (message.prefix, message.metadata, message.body)
            original = b"".join(pieces) if len(message.body) <= _ORIGINAL_BYTES_MAX else None
            yield _Read(messages.batches - 1, message.offset, None, _told(error), original)
            continue
        has_new_dictionary = False
        yield _Read(messages.batches - 1, message.offset, frame)


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """The rows, once it is known that they are what they say."""
    if batch.num_rows > _ROWS_MAX:
        raise DataError(f"it says that it has {batch.num_rows:,} rows")
    return cast("pl.DataFrame", pl.from_arrow(sound(batch), rechunk=False))


def _check_size(message: _Message, bytes_max: int | None) -> None:
    """Raise DataError if a message becomes much larger than it is stored."""
    size = decoded_bytes(message.head, message.body)
    most = max(FLOOR_BYTES, RATIO_MAX * len(message.body)) if bytes_max is None else bytes_max
    if size > most:
        raise DataError(
            f"{len(message.body):,} bytes say that they are {size:,} when decompressed, "
            f"above the cap of {most:,}; decompressed_max= sets another"
        )


def _arrow_schema(message: _Message, path: str) -> pa.Schema:
    """What the first message of a stream says."""
    feed = _Feed()
    feed.put(message)
    try:
        return pa.ipc.open_stream(feed).schema
    except LIBRARY_ERRORS as error:
        raise DataError(
            f"{path} has no schema of an Arrow IPC stream at byte {message.offset}: {_told(error)}",
            hint="the file is damaged or of another format: write it again, or leave it out",
        ) from error


def _is_known(dtype: pa.DataType) -> bool:
    """Whether Polars has the type; it panics at others."""
    if any(is_foreign(dtype) for is_foreign in _FOREIGN):
        return False
    if pa.types.is_dictionary(dtype):
        return _is_known(dtype.value_type)
    return all(_is_known(dtype.field(index).type) for index in range(dtype.num_fields))


def _polars_schema(schema: pa.Schema, path: str) -> pl.Schema:
    found: dict[str, pl.DataType] = {}
    try:
        for field in schema:
            name = field.name
            if name in found or "\0" in name:
                fact = f"two columns '{name}'" if name in found else "a column name with a NUL in it"
                raise DataError(f"{path} has {fact}", hint="write it again with other names")
            if not _is_known(field.type):
                raise PlanError(
                    f"column '{name}' of {path} is {field.type}, which Polars does not have",
                    hint="write it with another type",
                )
            found[name] = pl.Schema(pa.schema([field]))[name]
    except (*LIBRARY_ERRORS, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} has columns that cannot be read: {_told(error)}",
            hint="the file is damaged: write it again, or leave it out",
        ) from error
    return pl.Schema(found)


def _checked(resume: Json, path: str) -> tuple[int, int]:
    match resume:
        case None:
            return 0, 0
        case [int(batches), int(slots)] if batches >= 0 and slots >= 0:
            return batches, slots
    raise ConnectorError(
        f"position {resume} is not in {path}", hint="the position was written for another file"
    )


def _told(error: BaseException) -> str:
    if isinstance(error, DataError):
        return error.fact
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
