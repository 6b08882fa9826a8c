"""Runs plans in this process: `iterate` gives rows to the caller, `run_job` and `start_job` to sinks."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from arrowstream.runtime.handle import POLL_S, RunningHandle, run_in_foreground
from arrowstream.runtime.job_run import JobRun
from arrowstream.runtime.local_run import LocalRun
from arrowstream.runtime.report import warn_of_lost_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import polars as pl

    from arrowstream.plan.nodes import Node, Sinked
    from arrowstream.runtime.options import RunOptions
    from arrowstream.runtime.report import Report
    from arrowstream.types import JobState


def run_job(roots: Sequence[Sinked], options: RunOptions) -> Report:
    """Run a job to its end. KeyboardInterrupt finishes the epoch and is raised again."""
    return run_in_foreground(JobRun(roots, options), options.listener)


def start_job(roots: Sequence[Sinked], options: RunOptions) -> RunningHandle:
    """Run a job in the background."""
    return RunningHandle(JobRun(roots, options))


def iterate(root: Node, options: RunOptions) -> Generator[pl.DataFrame]:
    """The rows of a result, frame by frame, as they come; nothing runs before the first is asked for.

    Closing the iterator stops all threads.
    """
    run = LocalRun([root], options, time.monotonic)
    state: JobState = "failed"
    try:
        yield from _frames(run)
        state = "finished"
    except GeneratorExit:
        state = "stopped"
        raise
    finally:
        if options.listener is not None:
            options.listener.update(replace(run.metrics(), state=state))
    warn_of_lost_rows(run.report("finished", epochs=0))


def _frames(run: LocalRun) -> Iterator[pl.DataFrame]:
    listener = run.options.listener
    told_s = run.clock()
    with (
        closing(run.open_pipeline(checkpointing=False)) as pipeline,
        closing(run.open_feed(None, run.options.queue_bytes)) as feed,
    ):
        pipeline.begin_epoch(1, {})
        while not pipeline.satisfied:
            frame = run.next_rows(feed, None, POLL_S)
            if listener is not None and run.clock() - told_s >= POLL_S:
                told_s = run.clock()
                listener.update(run.metrics())
            if isinstance(frame, str):
                break
            turns = run.turn(feed, pipeline)
            if frame is not None or turns:
                for _, result in run.step(feed, pipeline, frame):
                    yield result
        for _, result in pipeline.finish():
            yield result
