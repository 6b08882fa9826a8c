"""A window operator driven as the engine drives it, and what Polars says of the same rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from arrowstream.config import CLOCK, END_OF_TIME, NO_TIME, PARTITION
from arrowstream.plan import build
from arrowstream.runtime.operators.window import window_operator


@dataclass
class NeverOpened:
    """A source that is only described."""

    polars_schema: pl.Schema
    bounded: bool = True
    replayable: bool = True

    @property
    def schema(self):
        return self.polars_schema.to_frame().to_arrow().schema

    def partitions(self):
        return ["all"]

    def open(self, partition, position):
        raise NotImplementedError


def window_node(schema, *aggs, lateness=None, **options):
    """A window node over rows of `schema` with the event time "t"."""
    scan = build.scan(NeverOpened(pl.Schema(schema)), event_time="t", lateness=lateness)
    named = {name: options.pop(name) for name in list(options) if isinstance(options[name], pl.Expr)}
    return build.aggregate(build.window(scan, "t", **options), *aggs, **named)


def frame(rows, schema, partitions=None):
    """Rows of the columns of `schema`; times are whole microseconds."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    made = pl.DataFrame(
        [
            pl.Series(name, values, dtype=pl.Int64).cast(dtype)
            if name == "t"
            else pl.Series(name, values, dtype=dtype)
            for (name, dtype), values in zip(schema.items(), columns, strict=True)
        ]
    )
    if partitions is not None:
        made = made.with_columns(pl.Series(PARTITION, partitions, dtype=pl.UInt32))
    return made


def of_type(dtype, values):
    """Rows of one column "v", one a microsecond."""
    return pl.DataFrame(
        {
            "t": pl.Series(range(len(values))).cast(pl.Datetime("us")),
            "v": pl.Series(values, dtype=dtype.base_type() if dtype == pl.Datetime else dtype).cast(dtype)
            if getattr(dtype, "time_zone", None) is None
            else pl.Series(values, dtype=pl.Datetime("ns")).dt.replace_time_zone(dtype.time_zone),
        }
    )


def begin(node, *, partitions=1, checkpointing=False, helper=None):
    return window_operator(node, "w", partitions=partitions, checkpointing=checkpointing, helper=helper)


def with_clock(frame):
    """The rows with their clocks: the largest time before each in its partition."""
    partitions = frame.get_column(PARTITION).to_list() if PARTITION in frame.columns else [0] * frame.height
    largest, clock = {}, []
    for partition, time in zip(partitions, frame.get_column("t").to_physical().to_list(), strict=True):
        clock.append(largest.get(partition, NO_TIME))
        largest[partition] = max(clock[-1], time)
    return frame.with_columns(pl.Series(CLOCK, clock, dtype=pl.Int64))


def watermark_after(frame, rows, lateness, partitions):
    """What the engine knows after some of the rows of `frame`."""
    times = frame.get_column("t").to_physical()
    if lateness is None:
        return times[rows:].min() if rows < frame.height else END_OF_TIME
    seen = frame.head(rows)
    if partitions == 1:
        return times[:rows].max() - lateness if rows else NO_TIME
    largest = dict(
        seen.group_by(PARTITION).agg(pl.col("t").max().to_physical()).select(PARTITION, "t").iter_rows()
    )
    return min(largest.values()) - lateness if len(largest) == partitions else NO_TIME


def stored(snapshot, runs):
    """The snapshot as a checkpoint gives it back: values through JSON, runs through Arrow IPC."""
    for run in snapshot.runs:
        if run.table is not None:
            buffer = pa.BufferOutputStream()
            with pa.ipc.new_file(buffer, run.table.schema) as writer:
                writer.write_table(run.table.unify_dictionaries())
            runs[run.id] = buffer.getvalue()
    tables = [(run.id, pa.ipc.open_file(runs[run.id]).read_all()) for run in snapshot.runs]
    return json.loads(json.dumps(snapshot.values)), tables


