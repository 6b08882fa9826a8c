"""The first law: the same rows in the same partitions give the same bits, however cut, read and published."""

from __future__ import annotations

from itertools import pairwise

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import arrowstream as ars
from arrowstream import nexmark

ROWS = 30_000
PRICE = pl.col("price")
FLOAT = PRICE / 7
AGGREGATES = {
    "bids": pl.len(),
    "total": FLOAT.sum(),
    "mean": FLOAT.mean(),
    "spread": FLOAT.std(),
    "least": FLOAT.min(),
    "first": pl.col("bidder").first(),
    "last": FLOAT.last(),
    "median": FLOAT.median(),
    "dear": FLOAT.filter(PRICE > 1_000_000).sum(),
}
WINDOWS = {
    "tumbling": {"every": "200ms", "group_by": "auction"},
    "hopping": {"every": "100ms", "period": "300ms", "group_by": ["channel", PRICE % 3]},
    "whole": {"every": "1s"},
}


@pytest.fixture(scope="module")
def bids():
    return nexmark.bids(
        ROWS, out_of_order_group=1_500, columns=["auction", "bidder", "price", "channel", "date_time"]
    ).with_columns(channel=pl.when(pl.col("price") % 11 > 0).then("channel"))


@pytest.fixture(scope="module")
def folder(bids, tmp_path_factory):
    return write(bids, tmp_path_factory.mktemp("bids"), files=4)


def write(bids, folder, *, files):
    """The rows in so many files of different lengths, in natural order."""
    cuts = [ROWS * cut * cut // files**2 for cut in range(files + 1)]
    for number, (begin, end) in enumerate(pairwise(cuts)):
        bids[begin:end].write_parquet(folder / f"part-{number}.parquet", row_group_size=1_700)
    return folder


def query(source, windows):
    return source.group_by_dynamic("date_time", **WINDOWS[windows]).agg(**AGGREGATES)


def scan(folder, *, lateness="40ms", **options):
    return ars.scan_parquet(folder, event_time="date_time", lateness=lateness, **options)


def bits(frame):
    """The frame with floats as the integers of the same bits: NaN and the sign of zero count."""
    return frame.with_columns(pl.selectors.float().reinterpret(dtype=pl.UInt64))


def collected(stream, **options):
    return bits(stream.collect(progress=False, **options))


pytestmark = pytest.mark.filterwarnings("ignore::arrowstream.LateRowsWarning")


@pytest.fixture(scope="module", params=["scan", "file"])
def clock_by(request):
    return request.param


@pytest.fixture(scope="module", params=sorted(WINDOWS))
def windows(request):
    return request.param


@pytest.fixture(scope="module")
def reference(folder, clock_by, windows):
    frame = collected(query(scan(folder, clock_by=clock_by), windows))
    assert frame.height > 3
    return frame


@pytest.mark.parametrize("batch_rows", [17, 1_000, ROWS])
@pytest.mark.parametrize("threads", [1, 4])
def test_batches_and_threads(folder, clock_by, windows, reference, batch_rows, threads):
    stream = query(scan(folder, clock_by=clock_by), windows)
    assert collected(stream, batch_rows=batch_rows, threads=threads).equals(reference)


def test_one_row_at_a_time(bids):
    some = bids.head(800)
    stream = query(ars.from_polars(some, event_time="date_time", lateness="40ms"), "hopping")
    assert collected(stream, batch_rows=1).equals(collected(stream))


@pytest.mark.parametrize("files", [1, 2, 5])
def test_files(bids, tmp_path, folder, windows, files):
    other = write(bids, tmp_path, files=files)
    assert collected(query(scan(other), windows)).equals(collected(query(scan(folder), windows)))


@pytest.mark.parametrize("epoch_rows", [1_111, 7_000, ROWS * 2])
def test_epochs(tmp_path, folder, clock_by, windows, reference, epoch_rows):
    job = query(scan(folder, clock_by=clock_by), windows).sink_parquet(tmp_path / "out")
    report = job.run(
        checkpoint=tmp_path / "state", checkpoint_every=epoch_rows, progress=False, batch_rows=900
    )
    assert report.rows_out == reference.height
    assert bits(pl.read_parquet(tmp_path / "out")).equals(reference)


def test_ways_to_look_at_it(folder, windows):
    stream = query(scan(folder), windows)
    reference = collected(stream)
    batches = list(stream.iter_batches(batch_rows=2_000))
    assert bits(pl.DataFrame(pa.Table.from_batches(batches))).equals(reference)
    assert bits(pl.DataFrame(pa.table(stream))).equals(reference)
    assert bits(pl.DataFrame(stream)).equals(reference)
    assert bits(duckdb.sql("select * from stream").pl()).height == reference.height
