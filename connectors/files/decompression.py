"""Compressed files as streams of their content."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import pyarrow as pa

from arrowstream.connectors.files.compression import (
    COMPRESSIONS,
    FLOOR_BYTES,
    MAGIC_BYTES,
    RATIO_MAX,
    SNAPPY_MARK,
    Codec,
    codec_of_content,
    codec_of_name,
    snappy_library,
)
from arrowstream.errors import DataError, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arrowstream.types import Compression

_READ_BYTES = 1 << 18  # of compressed input at once
_PIECE_BYTES = 1 << 20  # of content at once
_XZ_MEMORY_BYTES = 128 << 20  # `xz -9` needs half of it; what a damaged header asks for has no bound
_SNAPPY_CHUNK_BYTES = 1 << 16
_CODEC_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)


def decompressed(
    raw: BinaryIO, path: str, *, compression: Compression = "infer", max_bytes: int | None = None
) -> BinaryIO:
    """The content of a file; the file itself if it is not compressed. Closing it closes `raw`.

    `read(size)` gives less than `size` bytes only before the end and before damage: what could be
    decompressed comes first, and the next call raises. How much that is does not depend on the sizes read.

    Parameters
    ----------
    raw
        The file as it is stored, at its beginning.
    path
        Its name, for errors and for `compression="infer"`.
    compression
        "infer": by the first bytes, else by the end of the name.
    max_bytes
        Most bytes of content, the option `decompressed_max`. None: 1 GiB, or 1,000 times what has been read
        of the file, whichever is more.

    Raises
    ------
    DataError
        While reading: damaged or cut short (with the place in the compressed file), or too much content.
    ConnectorError
        The codec needs a package that is not installed.
    """
    if compression not in COMPRESSIONS:
        raise unknown_choice("compression", compression, COMPRESSIONS)
    codec: Codec | None
    if compression == "infer":
        head, raw = _peek(raw)
        codec = (codec_of_content(head) or codec_of_name(path)) if head else None
    else:
        codec = None if compression == "uncompressed" else compression
    if codec is None:
        return raw
    counted = _Counted(raw)
    return cast("BinaryIO", _Content(counted, _pieces(counted, codec), path, codec, max_bytes))


class _Counted(io.RawIOBase):
    """A file as it is stored, and how much of it has been read."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.size_bytes = 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            piece = self._raw.read(size)
        except OSError as error:
            self.error = error
            raise
        self.size_bytes += len(piece)
        return piece

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Content(io.RawIOBase):
    """What comes out of a codec, up to a cap; damage is told after what comes before it."""

    def __init__(
        self, raw: _Counted, pieces: Iterator[bytes], path: str, codec: Codec, max_bytes: int | None
    ) -> None:
        self._raw = raw
        self._pieces = pieces
        self._path = path
        self._codec = codec
        self._max_bytes = max_bytes
        self._content_bytes = 0
        self._piece = memoryview(b"")
        self._error: DataError | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken: list[memoryview] = []
        left = size
        while left and (self._piece or self._advance(is_first=not taken)):
            piece = self._piece if left < 0 else self._piece[:left]
            self._piece = self._piece[len(piece) :]
            left -= len(piece) if left > 0 else 0
            taken.append(piece)
        if left < 0 and self._error is not None:  # nobody reads on after a read to the end
            raise self._error
        return bytes(taken[0]) if len(taken) == 1 else b"".join(taken)

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        if not self._piece and not self._advance(is_first=True):
            return 0
        piece = self._piece[: len(into)]
        into[: len(piece)] = piece
        self._piece = self._piece[len(piece) :]
        return len(piece)

    def close(self) -> None:
        self._pieces = iter(())
        self._raw.close()
        super().close()

    def _advance(self, *, is_first: bool) -> bool:
        """Get the next piece; False at the end, and before damage unless this is all there is to tell."""
        if self._error is None:
            try:
                piece = next(self._pieces, b"")
            except _CODEC_ERRORS as error:
                if self._raw.error is not None:
                    raise self._raw.error from None
                self._error = self._damaged(error)
                self._error.__cause__ = error
            else:
                self._content_bytes += len(piece)
                self._piece = memoryview(piece)
                self._check_cap()
        if self._error is None:
            return bool(self._piece)
        if is_first:
            raise self._error
        return False

    def _check_cap(self) -> None:
        cap = self._max_bytes
        rule = "decompressed_max"
        if cap is None:
            cap = max(FLOOR_BYTES, RATIO_MAX * self._raw.size_bytes)
            rule = f"the default of decompressed_max, {RATIO_MAX:,} times what is stored"
        if self._content_bytes > cap:
            self._piece = memoryview(b"")
            self._error = DataError(
                f"{self._path} holds more than {cap:,} bytes when decompressed ({self._codec}): "
                f"the cap of {rule}",
                hint="if the file is meant to be that large, give a larger decompressed_max=",
            )

    def _damaged(self, error: BaseException) -> DataError:
        at = f"byte {self._raw.size_bytes:,}"
        if isinstance(error, EOFError):
            fact = (
                f"{self._path} is cut short: its {self._codec} data does not end at {at}, where the file does"
            )
        else:
            fact = f"{self._path} is not readable {self._codec} data before {at}: {error}"
        return DataError(fact, hint="the file is damaged or mislabelled: write it again, or leave it out")


