"""What the blocks of an Avro file are compressed with."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import pyarrow as pa

from arrowstream.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

AvroCompression: TypeAlias = Literal["uncompressed", "deflate", "snappy", "zstd", "bzip2", "xz"]

_CODEC_NAMES = {"uncompressed": "null", "zstd": "zstandard"}
_CHECKSUM_BYTES = 4  # CRC-32 behind a snappy block, big-endian; Adler-32 of zlib
_SNAPPY, _ZSTD = pa.Codec("snappy"), pa.Codec("zstd")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_AT_ONCE_MAX = 64 << 20  # memory taken on a frame's word
_PIECE_BYTES = 1 << 20
_DEFLATE_LEVEL, _ZSTD_LEVEL, _BZIP2_LEVEL, _XZ_LEVEL = 6, 3, 9, 6  # what the libraries take for a good middle

COMPRESSIONS: tuple[AvroCompression, ...] = ("uncompressed", "deflate", "snappy", "zstd", "bzip2", "xz")
CODECS = ("null", "deflate", "snappy", "zstandard", "bzip2", "xz")
"""As files name them."""


class BlockError(Exception):
    """A block cannot be decompressed; never leaves this package."""


def codec_name(compression: AvroCompression) -> str:
    """What a file calls it."""
    return _CODEC_NAMES.get(compression, compression)


def compressor(compression: AvroCompression, level: int | None) -> Callable[[memoryview], bytes]:
    """Compresses one block: the same bytes for the same content."""
    if compression == "deflate":
        return lambda block: zlib.compress(block, _DEFLATE_LEVEL if level is None else level, wbits=-15)
    if compression == "snappy":
        return lambda block: _SNAPPY.compress(block, asbytes=True) + zlib.crc32(block).to_bytes(4, "big")
    if compression == "zstd":
        zstd = pa.Codec("zstd", compression_level=_ZSTD_LEVEL if level is None else level)
        return lambda block: zstd.compress(block, asbytes=True)
    if compression == "bzip2":
        return lambda block: bz2.compress(block, _BZIP2_LEVEL if level is None else level)
    if compression == "xz":
        return lambda block: lzma.compress(block, preset=_XZ_LEVEL if level is None else level)
    return bytes


def decompressor(codec: str, path: str) -> Callable[[memoryview, int], Any] | None:
    """Decompresses one block of at most so many bytes; None if blocks are as they are.

    Raises  BlockError, when it is called, if that is not possible
    """
    if codec == "null":
        return None
    if codec not in _DECOMPRESS:
        raise DataError(f"{path} is compressed with '{codec[:80]}', which is not known", choices=CODECS)
    return _DECOMPRESS[codec]


class _Decompressor(Protocol):
    """What those of the standard library have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: Any, max_length: int = ..., /) -> bytes: ...


def _of_library(
    make: Callable[[], _Decompressor], error_types: tuple[type[Exception], ...]
) -> Callable[[memoryview, int], bytes]:
    def decompress(block: memoryview, bytes_max: int) -> bytes:
        stream = make()
        pieces: list[bytes] = []
        total, more = 0, block
        while not stream.eof:
            try:
                piece = stream.decompress(more, _PIECE_BYTES)
            except error_types as error:
                raise BlockError(str(error)) from error
            more = memoryview(getattr(stream, "unconsumed_tail", b""))  # zlib hands back what it did not need
            if not piece and not more and not stream.eof:
                raise BlockError("it is cut short")
            pieces.append(piece)
            total += len(piece)
            _check_size(total, bytes_max)
        if len(stream.unused_data) > _CHECKSUM_BYTES:  # some writers leave what is left of zlib's checksum
            raise BlockError("there is something behind its end")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    return decompress


def _check_size(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        raise BlockError(
            f"it has more than {bytes_max:,} bytes when decompressed, which is the most for a block"
        )


def _snappy(block: memoryview, bytes_max: int) -> bytes:
    compressed, checksum = block[:-_CHECKSUM_BYTES], block[-_CHECKSUM_BYTES:]
    size, shift = 0, 0
    for byte in compressed[:5]:  # a varint that says how large the content is
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise BlockError("it does not say how large it is")
    _check_size(size, bytes_max)
    # Not even runs shrink further than 64 bytes to 3: no memory for sizes that cannot be.
    if size > 32 * len(compressed):
        raise BlockError("it says that it is larger than it can be")
    try:
        content: bytes = _SNAPPY.decompress(compressed, decompressed_size=size, asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise BlockError(str(error)) from error
    if zlib.crc32(content) != int.from_bytes(checksum, "big"):
        raise BlockError("its checksum is wrong")
    return content


def _zstd(block: memoryview, bytes_max: int) -> Any:
    size = _zstd_size(block)
    _check_size(size, bytes_max)
    if 0 < size <= _ZSTD_AT_ONCE_MAX:
        try:
            return _ZSTD.decompress(block, decompressed_size=size, asbytes=True)
        except (pa.ArrowException, OSError):
            pass  # more than one frame, or damaged: the stream says which
    pieces: list[bytes] = []
    total = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(block)), "zstd") as stream:
            while piece := stream.read(_PIECE_BYTES):
                pieces.append(piece)
                total += len(piece)
                _check_size(total, bytes_max)
    except (pa.ArrowException, OSError) as error:
        raise BlockError(str(error)) from error
    return b"".join(pieces)


def _zstd_size(block: memoryview) -> int:
    """How large the first frame says that its content is; 0 if it does not."""
    if len(block) < 14 or block[:4] != _ZSTD_MAGIC:
        return 0
    descriptor = block[4]
    is_single_segment = descriptor >> 5 & 1
    width = (is_single_segment, 2, 4, 8)[descriptor >> 6]
    begin = 5 + (1 - is_single_segment) + (0, 1, 2, 4)[descriptor & 3]
    return int.from_bytes(block[begin : begin + width], "little") + (256 if width == 2 else 0)


_DECOMPRESS: dict[str, Callable[[memoryview, int], Any]] = {
    "deflate": _of_library(lambda: zlib.decompressobj(wbits=-15), (zlib.error,)),
    "bzip2": _of_library(bz2.BZ2Decompressor, (OSError, EOFError)),
    "xz": _of_library(lzma.LZMADecompressor, (lzma.LZMAError, EOFError)),
    "snappy": _snappy,
    "zstandard": _zstd,
}
