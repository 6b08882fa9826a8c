"""Jobs: not run yet, run, and running."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import warnings
from datetime import datetime
from types import SimpleNamespace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import arrowstream as ars

FRAME = pl.DataFrame({"t": [datetime(2026, 1, 1, 0, 0, second) for second in range(6)], "n": range(6)})
DEADLINE_S = 20.0


class Collector:
    """Keeps what `sink_batches` gives it."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []
        self.came = threading.Event()

    def __call__(self, frame) -> None:
        self.frames.append(frame)
        self.came.set()

    @property
    def frame(self) -> pl.DataFrame:
        return pl.concat(self.frames)


class Endless:
    """Batches until it is told to end."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.given = 0

    def __call__(self):
        while not self.end.is_set():
            yield FRAME.with_columns(pl.col("t") + pl.duration(seconds=6 * self.given))
            self.given += 1
            time.sleep(0.005)

    def stream(self) -> ars.Stream:
        return ars.from_batches(self, schema=FRAME.schema, bounded=False, event_time="t", lateness="1s")


@pytest.fixture
def endless():
    source = Endless()
    yield source
    source.end.set()


def job(tmp_path, verb="sink_parquet") -> ars.Job:
    return getattr(ars.from_polars(FRAME), verb)(tmp_path / "out")


def test_a_job_says_that_it_has_not_run(tmp_path) -> None:
    made = job(tmp_path)
    assert repr(made) == f"<Job to parquet {tmp_path}/out: has not run yet, call .run() or .start()>"
    assert not (tmp_path / "out").exists()
    made.run()
    assert repr(made) == f"<Job to parquet {tmp_path}/out>"


def test_a_job_dropped_without_having_run_warns_at_the_line_that_made_it(tmp_path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ars.from_polars(FRAME).sink_batches(print)
        gc.collect()
    (warning,) = caught
    assert warning.category is ars.JobNeverRunWarning
    assert str(warning.message) == (
        "the job to batches print was never run\n  hint: call .run() or .start() on what sink_* returns"
    )
    assert warning.filename == __file__


def test_a_job_that_was_run_does_not_warn(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job(tmp_path).run()
        gc.collect()


def test_the_end_of_the_program_is_quiet() -> None:
    program = (
        "import arrowstream as ars, polars as pl\n"
        "kept = ars.from_polars(pl.DataFrame({'a': [1]})).sink_batches(print)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("verb", "read"),
    [("sink_parquet", pl.read_parquet), ("sink_ipc", lambda folder: pl.read_ipc(folder / "*"))],
)
def test_files_have_the_rows(tmp_path, verb, read) -> None:
    report = job(tmp_path, verb).run(checkpoint_every=4)
    assert (report.status, report.rows_in, report.rows_out, report.epochs) == ("finished", 6, 6, 2)
    assert_frame_equal(read(tmp_path / "out"), FRAME)


def test_a_job_run_again_has_nothing_to_do(tmp_path) -> None:
    made = job(tmp_path)
    assert made.run(checkpoint=tmp_path / "state").status == "finished"
    assert made.run(checkpoint=tmp_path / "state").status == "already_complete"
    assert job(tmp_path).run(checkpoint=tmp_path / "state").status == "already_complete"
    assert_frame_equal(pl.read_parquet(tmp_path / "out"), FRAME)


def test_a_relative_path_is_that_of_the_call(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = ars.from_polars(FRAME).sink_parquet("out/")
    monkeypatch.chdir("/")
    made.run()
    assert_frame_equal(pl.read_parquet(tmp_path / "out"), FRAME)


def test_batches_go_to_a_function() -> None:
    seen = Collector()
    assert ars.from_polars(FRAME).sink_batches(seen, chunk_size=4).run().rows_out == 6
    assert_frame_equal(seen.frame, FRAME)
    assert max(frame.height for frame in seen.frames) <= 4


def test_several_jobs_share_one_read() -> None:
    reads = []

    def batches():
        reads.append(1)
        yield FRAME

    rows = ars.from_batches(batches, schema=FRAME.schema)
    low, high = Collector(), Collector()
    report = ars.run(
        [rows.filter(pl.col("n") < 2).sink_batches(low), rows.filter(pl.col("n") >= 2).sink_batches(high)]
    )
    assert reads == [1]
    assert report.rows_in == 6
    assert sorted(report.rows_out_by_sink.values()) == [2, 4]
    assert_frame_equal(low.frame, FRAME[:2])
    assert_frame_equal(high.frame, FRAME[2:])


def test_jobs_of_several_sources_are_refused() -> None:
    jobs = [ars.from_polars(FRAME).sink_batches(print) for _ in range(2)]
    with pytest.raises(ars.PlanError, match="these jobs read 2 sources, and a run reads one"):
        ars.run(jobs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "there is no job to run"),
        ([ars.from_polars(FRAME)], "a Stream is not a Job\n  hint: give its rows an output first"),
    ],
)
def test_what_is_no_list_of_jobs_is_refused(wrong, message) -> None:
    for begin in (ars.run, ars.start):
        with pytest.raises(ars.PlanError) as caught:
            begin(wrong)
        assert message in str(caught.value)


def test_two_jobs_cannot_write_to_one_place(tmp_path) -> None:
    rows = ars.from_polars(FRAME)
    parquet, ipc = rows.sink_parquet(tmp_path / "out"), rows.sink_ipc(tmp_path / "out")
    with pytest.raises(
        ars.PlanError, match=r"two jobs write to one place: parquet .*/out, ipc .*/out\n  hint: give"
    ):
        ars.run([parquet, ipc])
    with pytest.raises(ars.PlanError, match=r"the job to parquet .*/out is given twice"):
        ars.run([parquet, parquet])
    parquet.run()
    with pytest.raises(ars.StateError):
        ipc.run()


def test_sizes_are_those_that_are_given(tmp_path) -> None:
    rows = ars.from_polars(FRAME)
    rows.sink_parquet(tmp_path / "a", row_group_size=4).run()
    rows.sink_ipc(tmp_path / "b", record_batch_size=4).run()
    (parquet,), (ipc,) = (tmp_path / "a").glob("*.parquet"), (tmp_path / "b").glob("*.arrow")
    assert pq.ParquetFile(parquet).metadata.num_row_groups == 2
    assert pa.ipc.open_file(ipc).num_record_batches == 2


def test_one_job_is_no_list(tmp_path) -> None:
    made = job(tmp_path)
    with pytest.raises(ars.PlanError, match=r"take a list of jobs, not one\n  hint: call \.run\(\)"):
        ars.run(made)
    made.run()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"checkpoint_every": "soon"}, "checkpoint_every='soon'"),
        ({"mode": "append"}, "mode='append'"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_options_are_checked_before_the_job_counts_as_run(tmp_path, option, message) -> None:
    made = job(tmp_path)
    for begin in (made.run, made.start):
        with pytest.raises(ars.PlanError, match=message):
            begin(**option)
    assert "has not run yet" in repr(made)
    made.run()


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            lambda s: s.sink_parquet(""),
            "sink_parquet takes the path of a folder, a URL or a pl.PartitionBy, not ''\n  hint: write sink_",
        ),
        (lambda s: s.sink_ipc(3), "sink_ipc takes the path of a folder, a URL or a pl.PartitionBy, not 3"),
        (
            lambda s: s.sink_parquet("https://host/out"),
            "https://host/out can only be read\n  hint: write to a local folder",
        ),
        (
            lambda s: s.sink(print),
            "builtin_function_or_method is not a sink: it has no delivery, open, encode, publ",
        ),
        (
            lambda s: s.sink(SimpleNamespace(delivery="once", open=1, encode=1, publish=1, close=1)),
            "SimpleNamespace.delivery is 'once'\n  choices: 'exactly_once', 'at_least_once'",
        ),
        (lambda s: s.sink_batches(None), "function"),
        (lambda s: s.sink_batches(print, chunk_size=0), "chunk_size"),
        (lambda s: s.sink_parquet("out.parquet"), "out.parquet"),
        (lambda s: s.sink_parquet("out", compression="zip"), "zip"),
    ],
)
def test_an_output_that_cannot_be_is_refused_at_its_line(end, message) -> None:
    with pytest.raises(ars.PlanError) as caught:
        end(ars.from_polars(FRAME))
    assert message in str(caught.value)


def test_a_sink_of_ones_own() -> None:
    class Sink:
        delivery = "at_least_once"

        def __init__(self):
            self.published = {}

        def open(self, generation):
            return None

        def encode(self, batches):
            return b";".join(str(row).encode() for batch in batches for row in batch["n"].to_pylist())

        def publish(self, epoch, outbox):
            self.published[epoch] = outbox if isinstance(outbox, bytes) else outbox.read_bytes()

        def close(self):
            pass

    sink = Sink()
    assert isinstance(sink, ars.Sink)
    ars.from_polars(FRAME).sink(sink).run(checkpoint_every=4)
    assert sink.published == {1: b"0;1;2;3", 2: b"4;5"}


def test_a_job_in_the_background_ends_by_itself() -> None:
    seen = Collector()
    with ars.from_polars(FRAME).sink_batches(seen).start() as live:
        assert live.wait(timeout="1m").rows_in == 6
        assert live.state == "finished"
        assert live.metrics.rows_in == 6
    assert repr(live) == "<RunningJob to batches Collector: finished>"
    assert live.stop().status == "finished"
    assert_frame_equal(seen.frame, FRAME)


def test_leaving_the_block_stops_the_job(endless) -> None:
    seen = Collector()
    with endless.stream().sink_batches(seen).start(checkpoint_every="50ms") as live:
        assert seen.came.wait(DEADLINE_S)
        assert live.state == "running"
        assert live.watermark >= FRAME["t"][0]
        assert live.metrics.rows_in >= 6
        assert isinstance(live.explain_silence(), str)
    assert live.state == "stopped"
    assert live.wait().status == "stopped"
    assert seen.frame.height % 6 == 0


def test_waiting_has_an_end(endless) -> None:
    with endless.stream().sink_batches(Collector()).start(checkpoint_every="50ms") as live:
        with pytest.raises(TimeoutError):
            live.wait(timeout="50ms")
        assert live.state == "running"
        with pytest.raises(ars.PlanError, match="timeout='soon'"):
            live.wait(timeout="soon")


@pytest.mark.parametrize("drain", [False, True])
def test_stopping_closes_open_windows_only_when_draining(endless, drain) -> None:
    seen = Collector()
    windows = endless.stream().group_by_dynamic("t", every="1h").agg(pl.len())
    with windows.sink_batches(seen).start(checkpoint_every="50ms") as live:
        while not live.metrics.rows_in:
            time.sleep(0.01)
        report = live.stop(drain=drain, timeout="30s")
    assert report.status == "stopped"
    assert bool(seen.frames) is drain


def test_a_failure_surfaces_where_it_is_waited_for() -> None:
    def fail(frame):
        raise RuntimeError("of the user's own")

    made = ars.from_polars(FRAME).map_batches(fail).sink_batches(print)
    with pytest.raises(ars.DataError, match="of the user's own"):
        made.run()
    live = made.start()
    with pytest.raises(ars.DataError, match="of the user's own"):
        live.wait(timeout="1m")
    assert live.state == "failed"
    with pytest.raises(ars.DataError, match="of the user's own"), made.start():
        time.sleep(0.05)


def test_a_job_explains_itself(tmp_path) -> None:
    made = job(tmp_path)
    assert "parquet" in made.explain()
    made.run()


def test_a_program_may_end_while_a_job_runs(tmp_path) -> None:
    """Threads that outlive Python's end would abort the process; the epoch is finished instead."""
    program = f"""
import time, polars as pl, arrowstream as ars

def endless():
    while True:
        time.sleep(0.01)
        yield pl.DataFrame({{"a": [1]}})

rows = ars.from_batches(endless, schema={{"a": pl.Int64}}, bounded=False)
live = rows.sink_parquet({str(tmp_path / "out")!r}).start(checkpoint={str(tmp_path / "state")!r})
while not live.metrics.rows_in:
    time.sleep(0.01)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pl.read_parquet(tmp_path / "out").height > 0


def test_a_job_that_fails_unseen_is_told_of_at_the_end(tmp_path) -> None:
    program = f"""
import time, polars as pl, arrowstream as ars

def failing():
    yield pl.DataFrame({{"a": [1]}})
    raise ValueError("the source is gone")

live = ars.from_batches(failing, schema={{"a": pl.Int64}}).sink_parquet({str(tmp_path / "out")!r}).start()
while live.state != "failed":
    time.sleep(0.01)
"""
    told, seen = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
        for text in (program, f"{program}\ntry:\n    live.wait()\nexcept ars.ConnectorError:\n    pass\n")
    )
    assert "a job in the background has failed" in told.stderr
    assert "the source is gone" in told.stderr
    assert seen.stderr == ""


def test_run_takes_a_list() -> None:
    with pytest.raises(ars.PlanError) as caught:
        ars.run(3)
    assert str(caught.value) == (
        "run and start take a list of jobs, not int\n  hint: write ars.run([job, job])"
    )
