"""The same tumbling-window query, as each engine does it best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import duckdb
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from question import Input, Result

AGGREGATES = {"bids": pl.len(), "total": pl.col("price").sum(), "top": pl.col("price").max()}
PEERS = ("polars", "polars streaming", "duckdb")
ENGINES: Mapping[str, Literal["in-memory", "streaming"]] = {
    "polars": "in-memory",
    "polars streaming": "streaming",
}


def tumbling(every: str, interval: str, keys: Sequence[str]) -> dict[str, Callable[[Input], Result]]:
    """Count, sum and maximum of the price by `keys` in windows of `every` (Polars) or `interval` (DuckDB)."""

    def arrowstream(data: Input) -> pl.DataFrame:
        import arrowstream as ars

        return (
            ars.scan_parquet(data.files, event_time="date_time")
            .group_by_dynamic("date_time", every=every, group_by=list(keys))
            .agg(**AGGREGATES)
            .collect(progress=False)
        )

    def polars(data: Input, engine: str) -> pl.DataFrame:
        # `group_by_dynamic` takes Polars eight times as long as grouping by the truncated time.
        return (
            pl.scan_parquet(data.files)
            .group_by(pl.col("date_time").dt.truncate(every), *keys)
            .agg(**AGGREGATES)
            .collect(engine=ENGINES[engine])
        )

    def batch(data: Input) -> pa.Table:
        return query_duckdb(
            f"""
            select {", ".join(keys)}, time_bucket(interval '{interval}', date_time) as date_time,
                   count(*) as bids, sum(price)::bigint as total, max(price) as top
            from '{data.files}'
            group by all
            """
        )

    return {
        "arrowstream": arrowstream,
        "polars": lambda data: polars(data, "polars"),
        "polars streaming": lambda data: polars(data, "polars streaming"),
        "duckdb": batch,
    }


def query_duckdb(sql: str) -> pa.Table:
    """Run a query with DuckDB and materialise it: `arrow()` gives a reader and measures nothing."""
    with duckdb.connect() as connection:
        connection.execute("set autoinstall_known_extensions = false")
        # Without an order to keep, its scans and results run in parallel.
        connection.execute("set preserve_insertion_order = false")
        return connection.sql(sql).to_arrow_table()
