"""Long strings as 64-bit words: each distinct one is kept once, in an arena, and known by its place there.

An Arrow string view is two words: length and four bytes; then eight more bytes (up to 12 in all), or buffer
and offset of the bytes. Views of short strings are already exact keys. Here the second word of a long one
becomes its place in an arena that holds each distinct string once, and so an exact key too, and still a valid
view into that arena.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import load_byte, load_word

INLINE_BYTES_MAX = 12
"""Strings up to this length live inside their view."""

TABLE_USED, ARENA_USED, RESUME = range(3)
"""Slots of the interner's counters."""

DONE, NEEDS_TABLE, NEEDS_ARENA = range(3)
"""What `intern` returns: finished, or grow the table (the arena) and call again from RESUME."""

ENTRY_HASH, ENTRY_OFFSET, ENTRY_LENGTH = range(3)
ENTRY_COLUMNS = 3


@kernel
def _hash_bytes(address: Any, length: int) -> Any:
    """A 64-bit hash of `length` bytes (at least 8) at `address`.

    It is the same on every machine of the same byte order. The last word overlaps the one before it.
    """
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    h = np.uint64(length) * multiplier
    whole = length // 8
    for i in range(whole):
        h = (h ^ load_word(address + np.uint64(8 * i))) * multiplier
        h ^= h >> np.uint64(29)
    h = (h ^ load_word(address + np.uint64(length - 8))) * multiplier
    h ^= h >> np.uint64(32)
    return h | np.uint64(1)  # 0 marks an empty slot


@kernel
def _equal_bytes(left: Any, right: Any, length: int) -> bool:
    for i in range(length // 8):
        if load_word(left + np.uint64(8 * i)) != load_word(right + np.uint64(8 * i)):
            return False
    tail = np.uint64(length - 8)  # at least 8 bytes: the last word overlaps the one before it
    return bool(load_word(left + tail) == load_word(right + tail))


@kernel
def intern(
    begin: int,
    views: Any,
    stride: int,
    column: int,
    buffers: Any,
    table: Any,
    arena: Any,
    counters: Any,
) -> int:
    """Put the long strings of `views` into `arena`, and let the views point there.

    Shape   views: int64[n * stride], changed in place; a row's view begins at word `column`; buffers:
            uint64[b], addresses of the buffers that the views point to; table: int64[slots * ENTRY_COLUMNS],
            slots a power of two; arena: uint8[bytes]; counters: int64[3]
    Null    rows of null must be all zero words
    Cost    O(bytes of long strings)
    """
    slots = table.size // ENTRY_COLUMNS
    mask = np.int64(slots - 1)
    base = np.uint64(arena.ctypes.data)
    for i in range(begin, views.size // stride):
        at = i * stride + column
        length = views[at] & np.int64(0xFFFF_FFFF)
        if length <= INLINE_BYTES_MAX:
            continue
        place = np.uint64(views[at + 1])
        address = buffers[place & np.uint64(0xFFFF_FFFF)] + (place >> np.uint64(32))
        h = np.int64(_hash_bytes(address, length))
        slot = (h >> np.int64(7)) & mask
        while True:
            entry = slot * ENTRY_COLUMNS
            if table[entry + ENTRY_HASH] == 0:
                if 2 * (counters[TABLE_USED] + 1) > slots:
                    counters[RESUME] = i
                    return NEEDS_TABLE
                offset = counters[ARENA_USED]
                if offset + length > arena.size:
                    counters[RESUME] = i
                    return NEEDS_ARENA
                for b in range(length):
                    arena[offset + b] = load_byte(address + np.uint64(b))
                table[entry + ENTRY_HASH] = h
                table[entry + ENTRY_OFFSET] = offset
                table[entry + ENTRY_LENGTH] = length
                counters[TABLE_USED] += 1
                counters[ARENA_USED] = offset + length
                views[at + 1] = offset << np.int64(32)
                break
            if (
                table[entry + ENTRY_HASH] == h
                and table[entry + ENTRY_LENGTH] == length
                and _equal_bytes(address, base + np.uint64(table[entry + ENTRY_OFFSET]), length)
            ):
                views[at + 1] = table[entry + ENTRY_OFFSET] << np.int64(32)
                break
            slot = (slot + 1) & mask
    counters[RESUME] = views.size // stride
    return DONE


@kernel
def rehash(old: Any, new: Any) -> None:
    """Enter the entries of one intern table into a larger, empty one."""
    mask = np.int64(new.size // ENTRY_COLUMNS - 1)
    for i in range(old.size // ENTRY_COLUMNS):
        h = old[i * ENTRY_COLUMNS + ENTRY_HASH]
        if h == 0:
            continue
        slot = (h >> np.int64(7)) & mask
        while new[slot * ENTRY_COLUMNS] != 0:
            slot = (slot + 1) & mask
        for j in range(ENTRY_COLUMNS):
            new[slot * ENTRY_COLUMNS + j] = old[i * ENTRY_COLUMNS + j]


@kernel
def key_groups(keys: Any, words: int, long_columns: Any, arena: Any, out: Any) -> None:
    """The key group, 0 to 255, of every key: the unit in which state can be redistributed.

    Shape   keys: int64[n * words]; long_columns: int64[c], words at which a string view begins; out: uint8[n]

    It depends on the key's value only: of a long string the bytes count, not its place in the arena.
    """
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    base = np.uint64(arena.ctypes.data)
    for i in range(out.size):
        h = np.uint64(0)
        for j in range(words):
            word = np.uint64(keys[i * words + j])
            for c in range(long_columns.size):
                if j == long_columns[c] + 1:
                    length = keys[i * words + j - 1] & np.int64(0xFFFF_FFFF)
                    if length > INLINE_BYTES_MAX:
                        word = _hash_bytes(base + (word >> np.uint64(32)), length)
            h = (h ^ word) * multiplier
            h ^= h >> np.uint64(32)
        out[i] = np.uint8(h >> np.uint64(20))
