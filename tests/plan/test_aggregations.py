from __future__ import annotations

import polars as pl
import pytest
from polars import col

from arrowstream.plan.build import aggregate, window
from arrowstream.plan.nodes import Holistic, Partial

TYPES = {
    "t": pl.Datetime("us"),
    "k": pl.Int64,
    "i": pl.Int8,
    "f": pl.Float32,
    "o": pl.Boolean,
    "s": pl.String,
    "d": pl.Date,
    "p": pl.Duration("ms"),
    "m": pl.Decimal(10, 2),
    "l": pl.List(pl.Int64),
}


@pytest.fixture
def decomposed(scan):
    def of(*aggs, group_by=None):
        return aggregate(window(scan(**TYPES), "t", every="1h", group_by=group_by), *aggs).aggregations

    return of


@pytest.mark.parametrize(
    ("expr", "expected", "values"),
    [
        (pl.len(), ("len", "len", pl.UInt32), None),
        (pl.len().alias("n"), ("n", "len", pl.UInt32), None),
        (col("s").len(), ("s", "len", pl.UInt32), None),
        (col("l").count(), ("l", "count", pl.UInt32), col("l")),
        (col("i").sum(), ("i", "sum", pl.Int64), col("i")),
        (col("o").sum(), ("o", "sum", pl.UInt32), col("o")),
        (col("f").sum(), ("f", "sum", pl.Float32), col("f")),
        (col("p").sum(), ("p", "sum", pl.Duration("ms")), col("p")),
        (col("i").mean(), ("i", "mean", pl.Float64), col("i")),
        (col("f").mean(), ("f", "mean", pl.Float32), col("f")),
        (col("i").min(), ("i", "min", pl.Int8), col("i")),
        (col("t").max().alias("latest"), ("latest", "max", pl.Datetime("us")), col("t")),
        (col("d").first(), ("d", "first", pl.Date), col("d")),
        (col("o").last(), ("o", "last", pl.Boolean), col("o")),
        (col("o").any(), ("o", "any", pl.Boolean), col("o")),
        ((col("i") > 1).all(), ("i", "all", pl.Boolean), col("i") > 1),
        ((col("i") * 2).sum().name.suffix("_2"), ("i_2", "sum", pl.Int64), col("i") * 2),
        (col("i").alias("z").max().name.keep(), ("i", "max", pl.Int8), col("i").alias("z")),
        (col("s").str.len_chars().max(), ("s", "max", pl.UInt32), col("s").str.len_chars()),
        (col("l").list.eval(pl.element() + 1).list.sum().sum(), ("l", "sum", pl.Int64), None),
    ],
)
def test_partial(decomposed, expr, expected, values):
    (found,) = decomposed(expr)
    assert isinstance(found, Partial)
    assert (found.name, found.kind, found.dtype) == expected
    if found.kind == "len":
        assert found.input is None
    elif values is not None:
        assert found.input.meta.eq(values)


def test_input_type_is_that_of_the_values(decomposed):
    mean, total = decomposed((col("i").cast(pl.UInt16) / 2).mean().alias("a"), col("o").sum())
    assert (mean.input_dtype, total.input_dtype) == (pl.Float64, pl.Boolean)


def test_degrees_of_freedom(decomposed):
    found = decomposed(col("i").var().alias("a"), col("i").std(ddof=0).alias("b"))
    assert [(each.kind, each.ddof) for each in found] == [("var", 1), ("std", 0)]


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        (col("i").median(), "median() needs all rows"),
        (col("i").n_unique(), "n_unique() needs all rows"),
        (col("i").quantile(0.9), "quantile() needs all rows"),
        (col("i").top_k(2), "top_k() needs all rows"),
        (col("i").implode(), "implode() needs all rows"),
        (col("i").arg_max(), "arg_max() needs all rows"),
        (col("i").product(), "product() needs all rows"),
        (col("f").nan_max(), "max() needs all rows"),
        (col("o").any(ignore_nulls=False), "any() needs all rows"),
        (col("i").first(ignore_nulls=True), "first() needs all rows"),
        (col("s").max(), "max() of String needs all rows"),
        (col("s").first(), "first() of String needs all rows"),
        (col("m").sum(), "sum() of Decimal(precision=10, scale=2) needs all rows"),
        (col("k").cast(pl.Int128).sum(), "sum() of Int128 needs all rows"),
        (col("t").mean().alias("x"), "mean() of Datetime(time_unit='us', time_zone=None) needs all rows"),
        (col("l").first(), "first() of List(Int64) needs all rows"),
        (col("i").max() - col("i").min(), "it computes with aggregates"),
        (col("i").sum().cast(pl.Float64), "it computes with aggregates"),
        (col("i").filter(col("o")).sum(), "it aggregates the result of filter()"),
        (col("i").drop_nulls().first(), "it aggregates the result of drop_nulls()"),
        (col("i").cum_sum().max(), "it aggregates the result of cum_sum()"),
        ((col("i") - col("i").mean()).max(), "it aggregates the result of mean()"),
        (col("i"), "it keeps the rows as a list"),
        (pl.lit(1), "it is a literal"),
        (pl.lit(1).sum(), "it aggregates a literal"),
        (col("i").map_batches(lambda s: s, return_dtype=pl.Int8).sum(), "it calls a Python function"),
    ],
)
def test_holistic(decomposed, expr, reason):
    (found,) = decomposed(expr)
    assert isinstance(found, Holistic)
    assert found.reason == reason


def test_selectors_become_one_aggregation_a_column(decomposed):
    found = decomposed(col("i", "f").max(), pl.col(pl.Boolean).any().name.suffix("_any"))
    assert [(each.name, each.kind) for each in found] == [("i", "max"), ("f", "max"), ("o_any", "any")]


def test_keys_without_a_table_make_all_holistic(decomposed):
    (found,) = decomposed(pl.len(), group_by=["k", "l"])
    assert found.reason == 'the key "l" is List(Int64)'
    (found,) = decomposed(pl.len(), group_by=["k", "s", "d", "o", "f"])
    assert isinstance(found, Partial)
