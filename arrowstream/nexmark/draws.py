"""Random values that depend on nothing but the seed, the event number and the field."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

Numbers: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]

# splitmix64: a counter times the golden ratio, and two multiplications that spread every bit over all others.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD_MASK = (1 << 64) - 1
_WORD_BYTES = 8


class Draws:
    """Random values of some events.

    A field is the number of a draw: two draws of one event with different fields are independent.

    Parameters
    ----------
    number
        Event numbers, int64[n].
    seed
        Same seed, same values.
    """

    def __init__(self, number: Numbers, seed: int) -> None:
        self.number = number
        self.rows = len(number)
        self._seed = _mixed(seed & _WORD_MASK)
        self._counter = number.view(np.uint64) * np.uint64(_GOLDEN)

    def word(self, field: int) -> Words:
        """64 random bits a row."""
        word = self._counter + np.uint64(_mixed(self._seed + field))
        word ^= word >> np.uint64(30)
        word *= np.uint64(_MIX_1)
        word ^= word >> np.uint64(27)
        word *= np.uint64(_MIX_2)
        word ^= word >> np.uint64(31)
        return word

    def below(self, field: int, limit: int | Numbers) -> Numbers:
        """Uniform in [0, limit), for a limit below 2**31."""
        value = self.word(field)
        value >>= np.uint64(32)
        return value.view(np.int64) * limit >> 32

    def unit(self, field: int) -> npt.NDArray[np.float64]:
        """Uniform in [0, 1)."""
        return (self.word(field) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def letters(self, field: int, lengths: Numbers) -> pl.Series:
        """Lower-case strings of the given lengths; takes one field for every eight letters."""
        offsets = np.zeros(self.rows + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        blocks = max(1, -(-int(lengths.max(initial=0)) // _WORD_BYTES))
        words = np.stack([self.word(field + block) for block in range(blocks)], axis=1)
        # "<u8": the same letters on a big-endian machine.
        matrix = words.astype("<u8").view(np.uint8).astype(np.uint16) * 26 >> 8
        text = matrix.astype(np.uint8) + np.uint8(ord("a"))
        return _strings(text[np.arange(text.shape[1]) < lengths[:, None]], offsets)

    def padding(self, field: int, used: Numbers | int, average: int) -> pl.Series:
        """Letters that bring a row of `used` bytes to `average`, a fifth more or less."""
        wanted = np.broadcast_to(np.maximum(average - np.asarray(used, dtype=np.int64), 0), (self.rows,))
        spread = np.rint(wanted * 0.2).astype(np.int64)
        return self.letters(field + 1, wanted - spread + self.below(field, np.maximum(2 * spread, 1)))

    def choice(self, field: int, choices: Sequence[str]) -> pl.Series:
        """One of the choices, uniformly."""
        return pl.Series(choices).gather(self.below(field, len(choices)))


@functools.cache
def _mixed(word: int) -> int:
    """One step of splitmix64, for one value."""
    word = (word + _GOLDEN) & _WORD_MASK
    word = (word ^ word >> 30) * _MIX_1 & _WORD_MASK
    word = (word ^ word >> 27) * _MIX_2 & _WORD_MASK
    return word ^ word >> 31


def _strings(data: Bytes, offsets: Numbers) -> pl.Series:
    """Strings from their bytes laid end to end."""
    import pyarrow as pa

    array = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    return pl.Series(array)
