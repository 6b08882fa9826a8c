"""Jobs that follow, as a user writes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import arrowstream as ars
from arrowstream import failpoints

JOB = Path(__file__).with_name("followed_job.py")
START = datetime(2026, 1, 1)


def rows(folder):
    files = sorted(folder.glob("*.parquet"))
    return pl.read_parquet(files) if files else pl.DataFrame()


def wait_until(condition, live=None):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, live and live.explain_silence()
        time.sleep(0.02)


def test_csv_through_restarts(tmp_path):
    logs = tmp_path / "logs"

    def job():
        lines = ars.scan_csv(logs / "*.csv", schema={"n": pl.Int64, "text": pl.String}, follow=True)
        return lines.filter(pl.col("n") % 2 == 0).sink_parquet(tmp_path / "out")

    def write(text):
        with (logs / "a.csv").open("a") as file:
            file.write(text)

    with job().start(checkpoint=tmp_path / "state", checkpoint_every="20ms") as live:
        assert f"the folder {logs} does not exist yet" in _said(live, "does not exist")
        logs.mkdir()
        write("n,text\n1,a\n2,b\n")
        wait_until(lambda: rows(tmp_path / "out").height == 1, live)
    write('3,c\n4,"two\nlines"\n')
    (logs / "a.csv").rename(logs / "a.csv.1")
    write("n,text\n6,d\n")
    with job().start(checkpoint=tmp_path / "state", checkpoint_every="20ms") as live:
        wait_until(lambda: rows(tmp_path / "out").height == 3, live)
        assert "waiting for new files, and for new lines in 2 files" in live.explain_silence()
        began = time.monotonic()
        report = live.stop()
        assert time.monotonic() - began < 5
    assert report.status == "stopped"
    assert rows(tmp_path / "out")["text"].to_list() == ["b", "two\nlines", "d"]


def _said(live, words):
    wait_until(lambda: words in live.explain_silence())
    return live.explain_silence()


def test_parquet_files_through_windows_by_folder(tmp_path):
    def write(folder, name, *seconds):
        (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
        times = [START + timedelta(seconds=second) for second in seconds]
        frame = pl.DataFrame({"t": times}, schema={"t": pl.Datetime("us")})
        temporary = tmp_path / "in" / folder / f".{name}"
        frame.write_parquet(temporary)
        temporary.rename(temporary.with_name(f"{name}.parquet"))

    def job():
        events = ars.scan_parquet(
            tmp_path / "in", event_time="t", lateness="0s", clock_by="directory", follow=True,
            schema={"t": pl.Datetime("us")}, idle_timeout="500ms",
        )  # fmt: skip
        return events.group_by_dynamic("t", every="10s").agg(pl.len()).sink_parquet(tmp_path / "out")

    write("x", "1", 1, 2, 11)
    write("y", "1", 3, 4, 25)
    with job().start(checkpoint=tmp_path / "state", checkpoint_every="20ms") as live:
        wait_until(lambda: rows(tmp_path / "out").height == 2, live)  # x is idle: y alone at 25
    write("x", "2", 12, 26)  # 12 is late by the clock of the stream
    write("z", "1", 31)
    with job().start(checkpoint=tmp_path / "state", checkpoint_every="20ms") as live:
        wait_until(lambda: live.metrics.rows_in == 9, live)
        report = live.stop(drain=True)
    assert report.late_rows == 1
    assert rows(tmp_path / "out")["len"].to_list() == [4, 1, 2, 1]


def test_an_epoch_that_cannot_be_read_again_does_not_keep_a_job_from_stopping(tmp_path):
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "app.log"
    log.write_text("".join(f'{{"n": {number}}}\n' for number in range(5)))
    done = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path), "app.log"],
        env=os.environ | {failpoints.ENVIRONMENT: "prepare.before=kill"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    log.write_text('{"n": 5}\n')  # four of the five rows that were planned are gone

    def job():
        lines = ars.scan_ndjson(tmp_path / "logs" / "app.log", schema={"n": pl.Int64}, follow=True)
        return lines.sink_parquet(tmp_path / "out")

    with job().start(checkpoint=tmp_path / "state", checkpoint_every="50ms") as live:
        wait_until(lambda: live.metrics.rows_in == 1, live)
        assert live.stop().status == "stopped"
    assert not rows(tmp_path / "out").height
    with log.open("a") as file:
        file.write("".join(f'{{"n": {number}}}\n' for number in range(6, 10)))
    with job().start(checkpoint=tmp_path / "state", checkpoint_every="50ms") as live:
        wait_until(lambda: rows(tmp_path / "out").height == 5, live)
    assert rows(tmp_path / "out")["n"].to_list() == [5, 6, 7, 8, 9]


def test_iterating_over_what_is_followed(tmp_path):
    (tmp_path / "a.ndjson").write_text('{"n": 1}\n{"n": 2}\n')
    lines = ars.scan_ndjson(tmp_path, follow=True, schema={"n": pl.Int64})
    with pytest.raises(ars.PlanError, match="unbounded"):
        lines.collect()
    assert lines.head(2).collect()["n"].to_list() == [1, 2]
    batches = lines.iter_batches()
    assert next(batches).num_rows == 2
    batches.close()
