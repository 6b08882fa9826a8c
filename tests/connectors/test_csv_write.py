"""Writing CSV: what comes back is what was written, and what would not is refused by name."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, time
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

import arrowstream as ars
from arrowstream.connectors.files.csv import CsvEncoding, CsvFormat
from arrowstream.connectors.files.encode import encode_file
from arrowstream.errors import DataError, PlanError

BERLIN = ZoneInfo("Europe/Berlin")


def written(frame, encoding=None, cuts=()):
    """The bytes of a file, of batches that end at `cuts`."""
    batches = []
    for start, end in pairwise([0, *sorted(cuts), frame.height]):
        table = frame[start:end].rechunk().to_arrow()
        columns = [column.combine_chunks() for column in table.columns]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=table.schema))
    return b"".join(encode_file(map(pl.DataFrame, batches), encoding or CsvEncoding()))


def read(data, schema, **options):
    blocks = read_blocks(CsvFormat(**options), data, schema, on_error="raise")
    return pl.concat([pl.DataFrame(schema=schema), *(block.frame for block in blocks)])


moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
VALUES = {
    pl.Int8(): st.integers(-128, 127),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.UInt16(): st.integers(0, 2**16 - 1),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Float64(): st.floats(),
    pl.Float32(): st.floats(width=32),
    pl.Boolean(): st.booleans(),
    pl.String(): st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(['"', "\r", "\n", "a,b", "", " ", "null"]),
    pl.Date(): st.dates(date(1, 1, 1)),
    pl.Time(): st.times(),
    pl.Datetime("ms"): moments.map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    pl.Datetime("us"): moments,
    pl.Datetime("ns"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    pl.Datetime("us", "Europe/Berlin"): st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=UTC).astimezone(BERLIN)
    ),
    pl.Decimal(20, 3): st.decimals(-(10**16), 10**16, places=3, allow_nan=False),
    pl.Decimal(38, 0): st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
    pl.Categorical(): st.sampled_from(["x", "", "y,z"]),
    pl.Enum(["", "a", 'b"']): st.sampled_from(["", "a", 'b"']),
    pl.Null(): st.none(),
}


@pytest.mark.parametrize("dtype", VALUES, ids=str)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_each_type_comes_back(dtype, data):
    values = data.draw(st.lists(st.none() | VALUES[dtype], max_size=8))
    frame = pl.DataFrame(
        {"before": [None] * len(values), "x": pl.Series(values, dtype=dtype)}, {"before": pl.Int8, "x": dtype}
    )
    for chosen in (frame, frame.select("x")):
        content = written(chosen)
        assert_frame_equal(read(content, chosen.schema), chosen, check_exact=True, categorical_as_str=True)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9) | st.none(), st.text('a\n",é', max_size=4) | st.none()), max_size=30
    ),
    st.data(),
)
def test_bytes_depend_on_the_rows_alone(rows, data):
    frame = pl.DataFrame(rows, {"a": pl.Int64, "b,": pl.String}, orient="row")
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    assert written(frame, cuts=cuts) == written(frame) == frame.write_csv().encode()


OPTIONS = [
    {"include_bom": True},
    {"include_header": False},
    {"separator": ";", "quote_char": "'"},
    {"line_terminator": "\r\n"},
    {"datetime_format": "%Y-%m-%dT%H:%M:%S", "date_format": "%Y-%m-%d", "time_format": "%H:%M"},
    {"float_scientific": True, "float_precision": 3},
    {"decimal_comma": True, "separator": ";"},
    {"null_value": "NA"},
    {"quote_style": "always"},
    {"quote_style": "non_numeric"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_are_those_of_polars(options):
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "f": [1.5, None],
            "s": ["x;'y", None],
            "t": [datetime(2020, 1, 1, 1, 2, 3), None],
            "d": [date(2020, 1, 1), None],
            "c": [time(1, 2), None],
        }
    )
    assert written(frame, CsvEncoding(**options)) == frame.write_csv(**options).encode()


def test_a_file_without_rows_has_its_header():
    assert written(pl.DataFrame(schema={"a": pl.Int64, "b": pl.String})) == b"a,b\n"


def test_others_find_the_types_where_an_epoch_has_no_rows(tmp_path):
    rows = ars.from_polars(pl.DataFrame({"a": range(10), "b": ["x"] * 10}))
    rows.filter(pl.col("a") > 4).sink_csv(tmp_path / "some").run(
        checkpoint=tmp_path / "state", checkpoint_every=3, progress=False
    )
    names = sorted(path.name for path in (tmp_path / "some").iterdir())
    assert names == [f"part-0000000{epoch}.csv" for epoch in (2, 3, 4)]
    assert pl.read_csv(tmp_path / "some").schema == {"a": pl.Int64, "b": pl.String}
    assert duckdb.read_csv(str(tmp_path / "some" / "*.csv")).fetchall() == [(a, "x") for a in range(5, 10)]
    rows.filter(pl.col("a") > 10).sink_csv(tmp_path / "none").run(
        checkpoint=tmp_path / "other", checkpoint_every=3, progress=False
    )
    (only,) = (tmp_path / "none").iterdir()
    assert only.read_bytes() == b"a,b\n"


def test_others_read_it(tmp_path):
    frame = pl.DataFrame(
        {"a": [1, None, 3], "s": ['x"y', "line\nbreak", None], "t": [datetime(2020, 1, 1)] * 3}
    )
    path = tmp_path / "out.csv"
    path.write_bytes(written(frame))
    assert_frame_equal(pl.read_csv(path, try_parse_dates=True), frame)
    assert duckdb.read_csv(str(path)).fetchall() == frame.rows()


@pytest.mark.parametrize(
    "dtype",
    [
        *(pl.List(pl.Int64), pl.Array(pl.Int64, 2), pl.Struct({"x": pl.Int64})),
        *(pl.Binary(), pl.Duration("us"), pl.Int128(), pl.Object()),
    ],
    ids=str,
)
def test_what_csv_cannot_hold_is_refused_by_name(dtype):
    with pytest.raises(PlanError, match=r"column 'bad' is .*, which CSV cannot hold") as caught:
        CsvEncoding().check_schema(pl.Schema({"a": pl.Int64, "bad": dtype}))
    assert caught.value.hint


def test_a_text_that_would_be_null_is_refused():
    frame = pl.DataFrame({"a": [1], "s": ["NA"]})
    with pytest.raises(DataError, match="column 's' has the text 'NA', which would be read as null"):
        written(frame, CsvEncoding(null_value="NA"))
    assert written(frame, CsvEncoding(null_value="NA", quote_style="non_numeric")) == b'"a","s"\n1,"NA"\n'


@pytest.mark.parametrize("text", ["a,b", 'a"b', "a\nb", "a\rb", ""])
def test_texts_that_need_quotes_and_get_none_are_refused(text):
    never = CsvEncoding(quote_style="never")
    assert written(pl.DataFrame({"s": ["x y", None]}), never) == b"s\nx y\n\n"
    with pytest.raises(DataError, match="column 's' has"):
        written(pl.DataFrame({"s": [text]}), never)
    with pytest.raises(DataError, match="column 'the header' has"):
        written(pl.DataFrame({"a,b": [1]}), never)


def test_texts_that_end_the_line_are_refused():
    bars = CsvEncoding(line_terminator="|")
    assert written(pl.DataFrame({"s": ["x", "y"]}), bars) == b"s|x|y|"
    with pytest.raises(DataError, match=r"column 's' has a text with '\|' in it"):
        written(pl.DataFrame({"s": ["x|y"]}), bars)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "ab"}, "separator='ab' is not one byte"),
        ({"separator": '"'}, "have to differ"),
        ({"quote_char": "\n"}, "have to differ"),
        ({"line_terminator": ""}, "does not end lines"),
        ({"quote_style": "some"}, "quote_style='some' is not known"),
        ({"float_precision": -1}, "float_precision=-1 is negative"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(PlanError, match=message):
        CsvEncoding(**options)


def test_identity_has_all_options():
    assert CsvEncoding(separator=";").identity()["separator"] == ";"
    assert io.BytesIO(written(pl.DataFrame({"a": [1]}))).read() == b"a\n1\n"
