"""Dates and times in ISO 8601, as most programs write them: 2026-01-31, 23:59:59.999999."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrowstream.kernels.compile import kernel
from arrowstream.kernels.memory import load_byte, load_half, load_short, load_word

DATE_BYTES, TIME_BYTES = 10, 8
"""Without fractions of a second."""

NO_DATE, NO_SUCH_DAY = -(2**62), -(2**62) - 1
"""Other text | what looks like a date, but is in no calendar."""

_DATE_FORM = np.uint64(int.from_bytes(b"0000-00-", "little"))
_TIME_FORM = np.uint64(int.from_bytes(b"00:00:00", "little"))
_ZONE_FORM = np.uint64(int.from_bytes(b"00:00", "little"))
_DAY_FORM = np.uint64(int.from_bytes(b"00", "little"))
# Added to a byte that differs from its form: from which difference on it has its highest bit.
_DATE_LIMITS = np.uint64(int.from_bytes(bytes([118, 118, 118, 118, 127, 118, 118, 127]), "little"))
_TIME_LIMITS = np.uint64(int.from_bytes(bytes([118, 118, 127, 118, 118, 127, 118, 118]), "little"))
_ZONE_LIMITS = np.uint64(int.from_bytes(bytes([118, 118, 127, 118, 118]), "little"))
_DAY_LIMITS = np.uint64(int.from_bytes(bytes([118, 118]), "little"))
_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)

_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


@kernel
def _two_digits(word: Any, place: Any) -> Any:
    """The number in two bytes of the differences from a form."""
    pair = word >> np.uint64(8 * place)
    return np.int64((pair & np.uint64(15)) * np.uint64(10) + ((pair >> np.uint64(8)) & np.uint64(15)))


@kernel
def date_at(p: Any) -> Any:
    """Days since 1970-01-01 of the date at `p`, in the years 1 to 9999; or NO_DATE or NO_SUCH_DAY."""
    word = load_word(np.uint64(p)) ^ _DATE_FORM
    short = load_short(np.uint64(p + 8)) ^ _DAY_FORM
    others = (word | (word + _DATE_LIMITS) | short | (short + _DAY_LIMITS)) & _HIGH_BITS
    if others != 0:
        return np.int64(NO_DATE)
    year = 100 * _two_digits(word, 0) + _two_digits(word, 2)
    month, day = _two_digits(word, 5), _two_digits(short, 0)
    if year == 0:
        return np.int64(NO_DATE)
    if month < 1 or month > 12 or day < 1:
        return np.int64(NO_SUCH_DAY)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _MONTH_DAYS[month] + np.int64(is_leap and month == 2):
        return np.int64(NO_SUCH_DAY)
    # Years that begin in March have their leap day at the end.
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719_469


@kernel
def seconds_at(p: Any) -> Any:
    """Seconds since midnight of the time at `p`; below 0 if there is none."""
    word = load_word(np.uint64(p)) ^ _TIME_FORM
    if (word | (word + _TIME_LIMITS)) & _HIGH_BITS != 0:
        return np.int64(-1)
    hour, minute, second = _two_digits(word, 0), _two_digits(word, 3), _two_digits(word, 6)
    if hour > 23 or minute > 59 or second > 59:
        return np.int64(-1)
    return 3600 * hour + 60 * minute + second


@kernel
def fraction_at(p: Any, digits_max: Any) -> Any:
    """Where the fraction of a second at `p` ends, and how many 10^-digits_max seconds it is.

    There may be none; its end is below 0 if it has no digits, or more than `digits_max`.
    """
    if load_byte(np.uint64(p)) != 46:
        return p, np.int64(0)
    count, value = np.int64(0), np.int64(0)
    p += 1
    byte = load_byte(np.uint64(p))
    while byte >= 48 and byte <= 57:
        if count == digits_max:
            return np.int64(-1), np.int64(0)
        value = 10 * value + np.int64(byte) - 48
        count += 1
        p += 1
        byte = load_byte(np.uint64(p))
    if count == 0:
        return np.int64(-1), np.int64(0)
    while count < digits_max:
        value *= 10
        count += 1
    return p, value


@kernel
def zone_at(p: Any) -> Any:
    """Where the zone at `p` ends, Z or +hh:mm, and how many seconds it is ahead of UTC.

    Its end is below 0 if there is none.
    """
    byte = load_byte(np.uint64(p))
    if byte == 90:
        return p + 1, np.int64(0)
    word = (load_half(np.uint64(p + 1)) | (load_byte(np.uint64(p + 5)) << np.uint64(32))) ^ _ZONE_FORM
    is_form = (word | (word + _ZONE_LIMITS)) & _HIGH_BITS == 0
    if not is_form or (byte != 43 and byte != 45):  # noqa: PLR1714
        return np.int64(-1), np.int64(0)
    hour, minute = _two_digits(word, 0), _two_digits(word, 3)
    if hour > 23 or minute > 59:
        return np.int64(-1), np.int64(0)
    seconds = 3600 * hour + 60 * minute
    return p + 6, seconds if byte == 43 else -seconds
