from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest


@dataclass
class EpochsSink:
    """Keeps the rows of each epoch; the dictionary outlives the sink, as a folder would."""

    published: dict[int, pl.DataFrame] = field(default_factory=dict)
    delivery: str = "exactly_once"
    on_publish: object = None

    def open(self, generation):
        return max(self.published, default=None)

    def encode(self, batches):
        frames = [pl.DataFrame(batch) for batch in batches]
        target = io.BytesIO()
        if frames:
            pl.concat(frames).write_ipc(target)
        return target.getvalue()

    def publish(self, epoch, outbox):
        if self.on_publish is not None:
            self.on_publish(epoch)
        payload = outbox.read_bytes() if isinstance(outbox, Path) else outbox
        self.published[epoch] = pl.read_ipc(io.BytesIO(payload)) if payload else pl.DataFrame()

    def close(self):
        pass

    def identity(self):
        return "epochs"

    @property
    def rows(self):
        frames = [frame for _, frame in sorted(self.published.items()) if frame.height]
        return [row for frame in frames for row in frame.rows()]

    @property
    def heights(self):
        return [frame.height for _, frame in sorted(self.published.items())]


@pytest.fixture(scope="session")
def epochs_sink():
    return EpochsSink


@pytest.fixture
def no_threads_left():
    """Fails if a thread of a run outlives the test; those that ask remote places serve all runs."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("arrowstream") and not thread.name.startswith("arrowstream-remote"):
            thread.join(5)
            assert not thread.is_alive(), thread.name
