"""Values of Avro: numbers of as many bytes as they need, decimals, UUIDs.

As in `avro_decode`, 16 readable bytes are required behind what is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import load_byte, load_half, load_word, store_byte, store_word, trailing_zeros

VARINT_BYTES_MAX = 10
"""Seven of 64 bits a byte."""

_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@kernel
def varint(p: Any) -> Any:
    """The zigzag number at `p`, and where it ends: -p if it has more than 64 bits. Reads up to ten bytes."""
    word = load_word(np.uint64(p))
    stop = ~word & _HIGH_BITS
    if word & np.uint64(0x80) == 0:
        raw = word & np.uint64(0x7F)
        n = np.int64(1)
    elif stop != 0:
        n = np.int64(trailing_zeros(stop) >> np.uint64(3)) + 1
        word &= _ALL >> np.uint64(64 - 8 * n)
        word &= ~_HIGH_BITS
        word = (word & np.uint64(0x007F_007F_007F_007F)) | (
            (word & np.uint64(0x7F00_7F00_7F00_7F00)) >> np.uint64(1)
        )
        word = (word & np.uint64(0x0000_3FFF_0000_3FFF)) | (
            (word & np.uint64(0x3FFF_0000_3FFF_0000)) >> np.uint64(2)
        )
        raw = (word & np.uint64(0x0FFF_FFFF)) | ((word & np.uint64(0x0FFF_FFFF_0000_0000)) >> np.uint64(4))
    else:
        raw = np.uint64(0)
        for i in range(8):
            raw |= ((word >> np.uint64(8 * i)) & np.uint64(0x7F)) << np.uint64(7 * i)
        byte = load_byte(np.uint64(p + 8))
        raw |= (byte & np.uint64(0x7F)) << np.uint64(56)
        n = np.int64(9)
        if byte >= 0x80:
            byte = load_byte(np.uint64(p + 9))
            raw |= byte << np.uint64(63)
            n = np.int64(10)
            if byte > 1:
                return np.int64(0), -p
    return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), p + n


@kernel
def store_decimal(p: Any, n: Any, target: Any, limit_high: Any, limit_low: Any) -> bool:
    """Widen `n` bytes, big-endian, to 128 bits; False if the absolute value is not below the limit."""
    fill = np.uint64(0)
    if n > 0 and load_byte(np.uint64(p)) >= 0x80:
        fill = _ALL
    high, low = fill, fill
    for i in range(n):
        if i < n - 16:
            if load_byte(np.uint64(p + i)) != fill & np.uint64(0xFF):
                return False
            continue
        high = (high << np.uint64(8)) | (low >> np.uint64(56))
        low = (low << np.uint64(8)) | load_byte(np.uint64(p + i))
    if n > 16 and (high ^ fill) >> np.uint64(63) != 0:
        return False
    size_high, size_low = high, low
    if fill != 0:
        size_low = ~low + np.uint64(1)
        size_high = ~high
        if size_low == 0:
            size_high += np.uint64(1)
    if size_high > np.uint64(limit_high):
        return False
    if size_high == np.uint64(limit_high) and size_low >= np.uint64(limit_low):
        return False
    if target != 0:
        store_word(np.uint64(target), low)
        store_word(np.uint64(target + 8), high)
    return True


@kernel
def _hex_digit(value: Any) -> Any:
    digit = value & np.uint64(0xF)
    return digit + np.uint64(48) if digit < 10 else digit + np.uint64(87)


@kernel
def store_uuid(p: Any, view: Any, arena: Any, used: Any, slot: Any) -> None:
    """16 bytes as 8-4-4-4-12 digits."""
    at = used[slot]
    target = arena + at
    for i in range(16):
        byte = load_byte(np.uint64(p + i))
        store_byte(np.uint64(target), _hex_digit(byte >> np.uint64(4)))
        store_byte(np.uint64(target + 1), _hex_digit(byte))
        target += 2
        if i in (3, 5, 7, 9):
            store_byte(np.uint64(target), np.uint64(45))
            target += 1
    used[slot] = at + 36
    store_word(np.uint64(view), np.uint64(36) | (load_half(np.uint64(arena + at)) << np.uint64(32)))
    store_word(np.uint64(view + 8), np.uint64(at) << np.uint64(32))
