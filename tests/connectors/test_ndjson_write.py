"""Writing NDJSON: what comes back is what was written, and what would not is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from system.text_files import read_blocks

from arrowstream.connectors.files.encode import encode_file
from arrowstream.connectors.files.ndjson import NdjsonEncoding, NdjsonFormat
from arrowstream.errors import DataError, PlanError


def written(frame, cuts=()):
    """The bytes of a file, of batches that end at `cuts`."""
    batches = []
    for start, end in pairwise([0, *sorted(cuts), frame.height]):
        table = frame[start:end].rechunk().to_arrow()
        columns = [column.combine_chunks() for column in table.columns]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=table.schema))
    return b"".join(encode_file(map(pl.DataFrame, batches), NdjsonEncoding()))


def read(data, schema):
    blocks = read_blocks(NdjsonFormat(), data, schema, on_error="raise")
    return pl.concat([pl.DataFrame(schema=schema), *(block.frame for block in blocks)])


finite = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
texts = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = {
    pl.Int8(): st.integers(-128, 127),
    pl.UInt32(): st.integers(0, 2**32 - 1),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Float64(): finite,
    pl.Float32(): st.floats(width=32, allow_nan=False, allow_infinity=False),
    pl.Boolean(): st.booleans(),
    pl.String(): texts,
    pl.Date(): st.dates(date(1, 1, 1)),
    pl.Time(): st.times(),
    pl.Datetime("us"): moments,
    pl.Datetime("ns"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    pl.Datetime("us", "Europe/Berlin"): st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    ),
    pl.Decimal(20, 3): st.decimals(-(10**16), 10**16, places=3, allow_nan=False),
    pl.Decimal(38, 0): st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
    pl.Categorical(): st.sampled_from(["x", "", "y,z"]),
    pl.Enum(["", "a", 'b"']): st.sampled_from(["", "a", 'b"']),
    pl.Null(): st.none(),
    pl.List(pl.Int64): st.lists(st.none() | st.integers(-9, 9), max_size=3),
    pl.List(pl.List(pl.Date)): st.lists(st.none() | st.lists(st.none() | st.dates(), max_size=2), max_size=2),
    pl.Array(pl.Int16, 2): st.lists(st.none() | st.integers(-9, 9), min_size=2, max_size=2),
    pl.Struct(
        {"a": pl.Int64, "b é": pl.List(pl.Decimal(10, 2)), "c": pl.Struct({"t": pl.Time})}
    ): st.fixed_dictionaries(
        {
            "a": st.none() | st.integers(-9, 9),
            "b é": st.none() | st.lists(st.decimals(-99, 99, places=2, allow_nan=False), max_size=2),
            "c": st.none() | st.fixed_dictionaries({"t": st.none() | st.times()}),
        }
    ),
}


@pytest.mark.parametrize("dtype", VALUES, ids=str)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_each_type_comes_back(dtype, data):
    values = data.draw(st.lists(st.none() | VALUES[dtype], max_size=8))
    frame = pl.DataFrame(
        {'na"me': pl.Series(values, dtype=dtype, strict=False), "y": list(range(len(values)))}
    )
    frame = frame.cast({"y": pl.Int64})
    content = written(frame)
    assert all(json.loads(line) for line in content.splitlines() if line)
    assert_frame_equal(read(content, frame.schema), frame, check_exact=True, categorical_as_str=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9) | st.none(), texts | st.none()), max_size=30), st.data())
def test_bytes_depend_on_the_rows_alone(rows, data):
    frame = pl.DataFrame(rows, {"a": pl.Int64, "b": pl.String}, orient="row")
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    assert written(frame, cuts) == written(frame) == frame.write_ndjson().encode()


def test_others_read_it(tmp_path):
    frame = pl.DataFrame({"a": [1, None, 3], "s": ['x"y', "line\nbreak", None], "l": [[1], None, []]})
    path = tmp_path / "out.ndjson"
    path.write_bytes(written(frame))
    assert_frame_equal(pl.read_ndjson(path), frame)
    assert duckdb.read_json(str(path)).fetchall() == frame.rows()


@pytest.mark.parametrize(
    "dtype",
    [
        *(pl.Binary(), pl.Duration("us"), pl.Int128(), pl.Object(), pl.List(pl.Binary)),
        *(pl.Struct({"x": pl.List(pl.Duration("us"))}), pl.Array(pl.Int64, 0)),
    ],
    ids=str,
)
def test_what_json_cannot_hold_is_refused_by_name(dtype):
    with pytest.raises(PlanError, match=r"column 'bad'.* is .*, which NDJSON cannot hold") as caught:
        NdjsonEncoding().check_schema(pl.Schema({"a": pl.Int64, "bad": dtype}))
    assert caught.value.hint


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([1.0, float("nan")]),
        pl.Series([float("inf")], dtype=pl.Float32),
        pl.Series([[1.0], [None, float("-inf")]]),
        pl.Series([{"x": [{"y": float("nan")}]}]),
    ],
    ids=str,
)
def test_numbers_that_json_does_not_have_are_refused(column):
    with pytest.raises(DataError, match="column 'x' has NaN or an infinity"):
        written(pl.DataFrame({"x": column}))
    assert written(pl.DataFrame({"x": pl.Series([1.0, None])})) == b'{"x":1.0}\n{"x":null}\n'


def test_identity_and_names():
    encoding = NdjsonEncoding()
    assert (encoding.name, encoding.suffix, encoding.identity()) == (
        "NDJSON",
        ".ndjson",
        {"format": "ndjson"},
    )
    assert written(pl.DataFrame(schema={"a": pl.Int64})) == b""
