"""Avro records to columns: an interpreter of small programs that have been made from a schema.

A program is a table of instructions, one a row of `WORDS` integers. It is run once a record. Every column has
a *level*: 0 for those with one value a record, another one for the items of each array or map. `rows` counts
the values of each level, so that nothing needs to be written for a null: buffers are given zeroed, and a
value is written at the place of its level's count, together with a 1 in the column's validity bytes.

Data comes from outside: every address that is read has been compared with the end of the block, behind which
16 readable bytes are required (the block's sync marker, or padding); every place that is written to with the
capacity of its level.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.avro_values import VARINT_BYTES_MAX, store_decimal, store_uuid, varint
from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import (
    load_byte,
    load_half,
    load_word,
    store_byte,
    store_half,
    store_short,
    store_word,
)
from arrowstream.kernels.views import is_utf8, store_view

WORDS = 12
"""Integers an instruction."""

# Columns of a program: what every instruction has …
OP, NULL_BRANCH, END, LEVEL, VALID, DATA, A, B, C, D, ARENA, USED = range(WORDS)

PADDING_BYTES = 16
"""So many bytes behind every block's records can be read."""

(
    RECORD,  # nothing of its own
    INTEGER,  # a varint in A..B, times D, stored in C bytes
    BOOLEAN,  # a byte
    FLOAT,  # four bytes as they are; also unsigned integers
    DOUBLE,  # eight bytes as they are
    BYTES,  # A bytes, or as many as a varint says if A < 0, as a view
    TEXT,  # the same, and UTF-8
    DECIMAL,  # the same, as a 128-bit integer of absolute value below C + (B << 64)
    UUID,  # 16 bytes, as text of 36
    UNION,  # a varint below B, which is not C: go to jumps[A + varint]; C: go to END
    JUMP,  # go to A
    LIST,  # go to NEXT, which is at A; B is the number of the list
    ITEM,  # a further value of level C
    NEXT,  # another item, then go to A; or the end: its row of DATA is the count of level C. D: bytes an item
) = range(14)

# Slots of `state`: what is kept between calls.
STATUS, SEGMENT, POSITION, LEFT, PC, SEGMENT_ROW, RECORD_START, ERROR, ERROR_PC, BAD_ROWS, GROW_LEVEL = range(
    11
)
STATES = 11

DONE, FULL, GROW, BROKEN = range(4)
"""Status: all is decoded | level 0 is full | so is level GROW_LEVEL | segment SEGMENT does not add up."""

(
    NO_ERROR,
    NOT_UTF8,
    OUT_OF_RANGE,
    NOT_BOOLEAN,
    TOO_MANY_DIGITS,
    OVERRUN,
    BAD_LENGTH,
    BAD_BRANCH,
    BAD_VARINT,
    BAD_COUNT,
    TOO_LONG,
) = range(11)
"""Errors; from OVERRUN on they make the whole segment unreadable."""

BAD_COLUMNS = 4
"""Of `bad`: row, first byte, end, error + 16 * instruction of its first error."""

EMPTY_ITEMS_MAX = 1 << 24
"""Items without any bytes (nulls) that the lists of one call may have in all."""


