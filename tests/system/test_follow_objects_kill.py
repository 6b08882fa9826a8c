"""Killed while it follows objects of S3 that are put, put again, replaced and removed: every row once."""

from __future__ import annotations

import gzip
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import fsspec
import pytest
from system import followed_objects_job
from system.follow_harness import published

JOB = Path(__file__).with_name("followed_objects_job.py")
SEED = 20_261_126
PUT_S = 0.05
END_S = 60.0
SOME_OBJECTS = 5  # before a kill


@pytest.fixture(scope="module")
def endpoint():
    """A server of S3 that outlives the processes that are killed."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Writer(threading.Thread):
    """Puts numbered lines; what is published already it also puts again, replaces or removes."""

    def __init__(self, root, endpoint, bucket, seed):
        super().__init__(daemon=True)
        self.root = root
        self.numbers = 0
        self.done = dict.fromkeys(("put", "put again", "replaced", "removed"), 0)
        self.files = fsspec.filesystem("s3", **followed_objects_job.storage_options(endpoint))
        self.folder = f"{bucket}/in"
        self.objects = {}
        self.chance = random.Random(seed)
        self.is_over = threading.Event()

    def run(self):
        while not self.is_over.wait(PUT_S):
            way = self.chance.choice(["put", "put", *self.done])
            there = [] if way == "put" else self._published()
            if way == "put":
                self._put(f"{self.done['put']:05}.ndjson{self.chance.choice(['', '.gz'])}")
            elif not there:
                continue
            elif way == "put again":
                key = self.chance.choice(there)
                self.files.pipe_file(f"{self.folder}/{key}", self.objects[key][0])
            elif way == "replaced":
                self._put(self.chance.choice(there))
            else:
                key = self.chance.choice(there)
                self.files.rm_file(f"{self.folder}/{key}")
                del self.objects[key]
            self.done[way] += 1

    def finish(self):
        self.is_over.set()
        self.join()

    def _put(self, key):
        numbers = range(self.numbers, self.numbers + self.chance.randint(1, 2_000))
        text = "".join(f'{{"n": {number}}}\n' for number in numbers).encode()
        payload = gzip.compress(text, mtime=0) if key.endswith(".gz") else text
        self.files.pipe_file(f"{self.folder}/{key}", payload)
        self.objects[key] = payload, numbers
        self.numbers = numbers.stop

    def _published(self):
        """Objects whose rows are all in the output: what becomes of them now must not matter."""
        rows = set(published(self.root))
        return [key for key, (_, numbers) in self.objects.items() if rows.issuperset(numbers)]


def start(root, endpoint, bucket):
    process = subprocess.Popen(
        [sys.executable, str(JOB), str(root), endpoint, bucket],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def kill(process):
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kill_at_random(root, endpoint, *, kills, seed):
    """Kill the job while objects come and go; gives rows lost and repeated, and what was done."""
    bucket = f"follow-{seed}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=30).close()
    chance = random.Random(seed)
    writer = Writer(root, endpoint, bucket, seed)
    writer.start()
    for _ in range(kills):
        process = start(root, endpoint, bucket)
        rows, objects, deadline = len(published(root)), writer.done["put"], time.monotonic() + END_S
        while len(published(root)) == rows or writer.done["put"] < objects + SOME_OBJECTS:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        kill(process)
    writer.finish()
    process, deadline = start(root, endpoint, bucket), time.monotonic() + END_S
    while len(published(root)) < writer.numbers and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # for what would come twice
    kill(process)
    numbers = published(root)
    lost = writer.numbers - len(set(numbers) & set(range(writer.numbers)))
    return lost, len(numbers) - len(set(numbers)), writer.done


def test_killed_at_random_instants(tmp_path, endpoint):
    lost, repeated, done = kill_at_random(tmp_path, endpoint, kills=4, seed=SEED)
    print(done)
    assert (lost, repeated) == (0, 0)
    assert min(done.values()) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 4))
def test_killed_a_hundred_times(tmp_path, endpoint, seed, capsys):
    lost, repeated, done = kill_at_random(tmp_path, endpoint, kills=35, seed=SEED + seed)
    with capsys.disabled():
        print(f"\n{done}: {lost} lost, {repeated} repeated")
    assert (lost, repeated) == (0, 0)
