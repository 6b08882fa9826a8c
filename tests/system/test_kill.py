"""Killed at any instant and started again, a job leaves the very bytes of an undisturbed run."""

from __future__ import annotations

import signal

import pytest
from system import harness

from arrowstream import failpoints

ROWS = 60_000
EPOCH_ROWS = 2_000
KILLS = 20
SEED = 20_261_124
REACHED = [name for name in failpoints.NAMES if not name.startswith(("object", "outbox.file"))]


@pytest.fixture(scope="module", params=["windows", "hopping", "rows"])
def golden(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return harness.Golden(root, request.param, rows=ROWS, epoch_rows=EPOCH_ROWS)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return harness.Golden(tmp_path_factory.mktemp("small"), "windows", rows=12_000, epoch_rows=2_000)


def test_killed_at_random_instants(golden):
    kills = KILLS if golden.query == "windows" else KILLS // 2
    tally = harness.kill_at_random(golden, kills=kills, seed=SEED)
    print(tally)
    assert tally.kills >= kills
    assert tally.differing == []


@pytest.mark.parametrize("name", REACHED)
def test_killed_at_a_failpoint_twice_running(small, name):
    root = small.fresh()
    for _ in range(2):
        code, _, err = harness.run("windows", root, small.epoch_rows, fail=f"{name}=kill")
        assert code in (-signal.SIGKILL, 0), err
        if not name.startswith(("job", "base", "claim")):  # written once: the second time there is nothing
            assert code == -signal.SIGKILL
    code, out, err = harness.run("windows", root, small.epoch_rows)
    assert (code, out.split()[0]) == (0, "ready"), err
    assert small.differences(root) == []


@pytest.mark.parametrize(
    "name",
    ["runs.before", "outbox.synced", "prepare.before", "prepare.linked", "publish.before", "manifest.before",
     "manifest.linked", "data.before", "data.linked", "done.before", "garbage.before"],
)  # fmt: skip
def test_a_frozen_process_that_wakes_publishes_nothing(small, name):
    root = small.fresh()
    frozen = harness.start("windows", root, small.epoch_rows, fail=f"{name}=stop@2")
    try:
        harness.wait_until_stopped(frozen)
        code, _, err = harness.run("windows", root, small.epoch_rows)
        assert code == 0, err
        assert small.differences(root) == []
        frozen.send_signal(signal.SIGCONT)
        code, _, err = harness.finish(frozen)
    finally:
        frozen.kill()
    assert code == 1
    assert "FencedError" in err
    assert small.differences(root) == []


def test_a_second_process_takes_over(golden):
    root = golden.fresh()
    first = harness.start(golden.query, root, golden.epoch_rows)
    try:
        assert first.stdout.readline() == "ready\n"
        code, _, err = harness.run(golden.query, root, golden.epoch_rows)
        assert code == 0, err
        code, out, err = harness.finish(first)
    finally:
        first.kill()
    assert (code == 1 and "FencedError" in err) or (code, out) == (0, "finished\n")
    assert golden.differences(root) == []


def test_a_run_after_the_end_has_nothing_to_do(small):
    root = small.fresh()
    assert harness.run("windows", root, small.epoch_rows)[1] == "ready\nfinished\n"
    assert harness.run("windows", root, small.epoch_rows)[1] == "ready\nalready_complete\n"
    assert small.differences(root) == []


@pytest.mark.soak
@pytest.mark.parametrize(("query", "kills"), [("windows", 600), ("hopping", 200), ("rows", 200)])
def test_a_thousand_kills(tmp_path, query, kills, capsys):
    golden = harness.Golden(tmp_path, query, rows=1_000_000, epoch_rows=20_000)
    with capsys.disabled():
        tally = harness.kill_at_random(golden, kills=kills, seed=SEED, tell=True)
        print(
            f"\n| {query} | {golden.rows:,} | {golden.epochs} | {tally.kills} | {tally.starts} "
            f"| {tally.runs_compared} | {len(tally.differing)} | {tally.seed} | {tally.seconds:.0f} s |"
        )
    assert tally.kills >= kills
    assert tally.differing == []
