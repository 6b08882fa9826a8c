from __future__ import annotations

import polars as pl
import pytest
from polars import col

from arrowstream.plan import build
from arrowstream.plan.build import aggregate, row_step, window
from arrowstream.plan.explain import canonical, fingerprint, graph, logical, physical


class Sink:
    delivery = "exactly_once"


@pytest.fixture
def job(bids):
    dear = row_step(bids, "filter", col("price") > 100)
    named = row_step(dear, "rename", {"auction": "lot"})
    windows = window(named, "t", every="10s", group_by="lot")
    result = aggregate(windows, pl.len(), col("price").median().alias("middle"))
    return build.sinked(result, Sink(), "out")


def test_logical(job):
    assert (
        logical([job])
        == """\
LOGICAL PLAN
  SINK out
    WINDOW t EVERY 10s BY lot
      · len()
      · col("price").median().alias("middle")
      RENAME
        · auction -> lot
        FILTER
          · [col("price") > 100]
          SCAN events
            · t, auction, price, channel
            · event time t, lateness 5s"""
    )


def test_physical(job):
    assert (
        physical([job])
        == """\
PHYSICAL PLAN
  1. SCAN events
       reads 3 of 4 columns: t, auction, price
       watermark: largest t so far in each partition, minus 5s
  2. FILTER → RENAME (one Polars plan per batch)
  3. WINDOW t EVERY 10s BY lot
       folded  len: len
       kept    middle: the window's rows, because median() needs all rows
  4. SINK out
       delivery: exactly once, with a checkpoint"""
    )


def test_physical_says_what_is_unusual(scan):
    berlin = scan(t=pl.Datetime("us", "Europe/Berlin"))
    text = physical([aggregate(window(berlin, "t", every="1d"))])
    assert "watermark: none until the end: the source has no statistics" in text
    assert "folded  groups only" in text
    assert "windows by the calendar of Europe/Berlin" in text
    late = build.late_rows(window(berlin, "t", every="1d"))
    assert "always empty: nothing is late without lateness" in physical([late])

    timed = build.event_time(build.event_time(berlin, "t"), "t")
    assert physical([timed]).count("watermark: as before") == 2

    class AtLeastOnce(Sink):
        delivery = "at_least_once"

    assert "delivery: at least once" in physical([build.sinked(berlin, AtLeastOnce(), "out")])


def test_physical_asks_the_source(scan):
    class Source:
        replayable = False
        bounded = True

        def __init__(self, missing):
            self.schema = (
                pl.DataFrame(schema={"t": pl.Datetime("us"), "u": pl.Datetime("us")}).to_arrow().schema
            )
            self.missing = missing
            self.column = None

        def with_event_time(self, column):
            other = type(self)(self.missing)
            other.column = column
            return other

        def horizon_missing(self):
            return self.missing and f"{self.missing} of {self.column}"

    known = build.scan(Source(None), event_time="t")
    assert (
        physical([known])
        == """\
PHYSICAL PLAN
  1. SCAN Source
       reads 2 of 2 columns: t, u
       watermark: smallest t not read yet, from the source's statistics
       cannot be read again: no checkpoints"""
    )
    assert "none until the end: no footers of t" in physical(
        [build.scan(Source("no footers"), event_time="t")]
    )
    assert "none until the end: no source knows" in physical([build.event_time(known, "u")])


def test_shared_nodes_are_written_once(bids):
    dear = row_step(bids, "filter", col("price") > 100)
    text = logical([row_step(dear, "select", "t"), row_step(dear, "select", "price")])
    assert text.count("SCAN") == 1
    assert "FILTER (shared, see above)" in text


def test_titles(bids):
    windows = window(bids, "t", every="10s", period="1m", offset="2s")
    assert "LATE ROWS OF t EVERY 10s PERIOD 1m OFFSET 2s" in logical([build.late_rows(windows)])
    assert "LIMIT 3" in logical([build.limit(bids, 3)])
    assert "MAP BATCHES test_titles.<locals>.<lambda>" in logical([build.map_batches(bids, lambda f: f)])
    assert "EVENT TIME t\n    · lateness 1s" in logical([build.event_time(bids, "t", lateness="1s")])


