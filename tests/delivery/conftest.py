"""A small job with state, written against the epoch driver alone: what it publishes shows every mistake."""

from __future__ import annotations

import hashlib
import random

import polars as pl
import pyarrow as pa
import pytest

from arrowstream import failpoints
from arrowstream.connectors.files.division import Division
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.parquet_encode import ParquetEncoding
from arrowstream.connectors.files.sink import FileSink
from arrowstream.protocols import Run, Snapshot
from arrowstream.runtime import recovery
from arrowstream.runtime.epochs import EpochDriver, EpochEnd, EpochEvery, JobSpec, SinkSpec

EPOCHS = 4
ROWS = 10
SCHEMA = pl.Schema({"epoch": pl.Int64, "total": pl.Int64, "name": pl.Categorical()})


class Totals:
    """Running totals of the row numbers: a row of output depends on all rows before it."""

    def __init__(self, state=None):
        self.runs = {} if state is None else dict(state.runs)
        self.total = 0 if state is None else state.values["total"]
        assert self.total == sum(table["row"].to_pylist()[0] for table in self.runs.values())
        self.new = set()

    def epoch(self, number):
        rows = range((number - 1) * ROWS, number * ROWS)
        frame = pl.DataFrame(
            {
                "epoch": [number] * ROWS,
                "total": [self.total + row for row in rows],
                "name": [f"name-{row % 3}" for row in rows],
            },
            schema=SCHEMA,
        )
        self.total += sum(rows)
        if number % 3 == 0:  # compaction: all runs become one
            self.runs = {number: pa.table({"row": [self.total]})}
        else:
            self.runs[number] = pa.table({"row": [sum(rows)]})
        self.new = {number}
        return frame.filter(pl.lit(number != 2))  # one epoch without rows

    def snapshot(self):
        runs = tuple(Run(run, table if run in self.new else None) for run, table in self.runs.items())
        return Snapshot({"total": self.total}, runs)


class SmallJob:
    """The job, its folders, and what it has published."""

    def __init__(self, root, plan="totals of rows", inputs="rows.parquet"):
        self.root = root
        self.plan = plan
        self.inputs = inputs
        self.state = root / "state"
        self.out = root / "out"
        self.out_ipc = root / "out-ipc"
        self.attempts = 0

    def sinks(self):
        """One file an epoch, and several in folders of partitions."""
        return [
            FileSink(self.out, ParquetEncoding(row_group_size=4)),
            FileSink(
                self.out_ipc,
                IpcEncoding(record_batch_size=4),
                Division(partition_by=("name",), max_rows_per_file=2),
            ),
        ]

    def driver(self, *, mode="error", sinks=None):
        sinks = sinks or self.sinks()
        return EpochDriver(
            sinks=[SinkSpec(f"sink-{index}", sink, SCHEMA) for index, sink in enumerate(sinks)],
            job=JobSpec(self.plan, "", {"scan": [self.inputs]}),
            checkpoint=self.state,
            every=EpochEvery(rows=ROWS),
            mode=mode,
        )

    def run(self, *, mode="error", epochs=EPOCHS, sinks=None):
        """Run to the end, as the run loop would; gives what was recovered."""
        self.attempts += 1
        cuts = random.Random(self.attempts)
        driver = self.driver(mode=mode, sinks=sinks)
        try:
            recovered = driver.recover()
            totals = Totals(recovered.snapshots.get("totals"))
            number = recovered.epoch
            while not recovered.complete and number < epochs:
                number += 1
                assert driver.rows_until_cut(0) in {ROWS, None}
                frame = totals.epoch(number)
                cut = cuts.randint(0, ROWS)
                for index in range(len(driver.progress)):
                    for piece in (frame[:cut], frame[cut:]):
                        while not driver.emit(index, piece, timeout_s=0.1):
                            driver.check()
                driver.close_epoch(
                    EpochEnd(
                        rows=ROWS,
                        cursors={"scan": number * ROWS},
                        watermark=number,
                        snapshots={"totals": totals.snapshot()},
                        counters={"rows_in": number * ROWS},
                        final=number == EPOCHS,
                    )
                )
            driver.finish()
        except BaseException as error:
            driver.abort(error)
            raise
        return recovered

    def crash(self, settings):
        """Run until the failpoint is hit; whether it was."""
        with failpoints.armed(settings):
            try:
                self.run()
            except failpoints.Crash:
                return True
        return False

    def published(self):
        """Every data file and its bytes."""
        return {
            path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in (self.out, self.out_ipc)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def forget_runs(self):
        """As if the other runs of this process were other processes."""
        recovery._in_use.clear()


@pytest.fixture
def job(tmp_path):
    return SmallJob(tmp_path / "job")


@pytest.fixture
def another(tmp_path):
    """The same job over the same folders, with something changed."""
    return lambda **changed: SmallJob(tmp_path / "job", **changed)


@pytest.fixture
def golden(tmp_path):
    """What a run without any crash publishes."""
    undisturbed = SmallJob(tmp_path / "golden")
    undisturbed.run()
    return undisturbed.published()
