"""Pieces of JSON text, floats and times, against plain Python."""

from __future__ import annotations

import json
import math
import struct
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arrowstream.kernels import iso_times, json_text
from arrowstream.kernels.nearest_float import POWER_MAX, POWER_MIN, nearest_float

EPOCH = date(1970, 1, 1)


def padded(text):
    return np.frombuffer(text.encode() + b"\n" + bytes(json_text.PADDING_BYTES), np.uint8)


def float_of(number, power):
    bits, is_known = nearest_float(np.uint64(number), np.int64(power))
    return struct.unpack("<d", struct.pack("<Q", int(bits)))[0] if is_known else None


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(POWER_MIN - 3, POWER_MAX + 3))
@example(2**53 + 1, 0)  # halfway, to the even one
@example(2**53 + 3, 0)
@example((2**53 + 1) * 5, -1)
@example(9007199254740993, 22)
@example(17976931348623157, 292)
@example(17976931348623159, 292)
@example(0, 400)
def test_the_nearest_float_or_none(number, power):
    found = float_of(number, power)
    expected = float(f"{number}e{power}")
    assert found == expected or (found is None and not 2.3e-308 < expected < math.inf)


@settings(max_examples=500, deadline=None)
@given(st.floats(min_value=2.3e-308, allow_nan=False, allow_infinity=False))
def test_floats_as_python_writes_them(value):
    digits, _, exponent = repr(value).partition("e")
    whole, _, fraction = digits.partition(".")
    assert float_of(int(whole + fraction), int(exponent or 0) - len(fraction)) == value


@settings(deadline=None)
@given(st.dates())
def test_dates(day):
    data = padded(day.isoformat())
    assert EPOCH + timedelta(days=int(iso_times.date_at(data.ctypes.data))) == day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-02-29", iso_times.NO_SUCH_DAY),
        ("1900-02-29", iso_times.NO_SUCH_DAY),
        ("2020-13-01", iso_times.NO_SUCH_DAY),
        ("2020-00-01", iso_times.NO_SUCH_DAY),
        ("2020-01-00", iso_times.NO_SUCH_DAY),
        ("0000-01-01", iso_times.NO_DATE),
        ("2020/01/01", iso_times.NO_DATE),
        ("2020-01-0:", iso_times.NO_DATE),
        ("2020-1-01 ", iso_times.NO_DATE),
        ("２020-01", iso_times.NO_DATE),  # noqa: RUF001 - that is it
    ],
)
def test_what_is_no_date(text, expected):
    assert iso_times.date_at(padded(text).ctypes.data) == expected


def test_times():
    for text, expected in (
        ("00:00:00", 0),
        ("23:59:59", 86_399),
        ("24:00:00", -1),
        ("12:60:00", -1),
        ("1:00:00 ", -1),
    ):
        assert iso_times.seconds_at(padded(text).ctypes.data) == expected
    for text, digits, expected in ((".5", 3, 500), (".123456", 6, 123_456), ("", 6, 0)):
        data = padded(text)
        assert iso_times.fraction_at(data.ctypes.data, digits) == (data.ctypes.data + len(text), expected)
    for text in (".", ".1234", ".x"):
        assert iso_times.fraction_at(padded(text).ctypes.data, 3)[0] < 0


def test_zones():
    for text, expected in (("Z", 0), ("+01:30", 5_400), ("-23:59", -86_340)):
        data = padded(text)
        assert iso_times.zone_at(data.ctypes.data) == (data.ctypes.data + len(text), expected)
    for text in ("", "z", "+24:00", "+01:60", "+0100", "+1:00", " 01:00"):
        assert iso_times.zone_at(padded(text).ctypes.data)[0] < 0


TEXTS = st.lists(
    st.sampled_from(
        [*'"{}[],:-+.eE0123456789 \\/bfnrtu', "true", "null", "\\u00e9", "\\ud83d\\ude00", "é", "\x01"]
    ),
    max_size=12,
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def refuse(constant):
    raise ValueError(constant)


@settings(max_examples=500, deadline=None)
@given(VALUES.map(json.dumps) | TEXTS)
def test_values_that_are_passed_over(text):
    data = padded(text)
    end, found = json_text.value_end(data.ctypes.data)
    read = end - data.ctypes.data
    try:
        _, expected = json.JSONDecoder(parse_constant=refuse).raw_decode(text)
    except ValueError:
        assert found != json_text.GOOD
    else:
        if found == json_text.GOOD:
            assert len(text.encode()[:read].decode()) == expected
        elif found == json_text.NO_JSON:
            assert text[expected] in ".eE0123456789"  # Python takes the 1 of "1.x", and the 0 of "01"
    assert read <= len(text.encode())


def test_nesting_is_bounded():
    for depth, expected in (
        (json_text.NESTING_MAX, json_text.GOOD),
        (json_text.NESTING_MAX + 1, json_text.UNSURE),
    ):
        assert json_text.value_end(padded("[" * depth + "]" * depth).ctypes.data)[1] == expected


@settings(max_examples=500, deadline=None)
@given(st.text(), st.booleans())
def test_strings(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    data = padded(text)
    begin = data.ctypes.data + 1
    end, flags = json_text.string_end(begin)
    assert end - begin == len(text.encode()) - 2
    assert bool(flags & json_text.ESCAPED) == ("\\" in text)
    assert bool(flags & json_text.NOT_ASCII) == (not text.isascii())
    target = np.zeros(len(text.encode()) + 8, np.uint8)
    size = json_text.unescape(begin, end, target.ctypes.data)
    assert target[:size].tobytes().decode() == value
