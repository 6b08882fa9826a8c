"""group_by_dynamic: errors, the grid, and the schema."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars import col
from polars import selectors as cs

from arrowstream.errors import PlanError
from arrowstream.plan import build
from arrowstream.plan.build import aggregate, late_rows, window
from arrowstream.plan.windows import grid


def refused(node, column="t", *, aggs=(), **options):
    with pytest.raises(PlanError) as caught:
        aggregate(window(node, column, **({"every": "10s"} | options)), *aggs)
    return str(caught.value)


DURATION_HINT = '  hint: write a positive duration, such as "10s"'
OTHER_ROWS_HINT = "  hint: aggregate the rows of a window instead: .group_by_dynamic(…).agg(…)"


def test_no_event_time(scan):
    assert refused(scan(event_time=None, t=pl.Datetime("us"))) == (
        'group_by_dynamic: the stream has no event time\n  hint: declare it: .with_event_time("t")'
    )
    assert refused(scan(x=pl.Int64), "x") == (
        "group_by_dynamic: the stream has no event time\n  hint: declare it: .with_event_time(…)"
    )


@pytest.mark.parametrize(
    ("step", "place"),
    [
        (lambda node: build.row_step(node, "with_columns", t=col("t").dt.truncate("1h")), "with_columns"),
        (lambda node: build.map_batches(node, lambda frame: frame), "map_batches"),
    ],
)
def test_lost_event_time(bids, step, place):
    assert refused(build.limit(step(bids))) == (
        "group_by_dynamic: the stream has no event time\n"
        f'  hint: "t" was lost in {place}; keep it unchanged there, or declare it: .with_event_time("t")'
    )


def test_another_column(bids):
    assert refused(bids, "price") == (
        'group_by_dynamic: "price" is not the event-time column, which is "t"\n'
        '  hint: declare it first: .with_event_time("price")'
    )


def test_unknown_column(bids):
    assert refused(bids, "time") == (
        'group_by_dynamic: there is no column "time"\n  choices: t, auction, price, channel'
    )


def test_index_column_is_a_name(bids):
    assert window(bids, col("t"), every="1s").index_column == "t"
    hint = "  hint: compute it before: .with_columns(…).with_event_time(…)"
    for expr in (col("t").dt.truncate("1s"), col("t").alias("u"), cs.temporal()):
        assert (
            refused(bids, expr)
            == f"group_by_dynamic: index_column is {expr}, not the name of a column\n{hint}"
        )


@pytest.mark.parametrize("closed", ["right", "both", "none"])
def test_closed(bids, closed):
    assert refused(bids, closed=closed) == (
        f'group_by_dynamic: closed="{closed}" is not supported yet\n'
        "  choices: left\n  hint: windows are [start, end): leave closed out"
    )


def test_label(bids):
    assert refused(bids, label="datapoint") == (
        'group_by_dynamic: label="datapoint" depends on which row came first\n'
        "  choices: left, right\n"
        "  hint: aggregate the index column: .agg(first=pl.col(…).min())"
    )
    assert refused(bids, label="middle") == (
        'group_by_dynamic: label="middle" does not exist\n  choices: left, right'
    )
    assert window(bids, "t", every="1s", label="right").label == "right"


def test_start_by(bids):
    assert refused(bids, start_by="monday") == (
        'group_by_dynamic: start_by="monday" depends on which row came first\n'
        "  choices: window\n  hint: shift the windows by a fixed offset="
    )


@pytest.mark.parametrize("text", ["0s", "-1h"])
def test_positive_durations(bids, text):
    assert refused(bids, every=text) == f'every: "{text}" is not positive\n{DURATION_HINT}'
    assert refused(bids, period=text) == f'period: "{text}" is not positive\n{DURATION_HINT}'


def test_mixed_units(bids):
    assert refused(bids, every="1d12h") == (
        'every: "1d12h" mixes months, weeks, days and shorter units\n'
        '  hint: write it in one of them, such as "36h"'
    )


def test_offset_in_months(bids):
    assert refused(bids, every="1mo", offset="1mo") == (
        'offset: "1mo" has months in it, which have no fixed length\n'
        "  hint: write the offset in days or shorter units"
    )


def test_calendar_windows_tumble(bids, scan):
    assert refused(bids, every="1mo", period="2mo") == (
        'period: "2mo" differs from every="1mo", and calendar windows have no fixed length\n'
        "  hint: leave period out"
    )
    berlin = scan(t=pl.Datetime("us", "Europe/Berlin"))
    assert refused(berlin, every="1h", period="2h") == (
        'period: "2h" differs from every="1h", and windows of a column in Europe/Berlin follow its clock '
        'changes\n  hint: convert the column first: .dt.convert_time_zone("UTC")'
    )
    assert window(berlin, "t", every="60m", period="1h").tumbling


def test_windows_that_clock_changes_would_tear(scan):
    berlin = scan(t=pl.Datetime("us", "Europe/Berlin"))
    assert refused(berlin, every="90m") == (
        'every: "90m" does not fit into hours, by which the clocks of Europe/Berlin change\n'
        '  hint: convert the column first: .dt.convert_time_zone("UTC")'
    )
    for every in ("20m", "2h", "36h", "1d"):
        assert window(berlin, "t", every=every).every == every
    assert window(scan(t=pl.Datetime("us", "UTC")), "t", every="90m").every == "90m"


def test_keys(bids):
    assert refused(bids, group_by="auctoin") == (
        'group_by_dynamic: there is no column "auctoin"\n'
        "  choices: t, auction, price, channel\n"
        '  hint: did you mean "auction"?'
    )
    assert refused(bids, group_by="t") == (
        'group_by_dynamic: "t" is the index column and cannot be a key as well\n'
        "  hint: leave it out of group_by, or give the key another name"
    )
    rank = col("price").rank()
    assert refused(bids, group_by=rank) == (
        f"group_by_dynamic: rank() looks at other rows than its own, in {rank}\n{OTHER_ROWS_HINT}"
    )
    assert refused(bids, group_by=["auction", "auction"]) == (
        'group_by_dynamic: two columns would be called "auction"\n'
        '  hint: give one of them another name with .alias("…")'
    )
    several = col("auction", "price").map_batches(lambda s: s)
    assert refused(bids, group_by=several) == (
        "group_by_dynamic: a key in group_by gives several columns, which cannot be told apart\n"
        "  hint: write one expression for each key"
    )
    keyed = window(bids, "t", every="1s", group_by=[cs.integer(), (col("price") // 10).alias("class")])
    assert keyed.keys == ("auction", "class")


def test_aggregates(bids):
    assert refused(bids, aggs=[col("prize").sum()]) == (
        'agg: there is no column "prize"\n'
        "  choices: t, auction, price, channel\n"
        '  hint: did you mean "price"?'
    )
    assert refused(bids, aggs=[col("channel").sum()]) == (
        "agg: `sum` operation not supported for dtype `str`\n  hint: cast the column first, or leave it out"
    )
    assert refused(bids, group_by="auction", aggs=[col("auction").sum()]) == (
        'agg: two columns would be called "auction"\n  hint: give one of them another name with .alias("…")'
    )
    for name, options in (("t", {}), ("_lower_boundary", {"include_boundaries": True})):
        assert refused(bids, aggs=[pl.len(), col("t").max().alias(name)], **options) == (
            f'agg: two columns would be called "{name}"\n'
            '  hint: give one of them another name with .alias("…")'
        )
    several = col("auction", "price").map_batches(lambda s: s.sum(), return_dtype=pl.Int64)
    assert refused(bids, aggs=[several]) == (
        f"agg: {several} gives several columns, which cannot be told apart\n"
        "  hint: write one expression for each column"
    )


AGGREGATES = [
    pl.len(),
    col("auction").sum().alias("total"),
    cs.float().mean().name.suffix("_mean"),
    col("channel").n_unique().alias("channels"),
    col("price").implode().alias("prices"),
    (col("price").max() - col("price").min()).alias("range"),
    col("t").max().alias("last"),
    pl.lit(1).alias("one"),
]


@pytest.mark.parametrize(
    "group_by", [None, "channel", ["channel", "auction"], (col("price") > 1).alias("dear")]
)
@pytest.mark.parametrize("include_boundaries", [False, True])
@pytest.mark.parametrize("label", ["left", "right"])
def test_schema_is_what_polars_gives(bids, group_by, include_boundaries, label):
    options = {"group_by": group_by, "include_boundaries": include_boundaries, "label": label, "every": "1h"}
    frame = pl.DataFrame(schema=bids.schema).lazy()
    expected = frame.group_by_dynamic("t", **options).agg(*AGGREGATES).collect_schema()
    found = aggregate(window(bids, "t", **options), *AGGREGATES)
    assert list(found.schema.items()) == list(expected.items())
    names = list(expected)[-len(AGGREGATES) :]
    assert [expr.meta.output_name() for expr in found.aggs] == names
    assert [aggregation.name for aggregation in found.aggregations] == names


def test_selectors_do_not_see_keys(bids):
    found = aggregate(window(bids, "t", every="1h", group_by="auction"), pl.all().last())
    assert list(found.schema) == ["auction", "t", "price", "channel"]


def test_window_is_a_stream_again(bids):
    counts = aggregate(window(bids, "t", every="10s"), pl.len())
    assert (counts.event_time, counts.lateness, counts.unbounded) == ("t", None, False)
    assert aggregate(window(counts, "t", every="1m"), col("len").sum()).schema == {
        "t": pl.Datetime("us"),
        "len": pl.UInt32,
    }


def test_late_rows_are_rows_of_the_input(bids):
    late = late_rows(window(bids, "t", every="10s", period="30s", offset="5s", group_by="auction"))
    assert late.schema == bids.schema
    assert (late.every_units, late.period_units, late.origin_units) == (10_000_000, 30_000_000, 5_000_000)


@pytest.mark.parametrize(
    ("every", "offset", "unit", "expected"),
    [
        ("10s", None, "ms", (10_000, 10_000, 0)),
        ("10s", "-3s", "ms", (10_000, 10_000, 7_000)),
        ("10s", "25s", "ms", (10_000, 10_000, 5_000)),
        ("7d", None, "ms", (604_800_000, 604_800_000, 0)),
        ("1w", None, "ms", (604_800_000, 604_800_000, 345_600_000)),
        ("1mo", None, "ms", (None, None, None)),
        (timedelta(hours=25), None, "ms", (90_000_000, 90_000_000, 0)),
    ],
)
def test_grid(every, offset, unit, expected):
    found = grid(every, None, offset, unit=unit, time_zone=None)
    assert (found.every_units, found.period_units, found.origin_units) == expected


def test_grid_of_a_zoned_column():
    assert grid("1h", None, None, unit="us", time_zone="UTC").every_units == 3_600_000_000
    assert grid("1h", None, None, unit="us", time_zone="Asia/Kolkata").every_units is None


@given(
    st.sampled_from(["7s", "90m", "36h", "1d", "7d", "1w", "3w", "1500ms"]),
    st.sampled_from([None, "1s", "-20m", "1d", "-1w"]),
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)),
)
def test_windows_start_where_polars_truncates(every, offset, time):
    found = grid(every, None, offset, unit="us", time_zone=None)
    shift = offset or "0ns"
    back = shift.removeprefix("-") if shift.startswith("-") else f"-{shift}"
    moment = pl.lit(time, pl.Datetime("us"))
    start = moment.dt.offset_by(back).dt.truncate(every).dt.offset_by(shift)
    physical, expected = pl.select(moment.to_physical(), start.to_physical().alias("start")).row(0)
    assert physical - (physical - found.origin_units) % found.every_units == expected


def test_a_row_is_not_in_millions_of_windows(scan):
    node = scan(t=pl.Datetime("us"))
    assert refused(node, every="1us", period="10d") == (
        'period: "10d" is more than 1,000,000 times every="1us", and each row would be in as many windows\n'
        "  hint: make every longer, or period shorter"
    )
    window(node, "t", every="1us", period="1s")
