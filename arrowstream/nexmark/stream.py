"""The Nexmark stream: any slice of it, in chunks, and as Parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arrowstream.nexmark.draws import Draws
from arrowstream.nexmark.schema import BID_SCHEMA, EVENT_SCHEMA, SCHEMAS
from arrowstream.nexmark.tables import COLUMNS, EPOCH, SPANS, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from arrowstream.nexmark.draws import Numbers
    from arrowstream.nexmark.schema import Kind
    from arrowstream.types import PathLike

RATE = 10_000
"""Events a second of event time, as in the original."""

START = datetime(2026, 1, 1)  # noqa: DTZ001  (event times have no zone)

CHUNK_ROWS = 1 << 17
"""Rows that are made fastest: the intermediate arrays still fit the cache."""

ROW_GROUP_ROWS = 500_000

DISORDER_STEP = 953
"""The original's: a prime, so that it permutes every group that is no multiple of it."""


@dataclass(frozen=True, slots=True)
class Nexmark:
    """A Nexmark stream, of which any slice can be made.

    Parameters
    ----------
    seed
        Same seed, same rows.
    rate
        Events a second of event time.
    start
        Event time of the first event.
    out_of_order_group
        Events are shuffled within groups of so many, as in the original: 1 (in order), or a multiple of 50
        that is none of 953. No event is more than `out_of_order_group / rate` seconds late.

    Raises
    ------
    ValueError
        If `rate` or `out_of_order_group` is out of its range.

    Examples
    --------
    >>> Nexmark(seed=7).bids(10)[2:5].equals(Nexmark(seed=7).bids(3, first=2))
    True
    """

    seed: int = 0
    rate: int = RATE
    start: datetime = START
    out_of_order_group: int = 1

    def __post_init__(self) -> None:
        """Refuse what would repeat or lose events."""
        if self.rate < 1:
            raise ValueError(f"rate={self.rate} is below 1 event a second")
        group = self.out_of_order_group
        if group != 1 and (group < 1 or group % EPOCH or group % DISORDER_STEP == 0):
            raise ValueError(
                f"out_of_order_group={group} is neither 1 nor a multiple of {EPOCH} "
                f"that is none of {DISORDER_STEP}"
            )

    def persons(self, count: int, *, first: int = 0, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The `count` persons from number `first` on."""
        return self.table("person", count, first=first, columns=columns)

    def auctions(self, count: int, *, first: int = 0, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The `count` auctions from number `first` on."""
        return self.table("auction", count, first=first, columns=columns)

    def bids(self, count: int, *, first: int = 0, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The `count` bids from number `first` on."""
        return self.table("bid", count, first=first, columns=columns)

    def table(
        self, kind: Kind, count: int, *, first: int = 0, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The `count` rows of one kind from number `first` on."""
        order = self._order()
        order = order[np.isin(order % EPOCH, SPANS[kind])]
        events_per_cycle = len(order) // len(SPANS[kind]) * EPOCH
        index = np.arange(first, first + count, dtype=np.int64)
        number = index // len(order) * events_per_cycle + order[index % len(order)]
        return self._rows(kind, number, SCHEMAS[kind].names() if columns is None else columns)

    def events(self, count: int, *, first: int = 0) -> pl.DataFrame:
        """One frame of all three kinds: type, time, and a struct for each kind (null in the others' rows)."""
        order = self._order()
        index = np.arange(first, first + count, dtype=np.int64)
        number = index // len(order) * len(order) + order[index % len(order)]
        parts = []
        for kind, span in SPANS.items():
            mine = np.isin(number % EPOCH, span)
            rows = self._rows(kind, number[mine], SCHEMAS[kind].names())
            struct = rows.to_struct(kind)
            parts.append(
                pl.DataFrame(
                    {
                        "event_type": pl.Series([kind], dtype=EVENT_SCHEMA["event_type"]).new_from_index(
                            0, rows.height
                        ),
                        "date_time": rows["date_time"],
                        kind: struct,
                        "index": index[mine],
                    }
                )
            )
        return pl.concat(parts, how="diagonal").sort("index").select(EVENT_SCHEMA.names())

    def _order(self) -> Numbers:
        """Event numbers of one cycle (an epoch or an out-of-order group), in the order of the stream."""
        if self.out_of_order_group == 1:
            return np.arange(EPOCH, dtype=np.int64)
        return np.arange(self.out_of_order_group, dtype=np.int64) * DISORDER_STEP % self.out_of_order_group

    def _rows(self, kind: Kind, number: Numbers, columns: Sequence[str]) -> pl.DataFrame:
        start_ms = round(self.start.replace(tzinfo=UTC).timestamp() * 1000)
        makers = COLUMNS[kind](Draws(number, self.seed), Clock(start_ms, self.rate))
        schema = SCHEMAS[kind]
        return pl.DataFrame([pl.Series(name, makers[name](), dtype=schema[name]) for name in columns])


def persons(count: int, *, seed: int = 0, rate: int = RATE, start: datetime = START) -> pl.DataFrame:
    """The first `count` persons."""
    return Nexmark(seed, rate, start).persons(count)


def auctions(count: int, *, seed: int = 0, rate: int = RATE, start: datetime = START) -> pl.DataFrame:
    """The first `count` auctions."""
    return Nexmark(seed, rate, start).auctions(count)


def bids(
    count: int,
    *,
    seed: int = 0,
    rate: int = RATE,
    start: datetime = START,
    out_of_order_group: int = 1,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The first `count` bids.

    Examples
    --------
    >>> bids(3, columns=["auction", "bidder"])["bidder"].to_list()
    [1001, 1001, 1001]
    """
    return Nexmark(seed, rate, start, out_of_order_group).bids(count, columns=columns)


def events(
    count: int,
    *,
    seed: int = 0,
    rate: int = RATE,
    start: datetime = START,
    out_of_order_group: int = 1,
) -> pl.DataFrame:
    """The first `count` events of all three kinds, in one frame.

    Examples
    --------
    >>> events(50)["event_type"].value_counts(sort=True)["count"].to_list()
    [46, 3, 1]
    """
    return Nexmark(seed, rate, start, out_of_order_group).events(count)


def iter_bids(
    count: int,
    *,
    chunk_rows: int = CHUNK_ROWS,
    seed: int = 0,
    rate: int = RATE,
    start: datetime = START,
    out_of_order_group: int = 1,
    columns: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """The first `count` bids, a chunk at a time: any number in constant memory."""
    stream = Nexmark(seed, rate, start, out_of_order_group)
    for first in range(0, count, chunk_rows):
        yield stream.bids(min(chunk_rows, count - first), first=first, columns=columns)


def write_parquet(
    folder: PathLike,
    *,
    events: int,
    seed: int = 0,
    rate: int = RATE,
    start: datetime = START,
    out_of_order_group: int = 1,
    kinds: Sequence[Kind] = ("person", "auction", "bid"),
    bid_columns: Sequence[str] | None = None,
    files: int = 1,
    row_group_rows: int = ROW_GROUP_ROWS,
    on_chunk: Callable[[int], object] | None = None,
) -> dict[Kind, list[Path]]:
    """Write the first `events` events as zstd Parquet, one folder a kind: `folder/bid/part-0000.parquet` ….

    Parameters
    ----------
    kinds
        Which of the three to write.
    bid_columns
        Columns of the bids; all by default.
    files
        Files a kind, each a contiguous part of the stream.
    row_group_rows
        Rows a row group; the rows written do not depend on it.
    on_chunk
        Called with its number of rows after each row group, for a progress bar.

    Returns
    -------
    dict
        The files, by kind.
    """
    stream = Nexmark(seed, rate, start, out_of_order_group)
    columns = {kind: SCHEMAS[kind].names() for kind in kinds}
    if "bid" in columns:
        columns["bid"] = BID_SCHEMA.names() if bid_columns is None else list(bid_columns)
    paths: dict[Kind, list[Path]] = {}
    for kind in kinds:
        target = Path(folder, kind)
        target.mkdir(parents=True, exist_ok=True)
        rows = _rows_of_kind(kind, events)
        paths[kind] = [target / f"part-{index:04d}.parquet" for index in range(files)]
        for index, path in enumerate(paths[kind]):
            part = range(rows * index // files, rows * (index + 1) // files)
            _write_file(
                stream,
                kind,
                path,
                part=part,
                columns=columns[kind],
                row_group_rows=row_group_rows,
                on_chunk=on_chunk,
            )
    return paths


def _rows_of_kind(kind: Kind, events: int) -> int:
    """How many of the events from number 0 up to `events` are of this kind."""
    epochs, rest = divmod(events, EPOCH)
    span = SPANS[kind]
    return epochs * len(span) + min(max(rest - span.start, 0), len(span))


def _write_file(
    stream: Nexmark,
    kind: Kind,
    path: Path,
    *,
    part: range,
    columns: Sequence[str],
    row_group_rows: int,
    on_chunk: Callable[[int], object] | None,
) -> None:
    import pyarrow.parquet as pq

    empty = stream.table(kind, 0, columns=columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    with pq.ParquetWriter(path, empty.schema, compression="zstd") as writer:
        for first in part[::row_group_rows]:
            rows = min(row_group_rows, part.stop - first)
            frame = stream.table(kind, rows, first=first, columns=columns)
            writer.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), row_group_size=rows)
            if on_chunk is not None:
                on_chunk(rows)
