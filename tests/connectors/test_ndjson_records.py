"""Which lines are a record of an NDJSON file, and what is in it: held to Python's parser of JSON."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from system.text_files import ndjson_slots, read_blocks, slots

from arrowstream.connectors.files.ndjson import NdjsonFormat

FORMAT = NdjsonFormat()
SCHEMA = pl.Schema(
    {
        "i": pl.Int64,
        "u": pl.UInt64,
        "s": pl.Int8,
        "f": pl.Float64,
        "b": pl.Boolean,
        "d": pl.Date,
        "t": pl.Datetime("us"),
        "l": pl.List(pl.Int64),
        "n": pl.Struct({"x": pl.Int64, "y": pl.List(pl.Date), "z": pl.Struct({"w": pl.Boolean})}),
    }
)
TEXT = pl.Schema({"t": pl.String, "i": pl.Int64})

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-130, 130),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "x", "1", "2020-01-01", "2020-02-30", "2020-01-01T01:02:03.5", "2020-01-01 01:02:03"]
    ),
    st.text(max_size=3),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyzw"), inner, max_size=3),
    max_leaves=6,
)
fitting = st.fixed_dictionaries(
    {},
    optional={
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "u": st.integers(0, 2**64 - 1),
        "s": st.integers(-128, 127),
        "f": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000),
        "b": st.booleans(),
        "d": st.sampled_from(["2020-01-01", "1969-12-31"]),
        "t": st.sampled_from(["2020-01-01T01:02:03", "2020-01-01 01:02:03.000001"]),
        "l": st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=3),
        "n": st.none()
        | st.fixed_dictionaries({}, optional={"x": st.integers(), "y": st.just([None, "2020-01-01"])}),
    },
)
records = st.one_of(
    fitting.map(json.dumps),
    fitting.map(json.dumps),
    st.dictionaries(st.sampled_from(list(SCHEMA)), values, max_size=4).map(json.dumps),
    st.dictionaries(st.sampled_from(["i", "q"]), values, max_size=2).map(
        lambda record: json.dumps(record, ensure_ascii=False)
    ),
    st.sampled_from(
        [
            *(
                "",
                " ",
                "null",
                "[1]",
                "5",
                "{}",
                "{",
                '{"i":1',
                '{"i":tru}',
                '{"i":1} x',
                ' {"i":1} ',
                '{"i":01}',
            ),
            *(
                '{"i":1,"i":"x"}',
                '{"i":1}{"i":2}',
                '{"i":NaN}',
                '{"f":1e999}',
                '{"q":"\\ud800"}',
                '{"s":200}',
            ),
            *(
                '{"q":"\\ud83d\\ude00"}',
                '{"q":"\\\\ud800"}',
                '{"q":"\t"}',
                '{"i":-0}',
                '{"i":1.0}',
                '{"f":1.0}',
            ),
            *('{"i" : 7 ,"b":true}\r', '{"u":-1}'),
        ]
    ),
).map(lambda line: line.encode("utf-8", "surrogatepass"))
lines = st.lists(records | st.just(b'{"i":"\xff"}'), max_size=12)
sizes = st.lists(st.integers(1, 60), max_size=20)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines, sizes)
def test_any_lines_are_the_rows_and_dead_slots_of_the_definition(found, cuts):
    data = b"\n".join(found)
    expected = ndjson_slots(data, SCHEMA)
    for read in ((), cuts):
        assert slots(read_blocks(FORMAT, data, SCHEMA, sizes=read)) == expected


@settings(max_examples=60, deadline=None)
@given(lines, sizes)
def test_reading_goes_on_where_a_block_ended(found, cuts):
    data = b"\n".join(found)
    blocks = read_blocks(FORMAT, data, SCHEMA, sizes=cuts)
    whole, done = slots(blocks), 0
    for block in blocks:
        done += block.frame.height
        assert slots(read_blocks(FORMAT, data, SCHEMA, resume=block.resume)) == whole[done:]


@settings(max_examples=60, deadline=None)
@given(lines, st.integers(0, 300))
def test_a_file_that_grows_gives_the_same_rows(found, first):
    data = b"\n".join(found)
    expected = slots(read_blocks(FORMAT, data, SCHEMA))
    early = read_blocks(FORMAT, data[:first], SCHEMA, growing=True)
    late = read_blocks(FORMAT, data, SCHEMA, resume=early[-1].resume if early else None)
    assert slots(early) + slots(late) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=6) | st.none(), max_size=6))
def test_texts_come_as_they_are(texts):
    data = b"".join(json.dumps({"t": text}).encode() + b"\n" for text in texts)
    expected = ndjson_slots(data, TEXT)
    assert slots(read_blocks(FORMAT, data, TEXT)) == expected
