"""What every run in this process has: a source, a feed, a pipeline, and numbers for who looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from arrowstream.config import FILE, FILE_ROW
from arrowstream.errors import ArrowStreamError
from arrowstream.plan import explain, rewrites
from arrowstream.plan.nodes import Sinked
from arrowstream.runtime.feed import Feed, places
from arrowstream.runtime.lowering import SCAN_ID, scan_of
from arrowstream.runtime.metrics import ConnectorMetrics, Metrics, RateMeter
from arrowstream.runtime.options import seconds
from arrowstream.runtime.pipeline import Pipeline
from arrowstream.runtime.report import Report
from arrowstream.runtime.slots import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from arrowstream.plan.nodes import Node, Scan
    from arrowstream.protocols import Source
    from arrowstream.runtime.epochs import Recovered
    from arrowstream.runtime.options import RunOptions
    from arrowstream.runtime.pipeline import Output
    from arrowstream.runtime.turns import Turn
    from arrowstream.types import Json


class LocalRun:
    """One source, one feed, one pipeline, and numbers for who looks.

    Parameters
    ----------
    roots
        Results of the run.
    options
        Settings.
    clock
        Monotonic seconds.
    """

    def __init__(self, roots: Sequence[Node], options: RunOptions, clock: Callable[[], float]) -> None:
        self.roots = roots
        self.options = options
        self.clock = clock
        self.started_s = clock()
        self.scan = scan_of(roots)
        self.source, self._origin = _prepared(self.scan, roots)
        self.pipeline: Pipeline | None = None
        self._feed: Feed | None = None
        self._rate = RateMeter(clock)

    def open_pipeline(self, *, checkpointing: bool, recovered: Recovered | None = None) -> Pipeline:
        """Build the operators, as they were when the last epoch ended. It is to be closed."""
        pipeline = Pipeline(
            self.roots,
            partitions=places(self.source, recovered.cursors if recovered is not None else None),
            checkpointing=checkpointing,
            threads=self.options.threads,
            origin=self._origin,
        )
        if recovered is not None:
            pipeline.restore(recovered.snapshots)
            pipeline.restore_counters(recovered.counters)
        self.pipeline = pipeline  # from now on other threads look at it
        return pipeline

    def open_feed(self, cursors: dict[str, Json] | None, queue_bytes: int) -> Feed:
        """Start to read."""
        try:
            self._feed = Feed(
                self.source,
                event_time=self.scan.event_time,
                cursors=cursors,
                batch_rows=self.options.batch_rows or "auto",
                queue_bytes=queue_bytes,
                idle_s=seconds("idle_timeout", getattr(self.source, "idle_timeout", None)),
            )
        except ArrowStreamError as error:
            error.operator_id = error.operator_id or SCAN_ID
            raise
        return self._feed

    def next_rows(
        self, feed: Feed, room: int | None, timeout_s: float
    ) -> pl.DataFrame | Literal["end"] | None:
        """What the feed has next, at most `room` rows; its errors say that they come from the scan."""
        try:
            return feed.next(self._rows_max(room), timeout_s)
        except ArrowStreamError as error:
            error.operator_id = error.operator_id or SCAN_ID
            raise

    def turn(self, feed: Feed, pipeline: Pipeline) -> list[Turn]:
        """Let the pipeline know what has happened to partitions before the next rows."""
        turns = feed.turns()
        if turns:
            pipeline.turn(turns)
        return turns

    def step(self, feed: Feed, pipeline: Pipeline, frame: pl.DataFrame | None) -> list[Output]:
        """Rows in, and time on: after every piece, so that what comes out depends on the rows alone."""
        outputs = [] if frame is None else pipeline.push(frame)
        return outputs + pipeline.advance(feed.horizon(), feed.ended())

    def _rows_max(self, room: int | None) -> int | None:
        bounds = [rows for rows in (self.options.batch_rows, room) if rows is not None]
        return min(bounds) if bounds else None

    def waiting_for(self) -> str | None:
        """What the source waits for, if it can say so; from any thread."""
        return None if self._feed is None else self._feed.waiting_for()

    def metrics(self) -> Metrics:
        """How far it is; from any thread."""
        pipeline = self.pipeline
        if pipeline is None:
            return Metrics(seconds=self.clock() - self.started_s)
        return Metrics(
            seconds=self.clock() - self.started_s,
            rows_in=pipeline.rows_in,
            rows_total=getattr(self.source, "row_count", None),
            rows_per_s=self._rate.rate(pipeline.rows_in),
            rows_out=sum(pipeline.rows_out),
            late_rows=pipeline.late_rows,
            missed_windows=pipeline.missed_windows,
            skipped_rows=pipeline.skipped_rows,
            dead_letters=sum(pipeline.dead_letters().values()),
            reload_errors=pipeline.reload_errors,
            watermark=pipeline.watermark(),
            queue_bytes=self._feed.queued_bytes if self._feed is not None else 0,
            operators=pipeline.operator_metrics(),
            connectors=self._source_metrics(),
        )

    def _source_metrics(self) -> tuple[ConnectorMetrics, ...]:
        if self._feed is None:
            return ()
        return (ConnectorMetrics.of(explain.source_name(self.scan), "source", self._feed.counters()),)

    def report(
        self,
        status: Literal["finished", "stopped"],
        *,
        epochs: int,
        sinks: tuple[ConnectorMetrics, ...] = (),
    ) -> Report:
        """What it did, after the end."""
        pipeline = self.pipeline
        assert pipeline is not None
        names = [root.name if isinstance(root, Sinked) else "" for root in self.roots]
        return Report(
            status=status,
            rows_in=pipeline.rows_in,
            rows_out=sum(pipeline.rows_out),
            rows_out_by_sink=dict(zip(names, pipeline.rows_out, strict=True)),
            late_rows=pipeline.late_rows,
            missed_windows=pipeline.missed_windows,
            lateness_needed=pipeline.lateness_needed(),
            skipped_rows=pipeline.skipped_rows,
            dead_letters=sum(pipeline.dead_letters().values()),
            dead_letters_by_operator=pipeline.dead_letters(),
            dead_letters_unread=pipeline.dead_letters_unread,
            reload_errors=pipeline.reload_errors,
            epochs=epochs,
            connectors=self._source_metrics() + sinks,
            watermark=pipeline.watermark(),
            seconds=self.clock() - self.started_s,
        )


def _prepared(scan: Scan, roots: Sequence[Node]) -> tuple[Source, Origin]:
    """The source, told which columns are looked at, and its columns that say of a row where it is from."""
    source = scan.source
    wanted = rewrites.required_columns(roots)[scan]
    origin = Origin()
    if rewrites.places_asked(roots):
        origin = Origin(scan.file_column, scan.row_column)
        tell: Callable[..., Source] | None = getattr(source, "with_metadata", None)
        if tell is not None and origin == Origin():
            origin = Origin(FILE, FILE_ROW)
            source = tell(file=FILE, row=FILE_ROW)
    with_event_time: Callable[[str], Source] | None = getattr(source, "with_event_time", None)
    if scan.event_time is not None and with_event_time is not None:
        source = with_event_time(scan.event_time)
    project: Callable[[list[str]], Source] | None = getattr(source, "project", None)
    wanted = wanted.union(name for name in origin if name is not None)
    columns = [*scan.schema, *(name for name in origin if name is not None and name not in scan.schema)]
    if len(wanted) < len(columns) and project is not None:
        source = project([name for name in columns if name in wanted])
    return source, origin