@pytest.mark.parametrize(
    ("verb", "args", "kwargs", "line"),
    [
        ("select", (col("price") * 2, "t"), {}, '· [col("price") * 2]'),
        ("with_columns", (), {"x": col("channel") == "a"}, '· [col("channel") == "a"].alias("x")'),
        ("drop", ("t", "price"), {}, "· t, price"),
        ("cast", ({"price": pl.Float32},), {}, "· price -> Float32"),
        ("unpivot", (["auction", "price"],), {"index": "t"}, "· auction, price beside t"),
        ("drop_nulls", ("t",), {}, "· t"),
        ("fill_null", (0,), {}, "· 0"),
        ("fill_null", (), {"strategy": "zero"}, "· strategy zero"),
    ],
)
def test_arguments_of_steps(bids, verb, args, kwargs, line):
    assert logical([row_step(bids, verb, *args, **kwargs)]).splitlines()[2].strip() == line


def test_graph(job):
    drawn = graph([job])
    assert [node.title for node in drawn.nodes] == [
        "SCAN events",
        "FILTER",
        "RENAME",
        "WINDOW t EVERY 10s BY lot",
        "SINK out",
    ]
    assert drawn.edges == ((0, 1), (1, 2), (2, 3), (3, 4))
    assert drawn.nodes[1].lines == ('[col("price") > 100]',)


def test_canonical_can_be_compared_line_by_line(job):
    lines = canonical([job]).splitlines()
    assert lines[0] == "#0 Scan() event_time=t lateness=5000000 on_error=raise"
    assert lines[1] == "    -> t: Datetime(time_unit='us', time_zone=None)"
    assert lines[5].startswith('#1 RowStep(#0) filter [[(col("price")) > (dyn int: 100)] (')
    assert lines[6] == "#2 RowStep(#1) rename [{auction: 'lot'}]"
    assert lines[7] == "#3 Window(#2) t every=10s period=10s offset=0ns label=left boundaries=False"
    assert lines[8] == '    key lot: col("lot")'
    assert lines[-1] == "#4 Sinked(#3) Sink out"


def queries(bids):
    """Plans that differ in one thing each."""
    yield bids
    yield build.event_time(bids, "t")
    yield build.event_time(bids, "t", lateness="1s")
    yield build.event_time(bids, "t", on_error="skip")
    yield build.map_batches(bids, print)
    yield build.map_batches(bids, print, {"x": pl.Int64})
    yield build.map_batches(bids, Sink)
    yield build.limit(bids, 1)
    yield build.limit(bids, 2)
    for predicate in (
        col("price") > 1,
        col("price") > 1.0,
        col("price") > 2,
        col("channel").is_in(["a", "b"]),
        col("channel").is_in(pl.Series(["a", "b"])),
        col("channel").is_in(pl.Series(["a", "c"])),
    ):
        yield row_step(bids, "filter", predicate)
        yield row_step(bids, "remove", predicate)
    yield row_step(bids, "fill_null", 0)
    yield row_step(bids, "fill_null", "0")
    yield row_step(bids, "cast", {"price": pl.Int64}, strict=False)
    yield row_step(bids, "cast", {"price": pl.Int64})
    for options in (
        {"every": "1s"},
        {"every": "2s"},
        {"every": "1s", "period": "2s"},
        {"every": "1s", "offset": "1ms"},
        {"every": "1s", "group_by": "auction"},
        {"every": "1s", "include_boundaries": True},
        {"every": "1s", "label": "right"},
    ):
        windows = window(bids, "t", **options)
        yield aggregate(windows, pl.len())
        yield aggregate(windows, pl.len().alias("n"))
        yield build.late_rows(windows) if len(options) == 1 else aggregate(windows, col("price").max())


def test_fingerprints_differ_where_plans_do(bids):
    found = [fingerprint([query]) for query in queries(bids)]
    assert len(set(found)) == len(found)


def test_fingerprints_are_the_same_for_the_same_query(scan):
    columns = {"t": pl.Datetime("us"), "auction": pl.Int64, "price": pl.Float64, "channel": pl.String}
    once, again = (list(queries(scan(**columns))) for _ in range(2))
    assert [fingerprint([query]) for query in once] == [fingerprint([query]) for query in again]


def test_the_order_of_roots_and_what_they_share_count(bids):
    one, two = row_step(bids, "select", "t"), row_step(bids, "select", "price")
    assert fingerprint([one, two]) != fingerprint([two, one])


def test_the_label_and_the_boundaries_are_shown(scan):
    node = scan(t=pl.Datetime("us"))
    windows = window(node, "t", every="10s", label="right", include_boundaries=True)
    assert "WINDOW t EVERY 10s LABEL right WITH BOUNDARIES" in logical([aggregate(windows, pl.len())])
