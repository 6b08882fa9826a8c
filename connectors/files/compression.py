"""Compressed files as streams of their content, and content as compressed bytes."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias, cast

import pyarrow as pa

from arrowstream.errors import ConnectorError, DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arrowstream.types import Compression

Codec: TypeAlias = Literal["gzip", "zstd", "bz2", "xz", "snappy", "lz4"]

CODECS: tuple[Codec, ...] = ("gzip", "zstd", "bz2", "xz", "snappy", "lz4")
COMPRESSIONS: tuple[Compression, ...] = ("infer", "uncompressed", *CODECS)

SUFFIXES: dict[str, Codec] = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
    ".sz": "snappy",
    ".snappy": "snappy",
    ".lz4": "lz4",
}
"""What names of compressed files end in; the first of each codec is what is written."""

_MAGIC: tuple[tuple[bytes, Codec], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_BZ2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")  # the first one, or none at all
MAGIC_BYTES = 10
"""As much of a file tells its codec."""


RATIO_MAX = 1000
FLOOR_BYTES = 1 << 30
"""A file may always become that large; above, only RATIO_MAX times as large as it is stored."""

_READ_BYTES = 1 << 18  # of compressed input at once
_PIECE_BYTES = 1 << 20  # of content at once
_XZ_MEMORY_BYTES = 128 << 20  # `xz -9` needs half of it; what a damaged header asks for has no bound
_SNAPPY_CHUNK_BYTES = 1 << 16
_SNAPPY_MARK = b"\xff\x06\x00\x00sNaPpY"
_FRAME_BYTES = 4 << 20  # of content in a frame of its own, where the library has no streams with levels
_CODEC_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)
_LEVELS = {"gzip": range(10), "bz2": range(1, 10), "xz": range(10)}


def codec_of_name(name: str) -> Codec | None:
    """The codec that the end of a name stands for.

    Examples
    --------
    >>> codec_of_name("a.csv.gz"), codec_of_name("a.csv")
    ('gzip', None)
    """
    lowered = name.lower()
    return next((codec for suffix, codec in SUFFIXES.items() if lowered.endswith(suffix)), None)


def without_codec(name: str) -> str:
    """The name as it was before the file was compressed.

    Examples
    --------
    >>> without_codec("a.csv.gz"), without_codec("a.csv")
    ('a.csv', 'a.csv')
    """
    lowered = name.lower()
    return next((name[: -len(suffix)] for suffix in SUFFIXES if lowered.endswith(suffix)), name)


def suffix_of_codec(codec: Codec) -> str:
    """What the name of a file written with this codec ends in.

    Examples
    --------
    >>> suffix_of_codec("zstd")
    '.zst'
    """
    return next(suffix for suffix, name in SUFFIXES.items() if name == codec)


def codec_of_content(head: bytes) -> Codec | None:
    """The codec whose mark a file begins with.

    Examples
    --------
    >>> codec_of_content(bytes.fromhex("1f8b08"))
    'gzip'
    """
    for magic, codec in _MAGIC:
        if head.startswith(magic):
            return codec if codec != "bz2" or head[4:10] in _BZ2_BLOCKS else None
    return None


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
        raise PlanError(f"compression={compression!r} is not known", choices=COMPRESSIONS)
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


def compressor(codec: Codec, level: int | None = None) -> Compressor:
    """A compressor of one file: the bytes are a function of the content, however it is cut into writes.

    Raises
    ------
    PlanError
        No such codec, or a level that it does not have.
    ConnectorError
        The codec needs a package that is not installed.
    """
    if codec not in CODECS:
        raise PlanError(f"compression={codec!r} is not known", choices=CODECS)
    if level is not None and level not in (levels := _levels(codec)):
        has = f"has levels {levels[0]} to {levels[-1]}" if levels else "has no levels"
        raise PlanError(f"compression_level={level!r}: {codec} {has}", hint="leave it out for the default")
    match codec:
        case "gzip":
            # 31: with the header of a file, in which zlib writes no time.
            return _Streamed(zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, 31))
        case "bz2":
            return _Streamed(bz2.BZ2Compressor(9 if level is None else level))
        case "xz":
            return _Streamed(lzma.LZMACompressor(preset=level))
        case "snappy":
            snappy = _snappy()
            return _Framed(lambda frame: bytes(snappy.snappy.compress(frame)) or _SNAPPY_MARK)
        case "zstd" | "lz4":
            library = pa.Codec(codec, compression_level=level)
            return _Framed(lambda frame: library.compress(frame, asbytes=True))


class Compressor(Protocol):
    """Content in, compressed bytes out, some of them only at the end."""

    def write(self, content: bytes) -> bytes:
        """Take content in; returns what is ready."""
        ...

    def finish(self) -> bytes:
        """The rest. Nothing may be written after."""
        ...


class _StreamCompressor(Protocol):
    """What zlib, bz2 and lzma have in common."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Cut:
    """Content in pieces of a fixed size, whatever is written: what comes out of a codec depends on it."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._waiting = bytearray()

    def take(self, content: bytes) -> list[bytes]:
        self._waiting += content
        whole = len(self._waiting) - len(self._waiting) % self._size_bytes
        pieces = [
            bytes(self._waiting[at : at + self._size_bytes]) for at in range(0, whole, self._size_bytes)
        ]
        del self._waiting[:whole]
        return pieces

    def rest(self) -> bytes:
        return bytes(self._waiting)


class _Streamed:
    """One stream over all content."""

    def __init__(self, library: _StreamCompressor) -> None:
        self._library = library
        self._cut = _Cut(_PIECE_BYTES)

    def write(self, content: bytes) -> bytes:
        return b"".join(self._library.compress(piece) for piece in self._cut.take(content))

    def finish(self) -> bytes:
        return self._library.compress(self._cut.rest()) + self._library.flush()


class _Framed:
    """Frames one after the other, each complete in itself; at least one, so that the file has its mark."""

    def __init__(self, compress: Callable[[bytes], bytes]) -> None:
        self._compress = compress
        self._cut = _Cut(_FRAME_BYTES)
        self._any = False

    def write(self, content: bytes) -> bytes:
        pieces = self._cut.take(content)
        self._any = self._any or bool(pieces)
        return b"".join(self._compress(piece) for piece in pieces)

    def finish(self) -> bytes:
        rest = self._cut.rest()
        return self._compress(rest) if rest or not self._any else b""


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
            return _snappy_pieces(raw, _snappy())
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
    if not stored.peek(1).startswith(_SNAPPY_MARK[:1]):
        raise OSError("it does not begin with the mark of a Snappy stream")
    while chunks := list(islice(_snappy_chunks(stored), _PIECE_BYTES // _SNAPPY_CHUNK_BYTES)):
        try:
            piece = bytes(snappy.snappy.decompress(_SNAPPY_MARK + b"".join(chunks)))
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


def _snappy() -> Any:
    try:
        import cramjam
    except ImportError as error:
        raise ConnectorError(
            "Snappy needs the package cramjam", hint='pip install "arrowstream[snappy]"'
        ) from error
    return cramjam


def _levels(codec: Codec) -> range:
    if codec in {"zstd", "lz4"}:
        return range(pa.Codec.minimum_compression_level(codec), pa.Codec.maximum_compression_level(codec) + 1)
    return _LEVELS.get(codec, range(0))


def _peek(raw: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first bytes, and the file at its beginning still."""
    if raw.seekable():
        head = raw.read(MAGIC_BYTES)
        raw.seek(0)
        return head, raw
    buffered = io.BufferedReader(cast("io.RawIOBase", raw), _READ_BYTES)
    return buffered.peek(MAGIC_BYTES)[:MAGIC_BYTES], cast("BinaryIO", buffered)
