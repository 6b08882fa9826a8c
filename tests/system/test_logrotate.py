"""Logs rotated by logrotate in each of its modes, and followed by a job that is killed: every line once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter

import pytest
from system.follow_harness import published, start

LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SEED = 20_261_127
WRITE_S = 0.004
END_S = 90.0
OF_ONE_LOG = 10_000_000  # numbers; the first of each log tells it
MODES = {
    "created.log": "create\ncompress",
    "delayed.log": "create\ncompress\ndelaycompress",
    "plain.log": "create\nnocompress",
    "dated.log": "create\ncompress\ndelaycompress\ndateext\ndateformat -%Y%m%d-%s",
    "copied.log": "copytruncate\nnocompress",
    "copied-packed.log": "copytruncate\ncompress",
    "copied-delayed.log": "copytruncate\ncompress\ndelaycompress\ndateext\ndateformat -%Y%m%d-%s",
}
QUIET = {name for name, mode in MODES.items() if "copytruncate" in mode or "delay" not in mode} - {
    "plain.log"
}
"""Logs that are not written to while logrotate runs for them.

What is written between its copy and its truncation is lost by itself, and what is written into a file while
it is compressed is lost, too, which is what `delaycompress` is for.
"""

pytestmark = pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")


class Logs(threading.Thread):
    """Writes numbered lines into all logs, and has them rotated."""

    def __init__(self, root, seed):
        super().__init__(daemon=True)
        self.folder = root / "logs"
        self.folder.mkdir()
        self.settings, self.state = root / "settings", root / "logrotate.state"
        self.settings.mkdir()
        for name, mode in MODES.items():
            text = f"{self.folder / name} {{\nrotate 1000\n{mode}\n}}\n"
            (self.settings / name).write_text(text)
            (self.settings / name).chmod(0o644)
        self.numbers = {name: index * OF_ONE_LOG for index, name in enumerate(MODES)}
        self.files = {name: (self.folder / name).open("a") for name in MODES}
        self.chance = random.Random(seed)
        self.lock, self.quiet, self.is_over = threading.Lock(), set(), threading.Event()
        self.rotated_s = 0

    def run(self):
        while not self.is_over.wait(WRITE_S):
            with self.lock:
                for name in MODES.keys() - self.quiet:
                    self._write(name)

    def rotate(self):
        """Run logrotate for each log; then who writes into a new file begins to do so."""
        while int(time.time()) == self.rotated_s:  # of names with a date there is one a second
            time.sleep(0.02)
        for name, mode in MODES.items():
            with self.lock:
                self.quiet = {name} & QUIET
            subprocess.run(
                [LOGROTATE, "--force", "--state", self.state, self.settings / name],
                check=True,
                capture_output=True,
            )
            with self.lock:
                if "create" in mode:
                    self.files[name].close()
                    self.files[name] = (self.folder / name).open("a")
                self.quiet = set()
        self.rotated_s = int(time.time())

    def finish(self):
        self.is_over.set()
        self.join()
        for file in self.files.values():
            file.close()

    def begun(self):
        """The last number of each log."""
        with self.lock:
            return {number - 1 for number in self.numbers.values()}

    def expected(self):
        return Counter(
            number
            for index, name in enumerate(MODES)
            for number in range(index * OF_ONE_LOG, self.numbers[name])
        )

    def _write(self, name):
        numbers = range(self.numbers[name], self.numbers[name] + self.chance.randint(1, 5))
        text = "".join(f'{{"n": {number}, "text": "line {number}"}}\n' for number in numbers)
        cut = self.chance.randrange(len(text))  # a line may come in two pieces
        for piece in (text[:cut], text[cut:]):
            self.files[name].write(piece)
            self.files[name].flush()
        self.numbers[name] = numbers.stop


def kill(process):
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()


def begin(root):
    process = start(root, "*.log")
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def wait_for(root, numbers):
    """Until these are in the output."""
    deadline = time.monotonic() + END_S
    while not numbers <= set(published(root)) and time.monotonic() < deadline:
        time.sleep(0.1)


def rotate_and_kill(root, *, kills, seed):
    """Lines lost and repeated."""
    chance, logs = random.Random(seed), Logs(root, seed)
    logs.start()
    for _ in range(kills):
        process = begin(root)
        wait_for(root, logs.begun())  # a log that nobody has followed yet may be anywhere
        logs.rotate()
        rotation = threading.Thread(target=logs.rotate)
        rotation.start()
        time.sleep(chance.uniform(0, 1.2))  # before, while or after logrotate runs
        kill(process)
        rotation.join()
        logs.rotate()
    logs.finish()
    process, expected = begin(root), logs.expected()
    wait_for(root, expected.keys())
    time.sleep(0.5)  # for what would come twice
    kill(process)
    read = Counter(published(root))
    names = sorted(path.name for path in logs.folder.iterdir())
    for name, mode in MODES.items():  # it was what logrotate makes of them
        rotations = [other for other in names if other.startswith((f"{name}.", f"{name}-"))]
        assert len(rotations) >= 3 * kills
        packed = sum(other.endswith(".gz") for other in rotations)
        left = len(rotations) if "nocompress" in mode else int("delay" in mode)
        assert packed == len(rotations) - left
    lost, repeated = expected - read, read - expected
    told = [sorted({list(MODES)[number // OF_ONE_LOG] for number in numbers}) for numbers in (lost, repeated)]
    print(*told)
    return lost.total(), repeated.total()


def test_killed_while_logrotate_runs(tmp_path):
    assert rotate_and_kill(tmp_path, kills=3, seed=SEED) == (0, 0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 6))
def test_killed_while_logrotate_runs_for_long(tmp_path, seed):
    assert rotate_and_kill(tmp_path, kills=20, seed=SEED + seed) == (0, 0)
