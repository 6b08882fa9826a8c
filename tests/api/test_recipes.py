"""Expressions of log and event processing: accepted as looking at one row, and what Polars gives."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from polars import col, element, sql_expr
from polars import selectors as cs

import arrowstream as ars

FRAME = pl.DataFrame(
    {
        "s": ["GET /a?x=1", "POST /b", None, "a=1;b=22"],
        "i": [1, -2, None, 7],
        "f": [1.5, float("nan"), None, -0.25],
        "l": [[1, 5], [None, 7], [], None],
        "ls": [["a", "b"], ["c"], [], None],
        "t": [datetime(2026, 1, 1), datetime(2026, 3, 29, 2, 30), None, datetime(1969, 1, 1)],
        "st": [
            {"a": {"b": 1, "c": "x"}, "items": [{"k": "p", "v": 1}, {"k": "q", "v": 2}]},
            {"a": {"b": None, "c": None}, "items": []},
            {"a": None, "items": None},
            None,
        ],
        "j": ['{"a":{"b":1}}', '{"a":{}}', "{}", None],
        "y": [b"x", b"", None, b"\xff"],
    }
)

PATH = col("st").struct.field("a").struct.field("b")
ITEMS = col("st").struct.field("items")

NESTED = {
    "a path": PATH,
    "a path in SQL": sql_expr("st.a.b"),
    "several fields": col("st").struct.field("a", "items").name.suffix("_x"),
    "fields by pattern": col("st").struct.field("^it.*$"),
    "a field set": col("st").struct.with_fields(n=pl.field("a").struct.field("b") + 1),
    "a field set from a column": col("st").struct.with_fields(n=col("i")),
    "a field removed": pl.struct(col("st").struct.field("a")),
    "fields renamed": col("st").struct.rename_fields(["p", "q"]),
    "fields prefixed": col("st").name.prefix_fields("x_"),
    "as JSON": col("st").struct.json_encode(),
    "out of JSON": col("j").str.json_path_match("$.a.b"),
    "JSON decoded": col("j").str.json_decode(pl.Struct({"a": pl.Struct({"b": pl.Int64})})),
}
LISTS = {
    "any": col("l").list.eval(element() > 3).list.any(),
    "all": col("l").list.eval(element() > 3).list.all(),
    "any at once": col("l").list.agg((element() > 3).any()),
    "any struct": ITEMS.list.eval(element().struct.field("k") == "p").list.any(),
    "transformed": col("l").list.eval(element() * 2),
    "transformed on a condition": col("l").list.eval(pl.when(element() > 3).then(element()).otherwise(0)),
    "transformed by neighbours": col("l").list.eval(element().cum_sum()),
    "filtered": col("l").list.filter(element() > 3),
    "structs filtered": ITEMS.list.filter(element().struct.field("v") > 1),
    "contains": col("l").list.contains(5),
    "contains a column": col("l").list.contains(col("i")),
    "joined": col("ls").list.join(","),
    "first": col("l").list.first(),
    "by a column": col("l").list.get(col("i") - 1, null_on_oob=True),
    "sorted": col("l").list.sort(descending=True),
    "without doubles": col("l").list.unique(maintain_order=True),
    "intersection": col("l").list.set_intersection([5]),
    "concatenated": pl.concat_list("i", col("i") * 2),
    "contains in SQL": sql_expr("ARRAY_CONTAINS(l, 5)"),
}
TEXTS = {
    "replace": col("s").str.replace(r"=(\d+)", "->$1"),
    "replace all": col("s").str.replace_all(r"\d", "#"),
    "replace many": col("s").str.replace_many({"GET": "get", "POST": "post"}),
    "extract": col("s").str.extract(r"(\w)=(\d+)", 2),
    "extract all": col("s").str.extract_all(r"\d+"),
    "groups": col("s").str.extract_groups(r"(?<k>\w)=(?<v>\d+)"),
    "contains": col("s").str.contains(r"^(GET|POST) "),
    "contains any": col("s").str.contains_any(["/a", "/b"]),
    "split": col("s").str.split(";"),
    "split in two": col("s").str.splitn("=", 2),
    "match in SQL": sql_expr("s LIKE 'GET%' OR REGEXP_LIKE(s, 'b=')"),
    "parts in SQL": sql_expr("SPLIT_PART(s, '=', 2)"),
    "time parsed": col("s").str.to_datetime("%Y", strict=False),
    "integer parsed": col("s").str.to_integer(strict=False),
    "padded": col("s").str.pad_start(12, "."),
    "template": ars.template("${s}|${i}|${st.a.b}|${t:%Y-%m}", null="-"),
    "hex": col("y").bin.encode("hex"),
    "hash": col("s").hash(7),
}
VALUES = {
    "when": pl.when(col("i") > 1).then(pl.lit("x")).when(col("f") < 0).then(pl.lit("y")).otherwise("s"),
    "case in SQL": sql_expr("CASE WHEN i > 1 THEN 'a' WHEN i < 0 THEN 'b' ELSE 'c' END"),
    "coalesce": pl.coalesce(PATH, "i", pl.lit(0)),
    "mapping": col("i").replace_strict({1: "one"}, default="more"),
    "mapping of some": col("i").replace({1: 100}),
    "clip": col("i").clip(0, 5),
    "in": col("i").is_in([1, 7]),
    "between": sql_expr("i BETWEEN 0 AND 5"),
    "not a number": col("f").fill_nan(None),
    "over columns": pl.max_horizontal("i", "f"),
    "division": col("i") / 7,
    "truncated": col("t").dt.truncate("1h"),
    "as text": col("t").dt.to_string("%d.%m.%Y"),
    "in a zone": col("t").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
    "from epoch": pl.from_epoch("i"),
    "hour in SQL": sql_expr("EXTRACT(hour FROM t)"),
    "bits": col("i").reinterpret(signed=False),
    "of all numbers": cs.float().round(1).name.suffix("_r"),
}
ALL = NESTED | LISTS | TEXTS | VALUES


def test_no_recipe_is_refused_and_each_is_what_polars_gives() -> None:
    frame = pl.concat([FRAME, FRAME])
    stream = ars.from_polars(frame)
    for name, expr in ALL.items():
        one = expr if expr.meta.has_multiple_outputs() else expr.alias("x")
        for batch_rows in (1, 3, 100):
            found = stream.with_columns(one).collect(batch_rows=batch_rows, progress=False)
            assert found.equals(frame.with_columns(one)), (name, batch_rows)


@pytest.mark.parametrize("name", ["any", "match in SQL", "contains", "in"])
def test_recipes_filter(name) -> None:
    for batch_rows in (1, 100):
        found = ars.from_polars(FRAME).filter(ALL[name]).collect(batch_rows=batch_rows, progress=False)
        assert found.equals(FRAME.filter(ALL[name]))
