from __future__ import annotations

import polars as pl
import pytest
from polars import col
from polars import selectors as cs

from arrowstream.plan import build
from arrowstream.plan.build import aggregate, row_step, window
from arrowstream.plan.rewrites import fused, required_columns, source_column, topological


@pytest.mark.parametrize(
    ("verb", "args", "kwargs", "needed"),
    [
        ("select", ("price",), {}, {"t", "price"}),
        ("select", (cs.float(), col("channel").alias("c")), {}, {"t", "price", "channel"}),
        ("drop", ("price", "channel"), {}, {"t", "auction"}),
        ("filter", (col("price") > 1,), {}, {"t", "auction", "price", "channel"}),
        ("rename", ({"price": "p"},), {}, {"t", "auction", "price", "channel"}),
        ("unpivot", (["price"],), {"index": "t"}, {"t", "price"}),
    ],
)
def test_columns_of_one_step(bids, verb, args, kwargs, needed):
    assert required_columns([row_step(bids, verb, *args, **kwargs)]) == {bids: needed}


@pytest.mark.parametrize(
    ("verb", "args", "kwargs", "needed"),
    [
        ("filter", (col("channel") == "x",), {}, {"t", "price", "channel"}),
        ("with_columns", (), {"y": col("channel")}, {"t", "price", "channel"}),
        ("with_columns", (), {"price": col("auction") * 2}, {"t", "price", "auction"}),
        ("rename", ({"price": "auction", "auction": "price"},), {}, {"t", "auction"}),
        ("cast", ({"channel": pl.Categorical},), {}, {"t", "price", "channel"}),
        ("drop", ("channel",), {}, {"t", "price"}),
        ("drop_nulls", ("channel",), {}, {"t", "price", "channel"}),
        ("drop_nulls", (), {}, {"t", "auction", "price", "channel"}),
        ("fill_null", (0,), {}, {"t", "price"}),
        ("fill_null", (col("auction"),), {}, {"t", "price", "auction"}),
        ("with_columns", (cs.numeric() * float("inf"),), {}, {"t", "auction", "price", "channel"}),
    ],
)
def test_columns_below_a_projection(bids, verb, args, kwargs, needed):
    step = row_step(bids, verb, *args, **kwargs)
    assert required_columns([row_step(step, "select", "price")]) == {bids: needed}


def test_columns_of_nested_steps(scan):
    stream = scan(l=pl.List(pl.Int64), s=pl.Struct({"x": pl.Int64}), y=pl.Int64, z=pl.Int64)
    exploded = row_step(row_step(stream, "explode", "l"), "unnest", "s")
    assert required_columns([row_step(exploded, "select", "y")]) == {stream: {"l", "s", "y"}}


def test_columns_of_windows(bids):
    counts = aggregate(window(bids, "t", every="1s"), pl.len())
    assert required_columns([counts]) == {bids: {"t"}}
    sums = aggregate(window(bids, "t", every="1s", group_by=col("auction") % 10), col("price").sum())
    assert required_columns([sums]) == {bids: {"t", "auction", "price"}}
    assert required_columns([counts, sums]) == {bids: {"t", "auction", "price"}}
    late = build.late_rows(window(bids, "t", every="1s"))
    assert required_columns([row_step(late, "select", "price")]) == {bids: {"t", "price"}}


def test_columns_of_other_nodes(bids):
    mapped = build.map_batches(bids, lambda frame: frame)
    assert required_columns([row_step(mapped, "select", "price")]) == {bids: set(bids.schema)}
    timed = build.event_time(build.limit(bids, 3), "t")
    assert required_columns([row_step(timed, "select", "price")]) == {bids: {"t", "price"}}


def test_a_column_is_read_to_count_rows(scan):
    stream = scan(x=pl.Int64, y=pl.Int64)
    one = row_step(row_step(stream, "with_columns", one=1), "select", "one")
    assert required_columns([one]) == {stream: {"x"}}


def test_source_column(bids):
    assert source_column(bids, "t") == (bids, "t")
    renamed = row_step(row_step(bids, "rename", {"t": "time"}), "filter", col("price") > 1)
    assert source_column(renamed, "time") == (bids, "t")
    assert source_column(build.limit(renamed, 1), "time") == (bids, "t")
    moved = row_step(bids, "with_columns", t=col("t").dt.offset_by("1s"))
    assert source_column(moved, "t") is None
    assert source_column(moved, "price") == (bids, "price")
    assert source_column(row_step(bids, "fill_null", 0), "price") is None
    assert source_column(aggregate(window(bids, "t", every="1s"), pl.len()), "t") is None


def test_topological_visits_shared_nodes_once(bids):
    one = row_step(bids, "filter", col("price") > 1)
    two = row_step(one, "select", "t", "price")
    three = row_step(one, "select", "t", "channel")
    assert topological([two, three, two]) == [bids, one, two, three]


def test_fused(bids):
    one = row_step(bids, "filter", col("price") > 1)
    two = row_step(one, "with_columns", x=1)
    counts = aggregate(window(two, "t", every="1s"), pl.len())
    assert fused([counts]) == [(bids,), (one, two), (counts,)]
    other = row_step(one, "select", "t")
    assert fused([counts, other]) == [(bids,), (one,), (two,), (counts,), (other,)]
    assert fused([one, two]) == [(bids,), (one,), (two,)]
