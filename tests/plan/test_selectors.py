from __future__ import annotations

import polars as pl
import pytest
from polars import col
from polars import selectors as cs

from arrowstream.plan.schema import empty
from arrowstream.plan.selectors import expand

SCHEMA = pl.Schema(
    {"a": pl.Int64, "b": pl.Int64, "s": pl.String, "st": pl.Struct({"x": pl.Int64, "y": pl.String})}
)


def expanded(expr):
    return [
        str(found)
        for found in expand([expr], SCHEMA, lambda exprs: empty(SCHEMA).select(exprs).collect_schema())
    ]


def written(*exprs):
    return [str(expr) for expr in exprs]


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (col("a") + 1, [col("a") + 1]),
        (pl.all(), [col("a"), col("b"), col("s"), col("st")]),
        (col("b", "a"), [col("b"), col("a")]),
        (col("^a|b$").name.prefix("x_"), [col("a").name.prefix("x_"), col("b").name.prefix("x_")]),
        (cs.integer() * 0.1, [col("a") * 0.1, col("b") * 0.1]),
        (pl.all().exclude("s", "st"), [col("a"), col("b")]),
        (col("a", "b") + col("b", "a"), [col("a") + col("b"), col("b") + col("a")]),
        (pl.max_horizontal(cs.integer()), [pl.max_horizontal("a", "b")]),
        (pl.struct(cs.integer()), [pl.struct("a", "b")]),
        (pl.all_horizontal(cs.integer() > 0), [pl.all_horizontal(col("a") > 0, col("b") > 0)]),
        (pl.coalesce(cs.integer(), 0).alias("z"), [pl.coalesce("a", "b", 0).alias("z")]),
        (cs.boolean(), []),
        (cs.boolean().map_batches(lambda s: s), []),
    ],
)
def test_expand(expr, expected):
    assert expanded(expr) == written(*expected)


def test_fields_of_a_struct():
    fields = expand(
        [col("st").struct.field("*")], SCHEMA, lambda exprs: empty(SCHEMA).select(exprs).collect_schema()
    )
    frame = pl.DataFrame({"st": [{"x": 1, "y": "u"}]})
    assert frame.select(fields).rows() == [(1, "u")]
    assert [field.meta.output_name() for field in fields] == ["x", "y"]


@pytest.mark.parametrize(
    "expr",
    [
        col("a", "b") * float("inf"),  # JSON has no infinity
        col("a", "b").map_batches(lambda s: s),  # nor Python functions
    ],
)
def test_what_cannot_be_expanded_stays(expr):
    assert expanded(expr) == written(expr)
