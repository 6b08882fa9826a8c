"""What looks at other rows: said by name, and checked against evaluating row by row."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from polars import col
from polars import selectors as cs

from arrowstream.plan.expressions import (
    into_exprs,
    is_constant,
    length_change,
    plain_column,
    root_columns,
    row_dependence,
)

ROWS = pl.DataFrame(
    {
        "a": [3, 1, None, 2, 1],
        "b": [1, 2, 3, None, 1],
        "f": [1.5, float("nan"), None, -2.0, float("inf")],
        "o": [True, False, None, True, True],
        "s": ["2026-01-02", "2026-01-01", None, "2026-01-03", "2026-01-01"],
        "l": [[1, 2], [], None, [3, None], [1]],
        "st": [{"x": 1, "y": "u"}, {"x": None, "y": "v"}, None, {"x": 3, "y": None}, {"x": 1, "y": "u"}],
        "t": [
            datetime(2026, 1, 1, 7),
            datetime(2026, 1, 2),
            None,
            datetime(2025, 5, 5),
            datetime(2026, 1, 1),
        ],
    }
)


def plus_one(value):
    return value.__add__(1)  # such that Polars does not see through it


SAFE = {
    "arithmetic": col("a") * 2 + col("b"),
    "literal": col("a") + float("inf"),
    "comparison": (col("a") > 1) & ~col("o"),
    "when": pl.when(col("a") > 1).then(col("b")).otherwise(0),
    "cast": col("a").cast(pl.String),
    "cast to the type of another": col("a").cast(pl.dtype_of("f")),
    "alias": (col("a") + 1).name.suffix("_x"),
    "is_in list": col("a").is_in([1, 2]),
    "is_in series": col("a").is_in(pl.Series([1, 2])),
    "is_in a column of lists": col("a").is_in(col("l")),
    "replace": col("a").replace({1: 9}),
    "replace_strict": col("a").replace_strict({1: 9}, default=0),
    "fill_null": col("a").fill_null(col("b")),
    "coalesce": pl.coalesce("a", "b", 0),
    "SQL in": pl.sql_expr("a in (1, 2) and b not in (1, null)"),
    "SQL arithmetic": pl.sql_expr("round(a * 2 / 3 + b % 2, 1)"),
    "horizontal": pl.max_horizontal("a", "b"),
    "all_horizontal": pl.all_horizontal(cs.boolean()),
    "sum_horizontal": pl.sum_horizontal(cs.numeric()),
    "struct": pl.struct("a", "b"),
    "struct field": col("st").struct.field("x") + 1,
    "struct fields": col("st").struct.field("*"),
    "with_fields": col("st").struct.with_fields(pl.field("x") + col("a")),
    "strings": col("s").str.slice(0, 4).str.to_integer(),
    "concat_str": pl.concat_str("s", "a", separator="-"),
    "format": pl.format("{}/{}", "s", "a"),
    "contains_any": col("s").str.contains_any(["01", "02"]),
    "replace_many": col("s").str.replace_many(["01"], ["xx"]),
    "to_datetime with format": col("s").str.to_datetime("%Y-%m-%d"),
    "truncate": col("t").dt.truncate("1h"),
    "zone": col("t").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
    "list sum": col("l").list.sum(),
    "list get": col("l").list.get(0, null_on_oob=True),
    "list first": col("l").list.first(),
    "starts_with": col("s").str.starts_with(col("s")),
    "business days": col("t").dt.add_business_days(1, roll="forward"),
    "list eval": col("l").list.eval(pl.element() + pl.element().max()),
    "list rank": col("l").list.eval(pl.element().rank()),
    "list filter": col("l").list.filter(pl.element() > 1),
    "list agg": col("l").list.agg(pl.element().sum()),
    "concat_list": pl.concat_list("a", "b"),
    "clip": col("a").clip(1, 2),
    "round": col("f").round(1),
    "hash": col("a").hash(1),
    "json": col("st").struct.json_encode(),
    "selector": cs.numeric() * 2,
    "map_elements": col("a").map_elements(plus_one, return_dtype=pl.Int64),
    "map_elements in an expression": col("a").map_elements(plus_one, return_dtype=pl.Int64) * 2 + col("b"),
    "map_elements under a condition": pl.when(col("o")).then(
        col("a").map_elements(plus_one, return_dtype=pl.Int64).cast(pl.Float64).alias("x")
    ),
    "map_batches": col("a").map_batches(plus_one, return_dtype=pl.Int64),
}

DEPENDENT = {
    "shift()": col("a").shift(),
    "diff()": col("a").diff(),
    "cum_sum()": col("a").cum_sum(),
    "cumulative_eval()": col("a").cumulative_eval(pl.element().sum()),
    "cum_count()": col("a").cum_count(),
    "rank()": col("a").rank(),
    "over()": col("a").sum().over("b"),
    "rolling()": col("a").sum().rolling("t", period="1d"),
    "rolling_mean()": col("a").rolling_mean(2),
    "rolling_mean_by()": col("a").rolling_mean_by("t", "1d"),
    "ewm_mean()": col("f").ewm_mean(alpha=0.5),
    "len()": pl.len(),
    "mean()": col("a") - col("a").mean(),
    "sum()": col("a") / col("a").sum(),
    "max()": pl.when(col("a") == col("a").max()).then(1).otherwise(0),
    "min()": col("a").clip(col("a").min()),
    "first()": col("a") - col("a").first(),
    "last()": col("a") - col("a").last(),
    "n_unique()": col("a") * col("a").n_unique(),
    "quantile()": col("a") > col("a").quantile(0.5),
    "arg_max()": col("a") - col("a").arg_max(),
    "implode()": col("a").is_in(col("b").implode()),
    "is_in() of a column": col("a").is_in(col("b")),
    "replace() of a column": col("a").replace(col("a"), col("b")),
    "str.contains_any() of a column": col("s").str.contains_any(col("s")),
    "sort()": col("a").sort(),
    "sort_by()": col("a").sort_by("b"),
    "reverse()": col("a").reverse(),
    "unique()": col("a").unique(),
    "is_unique()": col("a").is_unique(),
    "is_duplicated()": col("a").is_duplicated(),
    "is_first_distinct()": col("a").is_first_distinct(),
    "interpolate()": col("a").interpolate(),
    "fill_null(strategy=…)": col("a").forward_fill(),
    "gather()": col("a").gather([0]),
    "get()": col("a").get(0),
    "head() or slice()": col("a").head(2),
    "top_k()": col("a").top_k(2),
    "shuffle()": col("a").shuffle(seed=1),
    "sample()": col("a").sample(2, seed=1),
    "rle_id()": col("a").rle_id(),
    "int_range()": pl.int_range(3),
    "peak_max()": col("a").peak_max(),
    "value_counts()": col("a").value_counts(),
    "str.to_datetime() without format=": col("s").str.to_datetime(),
    "a literal Series": col("a") + pl.lit(pl.Series([1, 2, 3, 4, 5])),
    "fold() around a Python function": pl.fold(0, lambda x, y: x + y, ["a", "b"]),
    "append()": col("a").append(col("b")),
    "shift() around a Python function": col("a").map_elements(plus_one, return_dtype=pl.Int64).shift(),
}


@pytest.mark.parametrize("expr", SAFE.values(), ids=SAFE)
def test_row_by_row(expr):
    assert row_dependence(expr, ROWS.schema) is None
    assert length_change(expr) is None


@pytest.mark.parametrize("expr", SAFE.values(), ids=SAFE)
def test_row_by_row_gives_the_same_in_pieces(expr):
    pieces = [ROWS[number : number + 1].select(expr) for number in range(ROWS.height)]
    assert pl.concat(pieces).equals(ROWS.select(expr), null_equal=True)
    assert ROWS.clear().select(expr).height == 0


@pytest.mark.parametrize(("name", "expr"), DEPENDENT.items(), ids=DEPENDENT)
def test_dependent_on_other_rows(name, expr):
    assert row_dependence(expr, ROWS.schema) == name


def test_the_whole_tree_is_searched():
    expr = pl.struct(pl.concat_list(col("a") + col("b").cum_sum(), "b"), "a").struct.json_encode()
    assert row_dependence(expr, ROWS.schema) == "cum_sum()"
    beside_function = col("a").map_elements(plus_one, return_dtype=pl.Int64) - col("a").mean()
    assert row_dependence(beside_function, ROWS.schema) == "mean()"
    in_struct = col("st").struct.with_fields(pl.field("x") - col("a").mean())
    assert row_dependence(in_struct, ROWS.schema) == "mean()"
    in_selector = cs.numeric() - cs.numeric().mean()
    assert row_dependence(in_selector, ROWS.schema) == "mean()"


def test_what_cannot_be_asked_is_not_safe():
    assert row_dependence(col("a").is_in(cs.list()), ROWS.schema) == "is_in() of a column"


@pytest.mark.parametrize(
    ("name", "expr"),
    [
        ("filter()", col("a").filter(col("b") > 1)),
        ("explode()", col("l").explode()),
        ("drop_nulls()", col("a").drop_nulls() + 1),
        ("filter()", col("a").map_elements(plus_one, return_dtype=pl.Int64) + col("b").filter(col("o"))),
    ],
)
def test_length_change(name, expr):
    assert row_dependence(expr, ROWS.schema) is None
    assert length_change(expr) == name


def test_constant():
    assert is_constant(pl.lit(pl.Series([1, 2])).implode())
    assert not is_constant(col("a"))
    assert not is_constant(pl.len())
    assert not is_constant(cs.numeric())


def test_plain_column():
    assert plain_column(col("a")) == "a"
    assert plain_column(col("a").alias("z")) == "a"
    assert plain_column(col("a").name.suffix("_x")) == "a"
    assert plain_column(col("a") + 1) is None
    assert plain_column(pl.lit(1)) is None


def test_root_columns():
    assert root_columns(col("a") + col("b"), ROWS.schema) == {"a", "b"}
    assert root_columns(col("l").list.filter(pl.element() > 1), ROWS.schema) == {"l"}
    assert root_columns(pl.lit(1), ROWS.schema) == set()
    assert root_columns(cs.numeric(), ROWS.schema) == set(ROWS.columns)
    assert root_columns(col("a").cast(pl.dtype_of("f")), ROWS.schema) == set(ROWS.columns)


@pytest.mark.parametrize(
    ("positional", "named"),
    [
        (("a", "b"), {}),
        ((["a", col("b")],), {}),
        ((iter(["a"]),), {"c": 1, "d": "b"}),
        ((datetime(2026, 1, 1, tzinfo=UTC),), {}),
        ((None,), {"one": 1}),
        ((), {"x": [1, 2]}),
        ((cs.numeric(),), {}),
    ],
)
def test_arguments_are_read_as_polars_reads_them(positional, named):
    positional = tuple(list(item) if hasattr(item, "__next__") else item for item in positional)
    ours = ROWS.clear().with_columns(*into_exprs("select", positional, named))
    assert ours.schema == ROWS.clear().with_columns(*positional, **named).schema
