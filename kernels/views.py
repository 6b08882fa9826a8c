"""Views of text and bytes, as Arrow and Polars have them: 16 bytes a value, and buffers for the long ones.

A view is the length (4 bytes) and, of up to INLINE_MAX bytes, the value itself, padded with zeros; of more,
the first four of them, the number of a buffer, and where in it the value begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import load_byte, load_half, load_word, store_word

INLINE_MAX = 12
"""Bytes of a value that lives in its view."""

_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_LOW_HALF = np.uint64(0xFFFF_FFFF)


def _paddings() -> np.ndarray[Any, Any]:
    """By the length of a value in its view, the bits of the two words that have to be zero."""
    words = np.frombuffer(
        b"".join(bytes(4 + length) + b"\xff" * (INLINE_MAX - length) for length in range(INLINE_MAX + 1)),
        np.uint64,
    )
    return words.reshape(-1, 2)


_PADDINGS = _paddings()


@kernel
def is_utf8(p: Any, n: Any) -> bool:
    """Whether `n` bytes are well-formed: no overlong forms, no surrogates, nothing above U+10FFFF."""
    end = p + n
    while p < end:
        if p + 8 <= end and load_word(np.uint64(p)) & _HIGH_BITS == 0:
            p += 8
            continue
        first = load_byte(np.uint64(p))
        p += 1
        if first < 0x80:
            continue
        low, high = np.uint64(0x80), np.uint64(0xBF)
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                low = np.uint64(0xA0)
            elif first == 0xED:
                high = np.uint64(0x9F)
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                low = np.uint64(0x90)
            elif first == 0xF4:
                high = np.uint64(0x8F)
        else:
            return False
        if p + more > end:
            return False
        second = load_byte(np.uint64(p))
        if second < low or second > high:
            return False
        for i in range(1, more):
            if load_byte(np.uint64(p + i)) & np.uint64(0xC0) != 0x80:
                return False
        p += more
    return True


@kernel
def store_view(p: Any, n: Any, view: Any, arena: Any, used: Any, slot: Any) -> None:
    """Write the view of `n` bytes, and copy them into the arena if they are long."""
    length = np.uint64(n)
    word = load_word(np.uint64(p))
    if n <= INLINE_MAX:
        second = np.uint64(0)
        if n < 8:
            word &= ~(_ALL << np.uint64(8 * n))
        elif n > 8:
            second = load_word(np.uint64(p + 8)) & ~(_ALL << np.uint64(8 * (n - 8)))
        store_word(np.uint64(view), length | (word << np.uint64(32)))
        store_word(np.uint64(view + 8), (word >> np.uint64(32)) | (second << np.uint64(32)))
        return
    at = used[slot]
    target = arena + at
    i = 0
    while i + 8 <= n:
        store_word(np.uint64(target + i), load_word(np.uint64(p + i)))
        i += 8
    if i < n:  # the last word overlaps the one before it
        store_word(np.uint64(target + n - 8), load_word(np.uint64(p + n - 8)))
    used[slot] = at + n
    store_word(np.uint64(view), length | (word << np.uint64(32)))
    store_word(np.uint64(view + 8), np.uint64(at) << np.uint64(32))


@kernel
def unproven_view(views: Any, buffers: Any, is_text: Any) -> Any:
    """The first view that is not known to be sound, -1 if all are.

    A sound view is a value of its own, or leads to one inside of its buffer, where its first bytes are; and
    the value is UTF-8 if it is to be text. It is known of all values in a buffer that is UTF-8 as a whole, so
    that many views of the same bytes cost no more than others.

    Shape   views: uint64[2 * n]; buffers: int64[k, 2], the address and bytes of each; returns int64
    Null    the slots of nulls are looked at like the others
    Cost    O(n + bytes of the buffers)
    """
    are_text = np.zeros(len(buffers), np.bool_)
    for i in range(len(buffers)):
        are_text[i] = not is_text or is_utf8(buffers[i, 0], buffers[i, 1])
    for i in range(len(views) // 2):
        low, high = views[2 * i], views[2 * i + 1]
        length = low & _LOW_HALF
        if length <= INLINE_MAX:
            if (low & _PADDINGS[length, 0]) | (high & _PADDINGS[length, 1]) != 0:
                return i
            is_ascii = ((low >> np.uint64(32)) | high) & _HIGH_BITS == 0
            inline = np.int64(views.ctypes.data) + 16 * i + 4
            if is_text and not is_ascii and not is_utf8(inline, np.int64(length)):
                return i
            continue
        buffer, start = high & _LOW_HALF, np.int64(high >> np.uint64(32))
        end = start + np.int64(length)
        if buffer >= len(buffers) or not are_text[buffer] or end > buffers[buffer, 1]:
            return i
        data = buffers[buffer, 0]
        if load_half(np.uint64(data + start)) != low >> np.uint64(32):
            return i
        if is_text and (
            load_byte(np.uint64(data + start)) & np.uint64(0xC0) == 0x80
            or (end < buffers[buffer, 1] and load_byte(np.uint64(data + end)) & np.uint64(0xC0) == 0x80)
        ):
            return i
    return -1


@kernel
def write_views(offsets: Any, data: Any, data_bytes: Any, is_text: Any, views: Any) -> Any:
    """Write the views of values that stand one behind the other; the first unsound one, -1 if none is.

    The views lead to one buffer, the data. What is unsound: an offset that leads out of it or back, and, if
    it is to be text, any of it that is not UTF-8, in whichever value.

    Shape   offsets: int32 or int64[n + 1]; data: its address; views: uint64[2 * n], written; returns int64
    Null    the slots of nulls are written like the others
    Cost    O(n + data_bytes)
    """
    first, last = np.int64(offsets[0]), np.int64(offsets[-1])
    if (
        first < 0
        or last < first
        or last > data_bytes
        or (is_text and not is_utf8(data + first, last - first))
    ):
        return 0
    end = first
    for i in range(len(offsets) - 1):
        start, end = end, np.int64(offsets[i + 1])
        length = end - start
        p = np.uint64(data + start)
        if length < 0 or end > last or (is_text and length and load_byte(p) & np.uint64(0xC0) == 0x80):
            return i
        if length > INLINE_MAX:
            views[2 * i] = np.uint64(length) | (load_half(p) << np.uint64(32))
            views[2 * i + 1] = np.uint64(start) << np.uint64(32)
        elif start + INLINE_MAX <= data_bytes:
            low = (load_half(p) << np.uint64(32)) & ~_PADDINGS[length, 0]
            views[2 * i] = np.uint64(length) | low
            views[2 * i + 1] = load_word(p + np.uint64(4)) & ~_PADDINGS[length, 1]
        else:
            low, high = np.uint64(length), np.uint64(0)
            for b in range(length):
                byte = load_byte(p + np.uint64(b))
                if b < 4:  # a word has room for so many behind the length
                    low |= byte << np.uint64(32 + 8 * b)
                else:
                    high |= byte << np.uint64(8 * b - 32)
            views[2 * i], views[2 * i + 1] = low, high
    return -1
