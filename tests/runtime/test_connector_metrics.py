"""What a run says of its source and its sinks."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
from system.torn import TornSource

import arrowstream as ars
from arrowstream.connectors.memory.source import FrameSource
from arrowstream.protocols import ConnectorCounters
from arrowstream.runtime.report import Report

FRAME = pl.DataFrame({"a": range(10)})


@dataclass
class CountingReader:
    reader: object
    counters: ConnectorCounters = field(default_factory=ConnectorCounters)

    def read(self, max_rows):
        result = self.reader.read(min(max_rows, 3))
        if result is not None:
            self.counters.files = 1
            self.counters.rows += result[0].height
            self.counters.bytes += 1_000
        return result

    def close(self):
        self.reader.close()
        self.counters.errors += 2


class CountingSource(FrameSource):
    """Two partitions, whose readers count."""

    def partitions(self):
        return ["first", "second"]

    def open(self, partition, position):
        return CountingReader(super().open("scan", position))

    def __repr__(self):
        return "counting"


def source_of(report: Report):
    return report.connectors[0]


def test_readers_tell_what_they_have_done_until_they_are_closed():
    report = ars.scan(CountingSource(FRAME)).sink_batches(lambda _: None).run(progress=False)
    found = source_of(report)
    assert (found.name, found.kind) == ("counting", "source")
    assert (found.files, found.rows, found.bytes, found.errors, found.dead_letters) == (2, 20, 8_000, 4, 0)
    assert found.seconds > 0
    assert "  source counting: 2 files, 8.0 kB, 4 errors skipped" in str(report)


def test_of_readers_that_do_not_count_rows_and_dead_letters_are_seen(tmp_path):
    bids = ars.scan(TornSource(FrameSource(FRAME), pl.col("a") % 5 == 0), on_error="dead_letter")
    jobs = [bids.sink_parquet(tmp_path / "out"), bids.dead_letters().sink_batches(lambda _: None)]
    with ars.start(jobs) as live:
        report = live.wait()
    assert live.metrics.connectors == report.connectors
    source, files, called = report.connectors
    assert (source.files, source.rows, source.dead_letters, source.bytes) == (0, 8, 2, 0)
    assert [(sink.kind, sink.rows) for sink in (files, called)] == [("sink", 8), ("sink", 2)]
    assert files.name.startswith("parquet ")
    assert files.bytes > 0
    assert (files.files, called.files) == (1, 0)
    assert f"  {files.name}: 8 rows out, 1 file, {files.bytes} bytes\n" in str(report)


def test_connectors_are_an_arrow_table():
    report = ars.from_polars(FRAME).sink_batches(lambda _: None).run(progress=False)
    table = report.connectors_table()
    assert table.schema.field("rows").type == pa.int64()
    assert table.select(["kind", "rows", "files"]).to_pylist() == [
        {"kind": "source", "rows": 10, "files": 0},
        {"kind": "sink", "rows": 10, "files": 0},
    ]
    assert Report(status="finished").connectors_table().num_rows == 0
    assert ars.Metrics().connectors_table().schema == table.schema
