from __future__ import annotations

import shutil
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrowstream.connectors.files.hive import hive_keys
from arrowstream.connectors.files.places import FoundFile, place_of
from arrowstream.errors import PlanError

NULL = "__HIVE_DEFAULT_PARTITION__"
TEXTS = [
    *("1", "-1", "01", "+1", "1.5", ".5", "1e5", "nan", "NaN", "inf", "true", "False", "x", "", " 1", "1 "),
    *("99999999999999999999", "9223372036854775808", "2020-01-01", "2020-01-01 10:00:00", "01-02-2020"),
    *("2020-01-01T10:00:00Z", "2020-01-01T10:00:00.5+02:00", "2020/01/01", "20200101", "2020-13-01", "1\n2"),
    *("a b", "ü", '"1"', "1_0", "0x10", "-", "1.", "1,5", "null", "%", "%2F", "a+b", "日本", NULL),
]


def write(root, folder, rows):
    (root / folder).mkdir(parents=True, exist_ok=True)
    rows.write_parquet(root / folder / "f.parquet")


def keys_of(root, **options):
    return hive_keys(place_of(root).find(root, (".parquet",)), **options)


def by_polars(root, **options):
    """Polars' columns and the values of each file, which holds its number in the column `file`."""
    rows = pl.scan_parquet(root, **options).collect().sort("file")
    return pl.Schema(rows.drop("file").schema), rows.drop("file").rows()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)), min_size=1, max_size=4),
    dates=st.booleans(),
)
def test_types_and_values_are_those_of_polars(tmp_path, values, dates):
    shutil.rmtree(tmp_path)
    for index, (first, second) in enumerate(values):
        folder = f"{index}/a={quote(first, safe='')}/b={quote(second, safe='')}"
        write(tmp_path, folder, pl.DataFrame({"file": [index]}))
    schema, rows = by_polars_or_none(tmp_path, dates) or (None, None)
    found = keys_of(tmp_path, try_parse_hive_dates=dates)
    if schema is None:  # what Polars fails on are strings
        assert pl.String in found.schema.values()
        return
    assert found.schema == schema
    assert repr(list(found.values.values())) == repr(rows)  # nan is not equal to itself


def by_polars_or_none(root, dates):
    try:
        return by_polars(root, try_parse_hive_dates=dates)
    except pl.exceptions.ComputeError:
        return None


def test_where_keys_are_looked_for(tmp_path):
    root = tmp_path / "year=1999" / "data"
    write(root, "k=1/d=2020-01-01", pl.DataFrame({"file": [0]}))
    write(root, "k=2/d=2020-01-02", pl.DataFrame({"file": [1]}))
    write(root, "k=2/d=2020-01-03/k=v=w", pl.DataFrame({"file": [2]}))
    for patterns, hive in [
        (root, None),
        (tmp_path, None),
        ([root], True),
        (f"{root}/*/*/*.parquet", None),
        (f"{root}/*/*/*.parquet", True),
        (root / "k=1/d=2020-01-01/f.parquet", None),
        (root / "k=1/d=2020-01-01/f.parquet", True),
        ([root / "k=1", root / "k=2"], None),
        ([root / "k=1", root / "k=2"], True),
        (root, False),
    ]:
        found = hive_keys(place_of(patterns).find(patterns, (".parquet",)), hive_partitioning=hive)
        schema, rows = by_polars(patterns, hive_partitioning=hive)
        assert found.schema == schema, patterns
        if schema:
            assert list(found.values.values()) == rows


def test_a_schema_says_which_types(tmp_path):
    write(tmp_path, "k=01/d=2020-01-01", pl.DataFrame({"file": [0]}))
    write(tmp_path, f"k=2/d={NULL}", pl.DataFrame({"file": [1]}))
    for given_schema in (
        {"k": pl.String, "d": pl.String},
        {"d": pl.Date, "k": pl.Int8, "more": pl.Int64},
        {"k": pl.Float32, "d": pl.Categorical()},
        {"k": pl.Enum(["01", "2"]), "d": pl.Datetime("ms")},
        {"k": pl.Decimal(5, 1), "d": pl.Date},
    ):
        schema, rows = by_polars(tmp_path, hive_schema=given_schema)
        found = keys_of(tmp_path, hive_schema=given_schema)
        assert (found.schema, list(found.values.values())) == (schema, rows)
    with pytest.raises(PlanError, match="the folders' key 'd' cannot be read as Int8: could not parse"):
        keys_of(tmp_path, hive_schema={"d": pl.Int8})


def test_a_column_of_the_files_gives_its_type(tmp_path):
    write(tmp_path, "k=07", pl.DataFrame({"file": [0], "k": ["x"]}))
    schema, rows = by_polars(tmp_path)
    found = keys_of(tmp_path, file_schema={"file": pl.Int64(), "k": pl.String()})
    assert (found.schema, list(found.values.values())) == (schema, rows) == ({"k": pl.String}, [("07",)])
    schema, rows = by_polars(tmp_path, hive_schema={"k": pl.Int8})
    found = keys_of(tmp_path, file_schema={"k": pl.String()}, hive_schema={"k": pl.Int8})
    assert (found.schema, list(found.values.values())) == (schema, rows)


def test_urls_have_keys_like_paths():
    files = [
        FoundFile(f"s3://bucket/a=1/data/k={value}/f.csv", 1, None, 20, in_folder=True)
        for value in ("1", "x%2Fy")
    ]
    assert hive_keys(files) == ({"k": pl.String}, {files[0].path: ("1",), files[1].path: ("x/y",)})
    assert hive_keys(files, hive_partitioning=True).schema == {"k": pl.String}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["k=1", "k=1/j=1"], r"lies in folders with the key 'k' and 'j', but .* in folders with the key 'k'"),
        (["a", "k=1"], r"k=1/f.parquet lies in folders with the key 'k', but .* with no key"),
        (["k=1/k=2"], "has the key 'k' twice"),
    ],
)
def test_folders_that_do_not_fit(tmp_path, folders, message):
    for folder in folders:
        write(tmp_path, folder, pl.DataFrame({"file": [0]}))
    with pytest.raises(PlanError, match=message) as raised:
        keys_of(tmp_path)
    assert "hive_partitioning=False" in raised.value.hint
    assert keys_of(tmp_path, hive_partitioning=False) == ({}, {})
