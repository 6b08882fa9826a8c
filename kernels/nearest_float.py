"""The float64 nearest to a decimal number, after D. Lemire, "Number parsing at a gigabyte per second"."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import leading_zeros, multiply_high

POWER_MIN, POWER_MAX = -342, 308
"""Of ten: below them any number of 64 bits is zero, above them an infinity."""

_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_UNDECIDED = np.uint64(0x1FF)  # bits below the 55 that decide about rounding
_FRACTION_BITS = 52
_HIDDEN_BIT = np.uint64(1 << _FRACTION_BITS)
_EXPONENT_MAX = 0x7FF
_TIES_MIN, _TIES_MAX = -4, 23
"""Powers with which a number of 64 bits can be halfway between two floats."""


def _significands() -> np.ndarray[Any, Any]:
    """The leading 128 bits of each power of five, the upper half first; those below one are rounded up."""
    words: list[int] = []
    for power in range(POWER_MIN, POWER_MAX + 1):
        if power >= 0:
            value = 5**power
            shift = value.bit_length() - 128
            value = value >> shift if shift > 0 else value << -shift
        else:
            divisor = 5**-power
            bits = (divisor - 1).bit_length()
            value = (1 << (bits + 127 if power >= -27 else 2 * bits + 128)) // divisor + 1
            value >>= max(value.bit_length() - 128, 0)
        words += (value >> 64, value & (2**64 - 1))
    return np.array(words, np.uint64)


_SIGNIFICANDS = _significands()


@kernel
def nearest_float(number: Any, power: Any) -> Any:
    """Bits of the float64 nearest to `number` (uint64) times 10^`power` (int64), and if they are known.

    They are not for numbers that are too large, too small for all their bits, or in doubt.

    Cost    about 5 ns
    """
    if number == 0:
        return np.uint64(0), True
    if power < POWER_MIN or power > POWER_MAX:
        return np.uint64(0), False
    zeros = leading_zeros(number)
    number <<= zeros
    at = 2 * (power - POWER_MIN)
    high = multiply_high(number, _SIGNIFICANDS[at])
    low = number * _SIGNIFICANDS[at]
    if high & _UNDECIDED == _UNDECIDED:
        more = multiply_high(number, _SIGNIFICANDS[at + 1])
        low += more
        if low < more:
            high += _ONE
        if low == _ALL:
            return np.uint64(0), False
    upper = high >> np.uint64(63)
    shift = upper + np.uint64(64 - _FRACTION_BITS - 3)
    fraction = high >> shift
    exponent = ((217_706 * power) >> 16) + 63 + np.int64(upper) - np.int64(zeros) + 1023
    if exponent <= 0:
        return np.uint64(0), False
    is_tie = low <= _ONE and _TIES_MIN <= power <= _TIES_MAX and fraction & np.uint64(3) == _ONE
    if is_tie and fraction << shift == high:
        fraction &= ~_ONE
    fraction += fraction & _ONE
    fraction >>= _ONE
    if fraction >= _HIDDEN_BIT << _ONE:
        fraction = _HIDDEN_BIT
        exponent += 1
    if exponent >= _EXPONENT_MAX:
        return np.uint64(0), False
    return (fraction & ~_HIDDEN_BIT) | (np.uint64(exponent) << np.uint64(_FRACTION_BITS)), True
