"""Row steps on micro-batches: as Polars on the whole, with hidden columns riding along unseen."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from polars import col
from polars import selectors as cs

from arrowstream.config import CLOCK, PARTITION
from arrowstream.connectors.memory.source import FrameSource
from arrowstream.errors import PlanError
from arrowstream.plan.build import row_step, scan
from arrowstream.plan.lower import compile_rows
from arrowstream.plan.rewrites import required_columns

ROWS = pl.DataFrame(
    {
        "t": [datetime(2026, 1, 1) + timedelta(seconds=s) for s in (3, 1, 2, 9, 5, 7)],
        "a": [1, None, 3, 4, None, 6],
        "b": [0.5, 1.5, None, float("nan"), 2.5, -1.0],
        "s": ["x", "y", None, "x", "z", ""],
        "l": [[1, 2], [], None, [3], [4, None, 5], [6]],
        "st": [
            {"u": 1, "v": "p"},
            None,
            {"u": 3, "v": None},
            {"u": 4, "v": "q"},
            None,
            {"u": None, "v": "r"},
        ],
    }
)
HIDDEN = ROWS.select(
    pl.int_range(pl.len()).alias(CLOCK), (pl.int_range(pl.len()) % 2).cast(pl.UInt32).alias(PARTITION)
)

STEPS = [
    ("filter", (col("a") > 1,), {}),
    ("filter", (pl.any_horizontal(cs.numeric() > 2),), {}),
    ("filter", (pl.any_horizontal(cs.numeric() * float("inf") > 2),), {}),
    ("remove", (col("b") > 1, col("a") < 5), {}),
    ("remove", (pl.all_horizontal(cs.numeric() * float("inf") > 2),), {}),
    ("select", ("t", "a"), {"one": 1}),
    ("select", (pl.all(),), {}),
    ("select", (cs.numeric() * float("inf"), "s"), {}),
    ("select", (cs.numeric().map_batches(lambda s: s + 1),), {}),
    ("with_columns", (cs.numeric() + 1,), {"n": pl.sum_horizontal(cs.numeric())}),
    ("with_columns", ((cs.numeric() * float("inf")).name.suffix("_inf"),), {}),
    ("drop", ("a", cs.nested()), {}),
    ("rename", ({"a": "b", "b": "a"},), {}),
    ("rename", (str.upper,), {}),
    ("cast", ({cs.numeric(): pl.String},), {}),
    ("explode", ("l",), {}),
    ("explode", ("l",), {"empty_as_null": True, "keep_nulls": False}),
    ("unnest", ("st",), {"separator": "_"}),
    ("unpivot", (["a", "b"],), {"index": ["t", "s"]}),
    ("unpivot", (), {"index": ["t", "l", "st", "s"], "variable_name": "k", "value_name": "v"}),
    ("unpivot", ([],), {"index": "t"}),
    ("drop_nulls", (), {}),
    ("drop_nulls", (cs.numeric(),), {}),
    ("fill_null", (0,), {}),
    ("fill_null", (5.5,), {}),
]


@pytest.fixture
def rows(scan):
    return scan(**ROWS.schema)


def in_pieces(apply, frame, cuts):
    edges = [0, *sorted(cuts), frame.height]
    pieces = [apply(frame[start:end]) for start, end in pairwise(edges)]
    return pl.concat(pieces)


@pytest.mark.parametrize(("verb", "args", "kwargs"), STEPS)
@pytest.mark.parametrize("hidden", [(), (PARTITION,), (CLOCK, PARTITION)])
def test_in_micro_batches_as_on_the_whole(rows, verb, args, kwargs, hidden):
    step = row_step(rows, verb, *args, **kwargs)
    expected = getattr(ROWS.lazy(), verb)(*args, **kwargs).collect()
    found = in_pieces(compile_rows([step], hidden), ROWS.hstack(HIDDEN.select(hidden)), (0, 1, 3, 3))
    assert found.columns == [*step.schema, *hidden]
    visible = found.drop(hidden)
    assert visible.schema == step.schema
    if verb == "unpivot":  # Polars leaves the order open; ours is by row
        sort = [name for name in visible.columns if name not in ("l", "st")]
        visible, expected = visible.sort(sort), expected.sort(sort)
    assert visible.equals(expected)


@pytest.mark.parametrize(("verb", "args", "kwargs"), STEPS)
def test_hidden_columns_stay_with_their_rows(rows, verb, args, kwargs):
    # The clock is made equal to the time, so that it can be compared wherever the time is kept.
    if verb == "select":
        args = ("t", (cs.numeric() * float("inf")).name.suffix("_inf"))
    if verb == "rename":
        args = ({"a": "aa"},)
    frame = ROWS.with_columns(col("t").to_physical().alias(CLOCK))
    found = compile_rows([row_step(rows, verb, *args, **kwargs)], (CLOCK,))(frame)
    assert found[CLOCK].equals(found["t"].to_physical().alias(CLOCK))


@pytest.mark.parametrize(("args", "kwargs"), [((), {"strategy": "one"}), ((col("b"),), {}), ((7,), {})])
def test_fill_null_leaves_hidden_columns_alone(scan, args, kwargs):
    frame = ROWS.select("a", "b")
    step = row_step(scan(**frame.schema), "fill_null", *args, **kwargs)
    found = compile_rows([step], (CLOCK, PARTITION))(frame.hstack(HIDDEN))
    assert found.equals(frame.fill_null(*args, **kwargs).hstack(HIDDEN))


def test_unpivot_is_row_by_row(rows):
    step = row_step(rows, "unpivot", ["a", "b"], index="s")
    found = compile_rows([step], ())(ROWS[:2])
    assert found.rows() == [("x", "a", 1.0), ("x", "b", 0.5), ("y", "a", None), ("y", "b", 1.5)]


def test_steps_are_one_plan(rows):
    one = row_step(rows, "with_columns", c=col("a") * 2)
    two = row_step(one, "filter", col("c") > 2)
    three = row_step(two, "select", "t", "c")
    apply = compile_rows([one, two, three], (PARTITION,))
    found = apply(ROWS.hstack(HIDDEN.select(PARTITION)))
    assert found.select("c", PARTITION).rows() == [(6, 0), (8, 1), (12, 1)]
    assert apply(ROWS.hstack(HIDDEN.select(PARTITION)).clear()).schema == found.schema


def test_columns_overwritten_again_and_again(scan):
    # Polars 2.1 itself gets this wrong in one lazy plan: it computes with columns already cast.
    doubled = (cs.numeric() * 2.0).name.suffix("_2")
    steps = [row_step(scan(a=pl.Int64, b=pl.Float64), "with_columns", doubled)]
    steps.append(row_step(steps[-1], "with_columns", doubled))
    steps.append(row_step(steps[-1], "cast", {cs.numeric(): pl.String}))
    found = compile_rows(steps, ())(pl.DataFrame({"a": [1], "b": [0.5]}))
    assert found.rows() == [("1", "0.5", "2.0", "1.0", "4.0", "2.0")]


def test_no_expression_sees_hidden_columns(rows):
    counted = row_step(rows, "select", n=pl.concat_list(cs.numeric()).list.len())
    found = compile_rows([counted], (CLOCK, PARTITION))(ROWS.hstack(HIDDEN))
    assert found["n"].to_list() == [2] * 6


def chained(node, verbs):
    """As many of the verbs as the columns allow, and what Polars makes of them one after another."""
    steps, expected = [], ROWS
    for verb, args, kwargs in verbs:
        try:
            step = row_step(steps[-1] if steps else node, verb, *args, **kwargs)
        except PlanError:
            continue
        steps.append(step)
        expected = getattr(expected.lazy(), verb)(*args, **kwargs).collect()
    return steps, expected


@given(
    verbs=st.lists(st.sampled_from([step for step in STEPS if step[0] != "unpivot"]), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, ROWS.height), max_size=3),
    hidden=st.sampled_from([(), (CLOCK,), (CLOCK, PARTITION)]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chains_need_only_the_required_columns(rows, verbs, cuts, hidden):
    steps, expected = chained(rows, verbs)
    assume(steps)
    read = [name for name in ROWS.columns if name in required_columns([steps[-1]])[rows]]
    frame = ROWS.select(read).hstack(HIDDEN.select(hidden))
    found = in_pieces(compile_rows(steps, hidden), frame, cuts)
    assert found.drop(hidden).equals(expected)
    assert found.schema == {**steps[-1].schema, **HIDDEN.select(hidden).schema}


def test_no_bit_depends_on_how_many_rows_there_are():
    # Polars itself divides one row otherwise than several.
    frame = pl.DataFrame({"x": [float(x) for x in range(1, 200)]})
    node = row_step(scan(FrameSource(frame)), "filter", col("x") > 0)
    steps = [node, row_step(node, "with_columns", y=col("x") / 7)]
    apply = compile_rows(steps, ())
    alone = pl.concat([apply(frame[row]) for row in range(frame.height)])
    few = apply(frame.with_columns(pl.when(col("x") == 3).then("x").otherwise(-1.0).alias("x")))
    assert alone["y"].to_list() == apply(frame)["y"].to_list()
    assert few["y"].to_list() == [apply(frame)["y"][2]]