class _Decoder(Protocol):
    """One member of a file: what bz2 and lzma have."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipDecoder:
    """zlib with the interface of its siblings."""

    def __init__(self) -> None:
        self._library = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._library.eof

    @property
    def needs_input(self) -> bool:
        return not self._library.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._library.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._library.decompress(self._library.unconsumed_tail + data, max_length)


def _pieces(raw: _Counted, codec: Codec) -> Iterator[bytes]:
    """The content in pieces that depend on the file alone, none empty; EOFError if it is cut short."""
    match codec:
        case "gzip":
            return _members(raw, _GzipDecoder)
        case "bz2":
            return _members(raw, bz2.BZ2Decompressor)
        case "xz":
            return _members(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES))
        case "snappy":
            return _snappy_pieces(raw, snappy_library())
        case "zstd" | "lz4":
            return _arrow_pieces(raw, codec)


def _members(raw: _Counted, decoder_of: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Members one after the other, as `cat a.gz b.gz` makes them; zeros between them are padding."""
    data = raw.read(_READ_BYTES)
    while data:
        decoder = decoder_of()
        while not decoder.eof:
            if not data and decoder.needs_input and not (data := raw.read(_READ_BYTES)):
                raise EOFError
            piece = decoder.decompress(data, _PIECE_BYTES)
            data = b""
            if piece:
                yield piece
        data = decoder.unused_data.lstrip(b"\0")
        while not data and (more := raw.read(_READ_BYTES)):
            data = more.lstrip(b"\0")


def _arrow_pieces(raw: _Counted, codec: str) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec) as stream:
        while piece := _arrow_piece(stream):
            yield piece


def _arrow_piece(stream: pa.CompressedInputStream) -> bytes:
    try:
        return cast("bytes", stream.read(_PIECE_BYTES))
    except OSError as error:
        if "Truncated" in str(error):
            raise EOFError from error
        raise


def _snappy_pieces(raw: _Counted, snappy: Any) -> Iterator[bytes]:
    """Chunks of at most 64 KiB of content, each with its length before it, and checked by the library."""
    stored = io.BufferedReader(raw, _READ_BYTES)
    if not stored.peek(1).startswith(SNAPPY_MARK[:1]):
        raise OSError("it does not begin with the mark of a Snappy stream")
    while chunks := list(islice(_snappy_chunks(stored), _PIECE_BYTES // _SNAPPY_CHUNK_BYTES)):
        try:
            piece = bytes(snappy.snappy.decompress(SNAPPY_MARK + b"".join(chunks)))
        except snappy.DecompressionError as error:
            raise OSError(str(error)) from error
        if piece:
            yield piece


def _snappy_chunks(stored: io.BufferedReader[_Counted]) -> Iterator[bytes]:
    while header := stored.read(4):
        body = stored.read(int.from_bytes(header[1:], "little"))
        if len(header) < 4 or len(body) < int.from_bytes(header[1:], "little"):
            raise EOFError
        yield header + body


def _peek(raw: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first bytes, and the file at its beginning still."""
    if raw.seekable():
        head = raw.read(MAGIC_BYTES)
        raw.seek(0)
        return head, raw
    buffered = io.BufferedReader(cast("io.RawIOBase", raw), _READ_BYTES)
    return buffered.peek(MAGIC_BYTES)[:MAGIC_BYTES], cast("BinaryIO", buffered)
