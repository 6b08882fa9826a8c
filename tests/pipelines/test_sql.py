"""SQL in pipeline files: what is an expression, what it gives, and that it can read nothing else."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

import arrowstream as ars
from arrowstream.errors import PlanError
from arrowstream.pipelines import sql
from arrowstream.pipelines.aggregates import split
from arrowstream.pipelines.dtypes import parse_dtype

ROWS = pl.DataFrame(
    {
        "t": [datetime(2026, 1, 1, hour) for hour in (1, 1, 2, 2, 3)],
        "a": [1, 2, 5, None, 3],
        "f": [1.5, None, 2.0, 0.25, -1.0],
        "s": ["x", "yy", "x", None, "z"],
    }
)


@pytest.fixture
def secret(tmp_path, monkeypatch):
    """A file that nothing may read; reading it fails the test, whatever becomes of the rows."""
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    opened = []
    for name in ("scan_csv", "read_csv"):
        monkeypatch.setattr(pl, name, lambda *_, **__: opened.append(1))
    yield path
    assert not opened


QUERIES = [
    "read_csv('{0}')",
    "READ_CSV ( '{0}' )",
    "(SELECT a FROM read_csv('{0}'))",
    "a IN (SELECT a FROM read_csv('{0}'))",
    "a IN (\nselect\ta FROM read_csv('{0}'))",
    "EXISTS (SELECT 1 FROM read_parquet('{0}'))",
    "EXISTS(WITH x AS (SELECT 1) SELECT * FROM x)",
    "(FROM read_csv('{0}'))",
    "(TABLE self)",
    "a IN (VALUES (1))",
    "(--\nSELECT 1)",
    "(/* */ SELECT 1)",
    "a = 'it\\' || (SELECT a FROM read_csv('{0}')) || '",
    "a = $$'$$ || (SELECT 1) || $$'$$",
    "a = `'` || (SELECT 1) || `'`",
    "CASE WHEN a = 1 THEN (SELECT MAX(a) FROM read_ndjson('{0}')) END",
    "scan_parquet('{0}')",
    '"a" IN (SELECT "a" FROM "read_csv"(\'{0}\'))',
]


@pytest.mark.parametrize("text", QUERIES)
def test_an_expression_reads_nothing_but_the_row(text, secret):
    text = text.format(secret)
    with pytest.raises(PlanError) as found:
        sql.expression(text)
    assert "would read something else than the row" in str(found.value) or "has a comment" in str(found.value)
    with pytest.raises(PlanError):
        sql.item(text)
    with pytest.raises(PlanError):
        ars.from_polars(ROWS).validate({"rule": text})
    for query in (f"SELECT {text} FROM self", f"SELECT a FROM self WHERE {text}"):
        with pytest.raises(PlanError):
            sql.query(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{0}')",
        "SELECT * FROM '{0}'",
        'SELECT * FROM "{0}"',
        "SELECT * FROM self, read_csv('{0}')",
        "SELECT * FROM self JOIN read_csv('{0}') USING (a)",
        "SELECT * FROM self UNION SELECT * FROM read_csv('{0}')",
        "SELECT * FROM self; SELECT * FROM read_csv('{0}')",
        "WITH x AS (SELECT * FROM read_csv('{0}')) SELECT * FROM x",
        "FROM read_csv('{0}')",
        "CREATE TABLE x AS SELECT * FROM read_csv('{0}')",
        "DROP TABLE self",
        "SHOW TABLES",
        "SELECT * FROM self WHERE a IN (SELECT a FROM read_csv('{0}'))",
        "SELECT * FROM self -- '\nJOIN read_csv('{0}') --'",
    ],
)
def test_a_query_reads_nothing_but_self(query, secret):
    with pytest.raises(PlanError):
        sql.query(query.format(secret))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("price >", "price > is no SQL expression"),
        ("", "an expression is missing\n  hint: write a SQL expression, such as price > 100"),
        ("nosuch(a)", "nosuch(a): SQL has no function nosuch\n  hint: functions are those of Polars SQL"),
        ("a, b", ("a, b is no SQL expression: invalid expression (found unexpected token ',')\n"
                 "  hint: write a list, with one expression an item")),
        ("'x", "'x is no SQL expression: Unterminated string literal at Line: 1, Column: 1"),
        ("DATE_TRUNC('hour', t)", ("DATE_TRUNC('hour', t): DATE_TRUNC cannot be used in an expression\n"
                                   "  hint: the day is")),
        ("a" * 80 + " >", "a" * 57 + "… is no SQL expression"),
    ],
)  # fmt: skip
def test_what_is_no_expression(text, error):
    with pytest.raises(PlanError) as found:
        sql.expression(text)
    assert str(found.value).startswith(error)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "SELECT a FROM self GROUP BY a",
            "a query of a step has no GROUP\n  hint: add a step group_by_dynamic",
        ),
        ("SELECT a FROM self ORDER BY a", "a query of a step has no ORDER\n  hint: a stream has no end"),
        (
            "SELECT a FROM self WHERE a > 1 LIMIT 3",
            "a query of a step has no LIMIT\n  hint: add a step: limit",
        ),
        ("SELECT DISTINCT a FROM self", "a query of a step has no DISTINCT"),
        ("SELECT a", "SELECT a is no query that a step can have\n  hint: write SELECT … FROM self"),
        ("SELECT a FROM self WHERE a WHERE b", "SELECT a FROM self WHERE a WHERE b has WHERE twice"),
        ("a > 1", "a > 1 does not begin with SELECT"),
        ("SELECT a FROM bids", "a query can read nothing but self, not bids\n  choices: self"),
    ],
)
def test_what_is_no_query(text, error):
    with pytest.raises(PlanError) as found:
        sql.query(text)
    assert str(found.value).startswith(error)


def test_words_in_quotes_and_names_are_no_queries():
    assert str(sql.expression("s = 'select from where'")) == '[(col("s")) == ("select from where")]'
    assert str(sql.expression('"from" > 1')) == '[(col("from")) > (dyn int: 1)]'
    assert str(sql.expression("selected = preselect")) == '[(col("selected")) == (col("preselect"))]'


def test_a_query_is_its_items_and_its_filter():
    found = sql.query(
        "SELECT *, a + 1 AS b, REPLACE(s, 'a,b', '(') AS c FROM self WHERE s = 'x from y' AND a IN (1, 2)"
    )
    frame = ROWS.with_columns(s=pl.lit("x from y"))
    assert frame.filter(found.where)["a"].to_list() == [1, 2]
    assert frame.select(found.items).columns == ["t", "a", "f", "s", "b", "c"]
    assert sql.query("select * from self;").where is None


def test_stars():
    assert ROWS.select(sql.item("*")).columns == ROWS.columns
    assert ROWS.select(sql.item("self.*")).columns == ROWS.columns
    assert ROWS.select(sql.item('* EXCLUDE (a, "s")')).columns == ["t", "f"]
    assert ROWS.select(sql.item("* except t")).columns == ["a", "f", "s"]


FOLDED = [
    "COUNT(*)",
    "COUNT(a)",
    "SUM(a)",
    "AVG(f)",
    "MIN(a)",
    "MAX(f)",
    "STDDEV(f)",
    "VARIANCE(f)",
    "FIRST(a)",
    "LAST(a)",
    "SUM(a * 2) / COUNT(*)",
    "MAX(a) - MIN(a)",
    "ROUND(AVG(f), 1)",
    "SUM(CASE WHEN a > 1 THEN 1 ELSE 0 END)",
    "SUM(a) FILTER (WHERE a > 1)",
    "AVG(f) FILTER (WHERE s = 'x')",
    "STDDEV(f) FILTER (WHERE a > 0)",
    "COUNT(*) FILTER (WHERE s = 'x') * 1.0 / COUNT(*)",
    "COALESCE(SUM(a), 0)",
]
KEPT = [
    "COUNT(DISTINCT s)",
    "MEDIAN(a)",
    "MAX(a) - MEDIAN(a)",
    "ARRAY_AGG(a)",
    "1",
    "FIRST(a) FILTER (WHERE a > 1)",
]


@pytest.mark.parametrize("text", [*FOLDED, *KEPT])
def test_aggregations_are_those_of_polars(text):
    windows = ars.from_polars(ROWS, event_time="t").group_by_dynamic("t", every="1h")
    parts = split({"x": sql.expression(text)})
    result = windows.agg(**parts.aggregates)
    if parts.results is not None:
        result = result.select("t", **parts.results)
    expected = ROWS.group_by_dynamic("t", every="1h").agg(x=sql.expression(text))
    assert result.collect(progress=False).equals(expected)
    assert ("kept" in result.explain()) == (text in KEPT)


def test_what_several_aggregations_share_is_computed_once():
    parts = split({"n": sql.expression("COUNT(*)"), "mean": sql.expression("SUM(a) / COUNT(*)")})
    assert [str(expr) for expr in parts.aggregates.values()].count("len()") == 1
    assert list(parts.results) == ["n", "mean"]


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Int64", pl.Int64),
        ("Datetime", pl.Datetime("us")),
        ("Datetime(ms, UTC)", pl.Datetime("ms", "UTC")),
        ("Datetime(time_unit='us', time_zone='Europe/Berlin')", pl.Datetime("us", "Europe/Berlin")),
        ("Decimal(38, 2)", pl.Decimal(38, 2)),
        ("List(Struct({'a': List(String), 'b': Date}))",
         pl.List(pl.Struct({"a": pl.List(pl.String), "b": pl.Date}))),
        ("Enum(['a', 'b'])", pl.Enum(["a", "b"])),
        ("Array(Int8, 3)", pl.Array(pl.Int8, 3)),
    ],
)  # fmt: skip
def test_types_are_written_as_polars_prints_them(text, dtype):
    assert parse_dtype(text) == dtype
    assert parse_dtype(str(dtype)) == dtype or isinstance(dtype, type | pl.Enum | pl.Struct | pl.List)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("int64", '"int64": there is no type int64'),
        ("Strng", '"Strng": there is no type Strng'),
        ("List", '"List": List has to say of what'),
        ("Datetime('xx')", "\"Datetime('xx')\" is no type of a column"),
        ("Int64; 1", '"Int64; 1" is no type of a column'),
        ("__import__('os')", "\"__import__('os')\": there is no type __import__"),
        ("(lambda: 1)()", '"(lambda: 1)()" is no type of a column'),
        ("Struct({**x})", '"Struct({**x})" is no type of a column'),
        ("", '"" is no type of a column'),
    ],
)
def test_what_is_no_type(text, error):
    with pytest.raises(PlanError) as found:
        parse_dtype(text)
    assert str(found.value).startswith(error)
