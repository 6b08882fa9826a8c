"""Which bytes are a record of a CSV file, and which a bad one: held to a parser that goes byte by byte."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from system.text_files import csv_slots, read_blocks, slots

from arrowstream.connectors.files.csv import CsvFormat

PLAIN = CsvFormat(has_header=False)
SCHEMA = pl.Schema({"column_0": pl.Int64, "column_1": pl.String, "column_2": pl.Float64})
ONE = pl.Schema({"column_0": pl.String})

fragments = st.sampled_from(
    [
        *(b'"', b'"', b'""', b",", b",", b"\n", b"\n", b"\r\n", b"\r", b"1", b"2.5", b"x", b" ", b"\xff"),
        *("é".encode(), b'1,"a",2.5\n', b'"1","a ""b"" c",\n', b'7,"a\nb",-1\n', b"8,,\n", b"9,x\n"),
    ]
)
contents = st.lists(fragments, max_size=30).map(b"".join)
sizes = st.lists(st.integers(1, 12), max_size=40)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents, sizes)
def test_any_bytes_are_the_rows_and_dead_slots_of_the_definition(data, cuts):
    for schema in (SCHEMA, ONE):
        expected = csv_slots(data, schema)
        for read in ((), cuts):
            assert slots(read_blocks(PLAIN, data, schema, sizes=read, resume=[0, 1])) == expected


@settings(max_examples=100, deadline=None)
@given(contents, sizes)
def test_reading_goes_on_where_a_block_ended(data, cuts):
    blocks = read_blocks(PLAIN, data, SCHEMA, sizes=cuts, resume=[0, 1])
    whole = slots(blocks)
    done = 0
    for block in blocks:
        done += block.frame.height
        assert slots(read_blocks(PLAIN, data, SCHEMA, resume=block.resume)) == whole[done:]


@settings(max_examples=100, deadline=None)
@given(contents, st.integers(0, 200))
def test_a_file_that_grows_gives_the_same_rows(data, first):
    expected = slots(read_blocks(PLAIN, data, SCHEMA, resume=[0, 1]))
    early = read_blocks(PLAIN, data[:first], SCHEMA, resume=[0, 1], growing=True)
    resume = early[-1].resume if early else [0, 1]
    late = read_blocks(PLAIN, data, SCHEMA, resume=resume)
    assert slots(early) + slots(late) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1,x,2\n", [("row", (1, "x", "2.0"))]),
        (b'1,"x\ny",2', [("row", (1, "x\ny", "2.0"))]),
        (b'1,"x""y",2\r\n', [("row", (1, 'x"y', "2.0"))]),
        (b'1,5" pipe,2\n', [("row", (1, '5" pipe', "2.0"))]),
        (b"1,,\n", [("row", (1, None, None))]),
        (b'"","",""\n', [("row", (None, "", None))]),
        (b"\n\n", []),
        (b"1,x\n", [("dead", b"1,x", "line 1")]),
        (b"1,x,2,\n", [("dead", b"1,x,2,", "line 1")]),
        (b"1.0,x,2\n", [("dead", b"1.0,x,2", "line 1")]),
        (b"0x10,x,2\n", [("dead", b"0x10,x,2", "line 1")]),
        (b"9223372036854775808,x,2\n", [("dead", b"9223372036854775808,x,2", "line 1")]),
        (b"1,\xff,2\n", [("dead", b"1,\xff,2", "line 1")]),
        (b'1,"x"y,2\n3,z,4\n', [("dead", b'1,"x"y,2', "line 1"), ("row", (3, "z", "4.0"))]),
        (b'1,"x,2\n3,z,4\n', [("dead", b'1,"x,2', "line 1"), ("row", (3, "z", "4.0"))]),
        (b'1,"a\nb",2\n\n3,"c\nd",x\n', [("row", (1, "a\nb", "2.0")), ("dead", b'3,"c\nd",x', "line 4")]),
        (b"1,x\ry,2\n", [("dead", b"1,x\ry,2", "line 1")]),
        (b'1,"x\ry",2\n', [("row", (1, "x\ry", "2.0"))]),
    ],
)
def test_records(data, expected):
    assert csv_slots(data, SCHEMA) == expected
    assert slots(read_blocks(PLAIN, data, SCHEMA, resume=[0, 1])) == expected
