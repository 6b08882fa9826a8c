"""The process of one contender: runs its query when told to, and says how long it took.

Talks JSON lines with `contender.py`: a request on standard input, an answer on standard output.
"""

from __future__ import annotations

import gc
import importlib
import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from question import Input

if TYPE_CHECKING:
    from question import Question, Result


def peak_memory_bytes() -> int:
    """Peak resident memory of this process (Linux), 0 where it is not to be had."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found.group(1)) * 1024 if found else 0


def forget_peak_memory() -> None:
    """Measure the peak from now on: sorting and saving a result takes memory that is not the contender's."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # proc(5): resets VmHWM


def normalised(result: Result, keys: list[str]) -> pl.DataFrame:
    """The result with one order of rows and columns, and one type for whole numbers and times."""
    frame = result if isinstance(result, pl.DataFrame) else pl.DataFrame(result)
    return (
        frame.select(*keys, *sorted(set(frame.columns) - set(keys)))
        .with_columns(pl.selectors.integer().cast(pl.Int64), pl.selectors.datetime().cast(pl.Datetime("us")))
        .sort(keys)
    )


def serve(question: Question, contender: str, rows: int, files: str, scratch: Path) -> None:
    """Answer requests until standard input closes."""
    query = question.contenders[contender]
    for line in sys.stdin:
        request = json.loads(line)
        if request["warm_up_rows"]:
            query(Input(request["warm_up_rows"], files, scratch))
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        gc.collect()
        forget_peak_memory()
        cpu, clock = time.process_time(), time.perf_counter()
        result = query(Input(rows, files, scratch))
        seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
        answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_memory_bytes()}
        if request["save"] and result is not None:
            frame = normalised(result, list(question.keys))
            frame.write_ipc(request["save"])
            answer["result_rows"] = frame.height
        del result
        shutil.rmtree(scratch, ignore_errors=True)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    module, contender, rows, files, scratch = sys.argv[1:]
    serve(importlib.import_module(f"questions.{module}").QUESTION, contender, int(rows), files, Path(scratch))
