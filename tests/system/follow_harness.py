"""Logs that are written and rotated while the job that follows them is killed and started again."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

JOB = Path(__file__).with_name("followed_job.py")
_LINES = 20  # in one call of the writer
_WRITE_S = 0.004
_END_S = 60.0


class Writer(threading.Thread):
    """Writes numbered lines into `logs/app.log`, and rotates it now and then in one of three ways."""

    def __init__(self, folder: Path, seed: int, *, rotate_s: float) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.numbers = 0
        self.rotations = {"rename": 0, "copy and truncate": 0, "rename and compress": 0}
        self._chance = random.Random(seed)
        self._rotate_s = rotate_s
        self._done = threading.Event()
        self.may_rotate = threading.Event()
        folder.mkdir()
        self._file = (folder / "app.log").open("a")

    def finish(self) -> None:
        """Stop writing."""
        self._done.set()
        self.join()
        self._file.close()

    def run(self) -> None:
        """Write and rotate until told to stop."""
        due_s = time.monotonic()
        while not self._done.wait(_WRITE_S):
            self._write(self._chance.randint(1, _LINES))
            if time.monotonic() >= due_s and self.may_rotate.is_set():
                way = self._chance.choice(list(self.rotations))
                self._rotate(way)
                self.rotations[way] += 1
                due_s = time.monotonic() + self._chance.uniform(0, 2 * self._rotate_s)

    def _write(self, lines: int) -> None:
        numbers = range(self.numbers, self.numbers + lines)
        text = "".join(f'{{"n": {number}, "text": "line {number}"}}\n' for number in numbers)
        cut = self._chance.randrange(len(text))  # a line may come in two pieces
        for piece in (text[:cut], text[cut:]):
            self._file.write(piece)
            self._file.flush()
        self.numbers += lines

    def _rotate(self, way: str) -> None:
        log = self.folder / "app.log"
        for older in sorted(self.folder.glob("app.log.*"), key=_number, reverse=True):
            suffix = older.name.removeprefix(f"app.log.{_number(older)}")
            older.rename(self.folder / f"app.log.{_number(older) + 1}{suffix}")
        first = self.folder / "app.log.1"
        if way == "copy and truncate":
            shutil.copyfile(log, first)
            self._file.truncate(0)
            return
        log.rename(first)
        if self._chance.random() < 0.5:  # the writer goes on for a moment
            self._write(3)
        self._file.close()
        self._file = log.open("a")
        if way == "rename and compress":
            status = first.stat()
            packed = self.folder / "app.log.1.gz"
            packed.write_bytes(gzip.compress(first.read_bytes()))
            os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
            first.unlink()


def _number(path: Path) -> int:
    return int(path.name.split(".")[2])


@dataclass
class Tally:
    """What happened."""

    seed: int
    kills: int = 0
    lines: int = 0
    lost: int = 0
    repeated: int = 0
    rotations: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def start(root: Path, pattern: str) -> subprocess.Popen[str]:
    """The job in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(JOB), str(root), pattern],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def published(root: Path) -> list[int]:
    """All numbers in the output, in its order."""
    files = sorted((root / "out").glob("*.parquet"))
    return pl.read_parquet(files)["n"].to_list() if files else []


def kill_at_random(root: Path, pattern: str, *, kills: int, seed: int, rotate_s: float = 0.3) -> Tally:
    """Kill the job at random instants while the logs are written; then let it read what is left."""
    chance = random.Random(seed)
    tally = Tally(seed)
    began = time.monotonic()
    writer = Writer(root / "logs", seed, rotate_s=rotate_s)
    writer.start()
    while tally.kills < kills:
        process = start(root, pattern)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        while not writer.may_rotate.is_set() and not published(root):
            time.sleep(0.05)
        writer.may_rotate.set()  # a log that nobody has followed yet may be anywhere
        time.sleep(chance.uniform(0, 0.6))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        tally.kills += 1
    writer.finish()
    tally.lines, tally.rotations = writer.numbers, writer.rotations
    _let_finish(root, pattern, writer.numbers)
    numbers = published(root)
    tally.lost = writer.numbers - len(set(numbers) & set(range(writer.numbers)))
    tally.repeated = len(numbers) - len(set(numbers))
    tally.seconds = time.monotonic() - began
    return tally


def _let_finish(root: Path, pattern: str, lines: int) -> None:
    """Run undisturbed until everything is there, and a little longer."""
    process = start(root, pattern)
    deadline = time.monotonic() + _END_S
    while len(published(root)) < lines and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
