from __future__ import annotations

import io
import logging
from itertools import product

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import ScanCastOptions

import arrowstream as ars
from arrowstream.connectors.files.conform import Rules, common_schema, fit
from arrowstream.errors import DataError

PLAIN = [
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
    *(pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Binary, pl.Date, pl.Time, pl.Null),
    *(pl.Duration("ms"), pl.Duration("us"), pl.Categorical(), pl.Enum(["a"])),
    *(pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns"), pl.Datetime("us", "UTC")),
    *(pl.Datetime("ns", "Europe/Berlin"), pl.Decimal(10, 2), pl.Decimal(12, 2), pl.Decimal(12, 3)),
]
DTYPES = [dtype if isinstance(dtype, pl.DataType) else dtype() for dtype in PLAIN]
CASTS = {
    "integer_cast": ["forbid", "upcast", "allow-float", ["upcast", "allow-float"]],
    "float_cast": ["forbid", "upcast", "downcast"],
    "datetime_cast": [
        *("forbid", "upcast", "downcast", "convert-timezone", "nanosecond-downcast"),
        *("microsecond-downcast", "microsecond-upcast", "millisecond-upcast"),
        ["upcast", "downcast", "convert-timezone"],
    ],
    "missing_struct_fields": ["raise", "insert"],
    "extra_struct_fields": ["raise", "ignore"],
    "categorical_to_string": ["forbid", "allow"],
}
EVERYTHING = {
    "integer_cast": ["upcast", "allow-float"],
    "float_cast": ["upcast", "downcast"],
    "datetime_cast": ["upcast", "downcast", "convert-timezone"],
    "missing_struct_fields": "insert",
    "extra_struct_fields": "ignore",
    "categorical_to_string": "allow",
}


def ours(frame, expected, rules):
    """Rows of a file made those of a scan, None if they cannot be."""
    try:
        made = fit("f", frame.schema, expected, expected.names(), rules)
    except DataError:
        return None
    return made(frame.select(made.reads))


def polars(frame, expected, rules):
    """The same by Polars."""
    file = io.BytesIO()
    frame.write_parquet(file)
    file.seek(0)
    scan = pl.scan_parquet(
        file,
        schema=expected,
        missing_columns=rules.missing_columns,
        extra_columns=rules.extra_columns,
        cast_options=rules.cast_options,
    )
    try:
        return scan.collect()
    except (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError):
        return None


def same(frame, expected, rules):
    mine, theirs = ours(frame, expected, rules), polars(frame, expected, rules)
    assert (mine is None) == (theirs is None)
    if mine is not None:
        assert mine.schema == theirs.schema == expected
        assert mine.equals(theirs)


def one_row(dtype):
    return pl.DataFrame({"a": pl.Series([None], dtype=dtype)})


def test_which_types_become_which():
    for casts in ({}, EVERYTHING):
        rules = Rules(cast_options=ScanCastOptions(**casts))
        for written, expected in product(DTYPES, DTYPES):
            same(one_row(written), pl.Schema({"a": expected}), rules)


@settings(max_examples=150, deadline=None)
@given(
    written=st.sampled_from(DTYPES),
    expected=st.sampled_from(DTYPES),
    casts=st.fixed_dictionaries({}, optional={name: st.sampled_from(of) for name, of in CASTS.items()}),
)
def test_each_option_alone(written, expected, casts):
    rules = Rules(cast_options=ScanCastOptions(**casts))
    same(one_row(written), pl.Schema({"a": expected}), rules)


NESTED = pl.DataFrame(
    {
        "s": [{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}],
        "l": [[{"x": 1, "y": 2}], None, []],
        "a": pl.Series([[1, 2], None, [3, None]], dtype=pl.Array(pl.Int16, 2)),
        "t": pl.Series([1, None, 3]).cast(pl.Datetime("us", "UTC")),
    }
)
NESTED_EXPECTED = pl.Schema(
    {
        "s": pl.Struct({"y": pl.String, "z": pl.Int8, "x": pl.Float64}),
        "l": pl.List(pl.Struct({"y": pl.Float32})),
        "a": pl.Array(pl.Int64, 2),
        "t": pl.Datetime("ns", "Asia/Tokyo"),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    left_out=st.sets(st.sampled_from([*CASTS, "none"]), max_size=2),
    missing=st.sampled_from(["insert", "raise"]),
    extra=st.sampled_from(["ignore", "raise"]),
    names=st.permutations(["s", "l", "a", "t", "more"]),
    count=st.integers(1, 5),
    dropped=st.sampled_from(["s", "l", "a", "t", "more"]),
)
def test_nested_missing_and_extra_columns(left_out, missing, extra, names, count, dropped):
    casts = {name: value for name, value in EVERYTHING.items() if name not in left_out}
    rules = Rules(missing, extra, ScanCastOptions(**casts))
    frame = NESTED.with_columns(more=1).drop(dropped)
    expected = pl.Schema({name: NESTED_EXPECTED[name] for name in names[:count] if name != "more"})
    if expected:
        same(frame, expected, rules)


def test_nested_values():
    rules = Rules(cast_options=ScanCastOptions(**EVERYTHING))
    made = ours(NESTED, NESTED_EXPECTED, rules)
    assert made["s"].to_list() == [
        {"y": "a", "z": None, "x": 1.0},
        None,
        {"y": "b", "z": None, "x": None},
    ]
    assert made["l"].to_list() == [[{"y": 2.0}], None, []]


def test_nothing_to_do_is_nothing_done():
    schema = pl.Schema({"a": pl.Int64, "b": pl.String})
    made = fit("f", schema, schema, ["b"], Rules())
    assert (made.reads, made.changes) == (("b",), None)


def test_a_column_is_read_for_the_number_of_rows():
    written = pl.Schema({"a": pl.Int64})
    made = fit("f", written, pl.Schema({"b": pl.Int8, "a": pl.Int64}), ["b"], Rules("insert"))
    assert made.reads == ("a",)
    assert made(pl.DataFrame({"a": [1, 2], "kept": [3, 4]})).rows() == [(None, 3), (None, 4)]


def test_what_does_not_match_is_said_once(caplog):
    caplog.set_level(logging.WARNING, "arrowstream.files")
    written = pl.Schema({"a": pl.Int32, "c": pl.Int64})
    expected = pl.Schema({"a": pl.Int64, "b": pl.Int64})
    fit(
        "/d/f",
        written,
        expected,
        ["a", "b"],
        Rules("insert", "ignore", ScanCastOptions(integer_cast="upcast")),
    )
    (record,) = caplog.records
    assert record.getMessage() == (
        "/d/f does not have the schema of the scan: column 'a' is Int32, not Int64; column 'b' is missing; "
        "column 'c' is left out"
    )
    caplog.clear()
    fit("/d/f", expected, expected, ["b"], Rules())
    assert not caplog.records


def test_columns_that_were_not_chosen_are_no_news(caplog):
    caplog.set_level(logging.WARNING, "arrowstream.files")
    expected = pl.Schema({"a": pl.Int64, "b": pl.Int64})
    rules = Rules("insert", "ignore", columns_are_chosen=True)
    fit("/d/f", pl.Schema({**expected, "c": pl.Int64}), expected, ["a", "b"], rules)
    assert not caplog.records
    fit("/d/f", pl.Schema({"a": pl.Int64, "c": pl.Int64}), expected, ["a", "b"], rules)
    assert caplog.text.strip().endswith("the schema of the scan: column 'b' is missing")


@pytest.mark.parametrize("scan", [ars.scan_csv, ars.scan_ndjson])
def test_a_schema_that_leaves_columns_out_warns_of_nothing(scan, tmp_path, caplog):
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "1.ndjson").write_text('{"a": 1, "b": 2}\n')
    suffix = "csv" if scan is ars.scan_csv else "ndjson"
    rows = scan(tmp_path / f"1.{suffix}", schema={"a": pl.Int64}, extra_columns="ignore").collect()
    assert rows.rows() == [(1,)]
    assert not caplog.records


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ({"a": pl.Int64}, "/d/f has no column 'price', which the scan has", "missing_columns='insert'"),
        ({"a": pl.Int64, "prize": pl.Int64}, "/d/f has no column 'price'", "is it 'prize'?"),
        (
            {"a": pl.Int64, "price": pl.Int64, "b": pl.Int8},
            "/d/f has a column 'b', which the scan does not have",
            "extra_columns='ignore'",
        ),
        (
            {"a": pl.Int64, "price": pl.Int32},
            "column 'price' of /d/f is Int32, but Int64 in the scan",
            "cast_options=pl.ScanCastOptions(integer_cast='upcast') allows it",
        ),
        (
            {"a": pl.Int64, "price": pl.String},
            "column 'price' of /d/f is String",
            "one scan reads files of one",
        ),
    ],
)
def test_errors_name_file_column_and_the_way_out(written, message, hint):
    with pytest.raises(DataError) as raised:
        fit("/d/f", pl.Schema(written), pl.Schema({"a": pl.Int64, "price": pl.Int64}), ["a"], Rules())
    assert raised.value.fact.startswith(message)
    assert hint in raised.value.hint


def test_a_schema_for_several_files():
    assert common_schema([]) == {}
    merged = common_schema(
        [
            pl.Schema({"a": pl.Int64, "b": pl.String}),
            pl.Schema({"b": pl.String, "a": pl.Float64}),
            pl.Schema({"c": pl.Boolean, "b": pl.Null}),
        ]
    )
    assert merged == {"a": pl.Float64, "b": pl.String, "c": pl.Boolean}
    assert merged.names() == ["a", "b", "c"]
    with pytest.raises(DataError, match="the first rows of the files have no schema in common") as raised:
        common_schema([pl.Schema({"a": pl.List(pl.Int8)}), pl.Schema({"a": pl.Int8})])
    assert raised.value.hint == "give schema="
