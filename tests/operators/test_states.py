"""Every aggregation of every type that can be folded, against Polars; and which states are kept for it."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta

import polars as pl
import pytest
from polars import col

from arrowstream.plan.nodes import Partial
from arrowstream.runtime.operators.states import State, plan_states

EVERY_TYPE = {
    pl.Int8: [-(2**7), 2**7 - 1, 1],
    pl.Int16: [-(2**15), 2**15 - 1, 1],
    pl.Int32: [-(2**31), 2**31 - 1, 2**31 - 1],
    pl.Int64: [-(2**63), 2**63 - 1, 2**63 - 1],
    pl.UInt8: [0, 2**8 - 1, 7],
    pl.UInt16: [0, 2**16 - 1, 7],
    pl.UInt32: [0, 2**32 - 1, 2**32 - 1],
    pl.UInt64: [0, 2**64 - 1, 2**63],
    pl.Float32: [0.1, -2.5, 3.25],
    pl.Float64: [0.1, -2.5, 1e300],
    pl.Boolean: [True, False, True],
    pl.Date: [date(1969, 7, 20), date(2026, 1, 1), date(1, 1, 1)],
    pl.Time: [time(0), time(23, 59, 59, 999_999), time(12)],
    pl.Datetime("ms"): [datetime(1969, 1, 1), datetime(2026, 1, 1), datetime(1, 1, 1)],
    pl.Datetime("ns", "Europe/Berlin"): [datetime(1969, 1, 1), datetime(2026, 1, 1), datetime(1700, 1, 1)],
    pl.Duration("us"): [timedelta(-1), timedelta(1), timedelta(microseconds=1)],
}
NUMBERS = [dtype for dtype in EVERY_TYPE if dtype.is_numeric() or dtype == pl.Boolean]


def aggregates_of(dtype):
    kinds = ["min", "max", "first", "last", "count"]
    if dtype in NUMBERS:
        kinds += ["sum", "mean", "var", "std"]
    if dtype == pl.Duration:
        kinds += ["sum"]
    if dtype == pl.Boolean:
        kinds += ["any", "all"]
    return [getattr(col("v"), kind)().alias(kind) for kind in kinds]


@pytest.mark.parametrize("dtype", EVERY_TYPE, ids=str)
def test_every_type_of_value(windows, dtype):
    low, high, other = EVERY_TYPE[dtype]
    values = [low, None, high, None, other, other, low, None, None, None, high, high, high, None, other, low]
    rows = windows.of_type(dtype, values)
    for period in ("3us", "6us", "2us"):
        node = windows.node(rows.schema, *aggregates_of(dtype), every="3us", period=period)
        assert all(isinstance(aggregation, Partial) for aggregation in node.aggregations)
        windows.check(node, rows, [1, 5, 6])
        windows.check(node, rows.fill_null(strategy="forward"), [1, 5, 6])


@pytest.mark.parametrize("dtype", EVERY_TYPE, ids=str)
def test_groups_of_nulls_only(windows, dtype):
    rows = windows.of_type(dtype, [None] * 5)
    node = windows.node(rows.schema, *aggregates_of(dtype), pl.len(), every="3us")
    result = windows.check(node, rows, [1]).result
    assert result.get_column("len").to_list() == [3, 2]
    assert result.get_column("max").null_count() == 2


def test_degrees_of_freedom(windows):
    rows = windows.of_type(pl.Float64, [1.0, 3.0, 7.0, None, None, None])
    node = windows.node(
        rows.schema,
        *[getattr(col("v"), kind)(ddof=n).alias(f"{kind}{n}") for kind in ("var", "std") for n in range(4)],
        every="3us",
    )
    first, nulls = windows.replay(node, rows).result.drop("t").rows()
    variances = [56 / 9, 28 / 3, 56 / 3]
    assert first[:3] == pytest.approx(variances)
    assert first[4:7] == pytest.approx([math.sqrt(x) for x in variances])
    assert (first[3], first[7]) == (None, None)
    assert nulls == (None,) * 8


@pytest.mark.parametrize(
    ("dtype", "total"),
    [(pl.Int32, -(2**31)), (pl.Int64, -(2**63)), (pl.UInt32, 0), (pl.UInt64, 0), (pl.Int8, 128)],
    ids=str,
)
def test_sums_wrap_round_as_those_of_polars(windows, dtype, total):
    largest = dtype.max() if isinstance(dtype, pl.DataType) else dtype().max()
    rows = windows.of_type(dtype, [pl.select(largest).item(), 1])
    node = windows.node(rows.schema, col("v").sum(), every="10us")
    assert windows.check(node, rows, [1]).result.get_column("v").to_list() == [total]


def planned(windows, *aggregates):
    node = windows.node({"t": pl.Datetime("us"), "x": pl.Int64, "f": pl.Float64}, *aggregates, every="1s")
    inputs, states, aggregations = plan_states(node.aggregations)
    return [str(expr) for expr in inputs], states, [a.state for a in aggregations]


def test_aggregations_share_inputs_and_states(windows):
    inputs, states, of_each = planned(
        windows,
        col("f").sum(),
        col("f").mean().alias("mean"),
        col("f").var().alias("var"),
        col("f").alias("other").std().alias("std"),
        col("x").max().alias("max"),
        col("x").count().alias("count"),
        pl.len(),
    )
    assert inputs == ['col("f")', 'col("x")']
    total, spread, greatest = State("sum_float", 0), State("variance", 0), State("max_int", 1)
    assert states == [total, spread, greatest]
    assert of_each == [total, total, spread, spread, greatest, None, None]


def test_states_of_other_expressions_are_apart(windows):
    inputs, states, _ = planned(windows, col("x").sum(), (col("x") * 2).sum().alias("twice"))
    assert len(inputs) == len(states) == 2


def test_names_of_columns_of_state():
    assert State("first", 3).columns == ["first_3_time", "first_3_rank", "first_3_value", "first_3_known"]
