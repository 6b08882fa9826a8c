"""Arrow columns to Avro records: an interpreter of small programs, like that of `avro_decode`.

Every field is written as a union of null and its type. Columns lie at a *level*: 0 has one value a record,
another one the items of each list; `index` says which value of each level is being written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import (
    leading_zeros,
    load_byte,
    load_half,
    load_short,
    load_word,
    store_byte,
    store_half,
    store_word,
)

WORDS = 10
"""Integers an instruction."""

# Columns of a program. VALID: address of the bitmap, 0 if nothing is null; OFFSET is added to the index.
OP, END, LEVEL, OFFSET, VALID, DATA, A, B, C, D = range(WORDS)

(
    RECORD,  # nothing of its own
    INTEGER,  # of A bytes, signed if B, divided by C
    BOOLEAN,  # a bit
    FLOAT,  # four bytes as they are
    DOUBLE,  # eight bytes as they are
    BYTES,  # DATA has offsets of eight bytes, A is the address of the bytes
    DECIMAL,  # 128 bits
    NULL,  # always null, and no union
    LIST,  # DATA has offsets of eight bytes, or A values a list; B is the number of the list, C its level
    NEXT,  # another item, from A on, or the end; B and C as above
) = range(10)

DONE, NOT_WHOLE = range(2)
"""What `encode` returns: finished, or a value of row `state[0]` in instruction `state[1]` has a remainder."""

SLACK_BYTES = 16
"""So many bytes behind the end of what is written must be there."""

_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@kernel
def _put_varint(p: Any, number: Any) -> Any:
    """Write a number in zigzag form at `p`; returns where it ends. Writes up to eight bytes more."""
    raw = np.uint64((number << np.int64(1)) ^ (number >> np.int64(63)))
    if raw < np.uint64(0x80):
        store_byte(np.uint64(p), raw)
        return p + 1
    bits = np.int64(64) - np.int64(leading_zeros(raw))
    if bits <= 56:
        n = (bits + 6) // 7
        word = (raw & np.uint64(0x0FFF_FFFF)) | ((raw & np.uint64(0x00FF_FFFF_F000_0000)) << np.uint64(4))
        word = (word & np.uint64(0x0000_3FFF_0000_3FFF)) | (
            (word & np.uint64(0x0FFF_C000_0FFF_C000)) << np.uint64(2)
        )
        word = (word & np.uint64(0x007F_007F_007F_007F)) | (
            (word & np.uint64(0x3F80_3F80_3F80_3F80)) << np.uint64(1)
        )
        word |= np.uint64(0x8080_8080_8080_8080) >> np.uint64(72 - 8 * n)
        store_word(np.uint64(p), word)
        return p + n
    while raw >= np.uint64(0x80):
        store_byte(np.uint64(p), raw | np.uint64(0x80))
        raw >>= np.uint64(7)
        p += 1
    store_byte(np.uint64(p), raw)
    return p + 1


@kernel
def _put_bytes(p: Any, source: Any, n: Any) -> Any:
    """Copy `n` bytes, reading none behind them."""
    if n < 8:
        for i in range(n):
            store_byte(np.uint64(p + i), load_byte(np.uint64(source + i)))
        return p + n
    i = 0
    while i + 8 <= n:
        store_word(np.uint64(p + i), load_word(np.uint64(source + i)))
        i += 8
    store_word(np.uint64(p + n - 8), load_word(np.uint64(source + n - 8)))  # overlaps the one before
    return p + n


@kernel
def _put_decimal(p: Any, source: Any) -> Any:
    """The shortest big-endian form of a 128-bit integer, behind its length."""
    low = load_word(np.uint64(source))
    high = load_word(np.uint64(source + 8))
    fill = _ALL if high >> np.uint64(63) else np.uint64(0)
    # The bits that differ from the sign, and one for the sign itself.
    if high != fill:
        bits = np.int64(129) - np.int64(leading_zeros(high ^ fill))
    else:
        bits = np.int64(65) - np.int64(leading_zeros(low ^ fill))
    n = (bits + 7) // 8
    store_byte(np.uint64(p), np.uint64(2 * n))
    p += 1
    for i in range(n):
        at = n - 1 - i
        byte = high >> np.uint64(8 * (at - 8)) if at >= 8 else low >> np.uint64(8 * at)
        store_byte(np.uint64(p + i), byte)
    return p + n


@kernel
def encode(program: Any, rows: Any, index: Any, stops: Any, out: Any, ends: Any, state: Any) -> int:
    """Write `rows` records.

    Shape   program: int64[instructions * WORDS]; index: int64[levels]; stops: int64[lists]; out: uint8[..],
            large enough for all, and SLACK_BYTES more; ends: int64[rows], where each record ends in `out`;
            state: int64[2]
    Null    by the bitmaps; a record has branch 0 for null and 1 for a value
    Order   input order kept
    Cost    about 4 ns a value
    """
    base = np.int64(out.ctypes.data)
    size = program.size
    p = base
    for row in range(rows):
        index[0] = row
        pc = 0
        while pc < size:
            at = pc
            op = program[at + OP]
            i = index[program[at + LEVEL]] + program[at + OFFSET]
            pc = at + WORDS
            if op < NULL or op == LIST:
                valid = program[at + VALID]
                if valid != 0:
                    byte = load_byte(np.uint64(valid + (i >> np.int64(3))))
                    if (byte >> np.uint64(i & np.int64(7))) & np.uint64(1) == 0:
                        store_byte(np.uint64(p), np.uint64(0))
                        p += 1
                        pc = program[at + END]
                        continue
                store_byte(np.uint64(p), np.uint64(2))
                p += 1
            data = program[at + DATA]
            if op == INTEGER:
                width = program[at + A]
                if width == 8:
                    number = np.int64(load_word(np.uint64(data + 8 * i)))
                elif width == 4:
                    number = np.int64(load_half(np.uint64(data + 4 * i)))
                elif width == 2:
                    number = np.int64(load_short(np.uint64(data + 2 * i)))
                else:
                    number = np.int64(load_byte(np.uint64(data + i)))
                if program[at + B]:
                    shift = np.int64(64) - 8 * width
                    number = (number << shift) >> shift
                divisor = program[at + C]
                if divisor != 1:
                    whole = number // divisor
                    if whole * divisor != number:
                        state[0], state[1] = row, at
                        return NOT_WHOLE
                    number = whole
                p = _put_varint(p, number)
            elif op == DOUBLE:
                store_word(np.uint64(p), load_word(np.uint64(data + 8 * i)))
                p += 8
            elif op == BYTES:
                begin = np.int64(load_word(np.uint64(data + 8 * i)))
                n = np.int64(load_word(np.uint64(data + 8 * i + 8))) - begin
                p = _put_varint(p, n)
                p = _put_bytes(p, program[at + A] + begin, n)
            elif op == FLOAT:
                store_half(np.uint64(p), load_half(np.uint64(data + 4 * i)))
                p += 4
            elif op == BOOLEAN:
                byte = load_byte(np.uint64(data + (i >> np.int64(3))))
                store_byte(np.uint64(p), (byte >> np.uint64(i & np.int64(7))) & np.uint64(1))
                p += 1
            elif op == DECIMAL:
                p = _put_decimal(p, data + 16 * i)
            elif op == LIST:
                fixed = program[at + A]
                if fixed > 0:
                    begin, stop = i * fixed, (i + 1) * fixed
                else:
                    begin = np.int64(load_word(np.uint64(data + 8 * i)))
                    stop = np.int64(load_word(np.uint64(data + 8 * i + 8)))
                if begin == stop:
                    store_byte(np.uint64(p), np.uint64(0))
                    p += 1
                    pc = program[at + END]
                else:
                    p = _put_varint(p, stop - begin)
                    index[program[at + C]] = begin
                    stops[program[at + B]] = stop
            elif op == NEXT:
                level = program[at + C]
                index[level] += 1
                if index[level] < stops[program[at + B]]:
                    pc = program[at + A]
                else:
                    store_byte(np.uint64(p), np.uint64(0))
                    p += 1
        ends[row] = p - base
    return DONE
