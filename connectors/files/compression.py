"""Codecs: their names, the marks of their files, and content as compressed bytes."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import pyarrow as pa

from arrowstream.errors import ConnectorError, PlanError, unknown_choice

if TYPE_CHECKING:
    from collections.abc import Callable

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

_PIECE_BYTES = 1 << 20  # of content at once
SNAPPY_MARK = b"\xff\x06\x00\x00sNaPpY"
_FRAME_BYTES = 4 << 20  # of content in a frame of its own, where the library has no streams with levels
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
        raise unknown_choice("compression", codec, CODECS)
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
            snappy = snappy_library()
            return _Framed(lambda frame: bytes(snappy.snappy.compress(frame)) or SNAPPY_MARK)
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


def snappy_library() -> Any:
    """The package that has Snappy, or a ConnectorError."""
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
