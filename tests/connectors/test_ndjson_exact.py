"""The compiled decoder of NDJSON gives what the exact one gives: rows, dead slots, and the words for them."""

from __future__ import annotations

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from system.text_files import damaged, plain, read_blocks

from arrowstream.config import DEAD
from arrowstream.connectors.files.ndjson import NdjsonFormat
from arrowstream.connectors.files.ndjson.exact import ExactDecoder, records_of

SCHEMA = pl.Schema(
    {
        "i": pl.Int64,
        "s": pl.Int8,
        "w": pl.UInt32,
        "u": pl.UInt64,
        "f": pl.Float64,
        "g": pl.Float32,
        "b": pl.Boolean,
        "t": pl.String,
        "a longer key, é": pl.String,
        "d": pl.Date,
        "m": pl.Datetime("ms"),
        "n": pl.Datetime("ns"),
        "z": pl.Datetime("us", "Europe/Berlin"),
        "c": pl.Time,
        "k": pl.Enum(["x", "y", ""]),
        "o": pl.Struct(
            {
                "i": pl.Int64,
                "t": pl.String,
                "l": pl.List(pl.Struct({"d": pl.Date, "f": pl.Float64})),
                "o": pl.Struct({"b": pl.Boolean}),
            }
        ),
        "l": pl.List(pl.List(pl.Int16)),
        "p": pl.List(pl.Array(pl.Float32, 2)),
        'odd "\\\n': pl.Int64,
    }
)
EXACT = pl.Schema({"d": pl.Decimal(38, 3), "w": pl.Int128, "l": pl.List(pl.Decimal(10, 1))})

blanks = st.sampled_from(["", "", "", " ", "\t", " \r"])
digits = st.text("0123456789", min_size=1, max_size=22)
numbers = st.one_of(
    st.integers(-200, 200).map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["-0", "-0.0", "0.0", "0e5", "1E+2", "1e-2", "1e400", "5e-324", "1e-400", "01", "1.", ".5", "+1"]
    ),
    st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "-", "1e", "1e+", "0x10", "1_0", "9" * 400, "0." + "0" * 30 + "1"]
    ),
    st.builds(
        "{}{}.{}{}".format, st.sampled_from(["", "-"]), digits, digits, st.sampled_from(["", "e5", "E-30"])
    ),
)
characters = st.one_of(
    st.sampled_from("abc \x7fé😀"),
    st.sampled_from(
        [*(f"\\{letter}" for letter in '"\\/bfnrtux'), "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\uDE00"]
    ),
    st.sampled_from(["\x01", "\t", "\\u0000", "\\u12", "plain text of some length", "\\u20ac€"]),
)
strings = st.one_of(
    st.lists(characters, max_size=4).map("".join),
    st.sampled_from(["2020-02-29", "2021-02-29", "2020-13-01", "9999-12-31", " 2020-01-01", "2020-1-1"]),
    st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["2020-01-01", "1969-12-31", "1600-01-01"]),
        st.sampled_from(["T", " ", "t", ""]),
        st.sampled_from(["00:00:00", "23:59:59", "24:00:00", "12:30", "12", "12:60:00", "1:2:3"]),
        st.sampled_from(["", "", ".5", ".123", ".1234567", ".123456789", ".1234567890", "."]),
        st.sampled_from(["", "", "Z", "Z", "+01:00", "-23:59", "+24:00", "+0100", "z", " "]),
    ),
    st.sampled_from(["01:02:03", "01:02:03.25", "25:00:00", "01:02", "x", "y", "1", "true", "null"]),
).map('"{}"'.format)
scalars = st.one_of(numbers, strings, st.sampled_from(["null", "true", "false", "nul", "True", ""]))
keys = st.sampled_from([*SCHEMA, *SCHEMA, "unknown", "\\u0069", "i\\", "é"]).map(lambda key: f'"{key}"')


@st.composite
def joined(draw, inner, begin, end):
    items = draw(st.lists(inner, max_size=4))
    return draw(blanks) + begin + (draw(blanks) + "," + draw(blanks)).join(items) + draw(blanks) + end


def objects(inner):
    members = st.builds("{}{}:{}{}".format, keys, blanks, blanks, inner)
    return joined(members, "{", "}")


values = st.recursive(scalars, lambda inner: joined(inner, "[", "]") | objects(inner), max_leaves=5)
TYPICAL = {
    "i": numbers,
    "s": st.integers(-130, 130).map(str),
    "f": numbers,
    "t": strings,
    "a longer key, é": strings,
    "d": strings,
    "m": strings,
    "n": strings,
    "z": strings,
    "c": strings,
    "k": st.sampled_from(['"x"', '""', '"z"']),
    "b": st.sampled_from(["true", "false", "1"]),
    "o": objects(scalars),
    "l": st.lists(st.lists(st.integers(-5, 5), max_size=2), max_size=3).map(str),
    "p": st.sampled_from(["[[1,2]]", "[null, [1.5,null]]", "[[1]]", "[]", "[[]]"]),
}
typical = st.sampled_from(list(TYPICAL)).flatmap(
    lambda key: TYPICAL[key].map(lambda value: f'"{key}":{value}')
)
lines = st.one_of(joined(typical, "{", "}"), joined(typical, "{", "}"), objects(values), values, blanks)
files = st.lists(lines, max_size=8).map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass"))


SCHEMA, EXACT = (pl.DataFrame(schema=schema).schema for schema in (SCHEMA, EXACT))  # no classes inside types


def compiled(data, schema):
    found = []
    for block in read_blocks(NdjsonFormat(), data, schema):
        frame = block.frame
        assert frame.drop(DEAD, strict=False).schema == schema
        letters = frame.get_column(DEAD).to_list() if DEAD in frame.columns else [None] * frame.height
        for row, letter in zip(frame.drop(DEAD, strict=False).rows(), letters, strict=True):
            assert letter is None or not any(value is not None for value in row)
            found.append(tuple(map(plain, row)) if letter is None else (letter["original"], letter["error"]))
    return found


def exact(data, schema):
    records = records_of(data)
    frame, slots, errors = ExactDecoder(schema).rows(records) if len(records) else (pl.DataFrame(), [], {})
    rows = {slot: tuple(map(plain, row)) for slot, row in zip(slots, frame.rows(), strict=True)}
    return [
        (records.at(slot), errors[slot]) if slot in errors else rows[slot] for slot in range(len(records))
    ]


def check(data):
    for schema in (SCHEMA, EXACT):
        assert compiled(data, schema) == exact(data, schema)


@settings(max_examples=100, deadline=None)
@given(files)
def test_any_text(data):
    check(data)


@settings(max_examples=50, deadline=None)
@given(files, st.integers(0, 2**32))
def test_any_damaged_text(data, seed):
    check(damaged(data or b"{}", random.Random(seed)).removeprefix(b"\xef\xbb\xbf"))


@pytest.mark.soak
@settings(max_examples=5_000, deadline=None)
@given(files, st.integers(0, 2**32))
def test_any_text_at_length(data, seed):
    check(data)
    check(damaged(data or b"{}", random.Random(seed)).removeprefix(b"\xef\xbb\xbf"))
