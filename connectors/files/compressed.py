"""Files of text that are compressed as a whole, as they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from arrowstream.connectors.files.compression import (
    CODECS,
    Codec,
    Compressor,
    compressor,
    suffix_of_codec,
)
from arrowstream.connectors.files.encode import Content, Encoder, Encoding, Part, check_option, pieces_of
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    import polars as pl

    from arrowstream.types import Json

_CODEC_BYTES: dict[Codec, int] = {
    "gzip": 2 << 20,
    "zstd": 8 << 20,
    "bz2": 12 << 20,
    "xz": 100 << 20,
    "snappy": 8 << 20,
    "lz4": 8 << 20,
}
"""About what a compressor holds, at the usual level."""


@dataclass(frozen=True, slots=True)
class CompressedEncoding:
    """Another encoding, compressed: `.csv.gz`.

    Parameters
    ----------
    inner
        What is compressed.
    codec, level
        How; None: the codec's own level.
    """

    inner: Encoding
    codec: Codec
    level: int | None = None

    def __post_init__(self) -> None:
        compressor(self.codec, self.level)  # says what is wrong with them

    @property
    def name(self) -> str:
        """Of the format."""
        return self.inner.name

    @property
    def suffix(self) -> str:
        """Of its files."""
        return f"{self.inner.suffix}{suffix_of_codec(self.codec)}"

    @property
    def chunk_rows(self) -> int:
        """As without compression."""
        return self.inner.chunk_rows

    @property
    def encoder_bytes(self) -> int:
        """With what the compressor holds."""
        return self.inner.encoder_bytes + _CODEC_BYTES[self.codec]

    def encoder(self, schema: pl.Schema) -> Encoder:
        """Of one file."""
        return _CompressedEncoder(self.inner.encoder(schema), compressor(self.codec, self.level))

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that the format cannot hold."""
        self.inner.check_schema(schema)

    def identity(self) -> dict[str, Json]:
        """All options that change the bytes."""
        return {**self.inner.identity(), "compression": self.codec, "compression_level": self.level}


def compressed(encoding: Encoding, compression: str, level: int | None) -> Encoding:
    """The encoding with the compression that a user asks for.

    Raises
    ------
    PlanError
        No such codec or level.
    """
    if compression == "uncompressed":
        if level is not None:
            raise PlanError(
                f"compression_level={level} was given, but no compression",
                hint='say which: compression="zstd"',
            )
        return encoding
    check_option("compression", compression, ("uncompressed", *CODECS))
    return CompressedEncoding(encoding, cast("Codec", compression), level)


@dataclass(slots=True)
class _CompressedEncoder:
    """An encoder, and what its bytes go through."""

    _encoder: Encoder
    _compressor: Compressor

    def encode(self, rows: pl.DataFrame) -> Part:
        return self._encoder.encode(rows)

    def append(self, part: Part) -> Content:
        return self._compressor.write(b"".join(pieces_of(self._encoder.append(part))))

    def finish(self) -> Content:
        rest = self._compressor.write(b"".join(pieces_of(self._encoder.finish())))
        return rest + self._compressor.finish()
