"""The Nexmark generator: proportions, skew, and the same rows however they are cut."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from arrowstream import nexmark

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("group", [1, 50, 1000])
@pytest.mark.parametrize("kind", ["person", "auction", "bid"])
def test_any_cut_gives_the_same_rows(kind: str, group: int) -> None:
    stream = nexmark.Nexmark(seed=3, out_of_order_group=group)
    whole = stream.table(kind, 500)
    pieces = [
        stream.table(kind, count, first=first) for first, count in ((0, 1), (1, 99), (100, 0), (100, 400))
    ]

    assert pl.concat(pieces).equals(whole)


def test_iter_bids_gives_the_same_rows_in_any_chunks() -> None:
    whole = nexmark.bids(1000, seed=5)

    assert pl.concat(nexmark.iter_bids(1000, seed=5, chunk_rows=333)).equals(whole)


def test_known_bids_stay_what_they_are() -> None:
    # Literal values: a change of the generator changes every stored result, and has to be deliberate.
    bids = nexmark.bids(4, seed=0, columns=["auction", "bidder", "price", "channel"])

    assert bids.rows() == KNOWN_BIDS


def test_another_seed_gives_other_rows() -> None:
    assert not nexmark.bids(100, seed=1).equals(nexmark.bids(100, seed=2))


@pytest.mark.parametrize("group", [1, 1000])
def test_events_hold_the_rows_of_each_kind_in_stream_order(group: int) -> None:
    stream = nexmark.Nexmark(out_of_order_group=group)
    events = stream.events(2000)

    assert events.schema == nexmark.EVENT_SCHEMA
    assert events["event_type"].value_counts(sort=True)["count"].to_list() == [1840, 120, 40]
    for kind, rows in (
        ("person", stream.persons(40)),
        ("auction", stream.auctions(120)),
        ("bid", stream.bids(1840)),
    ):
        mine = events.filter(pl.col("event_type") == kind)
        assert mine[kind].struct.unnest().equals(rows)
        assert mine["date_time"].equals(rows["date_time"])


def test_ids_are_consecutive_and_refer_to_each_other() -> None:
    persons, auctions, bids = nexmark.persons(100), nexmark.auctions(300), nexmark.bids(4600)

    assert persons["id"].to_list() == list(range(1000, 1100))
    assert auctions["id"].to_list() == list(range(1000, 1300))
    # Ten ids ahead of what exists are allowed, as in the original.
    assert bids["auction"].is_between(1000, 1309).all()
    assert bids["bidder"].is_between(1000, 1110).all()
    assert auctions["seller"].is_between(1000, 1110).all()
    assert (auctions["expires"] > auctions["date_time"]).all()
    assert auctions["category"].unique().sort().to_list() == [10, 11, 12, 13, 14]


def test_skew_is_the_originals() -> None:
    bids = nexmark.bids(200_000, columns=["auction", "bidder", "price", "channel", "url"])

    assert share(bids["auction"] % 100 == 0) == pytest.approx(0.5 + 0.5 / 100, abs=0.01)
    assert share(bids["bidder"] % 100 == 1) == pytest.approx(0.75 + 0.25 / 100, abs=0.01)
    assert share(bids["channel"].is_in(["Google", "Facebook", "Baidu", "Apple"])) == pytest.approx(
        0.5, abs=0.01
    )
    assert bids["channel"].n_unique() == 10_004
    assert share(bids["price"] < 100_000) == pytest.approx(
        0.5, abs=0.01
    )  # log-uniform: half in half the decades
    assert bids["price"].is_between(100, 100_000_000).all()
    assert bids.select("channel", "url").unique().height == 10_004
    assert share(bids["url"].str.contains("channel_id=", literal=True)) == pytest.approx(0.45, abs=0.02)


def test_rows_have_the_originals_average_size() -> None:
    persons, auctions = nexmark.persons(20_000), nexmark.auctions(20_000)

    assert text_bytes(persons) + 8 == pytest.approx(200, abs=2)
    assert text_bytes(auctions) + 48 == pytest.approx(500, abs=3)
    assert text_bytes(nexmark.bids(2000).drop("channel", "url")) + 32 == pytest.approx(100, abs=1)


def test_time_follows_the_rate_and_the_start() -> None:
    start = datetime(2030, 5, 1, 12)
    bids = nexmark.bids(46 * 20, rate=1000, start=start)

    assert bids["date_time"].is_sorted()
    assert bids["date_time"][0] == start + timedelta(milliseconds=4)
    assert bids["date_time"][-1] == start + timedelta(milliseconds=999)


def test_out_of_order_group_bounds_the_disorder() -> None:
    bids = nexmark.bids(9200, rate=1000, out_of_order_group=1000)
    behind = bids["date_time"].cum_max() - bids["date_time"]

    assert timedelta(seconds=0.5) < behind.max() < timedelta(seconds=1)
    assert bids.sort("date_time").equals(nexmark.bids(9200, rate=1000).sort("date_time"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate=0 is below 1 event a second"),
        (
            {"out_of_order_group": 10},
            "out_of_order_group=10 is neither 1 nor a multiple of 50 that is none of 953",
        ),
        ({"out_of_order_group": 47_650}, "out_of_order_group=47650 is neither 1 nor a multiple of 50"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nexmark.Nexmark(**options)


def test_write_parquet_writes_the_stream(tmp_path: Path) -> None:
    seen: list[int] = []
    paths = nexmark.write_parquet(
        tmp_path, events=1003, seed=9, files=3, row_group_rows=100, on_chunk=seen.append
    )

    assert [path.name for path in paths["bid"]] == [
        "part-0000.parquet",
        "part-0001.parquet",
        "part-0002.parquet",
    ]
    assert pl.read_parquet(tmp_path / "bid").equals(nexmark.bids(920, seed=9))
    assert pl.read_parquet(tmp_path / "auction").equals(nexmark.auctions(62, seed=9))
    assert pl.read_parquet(tmp_path / "person").equals(nexmark.persons(21, seed=9))
    assert sum(seen) == 1003


def test_write_parquet_writes_only_what_is_asked_for(tmp_path: Path) -> None:
    nexmark.write_parquet(tmp_path, events=100, kinds=["bid"], bid_columns=["auction", "date_time"])

    assert [path.name for path in tmp_path.iterdir()] == ["bid"]
    assert pl.read_parquet(tmp_path / "bid").columns == ["auction", "date_time"]


def share(condition: pl.Series) -> float:
    return condition.sum() / len(condition)


def text_bytes(frame: pl.DataFrame) -> float:
    return sum(
        frame[name].str.len_bytes().mean() for name, dtype in frame.schema.items() if dtype == pl.String
    )


KNOWN_BIDS = [
    (1000, 1001, 6043335, "Apple"),
    (1008, 1001, 2337, "channel-287"),
    (1004, 1001, 47585433, "channel-1483"),
    (1000, 1001, 15396719, "channel-7078"),
]