def replay(node, frame, cuts=(), *, partitions=1, restored=False, helper=None):
    """Give the operator all rows, batch by batch; `restored`: into a new one after every batch."""

    options = {"partitions": partitions, "checkpointing": restored, "helper": helper}
    operator, out, runs = begin(node, **options), [], {}
    lateness = node.inputs[0].lateness
    if lateness is not None:
        frame = with_clock(frame)
    for start, end in zip([0, *cuts], [*cuts, frame.height], strict=True):
        out += operator.process(frame.slice(start, end - start))
        out += operator.on_watermark(watermark_after(frame, end, lateness, partitions))[0]
        if restored:
            values, tables = stored(operator.snapshot(), runs)
            operator = begin(node, **options)
            operator.restore(values, tables)
    out += operator.on_watermark(END_OF_TIME)[0]
    for closed in out:
        assert closed.schema == node.schema
    result = pl.concat(out) if out else pl.DataFrame(schema=node.schema)
    return SimpleNamespace(result=result, frames=out, operator=operator)


def into_windows(node, frame):
    """By the definition: (row, window start) of what is counted, rows late for all, missed, needed."""
    lateness = node.inputs[0].lateness
    if lateness is not None:
        frame = with_clock(frame)
    clocks = frame.get_column(CLOCK).to_list() if lateness is not None else [NO_TIME] * frame.height
    every, period, origin = node.every_units, node.period_units, node.origin_units
    entered, late, missed, needed = [], [], 0, None
    for row, (time, clock) in enumerate(
        zip(frame.get_column("t").to_physical().to_list(), clocks, strict=True)
    ):
        last = (time - origin) // every * every + origin
        candidates = range(last - period // every * every, last + 1, every)
        starts = [start for start in candidates if time < start + period]
        closed = [s for s in starts if clock != NO_TIME and s + period <= clock - lateness]
        entered += [(row, start) for start in starts if start not in closed]
        if closed:
            needed = max(needed or 0, clock - closed[0] - period + 1)
            if len(closed) == len(starts):
                late.append(row)
            else:
                missed += len(closed)
    return SimpleNamespace(entered=entered, late=late, missed=missed, needed=needed)


def in_windows(node, frame, starts=None):
    """Polars' answer over the rows sorted by time, each repeated for every window it enters."""
    partition = pl.col(PARTITION) if PARTITION in frame.columns else pl.lit(0)
    rank = pl.col("partition").cast(pl.Int64) * 2**40 + pl.col("row")
    rows = frame.with_row_index("row").with_columns(partition.alias("partition"))
    if starts is None:
        entered = into_windows(node, frame).entered
        rows = rows[[row for row, _ in entered]]
        starts = pl.Series([start for _, start in entered], dtype=pl.Int64)
    start = starts.cast(node.inputs[0].schema["t"])
    return (
        rows.with_columns(start.alias("window"))
        .sort("t", "partition", "row", maintain_order=True)
        .group_by("window", *node.group_by, maintain_order=True)
        .agg(*node.aggs, rank.min().alias("rank"))
        .sort("window", "rank")
        .select(*node.keys, pl.col("window").alias("t"), *(a.name for a in node.aggregations))
    )


def check(node, frame, cuts=(), *, partitions=1, helper=None):
    """Equal to Polars, and to the last bit however the rows are cut and however often state is restored."""
    expected = in_windows(node, frame)
    whole = replay(node, frame, partitions=partitions, helper=helper)
    assert_frame_equal(whole.result, expected, rel_tol=1e-9, abs_tol=0)
    rest = [
        replay(node, frame, cuts, partitions=partitions),
        replay(node, frame, cuts, partitions=partitions, restored=True),
    ]
    definition = into_windows(node, frame)
    for run in (whole, *rest):
        assert run.result.equals(whole.result)
        assert run.operator.late_rows == len(definition.late)
        assert run.operator.missed_windows == definition.missed
        assert run.operator.lateness_needed == definition.needed
        assert run.operator.on_watermark(END_OF_TIME) == ([], END_OF_TIME)
    return whole


@pytest.fixture(scope="session")
def windows():
    """`windows.node`, `.replay`, `.check` …: all that tests of windows share."""
    return SimpleNamespace(
        node=window_node, frame=frame, of_type=of_type, begin=begin, replay=replay, check=check,
        definition=into_windows, in_windows=in_windows, stored=stored, with_clock=with_clock,
    )  # fmt: skip
