"""Where event time begins, which column it is, and where it is lost."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from polars import col

from arrowstream.errors import PlanError
from arrowstream.plan import build
from arrowstream.plan.build import row_step


def refused(call, *args, **kwargs):
    with pytest.raises(PlanError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_scan_declares_event_time(scan):
    node = scan(t=pl.Datetime("ms"), x=pl.Int64, lateness="5s")
    assert (node.event_time, node.lateness, node.unbounded) == ("t", 5_000, False)
    assert scan(x=pl.Int64).event_time is None


def test_schema_of_a_source():
    class Source:
        bounded = True
        polars_schema = pl.Schema({"e": pl.Enum(["a", "b"])})
        schema = pa.schema([("e", pa.string())])

    assert build.scan(Source()).schema == {"e": pl.Enum(["a", "b"])}
    Source.polars_schema = None
    assert build.scan(Source()).schema == {"e": pl.String}
    Source.schema = pa.schema([("e", pa.month_day_nano_interval())])
    assert "scan: " in refused(build.scan, Source())


def test_with_event_time(scan):
    node = build.event_time(scan(u=pl.Datetime("ns"), x=pl.Int64), "u", lateness="1us")
    assert (node.event_time, node.column, node.lateness) == ("u", "u", 1_000)
    assert build.event_time(node, "u").lateness is None


def test_unknown_column(bids):
    assert refused(build.event_time, bids, "tt") == (
        'with_event_time: there is no column "tt"\n'
        "  choices: t, auction, price, channel\n"
        '  hint: did you mean "t"?'
    )


@pytest.mark.parametrize(
    ("dtype", "shown", "written"),
    [
        (pl.String, "String", 'pl.col("x").str.to_datetime("%Y-%m-%d %H:%M:%S")'),
        (pl.Date, "Date", 'pl.col("x").cast(pl.Datetime("us"))'),
        (pl.Int64, "Int64", 'pl.from_epoch("x", time_unit="s")'),
    ],
)
def test_not_a_timestamp(scan, dtype, shown, written):
    node = scan(t=pl.Datetime("us"), x=dtype)
    assert refused(build.event_time, node, "x") == (
        f'with_event_time: column "x" is {shown}, not a timestamp (pl.Datetime)\n'
        f"  choices: t\n  hint: convert it first: .with_columns({written})"
    )


def test_not_convertible(scan):
    assert refused(build.event_time, scan(x=pl.Boolean), "x") == (
        'with_event_time: column "x" is Boolean, not a timestamp (pl.Datetime)'
    )


def test_lateness_is_not_negative(bids):
    assert refused(build.event_time, bids, "t", lateness="-1s") == (
        'lateness: "-1s" is negative\n  hint: write "0s" or more'
    )
    assert build.event_time(bids, "t", lateness="0s").lateness == 0


def test_unbounded_input_needs_lateness(scan):
    hint = '  hint: say how much rows may be out of order, such as lateness="5s"'
    assert refused(scan, t=pl.Datetime("us"), bounded=False) == (
        f"scan: the input is unbounded, so that lateness has to be given\n{hint}"
    )
    live = scan(u=pl.Datetime("us"), bounded=False)
    assert refused(build.event_time, live, "u") == (
        f"with_event_time: the input is unbounded, so that lateness has to be given\n{hint}"
    )
    assert build.event_time(live, "u", lateness="1s").unbounded


def test_lateness_needs_event_time(scan):
    assert refused(scan, event_time=None, x=pl.Int64, lateness="5s") == (
        "scan: lateness needs event time\n  choices: x\n  hint: give event_time= as well"
    )


def test_on_error_choices(bids):
    assert refused(build.event_time, bids, "t", on_error="ignore") == (
        'with_event_time: on_error="ignore" does not exist\n  choices: raise, skip, dead_letter'
    )


def test_hidden_names_are_taken(scan):
    assert refused(scan, __arrowstream_x=pl.Int64) == (
        'scan: column names that begin with "__arrowstream_" are taken: "__arrowstream_x"\n  hint: rename it'
    )


@pytest.mark.parametrize(
    ("verb", "args", "kwargs", "kept"),
    [
        ("filter", (col("price") > 1,), {}, "t"),
        ("select", ("price", "t"), {}, "t"),
        ("select", (pl.all(),), {}, "t"),
        ("select", (col("t").alias("u"), "price"), {}, "u"),
        ("select", (col("t").alias("u"), "t"), {}, "t"),
        ("select", ("price",), {}, None),
        ("select", (col("t").dt.truncate("1h"),), {}, None),
        ("with_columns", (), {"x": 1}, "t"),
        ("with_columns", (), {"u": "t"}, "t"),
        ("with_columns", (), {"t": col("t")}, "t"),
        ("with_columns", (), {"t": col("t").dt.offset_by("1h")}, None),
        ("with_columns", (pl.all().map_batches(lambda s: s),), {}, None),
        ("drop", ("price",), {}, "t"),
        ("drop", ("t",), {}, None),
        ("rename", ({"t": "time"},), {}, "time"),
        ("rename", ({"t": "price", "price": "t"},), {}, "price"),
        ("cast", ({"price": pl.Int64},), {}, "t"),
        ("cast", ({"t": pl.Datetime("us")},), {}, "t"),
        ("cast", ({"t": pl.Datetime("ms")},), {}, None),
        ("unpivot", (["auction", "price"],), {"index": "t"}, "t"),
        ("unpivot", (["auction", "price"],), {"index": "channel"}, None),
        ("drop_nulls", (), {}, "t"),
        ("fill_null", (0,), {}, "t"),
    ],
)
def test_event_time_through_a_step(bids, verb, args, kwargs, kept):
    step = row_step(bids, verb, *args, **kwargs)
    assert (step.event_time, step.lateness) == (kept, None if kept is None else 5_000_000)


def test_event_time_through_nested_columns(scan):
    stream = scan(t=pl.Datetime("us"), l=pl.List(pl.Int64), s=pl.Struct({"x": pl.Int64}))
    assert row_step(stream, "explode", "l").event_time == "t"
    assert row_step(stream, "unnest", "s").event_time == "t"


def test_event_time_through_other_nodes(bids):
    assert build.limit(bids, 3).event_time == "t"
    assert build.map_batches(bids, lambda frame: frame).event_time is None


def test_limit_is_a_number_of_rows(bids):
    for rows in (-1, 1.5, "5", True):
        assert refused(build.limit, bids, rows) == (
            f"limit: {rows!r} is not a number of rows\n  hint: write 0 or more, such as limit(5)"
        )
    assert build.limit(bids).n == 5


def test_map_batches(bids):
    assert build.map_batches(bids, lambda frame: frame, {"x": pl.Int64}).schema == {"x": pl.Int64}
    assert build.map_batches(bids, lambda frame: frame).schema == bids.schema
    assert refused(build.map_batches, bids, 3) == (
        "map_batches: 3 is no function\n  hint: give one that takes a pl.DataFrame and gives one"
    )
    assert refused(build.map_batches, bids, print, {"x": 3}) == (
        "schema={'x': 3} is not a schema: cannot parse input of type 'int' into Polars data type (given: 3)\n"
        '  hint: name columns and Polars types: schema={"price": pl.Int64, "time": pl.Datetime("us")}'
    )
    assert build.map_batches(bids, print, {"x": pl.Datetime}).schema == {"x": pl.Datetime("us")}


def test_sink_checks_the_schema(bids):
    class Picky:
        delivery = "exactly_once"

        def check_schema(self, schema):
            raise PlanError("no floats")

    assert refused(build.sinked, bids, Picky(), "out") == "no floats"


def test_event_time_is_a_name(bids):
    assert refused(build.event_time, bids, pl.col("t")) == (
        'with_event_time: event time is named by a string, not by col("t")\n'
        "  choices: t\n"
        "  hint: compute it before: .with_columns(…).with_event_time(…)"
    )
