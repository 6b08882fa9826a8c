"""Pieces of JSON text: strings, numbers, whole values; eight bytes at once.

Every function is given the address of a byte of a line that ends with a newline, and never goes behind that:
it is part of no value. PADDING_BYTES behind it must be readable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import load_byte, load_half, load_word, store_byte, store_word, trailing_zeros
from arrowstream.kernels.views import is_utf8

PADDING_BYTES = 32
"""So many bytes behind the last newline can be read."""

GOOD, NO_JSON, UNSURE = range(3)
"""What is found: JSON | certainly none | what is left to another parser."""

ESCAPED, NOT_ASCII = 1, 2
"""Flags of a string; a negative number is what is wrong with it."""

NESTING_MAX = 62
"""Of values that are passed over: a bit for each."""

EXPONENT_MAX = 200
"""In values that are passed over: whether others are a float is left to another parser."""

SPACE, QUOTE, COMMA, MINUS, DOT, ZERO, COLON, BACKSLASH = 32, 34, 44, 45, 46, 48, 58, 92
LIST_BEGIN, LIST_END, OBJECT_BEGIN, OBJECT_END = 91, 93, 123, 125
TAB, NEWLINE, RETURN = 9, 10, 13
NULL = int.from_bytes(b"null", "little")
TRUE = int.from_bytes(b"true", "little")
FALS = int.from_bytes(b"fals", "little")
LOWER_N, LOWER_T, LOWER_F, LOWER_E, LOWER_U = b"ntfeu"

NUMBER_DIGITS_MAX = 19
"""So many always fit into 64 bits."""

_BYTES = np.uint64(0x0101_0101_0101_0101)
_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_QUOTES, _BACKSLASHES = np.uint64(QUOTE) * _BYTES, np.uint64(BACKSLASH) * _BYTES
_SPACES, _ZEROS = np.uint64(SPACE) * _BYTES, np.uint64(ZERO) * _BYTES
_UP_TO_NINE = np.uint64(0x7F - 9) * _BYTES
_ONE = np.uint64(1)

_ESCAPES = np.zeros(256, np.uint8)
"""What a letter behind a backslash stands for; 0: nothing."""
for _letter, _meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPES[_letter] = _meaning


@kernel
def behind_blanks(p: Any) -> Any:
    """The first byte that is no blank."""
    byte = load_byte(np.uint64(p))
    while byte == SPACE or byte == TAB or byte == RETURN:  # noqa: PLR1714, SIM109
        p += 1
        byte = load_byte(np.uint64(p))
    return p


@kernel
def newline_from(p: Any) -> Any:
    """The next newline."""
    while True:
        differs = load_word(np.uint64(p)) ^ (np.uint64(NEWLINE) * _BYTES)
        found = (differs - _BYTES) & ~differs & _HIGH_BITS
        if found != 0:
            return p + np.int64(trailing_zeros(found) >> np.uint64(3))
        p += 8


@kernel
def digits(p: Any) -> Any:
    """How many digits there are at `p`, at most eight, and their value (uint64)."""
    word = load_word(np.uint64(p)) ^ _ZEROS
    others = (word | (word + _UP_TO_NINE)) & _HIGH_BITS
    bits = trailing_zeros(others) & ~np.uint64(7)
    if bits == 0:
        return np.int64(0), np.uint64(0)
    word <<= np.uint64(64) - bits
    word = ((word * np.uint64(10 * 2**8 + 1)) >> np.uint64(8)) & np.uint64(0x00FF_00FF_00FF_00FF)
    word = ((word * np.uint64(100 * 2**16 + 1)) >> np.uint64(16)) & np.uint64(0x0000_FFFF_0000_FFFF)
    word = (word * np.uint64(10_000 * 2**32 + 1)) >> np.uint64(32)
    return np.int64(bits >> np.uint64(3)), word


@kernel
def digits_from(p: Any, number: Any) -> Any:
    """Digits at `p` behind those of `number`: where they end, and the number with them, modulo 2^64."""
    while True:
        count, value = digits(p)
        for _ in range(count):
            number *= np.uint64(10)
        number += value
        p += count
        if count < 8:
            return p, number


@kernel
def number_at(p: Any) -> Any:
    """A number of JSON but for its minus: where it ends, its digits (uint64), their power of ten, what it is.

    UNSURE if it has too many digits.
    """
    number, power, exponent = np.uint64(0), np.int64(0), np.int64(0)
    first = p
    p, number = digits_from(p, number)
    if p == first or (p > first + 1 and load_byte(np.uint64(first)) == ZERO):
        return p, number, power, NO_JSON
    significant = p - first
    byte = load_byte(np.uint64(p))
    if byte == DOT:
        first = p + 1
        if significant == 1 and number == 0:
            significant = 0
            while load_byte(np.uint64(p + 1)) == ZERO:
                p += 1
        significant -= p + 1
        p, number = digits_from(p + 1, number)
        if p == first:
            return p, number, power, NO_JSON
        significant += p
        power = first - p
        byte = load_byte(np.uint64(p))
    if byte | np.uint64(SPACE) == LOWER_E:
        p += 1
        byte = load_byte(np.uint64(p))
        is_negative = byte == MINUS
        if is_negative or byte == 43:
            p += 1
        count, value = digits(p)
        if count == 0:
            return p, number, power, NO_JSON
        p += count
        exponent = -np.int64(value) if is_negative else np.int64(value)
        if count == 8:
            return p, number, power, UNSURE
    if significant > NUMBER_DIGITS_MAX:
        return p, number, power, UNSURE
    return p, number, power + exponent, GOOD


@kernel
def _hexadecimal(p: Any) -> Any:
    """The value of four hexadecimal digits; -1 if they are none."""
    value = np.int64(0)
    for i in range(4):
        byte = np.int64(load_byte(np.uint64(p + i)))
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 97 <= byte | SPACE <= 102:
            digit = (byte | SPACE) - 87
        else:
            return np.int64(-1)
        value = 16 * value + digit
    return value


@kernel
def _is_unit(p: Any) -> Any:
    r"""Whether \u is at `p`."""
    return load_byte(np.uint64(p)) == BACKSLASH and load_byte(np.uint64(p + 1)) == LOWER_U


@kernel
def string_end(p: Any) -> Any:
    """Where the string whose first byte is at `p` has its closing quote, and flags; all of it is checked."""
    begin = p
    flags = np.int64(0)
    seen = np.uint64(0)
    while True:
        word = load_word(np.uint64(p))
        quotes = word ^ _QUOTES
        backslashes = word ^ _BACKSLASHES
        found = (
            ((quotes - _BYTES) & ~quotes)
            | ((backslashes - _BYTES) & ~backslashes)
            | ((word - _SPACES) & ~word)
        ) & _HIGH_BITS
        if found == 0:
            seen |= word
            p += 8
            continue
        # The lowest one is certain, those above it may come from borrowing.
        bits = trailing_zeros(found) & ~np.uint64(7)
        seen |= word & ((_ONE << bits) - _ONE)
        p += np.int64(bits >> np.uint64(3))
        byte = (word >> bits) & np.uint64(0xFF)
        if byte == QUOTE:
            if seen & _HIGH_BITS != 0:
                flags |= NOT_ASCII
                if not is_utf8(begin, p - begin):
                    return p, np.int64(-NO_JSON)
            return p, flags
        if byte != BACKSLASH:
            return p, np.int64(-NO_JSON)
        flags |= ESCAPED
        letter = load_byte(np.uint64(p + 1))
        if letter != LOWER_U:
            if _ESCAPES[letter] == 0:
                return p, np.int64(-NO_JSON)
            p += 2
            continue
        unit = _hexadecimal(p + 2)
        if unit < 0:
            return p, np.int64(-NO_JSON)
        p += 6
        if 0xD800 <= unit <= 0xDFFF:
            is_pair = _is_unit(p) and 0xDC00 <= _hexadecimal(p + 2) <= 0xDFFF
            if unit >= 0xDC00 or not is_pair:
                return p, np.int64(-UNSURE)
            p += 6


@kernel
def unescape(p: Any, end: Any, target: Any) -> Any:
    """Write the characters of a string that `string_end` found good; returns how many bytes they have.

    Eight bytes more than the string has may be written.
    """
    begin = target
    while p < end:
        word = load_word(np.uint64(p))
        backslashes = word ^ _BACKSLASHES
        found = (backslashes - _BYTES) & ~backslashes & _HIGH_BITS
        plain = np.int64(trailing_zeros(found) >> np.uint64(3))
        store_word(np.uint64(target), word)
        plain = min(plain, end - p)
        p += plain
        target += plain
        if plain == 8 or p == end:
            continue
        letter = load_byte(np.uint64(p + 1))
        if letter != LOWER_U:
            store_byte(np.uint64(target), np.uint64(_ESCAPES[letter]))
            p += 2
            target += 1
            continue
        unit = _hexadecimal(p + 2)
        p += 6
        if unit >= 0xD800 and unit <= 0xDFFF:
            unit = 0x10000 + ((unit - 0xD800) << 10) + (_hexadecimal(p + 2) - 0xDC00)
            p += 6
        target += _store_character(np.uint64(unit), target)
    return target - begin


@kernel
def _store_character(character: Any, target: Any) -> Any:
    """As UTF-8; returns the number of its bytes."""
    six, low, more = np.uint64(6), np.uint64(0x3F), np.uint64(0x80)
    if character < 0x80:
        store_byte(np.uint64(target), character)
        return np.int64(1)
    if character < 0x800:
        store_byte(np.uint64(target), np.uint64(0xC0) | (character >> six))
        store_byte(np.uint64(target + 1), more | (character & low))
        return np.int64(2)
    if character < 0x10000:
        store_byte(np.uint64(target), np.uint64(0xE0) | (character >> np.uint64(12)))
        store_byte(np.uint64(target + 1), more | ((character >> six) & low))
        store_byte(np.uint64(target + 2), more | (character & low))
        return np.int64(3)
    store_byte(np.uint64(target), np.uint64(0xF0) | (character >> np.uint64(18)))
    store_byte(np.uint64(target + 1), more | ((character >> np.uint64(12)) & low))
    store_byte(np.uint64(target + 2), more | ((character >> six) & low))
    store_byte(np.uint64(target + 3), more | (character & low))
    return np.int64(4)


@kernel
def _scalar_end(p: Any) -> Any:
    """Where a string, a number or a literal ends, and what it is."""
    byte = load_byte(np.uint64(p))
    if byte == QUOTE:
        p, flags = string_end(p + 1)
        if flags < 0:
            return p, -flags
        return p + 1, np.int64(GOOD)
    half = load_half(np.uint64(p))
    if half == NULL or half == TRUE:  # noqa: PLR1714, SIM109
        return p + 4, np.int64(GOOD)
    if half == FALS:
        if load_byte(np.uint64(p + 4)) == LOWER_E:
            return p + 5, np.int64(GOOD)
        return p, np.int64(NO_JSON)
    if byte == MINUS:
        p += 1
    p, _, power, found = number_at(p)
    if found == GOOD and (power > EXPONENT_MAX or power < -EXPONENT_MAX):
        return p, np.int64(UNSURE)
    return p, np.int64(found)


@kernel
def value_end(p: Any) -> Any:
    """Where the value at `p` ends, and what it is; all of it is checked. UNSURE if it is deeply nested."""
    depth = np.int64(0)
    objects = np.uint64(0)  # a bit for each value that we are in: whether it is an object
    while True:
        byte = load_byte(np.uint64(p))
        if byte == LIST_BEGIN or byte == OBJECT_BEGIN:  # noqa: PLR1714, SIM109
            if depth == NESTING_MAX:
                return p, np.int64(UNSURE)
            depth += 1
            objects <<= _ONE
            p = behind_blanks(p + 1)
            if byte == OBJECT_BEGIN:
                objects |= _ONE
            # A quote, or what closes it again.
            closing = byte + np.uint64(2)
            if load_byte(np.uint64(p)) != closing:
                if byte == OBJECT_BEGIN:
                    p, found = key_end(p)
                    if found != GOOD:
                        return p, found
                continue
        else:
            p, found = _scalar_end(p)
            if found != GOOD:
                return p, found
        # Behind a value, or at the end of an empty list or object.
        while True:
            if depth == 0:
                return p, np.int64(GOOD)
            p = behind_blanks(p)
            byte = load_byte(np.uint64(p))
            in_object = objects & _ONE != 0
            if byte == COMMA:
                p = behind_blanks(p + 1)
                if in_object:
                    p, found = key_end(p)
                    if found != GOOD:
                        return p, found
                break
            if byte != (OBJECT_END if in_object else LIST_END):
                return p, np.int64(NO_JSON)
            p += 1
            depth -= 1
            objects >>= _ONE


@kernel
def key_end(p: Any) -> Any:
    """Where the value of the key at `p` begins, and what that is."""
    if load_byte(np.uint64(p)) != QUOTE:
        return p, np.int64(NO_JSON)
    p, flags = string_end(p + 1)
    if flags < 0:
        return p, -flags
    p = behind_blanks(p + 1)
    if load_byte(np.uint64(p)) != COLON:
        return p, np.int64(NO_JSON)
    return behind_blanks(p + 1), np.int64(GOOD)
