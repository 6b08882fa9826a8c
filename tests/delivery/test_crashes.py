"""Crash at every durability step, once and twice running: the same files come out, byte for byte."""

from __future__ import annotations

import errno
import os

import polars as pl
import pytest

from arrowstream import failpoints
from arrowstream.errors import ArrowStreamError
from arrowstream.runtime.verify import verify

LOCAL = [name for name in failpoints.NAMES if not name.startswith("object")]


def test_a_run_without_crash(job, golden):
    recovered = job.run()
    assert (recovered.epoch, recovered.complete, recovered.cursors) == (0, False, None)
    assert job.published() == golden
    assert sorted(golden) == [
        *(
            f"out-ipc/name=name-{name}/part-0000000{epoch}-0000{number}.arrow"
            for name in (0, 1, 2)
            for epoch in (1, 3, 4)
            for number in (1, 2)
        ),
        *(f"out/part-0000000{epoch}.parquet" for epoch in (1, 3, 4)),
    ]
    totals = pl.read_parquet(job.out)["total"]
    parts = [pl.read_ipc(path) for path in sorted(job.out_ipc.rglob("*.arrow"))]
    assert sorted(totals) == sorted(pl.concat(parts)["total"])
    assert max(part.height for part in parts) == 2
    assert totals.len() == 30
    assert verify(job.state) == []


def test_nothing_is_left_over(job):
    job.run()
    kept = sorted(path.relative_to(job.root).as_posix() for path in job.root.rglob("*") if path.is_file())
    assert [name for name in kept if not name.startswith(("out", ".out"))] == [
        "state/base/00000001.json",
        "state/done/00000004.json",
        "state/generation/00000001.json",
        "state/job.json",
        "state/plan/00000004-00000001.json",
        "state/prepare/00000004-00000001.json",
        "state/runs/totals/00000003-00000003-00000001.arrow",
        "state/runs/totals/00000004-00000004-00000001.arrow",
    ]
    assert not [name for name in kept if "outbox" in name or name.endswith(".tmp")]


def test_a_complete_job_has_nothing_to_do(job, golden):
    job.run()
    again = job.run()
    assert (again.complete, again.epoch, again.counters) == (True, 4, {"rows_in": 40})
    assert job.published() == golden


def test_every_failpoint_is_reached(job):
    with failpoints.armed() as reached:
        job.run()
    assert set(reached) == set(LOCAL)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", LOCAL)
def test_a_crash_at_any_step_changes_nothing(job, golden, name, nth):
    job.crash(f"{name}=raise@{nth}")
    for path, digest in job.published().items():
        assert digest == golden[path]
    job.run()
    assert job.published() == golden
    assert verify(job.state) == []


@pytest.mark.parametrize("name", LOCAL)
def test_a_crash_twice_running_and_then_in_the_recovery(job, golden, name):
    for setting in (
        f"{name}=raise@2",
        f"{name}=raise",
        f"{name}=raise",
        "publish.after=raise",
        "base.linked=raise",
    ):
        job.crash(setting)
    job.run()
    assert job.published() == golden


def test_a_crash_at_every_single_step_of_one_run(job, golden):
    """As a process that gets one step further each time, through the whole protocol."""
    step = 0
    while True:
        step += 1
        with failpoints.armed() as reached:
            counted = failpoints.hit

            def count_down(name, counted=counted, reached=reached, limit=step):
                counted(name)
                if len(reached) >= limit:
                    raise failpoints.Crash(name)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(failpoints, "hit", count_down)
                try:
                    job.run()
                except failpoints.Crash:
                    continue
        break
    assert job.published() == golden
    assert step > 30


def test_a_planned_epoch_is_run_again_with_its_rows(job, golden):
    assert job.crash("prepare.before=raise@3")
    recovered = job.run(epochs=2)
    assert (recovered.epoch, recovered.planned_rows, recovered.planned_final) == (2, 10, False)
    recovered = job.run()
    assert (recovered.epoch, recovered.planned_rows) == (2, 10)
    assert job.published() == golden


def test_a_planned_last_epoch_ends_with_the_input(job, golden):
    assert job.crash("prepare.before=raise@4")
    recovered = job.run()
    assert (recovered.planned_rows, recovered.planned_final) == (10, True)
    assert job.published() == golden


def test_a_sink_that_has_published_before_the_crash_is_not_asked_again(job):
    assert job.crash(
        "data.after=raise@2"
    )  # one sink has published epoch 1, the other has just linked its file
    with failpoints.armed() as reached:
        job.run(epochs=1)
    assert "publish.before" not in reached
    assert "done.after" in reached


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "mkdir"])
def test_a_disk_that_fails_at_any_call_never_advances(job, golden, monkeypatch, call, code):
    """The n-th call fails, for every n: an error that names a file, and the next run goes on."""
    real = getattr(os, call)
    nth, failures = 0, []
    while True:
        nth += 1
        calls = []

        def failing(*args, calls=calls, nth=nth, **kwargs):
            calls.append(args)
            if len(calls) == nth * 7 - 6:
                raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try:
                job.run()
            except ArrowStreamError as error:
                failures.append(str(error))
                continue
        break
    for failure in failures:
        assert os.strerror(code) in failure
        assert str(job.root) in failure
    assert job.published() == golden
    assert nth > 1
