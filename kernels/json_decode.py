"""Lines of JSON to columns: an interpreter of the tree of a schema.

The tree is a table of nodes, one a row of `WORDS` integers: a struct knows where the nodes of its fields are,
which lie behind one another, and a list that of its items. Node 0 is the struct that a line is. Every column
has a *level*: 0 for those with one value a line, another one for the items of each list. `rows` counts the
values of each level, so that nothing needs to be written for a null: buffers are given zeroed, and a value is
written at the place of its level's count, together with a 1 in the column's validity bytes.

Every line that is not blank takes a row. If it cannot be decoded its row stays null, and it is noted in `bad`
with one of three outcomes: it is certainly no JSON (NO_JSON); it is, but one value, not nested, is certainly
none of its column's type (MISMATCH); or another decoder has to look at it (UNSURE). The last is for whatever
is rare and not worth its code here; it never changes what is right.

Lines come from outside: what is read is bounded by the newline that ends each of them (see `json_text`), what
is written by the capacity of its level.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.iso_times import (
    DATE_BYTES,
    NO_DATE,
    NO_SUCH_DAY,
    TIME_BYTES,
    date_at,
    fraction_at,
    seconds_at,
    zone_at,
)
from arrowstream.kernels.json_text import (
    COLON,
    COMMA,
    DOT,
    ESCAPED,
    FALS,
    GOOD,
    LIST_BEGIN,
    LIST_END,
    LOWER_E,
    LOWER_F,
    LOWER_N,
    LOWER_T,
    MINUS,
    NEWLINE,
    NO_JSON,
    NULL,
    NUMBER_DIGITS_MAX,
    OBJECT_BEGIN,
    OBJECT_END,
    QUOTE,
    RETURN,
    SPACE,
    TRUE,
    UNSURE,
    ZERO,
    behind_blanks,
    digits_from,
    newline_from,
    number_at,
    string_end,
    unescape,
    value_end,
)
from arrowstream.kernels.memory import (
    load_byte,
    load_half,
    load_word,
    store_byte,
    store_half,
    store_short,
    store_word,
)
from arrowstream.kernels.nearest_float import nearest_float
from arrowstream.kernels.views import store_view

WORDS = 18
"""Integers a node."""

# What every node has. A, B and C depend on its kind; FIRST, NEXT and SEEN are written.
(
    KIND, LEVEL, VALID, DATA, ARENA, USED, COLUMN, KEY, KEY_WORDS, KEY_BYTES, A, B, C, FIRST, NEXT, SEEN,
) = range(16)  # fmt: skip

(
    STRUCT,  # its B fields begin at node A
    LIST,  # of node A, B items if that is not below 0; DATA has where the items of each end
    INTEGER,  # from A to B, stored in C bytes
    UNSIGNED,  # of 64 bits
    FLOAT,  # of 64 bits
    BOOLEAN,  # a byte
    TEXT,  # a view; A says what else than strings is taken as it is written
    DATE,  # days in four bytes
    DATETIME,  # A digits of fractions of a second, C of them in one; with a zone behind it if B is 1
    TIME,  # nanoseconds
    OTHER,  # null, or left to another decoder
) = range(11)

STRINGS, SHORT_VALUES, INTEGERS, DECIMALS = range(4)
"""What TEXT takes: strings | also integers below 10^18, true and false | any integers | with a point."""

STATUS, POSITION, LINE, SERIAL, BAD_ROWS, GROW_LEVEL = range(6)
STATES = 6
"""Slots of `state`, which is kept between calls."""

DONE, GROW = range(2)
"""Status: all is decoded | level GROW_LEVEL is full."""

MISMATCH = 3
"""An outcome, beside those of `json_text`."""

BAD_COLUMNS = 8
"""Of `bad`: row, first byte, end, line, outcome; of a mismatch: column, first byte of the value, end."""

STACK_COLUMNS = 4
"""Of `stack`, one for each level of nesting of the schema: node, last field, serial number, first item."""

_KEY, _VALUE, _BEHIND = range(3)
_SHORT_DIGITS_MAX = 18
_WIDE_DIGITS_MAX = 38
"""Of a number that is converted from its text: PyArrow takes hundreds of digits for another number."""
_NS_SECONDS_MAX = 9_000_000_000
"""Around 1970, so far as nanoseconds of 64 bits surely reach."""


@kernel
def _has_key(p: Any, keys: Any, at: Any, words: Any) -> Any:
    """Whether the text at `p` is a key, with its closing quote."""
    for i in range(words):
        if (load_word(np.uint64(p + 8 * i)) ^ keys[at + 2 * i]) & keys[at + 2 * i + 1] != 0:
            return False
    return words > 0


@kernel
def _field(p: Any, nodes: Any, keys: Any, owner: Any, guess: Any) -> Any:
    """Which field of a struct has the key at `p`, looking behind `guess` first; below 0: none."""
    first = nodes[owner + A]
    end = first + WORDS * nodes[owner + B]
    node = guess
    for _ in range(nodes[owner + B]):
        node += WORDS
        if node >= end:
            node = first
        if _has_key(p, keys, nodes[node + KEY], nodes[node + KEY_WORDS]):
            return node
    return np.int64(-1)


@kernel
def _written_number(p: Any, takes: Any) -> Any:
    """Where a number ends that TEXT takes as it is written; 0 if it does not."""
    first = p + np.int64(load_byte(np.uint64(p)) == MINUS)
    end, number = digits_from(first, np.uint64(0))
    count = end - first
    if count == 0 or takes == STRINGS or (takes == SHORT_VALUES and count > _SHORT_DIGITS_MAX):
        return np.int64(0)
    if load_byte(np.uint64(first)) == ZERO and (count > 1 or first > p):
        return np.int64(0)
    if load_byte(np.uint64(end)) == DOT and takes == DECIMALS:
        begin = end + 1
        end, number = digits_from(begin, number)
        if end == begin:
            return np.int64(0)
    byte = load_byte(np.uint64(end))
    if byte == DOT or byte | np.uint64(SPACE) == LOWER_E or end - first > _WIDE_DIGITS_MAX:
        return np.int64(0)
    return end


@kernel
def _moment(p: Any, node: Any, nodes: Any) -> Any:  # noqa: PLR0911 - a case for each spelling
    """The date or time that is a string at `p`: where its quote is, its value, and what it is."""
    kind = nodes[node + KIND]
    begin = p
    value = np.int64(0)
    zone = np.int64(0)
    if kind != TIME:
        value = date_at(p)
        if value == NO_SUCH_DAY:
            return p, value, np.int64(MISMATCH)
        if value == NO_DATE:
            byte = load_byte(np.uint64(p))
            surely = byte > SPACE and (byte < 48 or byte > 57)
            return p, value, np.int64(MISMATCH if surely else UNSURE)
        p += DATE_BYTES
        zone = nodes[node + B]
    if kind == DATETIME:
        value *= 86400
        byte = load_byte(np.uint64(p))
        if byte == SPACE or byte == 84:  # noqa: PLR1714
            p += 1
        elif byte != QUOTE or zone != 0:
            return p, value, np.int64(UNSURE)
    if p > begin + DATE_BYTES or kind == TIME:
        seconds = seconds_at(p)
        if seconds < 0:
            byte = load_byte(np.uint64(begin))
            surely = kind == TIME and byte > SPACE and (byte < 48 or byte > 57)
            return p, value, np.int64(MISMATCH if surely else UNSURE)
        value += seconds
        p += TIME_BYTES
    if kind != DATE:
        if nodes[node + A] == 9 and (value > _NS_SECONDS_MAX or value < -_NS_SECONDS_MAX):
            return p, value, np.int64(UNSURE)
        value *= nodes[node + C]
        if p > begin + DATE_BYTES or kind == TIME:
            end, fraction = fraction_at(p, nodes[node + A])
            if end < 0:
                return p, value, np.int64(UNSURE)
            p = end
            value += fraction
    if zone != 0:
        end, ahead = zone_at(p)
        if end < 0:
            return p, value, np.int64(UNSURE)
        p = end
        value -= ahead * nodes[node + C]
    if load_byte(np.uint64(p)) != QUOTE:
        return p, value, np.int64(UNSURE)
    return p, value, np.int64(GOOD)


@kernel
def _is_told_alike(p: Any, end: Any) -> Any:
    """Whether the text of a value is what everybody would write: then a message can show it."""
    byte = load_byte(np.uint64(p))
    if byte == QUOTE:
        _, flags = string_end(p + 1)
        return flags & ESCAPED == 0
    return byte == LOWER_T or byte == LOWER_F or _written_number(p, SHORT_VALUES) == end  # noqa: PLR1714


@kernel
def _push(stack: Any, depth: Any, owner: Any, previous: Any, own: Any, list_start: Any) -> Any:
    """Keep where one is before going into a value; returns the depth there."""
    at = STACK_COLUMNS * depth
    stack[at], stack[at + 1], stack[at + 2], stack[at + 3] = owner, previous, own, list_start
    return depth + 1


@kernel
def _forget(nodes: Any, rows: Any, used: Any, saved: Any) -> None:
    """Take back what a line has written: views and ends of lists are looked at even where they are null."""
    for node in range(0, nodes.size, WORDS):
        level = nodes[node + LEVEL]
        first = saved[level]
        end = rows[level] + 1
        kind = nodes[node + KIND]
        data = nodes[node + DATA]
        for row in range(first, end):
            if nodes[node + VALID] != 0:
                store_byte(np.uint64(nodes[node + VALID] + row), np.uint64(0))
            if kind == LIST:
                store_word(np.uint64(data + 8 * row), np.uint64(0))
            elif kind == TEXT:
                store_word(np.uint64(data + 16 * row), np.uint64(0))
                store_word(np.uint64(data + 16 * row + 8), np.uint64(0))
    for level in range(rows.size):
        rows[level] = saved[level]
    for arena in range(used.size):
        used[arena] = saved[rows.size + arena]


@kernel
def decode(
    nodes: Any,
    keys: Any,
    end: Any,
    stack: Any,
    rows: Any,
    saved: Any,
    capacity: Any,
    used: Any,
    bad: Any,
    state: Any,
) -> None:
    """Decode the lines from the address state[POSITION] on; the newline of the last one is in front of `end`.

    If a level is full it returns in front of the line that needs more; the caller gives it larger buffers.

    Shape   nodes: int64[n * WORDS]; keys: uint64[..], words and masks; stack: int64[depth * STACK_COLUMNS];
            rows, capacity: int64[levels], each level with room for one row more than its capacity; used:
            int64[arenas], each with room for all text; saved: int64[levels + arenas]; bad: int64[lines *
            BAD_COLUMNS]; state: int64[STATES]
    Null    validity bytes are 1 for values
    Order   input order kept
    Cost    about 10 ns a value; all but `keys` and `capacity`, and what `nodes` points to, are written
    """
    p = state[POSITION]
    line = state[LINE]
    serial = state[SERIAL]
    status = DONE
    while p < end:
        begin = p
        p = behind_blanks(p)
        byte = load_byte(np.uint64(p))
        if byte == NEWLINE:
            p += 1
            line += 1
            continue
        for level in range(rows.size):
            saved[level] = rows[level]
        for arena in range(used.size):
            saved[rows.size + arena] = used[arena]
        outcome = np.int64(GOOD)
        column = np.int64(-1)
        value_begin = value_end_at = np.int64(0)
        depth = np.int64(0)
        owner, previous, list_start = np.int64(0), np.int64(-1), np.int64(0)
        in_list = False
        serial += 1
        own = serial
        node = np.int64(0)
        step = _KEY
        if rows[0] >= capacity[0]:
            status = GROW
            state[GROW_LEVEL] = 0
        elif byte != OBJECT_BEGIN:
            outcome = np.int64(NO_JSON)
        else:
            p = behind_blanks(p + 1)
            if load_byte(np.uint64(p)) == OBJECT_END:
                step = _BEHIND
        while outcome == GOOD and status == DONE:
            if step == _KEY:
                if load_byte(np.uint64(p)) != QUOTE:
                    outcome = np.int64(NO_JSON)
                    break
                p += 1
                guessed_by = owner + FIRST if previous < 0 else previous + NEXT
                node = nodes[guessed_by]
                if not _has_key(p, keys, nodes[node + KEY], nodes[node + KEY_WORDS]):
                    node = _field(p, nodes, keys, owner, node)
                    if node >= 0:
                        nodes[guessed_by] = node
                if node < 0:
                    p, flags = string_end(p)
                    if flags < 0:
                        outcome = -flags
                        break
                    if flags & ESCAPED != 0:  # it may be one that we know
                        outcome = np.int64(UNSURE)
                        break
                    p += 1
                else:
                    p += nodes[node + KEY_BYTES]
                    if nodes[node + SEEN] == own:
                        node = np.int64(-1)
                    else:
                        nodes[node + SEEN] = own
                        previous = node
                if load_byte(np.uint64(p)) != COLON:
                    p = behind_blanks(p)
                    if load_byte(np.uint64(p)) != COLON:
                        outcome = np.int64(NO_JSON)
                        break
                p += 1
                if load_byte(np.uint64(p)) <= SPACE:
                    p = behind_blanks(p)
                step = _VALUE
            if step == _VALUE:
                step = _BEHIND
                byte = load_byte(np.uint64(p))
                if node < 0:
                    p, outcome = value_end(p)
                    if outcome != GOOD:
                        break
                elif byte == LOWER_N and load_half(np.uint64(p)) == NULL:
                    p += 4
                else:
                    kind = nodes[node + KIND]
                    row = rows[nodes[node + LEVEL]]
                    data = nodes[node + DATA]
                    fits = False
                    is_certain = True
                    if kind == INTEGER or kind == UNSIGNED:  # noqa: PLR1714, SIM109
                        is_negative = byte == MINUS
                        first = p + np.int64(is_negative)
                        after, number = digits_from(first, np.uint64(0))
                        count = after - first
                        last = load_byte(np.uint64(after))
                        if (
                            count > 0
                            and count <= NUMBER_DIGITS_MAX
                            and last != DOT
                            and last | np.uint64(SPACE) != LOWER_E
                            and (count == 1 or load_byte(np.uint64(first)) != ZERO)
                            and not (is_negative and number == 0)
                        ):
                            if kind == UNSIGNED:
                                fits = not is_negative
                                value = np.int64(number)
                            else:
                                fits = number < np.uint64(2**63)
                                value = -np.int64(number) if is_negative else np.int64(number)
                                fits = fits and value >= nodes[node + A] and value <= nodes[node + B]
                            if fits:
                                p = after
                                width = nodes[node + C]
                                if width == 8:
                                    store_word(np.uint64(data + 8 * row), np.uint64(value))
                                elif width == 4:
                                    store_half(np.uint64(data + 4 * row), np.uint64(value))
                                elif width == 2:
                                    store_short(np.uint64(data + 2 * row), np.uint64(value))
                                else:
                                    store_byte(np.uint64(data + row), np.uint64(value))
                    elif kind == TEXT:
                        if byte == QUOTE:
                            after, flags = string_end(p + 1)
                            if flags < 0:
                                outcome = -flags
                                break
                            size = after - p - 1
                            text = p + 1
                            arena, slot = nodes[node + ARENA], nodes[node + USED]
                            if flags & ESCAPED != 0:
                                text = arena + used[slot]
                                size = unescape(p + 1, after, text)
                            store_view(text, size, data + 16 * row, arena, used, slot)
                            p = after + 1
                            fits = True
                        else:
                            takes = nodes[node + A]
                            after = np.int64(0)
                            if takes == SHORT_VALUES and load_half(np.uint64(p)) == TRUE:
                                after = p + 4
                            elif takes == SHORT_VALUES and load_half(np.uint64(p)) == FALS:
                                after = p + 5 if load_byte(np.uint64(p + 4)) == LOWER_E else np.int64(0)
                            else:
                                after = _written_number(p, takes)
                            if after > 0:
                                store_view(
                                    p,
                                    after - p,
                                    data + 16 * row,
                                    nodes[node + ARENA],
                                    used,
                                    nodes[node + USED],
                                )
                                p = after
                                fits = True
                        is_certain = False
                    elif kind == FLOAT:
                        is_negative = byte == MINUS
                        first = p + np.int64(is_negative)
                        byte = load_byte(np.uint64(first))
                        if is_negative or (byte >= 48 and byte <= 57):
                            after, number, power, found = number_at(first)
                            if found != GOOD:
                                outcome = np.int64(found)
                                break
                            bits, fits = nearest_float(number, power)
                            is_certain = False
                            if is_negative and after == first + 1 and number == 0:
                                fits = False
                            if fits:
                                if is_negative:
                                    bits |= np.uint64(1) << np.uint64(63)
                                store_word(np.uint64(data + 8 * row), bits)
                                p = after
                    elif kind == DATE or kind == DATETIME or kind == TIME:  # noqa: PLR1714, SIM109
                        if byte == QUOTE:
                            after, value, found = _moment(p + 1, node, nodes)
                            fits = found == GOOD
                            is_certain = found == MISMATCH
                            if fits:
                                p = after + 1
                                if kind == DATE:
                                    store_half(np.uint64(data + 4 * row), np.uint64(value))
                                else:
                                    store_word(np.uint64(data + 8 * row), np.uint64(value))
                    elif kind == BOOLEAN:
                        half = load_half(np.uint64(p))
                        if half == TRUE:
                            store_byte(np.uint64(data + row), np.uint64(1))
                            p += 4
                            fits = True
                        elif half == FALS and load_byte(np.uint64(p + 4)) == LOWER_E:
                            store_byte(np.uint64(data + row), np.uint64(0))
                            p += 5
                            fits = True
                    elif kind == STRUCT:
                        is_certain = False
                        if byte == OBJECT_BEGIN:
                            fits = True
                            p = behind_blanks(p + 1)
                            if load_byte(np.uint64(p)) == OBJECT_END:
                                p += 1
                            else:
                                depth = _push(stack, depth, owner, previous, own, list_start)
                                owner, previous, in_list = node, np.int64(-1), False
                                serial += 1
                                own = serial
                                step = _KEY
                    elif kind == LIST:
                        is_certain = False
                        if byte == LIST_BEGIN:
                            fits = True
                            p = behind_blanks(p + 1)
                            items = nodes[node + A]
                            start = rows[nodes[items + LEVEL]]
                            if load_byte(np.uint64(p)) == LIST_END:
                                p += 1
                                store_word(np.uint64(data + 8 * row), np.uint64(start))
                                if nodes[node + B] > 0:
                                    outcome = np.int64(UNSURE)
                                    break
                            else:
                                depth = _push(stack, depth, owner, previous, own, list_start)
                                owner, list_start, in_list = node, start, True
                                if start >= capacity[nodes[items + LEVEL]]:
                                    status = GROW
                                    state[GROW_LEVEL] = nodes[items + LEVEL]
                                    break
                                store_byte(np.uint64(nodes[node + VALID] + row), np.uint64(1))
                                node = items
                                step = _VALUE
                                continue
                    else:
                        is_certain = False
                    if fits:
                        store_byte(np.uint64(nodes[node + VALID] + row), np.uint64(1))
                    else:
                        after, outcome = value_end(p)
                        if outcome != GOOD:
                            break
                        if (
                            not is_certain
                            or column >= 0
                            or nodes[node + COLUMN] < 0
                            or not _is_told_alike(p, after)
                        ):
                            outcome = np.int64(UNSURE)
                            break
                        column = nodes[node + COLUMN]
                        value_begin, value_end_at = p, after
                        p = after
                if step == _KEY:
                    continue
            byte = load_byte(np.uint64(p))
            if byte <= SPACE:
                p = behind_blanks(p)
                byte = load_byte(np.uint64(p))
            if in_list:
                items = nodes[owner + A]
                level = nodes[items + LEVEL]
                rows[level] += 1
                if byte == COMMA:
                    if rows[level] >= capacity[level]:
                        status = GROW
                        state[GROW_LEVEL] = level
                        break
                    p = behind_blanks(p + 1)
                    node = items
                    step = _VALUE
                    continue
                if byte != LIST_END:
                    outcome = np.int64(NO_JSON)
                    break
                count = rows[level] - list_start
                row = rows[nodes[owner + LEVEL]]
                store_word(np.uint64(nodes[owner + DATA] + 8 * row), np.uint64(rows[level]))
                if nodes[owner + B] >= 0 and count != nodes[owner + B]:
                    outcome = np.int64(UNSURE)
                    break
            else:
                if byte == COMMA:
                    p += 1
                    if load_byte(np.uint64(p)) <= SPACE:
                        p = behind_blanks(p)
                    step = _KEY
                    continue
                if byte != OBJECT_END:
                    outcome = np.int64(NO_JSON)
                    break
            p += 1
            if depth == 0:
                break
            depth -= 1
            at = STACK_COLUMNS * depth
            owner, previous, own, list_start = stack[at], stack[at + 1], stack[at + 2], stack[at + 3]
            in_list = nodes[owner + KIND] == LIST
            step = _BEHIND
        if status == GROW:
            _forget(nodes, rows, used, saved)
            p = begin
            break
        if outcome == GOOD:
            p = behind_blanks(p)
            if load_byte(np.uint64(p)) != NEWLINE:
                outcome = np.int64(NO_JSON)
            elif column >= 0:
                outcome = np.int64(MISMATCH)
        if outcome != GOOD:
            _forget(nodes, rows, used, saved)
            p = newline_from(p)
            at = BAD_COLUMNS * state[BAD_ROWS]
            state[BAD_ROWS] += 1
            bad[at] = rows[0]
            bad[at + 1] = begin
            bad[at + 2] = p - np.int64(p > begin and load_byte(np.uint64(p - 1)) == RETURN)
            bad[at + 3] = line
            bad[at + 4] = outcome
            bad[at + 5] = column
            bad[at + 6] = value_begin
            bad[at + 7] = value_end_at
        rows[0] += 1
        line += 1
        p += 1
    state[STATUS] = status
    state[POSITION] = p
    state[LINE] = line
    state[SERIAL] = serial