@kernel
def decode(
    program: Any,
    jumps: Any,
    segments: Any,
    rows: Any,
    capacity: Any,
    left: Any,
    used: Any,
    bad: Any,
    state: Any,
) -> None:
    """Run `program` over the records of all segments, as far as there is room.

    A *bad* record has a value that cannot be; it takes its row, and is noted in `bad`. A segment whose bytes
    are not its records is *broken*: what its rows, from SEGMENT_ROW on, hold is worth nothing.

    Shape   program: int64[instructions * WORDS]; jumps: int64[..]; segments: int64[n * 3], each the address
            of a block's records, of their end, and their number; rows, capacity: int64[levels]; left:
            int64[lists]; used: int64[arenas]; bad: int64[rows * BAD_COLUMNS]; state: int64[STATES], begun
            with PC = -1 and SEGMENT = -1, all else 0
    Null    validity bytes are 1 for values
    Order   input order kept
    Cost    about 4 ns a value; `rows`, `used`, `bad`, `state` and what `program` points to are written
    """
    segment = state[SEGMENT]
    p = state[POSITION]
    remaining = state[LEFT]
    pc = state[PC]
    error = state[ERROR]
    error_pc = state[ERROR_PC]
    start = state[RECORD_START]
    size = program.size
    end = np.int64(0)
    if segment >= 0:
        end = segments[3 * segment + 1]
    broken = NO_ERROR
    status = DONE
    at = 0
    while True:
        if pc < 0:
            if remaining == 0:
                if segment >= 0 and p != end:
                    broken, at = TOO_LONG, 0
                    break
                segment += 1
                state[SEGMENT_ROW] = rows[0]
                if 3 * segment >= segments.size:
                    break
                p = segments[3 * segment]
                end = segments[3 * segment + 1]
                remaining = segments[3 * segment + 2]
                continue
            if rows[0] >= capacity[0]:
                status = FULL
                break
            pc = 0
            start = p
            error = NO_ERROR
        while pc < size:
            at = pc
            branch = program[at + NULL_BRANCH]
            if branch >= 0:
                byte = np.int64(load_byte(np.uint64(p)))
                if byte == 2 - 2 * branch:
                    p += 1
                elif byte == 2 * branch:
                    p += 1
                    if p > end:
                        broken = OVERRUN
                        break
                    pc = program[at + END]
                    continue
                else:
                    number, p = varint(p)  # as good writers never write it
                    if p < 0 or number < 0 or number > 1:
                        broken = BAD_BRANCH
                        break
                    if number == branch:
                        if p > end:
                            broken = OVERRUN
                            break
                        pc = program[at + END]
                        continue
                    if p > end:
                        broken = OVERRUN
                        break
            op = program[at + OP]
            row = rows[program[at + LEVEL]]
            data = program[at + DATA]
            valid = program[at + VALID]
            if valid != 0 and op != UNION:
                store_byte(np.uint64(valid + row), np.uint64(1))
            pc = at + WORDS
            if op == INTEGER:
                number, p = varint(p)
                if p < 0:
                    broken = BAD_VARINT
                    break
                if number < program[at + A] or number > program[at + B]:
                    if error == NO_ERROR:
                        error, error_pc = OUT_OF_RANGE, at
                    number = np.int64(0)
                if data != 0:
                    value = np.uint64(number * program[at + D])
                    width = program[at + C]
                    if width == 8:
                        store_word(np.uint64(data + 8 * row), value)
                    elif width == 4:
                        store_half(np.uint64(data + 4 * row), value)
                    elif width == 1:
                        store_byte(np.uint64(data + row), value)
                    else:
                        store_short(np.uint64(data + 2 * row), value)
            elif op == DOUBLE:
                if data != 0:
                    store_word(np.uint64(data + 8 * row), load_word(np.uint64(p)))
                p += 8
            elif op == TEXT or op == BYTES:  # noqa: PLR1714, SIM109 — becomes one switch with the others
                n = program[at + A]
                if n < 0:
                    n, p = varint(p)
                    if p < 0:
                        broken = BAD_VARINT
                        break
                if n < 0:
                    broken = BAD_LENGTH
                    break
                if p > end or n > end - p:
                    broken = OVERRUN
                    break
                if data != 0:
                    if op == TEXT and not is_utf8(p, n):
                        if error == NO_ERROR:
                            error, error_pc = NOT_UTF8, at
                    else:
                        store_view(p, n, data + 16 * row, program[at + ARENA], used, program[at + USED])
                p += n
            elif op == BOOLEAN:
                byte = np.int64(load_byte(np.uint64(p)))
                p += 1
                if byte > 1 and error == NO_ERROR:
                    error, error_pc = NOT_BOOLEAN, at
                if data != 0:
                    store_byte(np.uint64(data + row), np.uint64(byte & 1))
            elif op == FLOAT:
                if data != 0:
                    store_half(np.uint64(data + 4 * row), load_half(np.uint64(p)))
                p += 4
            elif op == ITEM:
                rows[program[at + C]] += 1
            elif op == NEXT:
                index = program[at + B]
                level = program[at + C]
                if left[index] == 0:
                    number, p = varint(p)
                    if p < 0:
                        broken = BAD_VARINT
                        break
                    if number < 0:
                        if number == -(2**63):
                            broken = BAD_COUNT
                            break
                        if p > end:
                            broken = OVERRUN
                            break
                        number = -number
                        block_bytes, p = varint(p)
                        if p < 0 or block_bytes < 0:
                            broken = BAD_COUNT
                            break
                    if p > end:
                        broken = OVERRUN
                        break
                    item_bytes = program[at + D]
                    if item_bytes > 0:
                        if number > (end - p) // item_bytes:
                            broken = BAD_COUNT
                            break
                    elif number > EMPTY_ITEMS_MAX - rows[level]:
                        broken = BAD_COUNT
                        break
                    if number == 0:
                        if data != 0:
                            store_word(np.uint64(data + 8 * row), np.uint64(rows[level]))
                        continue
                    left[index] = number
                if rows[level] >= capacity[level]:
                    status = GROW
                    state[GROW_LEVEL] = level
                    pc = at
                    break
                left[index] -= 1
                pc = program[at + A]
            elif op == LIST:
                left[program[at + B]] = 0
                pc = program[at + A]
            elif op == DECIMAL:
                n = program[at + A]
                if n < 0:
                    n, p = varint(p)
                    if p < 0:
                        broken = BAD_VARINT
                        break
                if n < 0:
                    broken = BAD_LENGTH
                    break
                if p > end or n > end - p:
                    broken = OVERRUN
                    break
                target = data + 16 * row if data != 0 else np.int64(0)
                good = store_decimal(p, n, target, program[at + B], program[at + C])
                if not good and error == NO_ERROR:
                    error, error_pc = TOO_MANY_DIGITS, at
                p += n
            elif op == UUID:
                if end - p < 16:
                    broken = OVERRUN
                    break
                if data != 0:
                    store_uuid(p, data + 16 * row, program[at + ARENA], used, program[at + USED])
                p += 16
            elif op == UNION:
                number, p = varint(p)
                if p < 0 or number < 0 or number >= program[at + B]:
                    broken = BAD_BRANCH
                    break
                if number == program[at + C]:
                    pc = program[at + END]
                else:
                    if valid != 0:
                        store_byte(np.uint64(valid + row), np.uint64(1))
                    pc = jumps[program[at + A] + number]
            elif op == JUMP:
                pc = program[at + A]
            if p > end:
                broken = OVERRUN
                break
        if broken != NO_ERROR or status == GROW:
            break
        if error != NO_ERROR:
            noted = BAD_COLUMNS * state[BAD_ROWS]
            bad[noted] = rows[0]
            bad[noted + 1] = start
            bad[noted + 2] = p
            bad[noted + 3] = error + 16 * (error_pc // WORDS)
            state[BAD_ROWS] += 1
            error = NO_ERROR
        rows[0] += 1
        remaining -= 1
        pc = -1
    state[SEGMENT] = segment
    state[POSITION] = p
    state[LEFT] = remaining
    state[PC] = pc
    state[RECORD_START] = start
    state[ERROR] = error
    state[ERROR_PC] = error_pc
    state[STATUS] = status
    if broken != NO_ERROR:
        # What was read behind the end does not count: it is not the same each time.
        if p > end or (p < 0 and end + p < VARINT_BYTES_MAX):
            broken = OVERRUN
        state[STATUS] = BROKEN
        state[ERROR] = broken
        state[ERROR_PC] = at
