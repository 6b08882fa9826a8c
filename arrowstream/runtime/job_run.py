"""The loop of a job: reads, computes, hands rows to the sinks and closes epochs."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from arrowstream.errors import ArrowStreamError, PlanError, StateError
from arrowstream.plan import explain
from arrowstream.protocols import ConnectorCounters
from arrowstream.runtime.epochs import EpochDriver, EpochEnd, EpochEvery, JobSpec
from arrowstream.runtime.feed import partition_names
from arrowstream.runtime.handle import POLL_S
from arrowstream.runtime.local_run import LocalRun
from arrowstream.runtime.lowering import SCAN_ID
from arrowstream.runtime.metrics import ConnectorMetrics
from arrowstream.runtime.report import Report, count
from arrowstream.runtime.silence import explain_silence
from arrowstream.runtime.sinks import SinkSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrowstream.plan.nodes import Sinked
    from arrowstream.protocols import Source
    from arrowstream.runtime.epochs import Recovered
    from arrowstream.runtime.feed import Feed
    from arrowstream.runtime.metrics import Metrics
    from arrowstream.runtime.options import RunOptions
    from arrowstream.runtime.pipeline import Output, Pipeline
    from arrowstream.types import Json

STOP_GRACE_S = 10.0
"""How long `stop` goes on reading to fill an epoch that is counted in rows."""

_Outcome: TypeAlias = Literal["finished", "stopped"]


class JobRun:
    """One run of a job, for a thread of its own.

    Parameters
    ----------
    roots
        The job's results and their sinks.
    options
        Settings.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, roots: Sequence[Sinked], options: RunOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = LocalRun(roots, options, clock)
        if options.checkpoint is not None:
            _check_replayable(self._run.source)
        self._roots = roots
        self._options = options
        self._clock = clock
        self._stop_s: float | None = None
        self._drain = False
        self._abort = threading.Event()
        self._epoch_rows = 0
        self._conditions: dict[str, Json] | None = None
        self._turns: list[Json] = []
        self._rows_closed = 0
        self._idle = False
        self._driver = EpochDriver(
            sinks=_sink_specs(roots),
            job=JobSpec(
                canonical=explain.canonical(roots),
                fingerprint=explain.fingerprint(roots),
                inputs={"scan": _identity(self._run.scan.source)},
            ),
            checkpoint=options.checkpoint,
            every=EpochEvery(seconds=options.epoch_s, rows=options.epoch_rows),
            mode=options.mode,
            queue_bytes=max(options.queue_bytes // 2 // len(roots), 1),
            threads=max(options.threads // len(roots), 1),
            clock=clock,
        )

    def run(self) -> Report:
        """Run to the end of the input, or until stopped; returns when everything is published."""
        try:
            recovered = self._driver.recover()
            if recovered.complete:
                self._driver.finish()
                return Report(status="already_complete", epochs=recovered.epoch)
            outcome = self._read(recovered)
            self._driver.finish()
        except BaseException as error:
            self._driver.abort(error)
            raise
        return self._run.report(outcome, epochs=self._driver.done_epoch(), sinks=self._sink_metrics())

    def _read(self, recovered: Recovered) -> _Outcome:
        checkpointing = self._options.checkpoint is not None
        with (
            closing(self._run.open_pipeline(checkpointing=checkpointing, recovered=recovered)) as pipeline,
            closing(self._run.open_feed(recovered.cursors, self._options.queue_bytes // 2)) as feed,
        ):
            self._rows_closed = sum(pipeline.rows_out)
            if recovered.planned_conditions is not None:
                self._begin_epoch(pipeline, recovered.planned_conditions)
            outcome = self._rerun_planned(feed, pipeline, recovered)
            return outcome or self._loop(feed, pipeline)

    def _rerun_planned(self, feed: Feed, pipeline: Pipeline, recovered: Recovered) -> _Outcome | None:
        """Compute an epoch again that was begun before a crash: exactly its rows, whatever is asked."""
        if recovered.planned_rows is None:
            return None
        while self._epoch_rows < recovered.planned_rows:
            if self._stop_s is not None and self._idle and not self._run.source.bounded:
                return "stopped"  # what was read will be read again: nobody has seen any of it
            if not self._take(feed, pipeline, recovered.planned_rows - self._epoch_rows):
                raise StateError(
                    f"the input ended {self._epoch_rows:,} rows after the last epoch, but an epoch of "
                    f"{recovered.planned_rows:,} rows had been begun from it",
                    hint="restore the input as it was, or begin anew with another checkpoint folder",
                )
        if recovered.planned_final:
            self._begin_epoch(pipeline)
            self._emit(pipeline.finish())
        self._close_epoch(feed, pipeline, final=recovered.planned_final)
        return "finished" if recovered.planned_final else None

    def _loop(self, feed: Feed, pipeline: Pipeline) -> _Outcome:
        while True:
            room = self._driver.rows_until_cut(self._epoch_rows, is_empty=not self._is_begun)
            if self._is_stop_due(room):
                if self._drain:
                    return self._end(feed, pipeline, "stopped")
                if self._is_begun:
                    self._close_epoch(feed, pipeline, final=False)
                return "stopped"
            if room == 0:
                self._close_epoch(feed, pipeline, final=False)
            elif not self._take(feed, pipeline, room) or pipeline.satisfied:
                return self._end(feed, pipeline, "finished")

    def _end(self, feed: Feed, pipeline: Pipeline, outcome: _Outcome) -> _Outcome:
        self._begin_epoch(pipeline)
        self._emit(pipeline.finish())
        self._close_epoch(feed, pipeline, final=True)
        return outcome

    def _begin_epoch(self, pipeline: Pipeline, conditions: dict[str, Json] | None = None) -> None:
        """Before the first row of an epoch: what holds for all of it, as it is now or was before a crash."""
        if self._conditions is None:
            self._conditions = pipeline.begin_epoch(self._driver.open_epoch, conditions or {})

    def _is_stop_due(self, room: int | None) -> bool:
        """Whether to stop here. An epoch counted in rows is filled first, if the rows come soon."""
        if self._stop_s is None:
            return False
        if self._options.epoch_rows is None or not self._epoch_rows or room == 0:
            return True
        return self._idle or self._clock() - self._stop_s >= STOP_GRACE_S

    def _take(self, feed: Feed, pipeline: Pipeline, room: int | None) -> bool:
        """Read and compute the next rows, if there are any yet; False at the end of the input."""
        self._check()
        frame = self._run.next_rows(feed, room, POLL_S)
        self._idle = frame is None
        if isinstance(frame, str):
            return False
        turns = self._run.turn(feed, pipeline)
        self._turns += [turn.as_json(self._epoch_rows) for turn in turns]
        if frame is not None or turns:
            self._begin_epoch(pipeline)
            self._epoch_rows += 0 if frame is None else frame.height
            self._emit(self._run.step(feed, pipeline, frame))
        return True

    @property
    def _is_begun(self) -> bool:
        """Whether something has happened since the last epoch: windows close without a row, too."""
        return self._epoch_rows > 0 or bool(self._turns)

    def _emit(self, outputs: list[Output]) -> None:
        for index, frame in outputs:
            while not self._driver.emit(index, frame, timeout_s=POLL_S):
                self._check()

    def _check(self) -> None:
        self._driver.check()
        if self._abort.is_set():
            raise _broken_off()

    def _close_epoch(self, feed: Feed, pipeline: Pipeline, *, final: bool) -> None:
        turns: dict[str, Json] = {SCAN_ID: self._turns} if self._turns else {}
        # Not before the end: of several files, one with a header only would say that all columns are text.
        silent = [index for index, rows in enumerate(pipeline.rows_out) if final and not rows]
        self._driver.close_epoch(
            EpochEnd(
                rows=self._epoch_rows,
                cursors=feed.cursors(),
                watermark=pipeline.watermark_value(),
                snapshots=pipeline.snapshot() if self._options.checkpoint is not None else {},
                counters=pipeline.counters(),
                final=final,
                without_rows=frozenset(silent),
                conditions=(self._conditions or {}) | turns,
            )
        )
        self._turns = []
        self._epoch_rows = 0
        self._conditions = None
        self._rows_closed = sum(pipeline.rows_out)

    def request_stop(self, *, drain: bool) -> None:
        """Finish the epoch, then return from `run`; with `drain`, close all windows first."""
        self._drain = self._drain or drain
        if self._stop_s is None:
            self._stop_s = self._clock()

    def request_abort(self) -> None:
        """Leave `run` with an exception as soon as possible."""
        self._abort.set()
        self._driver.abort(_broken_off())

    def metrics(self) -> Metrics:
        """How far it is."""
        metrics = self._run.metrics()
        connectors = metrics.connectors + self._sink_metrics()
        return replace(metrics, epochs=self._driver.done_epoch(), connectors=connectors)

    def _sink_metrics(self) -> tuple[ConnectorMetrics, ...]:
        """What the engine has seen of each sink, and what the sink itself has counted besides."""
        found = []
        for root, progress in zip(self._roots, self._driver.progress, strict=False):  # none before it begins
            own = getattr(root.sink, "counters", None) or ConnectorCounters()
            # Only sinks of files have their outboxes beside their output, and then publish just these files.
            files = progress.files if hasattr(root.sink, "outbox_folder") else own.files
            seen = replace(
                own, files=files, rows=progress.rows, bytes=progress.bytes, seconds=progress.busy_s
            )
            found.append(ConnectorMetrics.of(root.name, "sink", seen))
        return tuple(found)

    def explain_silence(self) -> str:
        """Why nothing is coming out at the moment."""
        pipeline = self._run.pipeline
        if pipeline is None:
            return "the run is starting"
        waiting = sum(pipeline.rows_out) - self._rows_closed
        if waiting > 0:
            return f"{count(waiting, 'row')} will be published when the epoch ends, {self._every()}"
        outside = self._run.waiting_for()
        return "\n".join([explain_silence(pipeline), *([outside] if outside else [])])

    def _every(self) -> str:
        if self._options.epoch_rows is not None:
            return f"after {count(self._options.epoch_rows, 'row')} of input"
        return f"every {self._options.epoch_s:g} s"


def _broken_off() -> ArrowStreamError:
    return ArrowStreamError("the run was broken off; what the last epoch published stays")


def _check_replayable(source: Source) -> None:
    if not source.replayable:
        raise PlanError(
            "checkpoint: this source can be read only once, and going on from a checkpoint reads it again",
            hint="give from_batches a list or a function that makes the batches, or no checkpoint",
        )


def _sink_specs(roots: Sequence[Sinked]) -> list[SinkSpec]:
    names: set[str] = set()
    specs = []
    for root in roots:
        name, number = root.name, 1
        while name in names:
            number += 1
            name = f"{root.name}-{number}"
        names.add(name)
        specs.append(SinkSpec(name, root.sink, root.schema))
    return specs


def _identity(source: Source) -> Json:
    """What the checkpoint pins of a source: all it says of itself, or what kind it is."""
    identity: Callable[[], Json] | None = getattr(source, "identity", None)
    if identity is not None:
        return identity()
    return {"source": type(source).__qualname__, "partitions": partition_names(source)}
