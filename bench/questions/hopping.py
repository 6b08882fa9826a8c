"""Hopping windows of 10 s every 2 s: five windows a row.

Batch engines have no such windows. The plain query explodes each row into its five; an expert first
aggregates panes of 2 s and explodes those. Both are here, for each engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from peers import AGGREGATES, ENGINES, query_duckdb
from question import Question, Target

if TYPE_CHECKING:
    import pyarrow as pa
    from question import Input

HOPS = 5
EVERY_MS = 2000
START = "date_time"


def arrowstream(data: Input) -> pl.DataFrame:
    """The replay under test."""
    import arrowstream as ars

    return (
        ars.scan_parquet(data.files, event_time=START)
        .group_by_dynamic(START, every="2s", period="10s", group_by="auction")
        .agg(**AGGREGATES)
        .collect(progress=False)
    )


def starts(column: pl.Expr) -> pl.Expr:
    """The starts of all windows that hold a row of the pane that starts at `column`."""
    return pl.concat_list([column - pl.duration(milliseconds=EVERY_MS * hop) for hop in range(HOPS)])


def polars_plain(data: Input, engine: str) -> pl.DataFrame:
    """Each row into its windows."""
    return (
        pl.scan_parquet(data.files)
        .select("auction", "price", starts(pl.col(START).dt.truncate("2s")).alias(START))
        .explode(START)
        .group_by(START, "auction")
        .agg(**AGGREGATES)
        .collect(engine=ENGINES[engine])
    )


def polars_panes(data: Input, engine: str) -> pl.DataFrame:
    """Each pane into its windows."""
    return (
        pl.scan_parquet(data.files)
        .group_by(pl.col(START).dt.truncate("2s"), "auction")
        .agg(**AGGREGATES)
        .with_columns(starts(pl.col(START)))
        .explode(START)
        .group_by(START, "auction")
        .agg(bids=pl.col("bids").sum(), total=pl.col("total").sum(), top=pl.col("top").max())
        .collect(engine=ENGINES[engine])
    )


def duckdb_plain(data: Input) -> pa.Table:
    """Each row into its windows."""
    return query_duckdb(
        f"""
        select auction, start - hop * interval '2 seconds' as date_time,
               count(*) as bids, sum(price)::bigint as total, max(price) as top
        from (select *, time_bucket(interval '2 seconds', date_time) as start from '{data.files}'),
             range({HOPS}) as hops(hop)
        group by all
        """
    )


def duckdb_panes(data: Input) -> pa.Table:
    """Each pane into its windows."""
    return query_duckdb(
        f"""
        with panes as (
            select auction, time_bucket(interval '2 seconds', date_time) as start,
                   count(*) as bids, sum(price)::bigint as total, max(price) as top
            from '{data.files}'
            group by all
        )
        select auction, start - hop * interval '2 seconds' as date_time,
               sum(bids)::bigint as bids, sum(total)::bigint as total, max(top) as top
        from panes, range({HOPS}) as hops(hop)
        group by all
        """
    )


QUESTION = Question(
    title="Hopping 10 s / 2 s by auction",
    asks="count, sum and max of the price in windows of 10 s that start every 2 s, by auction",
    contenders={
        "arrowstream": arrowstream,
        "polars": lambda data: polars_plain(data, "polars"),
        "polars streaming": lambda data: polars_plain(data, "polars streaming"),
        "duckdb": duckdb_plain,
        "polars panes": lambda data: polars_panes(data, "polars"),
        "polars streaming panes": lambda data: polars_panes(data, "polars streaming"),
        "duckdb panes": duckdb_panes,
    },
    targets=[
        Target("arrowstream", ("polars", "polars streaming", "duckdb"), at_least=2.0),
        Target("arrowstream", ("polars panes", "polars streaming panes", "duckdb panes"), at_least=1.2),
    ],
    keys=["date_time", "auction"],
)
