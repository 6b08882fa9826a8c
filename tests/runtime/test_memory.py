from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")

SCRIPT = """
import resource, sys
import numpy as np, polars as pl
from arrowstream.connectors.memory.source import BatchesSource
from arrowstream.plan import build
from arrowstream.runtime.local import iterate
from arrowstream.runtime.options import run_options

ROWS = 65_536
SCHEMA = pl.Schema({"t": pl.Datetime("us"), "x": pl.Int64, "y": pl.Float64, "z": pl.Float64})

def batches():
    for number in range(int(sys.argv[1])):
        rows = np.arange(number * ROWS, (number + 1) * ROWS)
        yield pl.DataFrame({"t": rows * 1000, "x": rows, "y": rows * 0.5, "z": rows * 0.25}).cast(SCHEMA)

node = build.scan(BatchesSource(batches, SCHEMA), event_time="t", lateness="1s")
node = build.row_step(node, "with_columns", w=pl.col("y") + pl.col("z"))
node = build.aggregate(build.window(node, "t", every="10s"), pl.col("w").sum(), pl.col("x").median())
rows = sum(frame.height for frame in iterate(node, run_options(memory_limit="16MB", threads=1)))
assert rows == -(-ROWS * int(sys.argv[1]) // 10_000), rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(batches):
    command = [sys.executable, "-c", SCRIPT, str(batches)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def test_memory_does_not_grow_with_the_input():
    small, large = peak(16), peak(16 * 20)  # 32 MB and 640 MB of input, queues of 16 MB
    assert large < small * 1.5
