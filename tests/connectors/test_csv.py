"""CSV: options, heads of files, types that are inferred, and files that others wrote."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime, time
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
from polars.testing import assert_frame_equal
from system.text_files import damaged, plain, read_blocks, slots, text_value

from arrowstream.config import DEAD
from arrowstream.connectors.files.csv import CsvFormat
from arrowstream.connectors.files.text import converted
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError, PlanError


def frame(data, schema=None, *, on_error="raise", columns=None, **options):
    blocks = read_blocks(CsvFormat(**options), data, schema, on_error=on_error, columns=columns)
    return pl.concat([block.frame for block in blocks], how="diagonal")


def schema_of(data, **options):
    return dict(CsvFormat(**options).schema(io.BytesIO(data), "file"))


# The head of a file


def test_a_header_names_the_columns():
    assert frame(b"a,b\n1,x\n").to_dict(as_series=False) == {"a": [1], "b": ["x"]}


def test_without_a_header_columns_are_numbered():
    assert frame(b"1,x\n2,y\n", has_header=False).to_dict(as_series=False) == {
        "column_0": [1, 2],
        "column_1": ["x", "y"],
    }


def test_a_byte_order_mark_is_no_text():
    assert frame(b"\xef\xbb\xbfa\n1\n").columns == ["a"]
    assert frame(b"\xef\xbb\xbf1\n", has_header=False)["column_0"].to_list() == [1]


def test_names_in_quotes_may_have_anything():
    assert frame(b'"a,b","c\nd","e""f"\n1,2,3\n').columns == ["a,b", "c\nd", 'e"f']


def test_names_that_come_twice_become_different_ones_as_in_polars():
    data = b"a,a,b,a\n1,2,3,4\n"
    assert frame(data).columns == pl.read_csv(data).columns


def test_names_that_are_empty_become_numbers():
    read = frame(b",a,\n1,2,3\n")  # as pandas writes its index
    assert read.to_dict(as_series=False) == {"column_0": [1], "a": [2], "column_2": [3]}


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\r\n", b"\xef\xbb\xbf"])
def test_a_file_without_anything_has_no_columns(data):
    assert schema_of(data) == {}
    assert read_blocks(CsvFormat(), data) == []


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n\r\n"])
def test_a_file_with_a_header_only_has_columns(data):
    assert schema_of(data) == {"a": pl.String, "b": pl.String}
    assert sum(block.frame.height for block in read_blocks(CsvFormat(), data)) == 0


def test_what_stands_before_the_header_is_left_out():
    data = b'# "report\n\nx,y\na,b\nunits,"m\ns"\n1,2\n'
    read = frame(data, skip_lines=2, skip_rows=1, skip_rows_after_header=1)
    assert read.to_dict(as_series=False) == {"a": [1], "b": [2]}


def test_comments_are_left_out_and_lines_are_counted_with_them():
    data = b"#x\na,b\n# 1,2,3\n1,2\n#\nx,4\n#\n"
    blocks = read_blocks(CsvFormat(comment_prefix="#"), data, {"a": pl.Int64, "b": pl.Int64})
    assert slots(blocks) == [("row", (1, 2)), ("dead", b"x,4", "line 6")]
    assert slots(read_blocks(CsvFormat(comment_prefix="//"), b"a\n//1\n/2\n", {"a": pl.String})) == [
        ("row", ("/2",))
    ]


def test_new_columns_are_names_for_the_first_columns():
    assert frame(b"a,b\n1,2\n", new_columns=["x"]).columns == ["x", "b"]


def test_a_head_that_is_not_there_yet_gives_nothing():
    growing = CsvFormat()
    assert read_blocks(growing, b"a,b", {"a": pl.Int64, "b": pl.Int64}, growing=True) == []
    (block,) = read_blocks(growing, b"a,b\n1", {"a": pl.Int64, "b": pl.Int64}, growing=True)
    assert (block.frame.height, block.resume) == (0, [4, 2])


def test_another_header_than_before_is_an_error():
    with pytest.raises(DataError, match=r"file has the columns a, c now, not a, b"):
        frame(b"a,c\n1,2\n", {"a": pl.Int64, "b": pl.Int64})


def test_a_header_that_cannot_be_is_an_error_with_its_line():
    with pytest.raises(
        DataError, match=r'file, line 2: a quoted field goes on behind its closing quote: ""a"b,c"'
    ):
        schema_of(b'\n"a"b,c\n')
    with pytest.raises(DataError, match="file is not UTF-8"):
        schema_of(b"\xff\xfe,b\n1,2\n")
    with pytest.raises(DataError, match="file has a header with NUL in it"):
        schema_of(b"a\0,b\n1,2\n")


# Options


def test_separator_quote_and_end_of_line():
    assert frame(b"a\tb\n1\t'x\ty'\n", separator="\t", quote_char="'").row(0) == (1, "x\ty")
    assert frame(b'a,b\n1,"x\n', quote_char=None).row(0) == (1, '"x')
    assert frame(b"a,b;1,x\ny;2,;", eol_char=";").rows() == [(1, "x\ny"), (2, None)]
    assert frame(b"a,b\r1,x\r2,y\r", eol_char="\r").rows() == [(1, "x"), (2, "y")]
    blocks = read_blocks(CsvFormat(eol_char=";"), b"a,b;1,x\ny;q,2\n;", {"a": pl.Int64, "b": pl.String})
    assert slots(blocks)[1] == ("dead", b"q,2\n", "line 3")


def test_null_values():
    data = b'a,b,c\nNA,NA,-\n1,"NA",-\n'
    expected = [(None, None, "-"), (1, "NA", "-")]
    assert frame(data, null_values="NA").rows() == expected
    assert frame(data, null_values=["NA", "-"]).rows() == [(None, None, None), (1, "NA", None)]
    assert frame(data, null_values={"a": "NA", "c": "-"}).rows() == [(None, "NA", None), (1, "NA", None)]
    assert frame(b"a,b\nx,\n-,1\n", null_values="-", empty_string_is_null=False).rows() == [
        ("x", None),
        (None, 1),
    ]
    assert frame(b"a,b\n,1\n", empty_string_is_null=False).rows() == [("", 1)]
    assert frame(b"a,b\n,1\nx,2\n", empty_string_is_null=False).rows() == [("", 1), ("x", 2)]


def test_a_decimal_comma():
    data = b"a;b\n1,5;2,50\n"
    schema = {"a": pl.Float64, "b": pl.Decimal(6, 2)}
    assert frame(data, schema, separator=";", decimal_comma=True).row(0) == (1.5, Decimal("2.50"))
    assert schema_of(data, separator=";", decimal_comma=True) == {"a": pl.Float64, "b": pl.Float64}
    dead = slots(read_blocks(CsvFormat(separator=";", decimal_comma=True), b"a;b\n1.5;1\n1,5;1.0\n", schema))
    assert [slot[0] for slot in dead] == ["dead", "dead"]


def test_text_that_is_no_utf_8():
    data = b"a,b\n\xff,1\n\xc3\xa9\xe2\x80,2\n"
    schema = {"a": pl.String, "b": pl.Int64}
    assert [slot[0] for slot in slots(read_blocks(CsvFormat(), data, schema))] == ["dead", "dead"]
    assert frame(data, schema, encoding="utf8-lossy").rows() == [("\ufffd", 1), ("é\ufffd", 2)]


def test_ragged_lines():
    data = b"a,b,c\n1,x,2\n3\n4,y,5,6,7\n8,z\nq,w,1,1\n9,v,0\n"
    schema = {"a": pl.Int64, "b": pl.String, "c": pl.Int64}
    assert slots(read_blocks(CsvFormat(truncate_ragged_lines=True), data, schema)) == [
        ("row", (1, "x", 2)),
        ("row", (3, None, None)),
        ("row", (4, "y", 5)),
        ("row", (8, "z", None)),
        ("dead", b"q,w,1,1", "line 6"),
        ("row", (9, "v", 0)),
    ]
    columns = frame(data, schema, columns=["c", "a"], truncate_ragged_lines=True, on_error="dead_letter")
    assert columns.columns == ["c", "a", DEAD]
    assert columns.drop_nulls("a")["c"].to_list() == [2, None, 5, None, 0]


def test_columns_that_are_not_asked_for_are_not_looked_at():
    data = b"a,b\n1,x\n2,y\nz\n"
    blocks = read_blocks(CsvFormat(), data, {"a": pl.Int64, "b": pl.Int64}, columns=["a"])
    assert slots(blocks) == [("row", (1,)), ("row", (2,)), ("dead", b"z", "line 4")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ",,"}, "separator=',,' is not one byte"),
        ({"quote_char": "é"}, "quote_char='é' is not one byte"),
        ({"separator": '"'}, "have to differ"),
        ({"separator": "\n", "eol_char": ";"}, "can only be the eol_char"),
        ({"comment_prefix": ""}, "would leave out every line"),
        ({"skip_rows": -1}, "skip_rows=-1 is negative"),
        ({"encoding": "latin1"}, "encoding='latin1' is not known"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(PlanError, match=message):
        CsvFormat(**options)


def test_types_that_no_text_can_be_are_refused():
    for dtype in (pl.List(pl.Int64), pl.Struct({"x": pl.Int64}), pl.Duration("us"), pl.Binary):
        with pytest.raises(PlanError, match="column 'b' cannot be"):
            frame(b"a,b\n1,2\n", {"a": pl.Int64, "b": dtype})


def test_identity_has_all_options():
    one = CsvFormat(null_values={"a": "x"}, schema_overrides={"a": pl.Int8}, new_columns=["q"])
    assert one.identity()["schema_overrides"] == {"a": "Int8"}
    assert one.identity() != CsvFormat(null_values="x").identity()


# Values


TEXTS = [
    *(
        "",
        " ",
        "0",
        "-0",
        "1",
        "-1",
        "+1",
        " 1 ",
        "\t1",
        "01",
        "1.0",
        "1.5",
        ".5",
        "5.",
        "1e3",
        "1E-3",
        "-1.5e+3",
    ),
    *(
        "1e400",
        "1e-400",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "Infinity",
        "0x10",
        "0XFF",
        "-0x1",
        "1_000",
        "1,5",
        "--1",
    ),
    *("127", "128", "-128", "-129", "255", "2147483648", "9223372036854775807", "9223372036854775808"),
    *(
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "9" * 40,
    ),
    *(
        "true",
        "false",
        "True",
        "TRUE",
        "tRUE",
        "t",
        "yes",
        "x",
        "é",
        "\uff11",
        "1.25",
        "1.255",
        "12345678.90",
        "1e1",
    ),
    *(
        "2020-01-01",
        "2020-02-30",
        "0001-01-01",
        "9999-12-31",
        "2020-1-1",
        " 2020-01-01",
        "2020-01-01T01:02:03",
    ),
    *(
        "2020-01-01 01:02:03.5",
        "2020-01-01T01:02:03.123456",
        "2020-01-01T01:02:03.1234567",
        "2020-01-01T25:00:00",
    ),
    *(
        "2020-01-01T01:02:03Z",
        "01:02:03",
        "24:00:00",
        "01:02:03.5",
        "01:02:60",
        "1.7976931348623157e308",
        "4.9e-324",
    ),
]
DTYPES = [
    *(
        pl.Int8(),
        pl.Int32(),
        pl.Int64(),
        pl.UInt64(),
        pl.Float64(),
        pl.Boolean(),
        pl.Date(),
        pl.Datetime("us"),
    ),
    *(pl.Time(), pl.Decimal(10, 2), pl.Decimal(38, 0), pl.String()),
]
# What PyArrow takes and Python does not, or says otherwise.
LIKE_NAN = {"NaN", "Infinity", "nan", "inf", "-inf"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_those_of_python_alone_and_among_bad_ones(dtype):
    expected = {}
    for text in TEXTS:
        try:
            is_null = not text and dtype != pl.String
            expected[text] = (None if is_null else plain(text_value(text, dtype)), True)
        except ValueError:
            expected[text] = (None, False)
    if dtype == pl.Float64:
        expected |= {text: (plain(float(text)), True) for text in LIKE_NAN}
    if dtype == pl.Datetime("us"):
        expected["2020-01-01"] = (datetime(2020, 1, 1), True)
        expected["0001-01-01"] = (datetime(1, 1, 1), True)
        expected["9999-12-31"] = (datetime(9999, 12, 31), True)
    for text in TEXTS:  # alone: PyArrow reads the column as its type
        quoted = text.replace('"', '""').encode()
        got = slots(
            read_blocks(CsvFormat(separator=";"), b"z;a\n;" + quoted + b"\n", {"z": pl.String, "a": dtype})
        )
        if text:
            assert got[0][0] == ("row" if expected[text][1] else "dead"), text
        if got[0][0] == "row" and text:
            assert got[0][1][1] == expected[text][0], text
    values, bad = converted(pl.Series(TEXTS), dtype, empty_is_null=dtype != pl.String)  # together: as text
    for text, value, is_bad in zip(TEXTS, values, bad.tolist(), strict=True):
        assert (plain(value), not is_bad) == expected[text], text


def test_a_bad_value_says_what_and_where():
    with pytest.raises(DataError, match=r'file, line 3: "x" in column \'a\' is no Int64: "x,2"') as caught:
        frame(b"a,b\n1,2\nx,2\ny,3\n", {"a": pl.Int64, "b": pl.Int64})
    assert "on_error" in caught.value.hint
    dead = frame(b"a,b\n1,2\nx,2\n", {"a": pl.Int64, "b": pl.Int64}, on_error="dead_letter")[DEAD][1]
    assert dead == {
        "original": b"x,2",
        "error": "\"x\" in column 'a' is no Int64",
        "source": "file",
        "position": "line 3",
    }


def test_one_bad_line_in_many_costs_itself_alone():
    lines = [b"%d,%d" % (row, row * row) for row in range(300_000)]
    lines[123_456] = b"123456,x"
    data = b"a,b\n" + b"\n".join(lines)
    read = frame(data, {"a": pl.Int64, "b": pl.Int64}, on_error="dead_letter")
    assert read.height == 300_000
    assert read[DEAD].is_not_null().arg_true().to_list() == [123_456]
    assert read[DEAD][123_456]["position"] == "line 123458"
    assert read.filter(pl.col(DEAD).is_null()).select((pl.col("a") ** 2 == pl.col("b")).all()).item()


def test_bad_lines_of_each_kind_in_several_blocks():
    def line(row):
        match row % 100:
            case 1:
                return b"%d" % row
            case 2:
                return b"%d,2,3,4" % row
            case 3:
                return b"x%d,2020-01-01,a" % row
            case 4:
                return b"%d,2020-13-01,a" % row
            case 5:
                return b'%d,2020-01-01,"a"b' % row
            case 6:
                return b"%d,2020-01-01,\xff" % row
            case 7:
                return b"%d,2020-01-01,a\rb" % row
        return b'%d,2020-01-01,"a\nb"' % row if row % 10 == 0 else b"%d,2020-01-01,a" % row

    data = b"".join(line(row) + b"\n" for row in range(100_000)) * 6
    schema = {"column_0": pl.Int64, "column_1": pl.Date, "column_2": pl.String}
    read = frame(data, schema, has_header=False, on_error="dead_letter")
    dead = pl.Series([1 <= row % 100 <= 7 for row in range(100_000)] * 6)
    assert (read[DEAD].is_not_null() == dead).all()
    good = pl.Series(list(range(100_000)) * 6).filter(~dead)
    assert read["column_0"].drop_nulls().equals(good.alias("column_0"))


# Types from the first rows


def test_types_are_those_that_take_all_of_the_sample():
    data = (
        b"i,f,b,s,n,big,huge,mixed,d,t,z,c\n"
        b"1,1,true,x,,9223372036854775808,99999999999999999999,9007199254740993,2020-01-01,2020-01-01T00:00:00,"
        b"2020-01-01T00:00:00Z,01:02:03\n"
        b"-2,1.5,false,1,,1,1,0.5,2020-01-02,2020-01-01 00:00:00.5,2020-01-01T00:00:00+01:00,01:02:03.5\n"
    )
    inferred = schema_of(data, try_parse_dates=True)
    assert inferred == {
        "i": pl.Int64,
        "f": pl.Float64,
        "b": pl.Boolean,
        "s": pl.String,
        "n": pl.String,
        "big": pl.UInt64,
        "huge": pl.String,
        "mixed": pl.String,
        "d": pl.Date,
        "t": pl.Datetime("us"),
        "z": pl.Datetime("us", "UTC"),
        "c": pl.Time,
    }
    assert schema_of(data)["d"] == pl.String
    assert frame(data, inferred).height == 2


def test_how_much_is_looked_at():
    data = b"a\n" + b"1\n" * 200 + b"x\n"
    assert schema_of(data) == {"a": pl.Int64}
    assert schema_of(data, infer_schema_length=None) == {"a": pl.String}
    assert schema_of(data, infer_schema_length=201) == {"a": pl.String}
    assert schema_of(data, infer_schema=False) == {"a": pl.String}
    assert schema_of(data, schema_overrides={"a": pl.Int8}) == {"a": pl.Int8}


def test_bad_lines_do_not_change_the_types():
    assert schema_of(b'a,b\n1,2\nx\n"q"r,1\n3,4\n') == {"a": pl.Int64, "b": pl.Int64}


# Files of others


OTHERS = pl.DataFrame(
    {
        "i": [1, None, -(2**63)],
        "f": [0.1, None, 1e300],
        "s": ['quote " and, comma', None, "line\nbreak"],
        "b": [True, None, False],
        "d": [date(2020, 1, 1), None, date(1969, 12, 31)],
        "t": [datetime(2020, 1, 1, 1, 2, 3, 4), None, datetime(1969, 12, 31)],
    }
)


def by_polars(path):
    OTHERS.write_csv(path)


def by_pyarrow(path):
    pa.csv.write_csv(OTHERS.to_arrow(), path)


def by_duckdb(path):
    others = OTHERS  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql(f"copy others to '{path}' (header)")


def by_pandas(path):
    table = pd.DataFrame({name: pd.Series(OTHERS[name].to_list(), dtype=object) for name in OTHERS.columns})
    table.to_csv(path, index=False)


def by_python(path, **options):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, **options)
        writer.writerow(OTHERS.columns)
        writer.writerows(OTHERS.rows())


def by_python_all_quoted(path):
    by_python(path, quoting=csv.QUOTE_ALL)


@pytest.mark.parametrize(
    "write", [by_polars, by_pyarrow, by_duckdb, by_pandas, by_python, by_python_all_quoted]
)
def test_files_of_others(write, tmp_path):
    write(tmp_path / "others.csv")
    read = frame((tmp_path / "others.csv").read_bytes(), OTHERS.schema)
    if write is by_python_all_quoted:  # it does not tell an empty text from null
        read = read.with_columns(pl.col("s").replace("", None))
    assert_frame_equal(read, OTHERS)


def test_times_of_others(tmp_path):
    moments = pl.DataFrame({"t": [time(1, 2, 3), time(1, 2, 3, 500_000)]})
    moments.write_csv(tmp_path / "times.csv")
    assert_frame_equal(frame((tmp_path / "times.csv").read_bytes(), moments.schema), moments)


# Damage


def test_positions_of_other_files_are_refused():
    with pytest.raises(ConnectorError, match="position x is not one of file"):
        read_blocks(CsvFormat(), b"a\n1\n", {"a": pl.Int64}, resume="x")
    with pytest.raises(ConnectorError, match="file ends before byte 100"):
        read_blocks(CsvFormat(), b"a\n1\n", {"a": pl.Int64}, resume=[100, 3])


def fuzz(cases, seed):
    """Damaged files: rows, dead slots or a typed error; the same ones however the bytes arrive."""
    import random

    rng = random.Random(seed)
    seeds = []
    for lines in (3, 60):
        rows = [
            f'{row},"text ""{row}"", more",{row / 7},2020-01-0{row % 9 + 1},{row % 2 == 0}'
            for row in range(lines)
        ]
        seeds.append("\n".join(["i,s,f,d,b", *rows]).encode())
    seeds += [seeds[1].replace(b"\n", b"\r\n"), b"a\n" + b"\n1\n" * 20, b"\xef\xbb\xbf" + seeds[0]]
    counts = {"rows": 0, "dead": 0, "errors": 0}
    for case in range(cases):
        data = damaged(rng.choice(seeds), rng)
        reader = CsvFormat(try_parse_dates=True, truncate_ragged_lines=rng.random() < 0.2)
        try:
            schema = reader.schema(io.BytesIO(data), "file")
            if not schema:
                continue
            whole = slots(read_blocks(reader, data, schema))
        except ArrowStreamError:
            counts["errors"] += 1
            continue
        cuts = [rng.randint(1, 200) for _ in range(20)]
        assert slots(read_blocks(reader, data, schema, sizes=cuts)) == whole, (seed, case, data)
        dead = sum(slot[0] == "dead" for slot in whole)
        counts["rows"] += len(whole) - dead
        counts["dead"] += dead
    return counts


def test_damaged_files():
    counts = fuzz(200, 7)
    assert min(counts.values()) > 0


@pytest.mark.soak
def test_ten_thousand_damaged_files():
    print(fuzz(10_000, 8))
