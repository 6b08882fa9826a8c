"""Runs jobs in processes of their own, kills them, and compares what they leave with an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from arrowstream import failpoints, nexmark

JOB = Path(__file__).with_name("killed_job.py")
OUTPUTS = ("windows", "late", "hops", "rows", "valid", "bad")
TIMEOUT_S = 120.0
_POLL_S = 0.002


def write_input(root: Path, rows: int) -> None:
    """Bids out of order, in four files."""
    nexmark.write_parquet(
        root / "nexmark",
        events=rows * 50 // 46,
        kinds=["bid"],
        bid_columns=["auction", "bidder", "price", "channel", "date_time"],
        files=4,
        out_of_order_group=1_500,
        row_group_rows=max(rows // 20, 1),
    )
    (root / "nexmark" / "bid").rename(root / "data")


def published(root: Path) -> dict[str, bytes]:
    """Every file in the outputs, by name."""
    files = [path for name in OUTPUTS for path in (root / name).glob("*")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def start(query: str, root: Path, epoch_rows: int, *, fail: str = "") -> subprocess.Popen[str]:
    """The job in a process of its own; `fail` arms failpoints."""
    environment = os.environ | {failpoints.ENVIRONMENT: fail}
    return subprocess.Popen(
        [sys.executable, str(JOB), query, str(root), str(epoch_rows)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end; gives exit code, output and errors."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def run(query: str, root: Path, epoch_rows: int, *, fail: str = "") -> tuple[int, str, str]:
    """The job from start to end."""
    return finish(start(query, root, epoch_rows, fail=fail))


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    """Wait until a failpoint has frozen it (SIGSTOP)."""
    deadline = time.monotonic() + TIMEOUT_S
    while Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)


@dataclass
class Tally:
    """What happened."""

    seed: int
    kills: int = 0
    starts: int = 0
    runs_compared: int = 0
    seconds: float = 0.0
    differing: list[str] = field(default_factory=list)


class Golden:
    """One query's input and undisturbed output."""

    def __init__(self, root: Path, query: str, *, rows: int, epoch_rows: int) -> None:
        self.root, self.query, self.rows, self.epoch_rows = root, query, rows, epoch_rows
        self._copies = 0
        write_input(root, rows)
        code, out, err = finish(self.start(self.fresh()))  # also loads the kernels into the cache
        assert code == 0, err
        root = self.fresh()
        process = self.start(root)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", finish(process)
        began = time.monotonic()
        code, out, err = finish(process)
        self.seconds = time.monotonic() - began
        assert (code, out) == (0, "finished\n"), err
        self.files = self.published(root)
        self.epochs = -(-rows // epoch_rows)
        assert self.files

    def start(self, root: Path, *, fail: str = "") -> subprocess.Popen[str]:
        """The job in a process of its own."""
        return start(self.query, root, self.epoch_rows, fail=fail)

    def published(self, root: Path) -> dict[str, bytes]:
        """Every file in the outputs, by name."""
        return published(root)

    def fresh(self) -> Path:
        """A folder with the same input, and nothing else."""
        self._copies += 1
        root = self.root / f"run-{self._copies}"
        root.mkdir()
        (root / "data").symlink_to(self.root / "data")
        return root

    def differences(self, root: Path) -> list[str]:
        """Names of files that are missing, too many, or other than in the undisturbed run."""
        files = self.published(root)
        return sorted(n for n in files.keys() | self.files.keys() if files.get(n) != self.files.get(n))


def kill_at_random(golden: Golden, *, kills: int, seed: int, tell: bool = False) -> Tally:
    """SIGKILL at instants drawn from the run's own length, restarted until it ends; again, until `kills`."""
    chance = random.Random(seed)
    tally = Tally(seed)
    began = time.monotonic()
    while tally.kills < kills:
        root = golden.fresh()
        is_fresh = True
        while not _killed_or_finished(golden, root, chance, tally, is_fresh=is_fresh):
            is_fresh = False
            if tell and tally.kills % 50 == 0:
                print(f"{tally.kills} kills", flush=True)
        tally.runs_compared += 1
        tally.differing += golden.differences(root)
        shutil.rmtree(root)
    tally.seconds = time.monotonic() - began
    return tally


def _killed_or_finished(
    golden: Golden, root: Path, chance: random.Random, tally: Tally, *, is_fresh: bool
) -> bool:
    """Start the job and kill it somewhere; whether it had finished before."""
    process = golden.start(root)
    tally.starts += 1
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", finish(process)
    began = time.monotonic()
    ends_after = chance.uniform(0, golden.seconds)
    while process.poll() is None and (left := began + ends_after - time.monotonic()) > 0:
        time.sleep(min(left, _POLL_S))
    took = time.monotonic() - began
    process.send_signal(signal.SIGKILL)
    code, _, err = finish(process)
    if code == -signal.SIGKILL:
        tally.kills += 1
        return False
    assert code == 0, err
    if is_fresh:  # the machine may have less to do by now
        golden.seconds = min(golden.seconds, took)
    return True
