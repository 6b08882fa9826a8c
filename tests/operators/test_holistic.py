"""Aggregations that need the rows of a window: which rows are kept, and in which order Polars gets them."""

from __future__ import annotations

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal

from arrowstream.config import END_OF_TIME, PARTITION
from arrowstream.plan.nodes import Holistic

ROWS = {"t": pl.Datetime("us"), "k": pl.String, "x": pl.Int64, "f": pl.Float64, "unused": pl.String}
TIMES = {"t": pl.Datetime("us"), "x": pl.Int64}


def rows_of(windows, count=60):
    values = [
        (i * 7 % 60 + i // 9, ["a", "b", None][i % 3], None if i % 11 == 0 else i * 13 % 17, i / 7, "x")
        for i in range(count)
    ]
    return windows.frame(values, ROWS)


EXPRESSIONS = {
    "median": col("x").median(),
    "quantile": col("f").quantile(0.3, "linear"),
    "n_unique": col("x").n_unique(),
    "top_k": col("x").top_k(2),
    "implode": col("x").implode(),
    "plain column": col("x"),
    "arg_max": col("f").arg_max(),
    "filter": col("x").filter(col("f") > 2).sum(),
    "arithmetic": col("x").max() - col("x").min() + pl.len(),
    "count of rows, twice": pl.len() * 2,
    "sorted by": col("x").sort_by("f", descending=True).first(),
    "time": col("t").diff().max(),
    "strings": col("k").max(),
    "struct": pl.struct("k", "x").last(),
    "Python": col("x").map_batches(lambda s: s.sum() or 0, return_dtype=pl.Int64, returns_scalar=True),
    "cumulative": col("x").cum_sum(),
    "literal": pl.lit(7).alias("seven"),
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
@pytest.mark.parametrize("keys", [None, "k"])
def test_any_expression(windows, expression, keys):
    for options in ({"every": "20us"}, {"every": "10us", "period": "25us", "lateness": "5us"}):
        node = windows.node(ROWS, expression.alias("a"), group_by=keys, **options)
        assert isinstance(node.aggregations[0], Holistic)
        windows.check(node, rows_of(windows), [1, 17, 18, 40])


def test_rows_come_by_time_then_partition_then_position(windows):
    rows = windows.frame([(5, 1), (5, 2), (3, 3), (5, 4), (4, 5)], TIMES, partitions=[1, 1, 0, 0, 1])
    node = windows.node(TIMES, col("x").implode(), every="10us")
    done = windows.check(node, rows, [2, 3], partitions=2)
    assert done.result.get_column("x").to_list() == [[3, 5, 4, 1, 2]]


def test_only_what_is_asked_for_is_kept(windows):
    node = windows.node(ROWS, col("x").median(), every="10us", group_by="k")
    operator = windows.begin(node)
    operator.process(rows_of(windows).with_columns(pl.lit(0, pl.UInt32).alias(PARTITION)))
    (kept,) = operator._kept._fresh
    assert [name for name in kept.columns if not name.startswith("__")] == ["k", "x"]


def test_late_rows_are_not_kept(windows):
    node = windows.node(TIMES, col("x").median(), every="10us", lateness="0us")
    operator = windows.begin(node)
    operator.process(windows.with_clock(windows.frame([(1, 1), (25, 2), (4, 3), (21, 4)], TIMES)))
    assert operator.state_rows == 3
    assert operator.late_rows == 1


def test_rows_between_windows_are_not_kept(windows):
    node = windows.node(TIMES, col("x").median(), every="10us", period="4us")
    operator = windows.begin(node)
    operator.process(windows.frame([(3, 1), (4, 2), (9, 3), (10, 4)], TIMES))
    assert operator.state_rows == 2


def test_rows_go_when_their_last_window_closes(windows):
    node = windows.node(TIMES, col("x").implode(), every="10us", period="20us")
    operator = windows.begin(node)
    operator.process(windows.frame([(1, 1), (11, 2), (12, 3), (25, 4)], TIMES))
    held = []
    for watermark in (9, 10, 19, 20, 30, END_OF_TIME):
        operator.on_watermark(watermark)
        held.append(operator.state_rows)
    assert held == [4, 4, 4, 3, 1, 0]


def test_each_window_is_evaluated_by_itself(windows):
    """So that its bits do not depend on which others close with it."""
    rows = windows.frame(
        [(i, x) for i, x in enumerate([1e16, 1.0, -1e16, 0.1] * 30)], {**TIMES, "x": pl.Float64}
    )
    node = windows.node(rows.schema, (col("x").sum() / 3).alias("a"), every="7us", period="21us")
    at_once, apart = windows.replay(node, rows), windows.replay(node, rows, range(1, 120))
    assert len(apart.frames) > len(at_once.frames) == 1
    assert apart.result.equals(at_once.result)


def test_beside_folded_aggregations(windows):
    node = windows.node(
        ROWS,
        pl.len(),
        middle=col("x").median(),
        total=col("x").sum(),
        names=col("k").n_unique(),
        every="20us",
        group_by=[col("x") % 4, "k"],
    )
    rows = rows_of(windows)
    done = windows.check(node, rows, [5, 50])
    assert done.result.columns == ["x", "k", "t", "len", "middle", "total", "names"]
    assert_frame_equal(done.result, windows.in_windows(node, rows))


NESTED = {
    pl.List(pl.Int64): [[1, None], [], None],
    pl.Array(pl.Float32, 2): [[1.5, None], None, [0.0, 2.0]],
    pl.Struct({"a": pl.List(pl.String), "b": pl.Decimal(20, 3)}): [
        {"a": ["x"], "b": "1.125"},
        None,
        {"a": None},
    ],
    pl.Decimal(38, 4): ["1.2345", None, "-0.0001"],
    pl.Int128: [2**126, None, -(2**126)],
    pl.Categorical: ["a", None, "b"],
    pl.Enum(["z", "a"]): ["z", None, "a"],
    pl.Binary: [b"", None, b"\xff" * 20],
    pl.Time: [None, None, None],
    pl.Null: [None, None, None],
}


@pytest.mark.parametrize("dtype", NESTED, ids=str)
def test_values_of_any_type_survive_a_checkpoint(windows, dtype):
    values = [NESTED[dtype][i % 3] for i in range(12)]
    rows = windows.of_type(dtype, values)
    node = windows.node(rows.schema, col("v").implode(), last=col("v").last(), every="4us", period="8us")
    windows.check(node, rows, [1, 2, 7])
