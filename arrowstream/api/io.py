"""Where streams begin: frames, batches, and sources of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.api.stream import Stream
from arrowstream.errors import PlanError
from arrowstream.plan import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pyarrow as pa

    from arrowstream.protocols import Source
    from arrowstream.types import Duration, OnError

_SOURCE_MEMBERS = ("schema", "bounded", "replayable", "partitions", "open")


def from_polars(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    on_error: OnError = "raise",
) -> Stream:
    """A stream of the rows of a frame, in their order.

    Parameters
    ----------
    frame
        A DataFrame, or a LazyFrame: it is run, by Polars' streaming engine, each time the stream is.
    event_time, lateness, on_error
        As in `scan_parquet`.

    Raises
    ------
    PlanError
        Not a frame, no such column, or not a time.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> ars.from_polars(pl.DataFrame({"a": [1, 2]})).schema
    Schema([('a', Int64)])
    """
    from arrowstream.connectors.memory.source import FrameSource, LazySource

    rows: Source
    if isinstance(frame, pl.LazyFrame):
        rows = LazySource(frame)
    elif isinstance(frame, pl.DataFrame):
        rows = FrameSource(frame)
    else:
        hint = "use from_arrow for Arrow data, from_batches for batches"
        raise PlanError(f"from_polars takes a pl.DataFrame or pl.LazyFrame, not {_a(frame)}", hint=hint)
    return scan(rows, event_time=event_time, lateness=lateness, on_error=on_error)


def from_arrow(
    data: Any,
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    on_error: OnError = "raise",
) -> Stream:
    """A stream of the rows of Arrow data.

    Parameters
    ----------
    data
        A `pa.Table` or `pa.RecordBatch`; a `pa.RecordBatchReader`, which can be read once; or any object
        with `__arrow_c_stream__`, which is asked for a new stream whenever the rows are read.
    event_time, lateness, on_error
        As in `scan_parquet`.

    Raises
    ------
    PlanError
        Not Arrow data, no such column, or not a time.

    Examples
    --------
    >>> import pyarrow as pa, arrowstream as ars
    >>> ars.from_arrow(pa.table({"a": [1, 2]})).filter(a=2).collect().rows()
    [(2,)]
    """
    import pyarrow as pa

    from arrowstream.connectors.memory.source import BatchesSource, FrameSource, frame_from_arrow

    rows: Source
    if isinstance(data, pa.RecordBatchReader):
        rows = BatchesSource(data, data.schema)
    elif hasattr(data, "__arrow_c_stream__") and not isinstance(data, pa.Table | pl.DataFrame):
        try:
            schema = pa.RecordBatchReader.from_stream(data).schema
        except pa.ArrowInvalid as error:  # a column is an Arrow stream too
            raise PlanError(
                f"from_arrow takes a table, not {_a(data)}: {error}",
                hint='give columns names: pa.table({"name": data})',
            ) from error
        rows = BatchesSource(lambda: pa.RecordBatchReader.from_stream(data), schema)
    else:
        rows = FrameSource(frame_from_arrow(data))
    return scan(rows, event_time=event_time, lateness=lateness, on_error=on_error)


def from_batches(
    batches: Iterable[object] | Callable[[], Iterable[object]],
    *,
    schema: pl.Schema | pa.Schema | Mapping[str, Any],
    bounded: bool = True,
    event_time: str | None = None,
    lateness: Duration | None = None,
    on_error: OnError = "raise",
) -> Stream:
    """A stream of batches that Python makes.

    Parameters
    ----------
    batches
        `pa.RecordBatch`, `pa.Table` or `pl.DataFrame` each. A list, or a function that gives an iterable:
        can be read again, and so goes on after a crash. Any other iterable can be read once.
    schema
        Columns and types of every batch.
    bounded
        False if the batches may never end.
    event_time, lateness, on_error
        As in `scan_parquet`; unbounded batches with an event time need `lateness`.

    Raises
    ------
    PlanError
        Not iterable, no such column, or not a time.
    DataError
        While running: a batch does not have the schema.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> def counting(): yield from (pl.DataFrame({"n": [number]}) for number in range(3))
    >>> ars.from_batches(counting, schema={"n": pl.Int64}).collect()["n"].to_list()
    [0, 1, 2]
    """
    from arrowstream.connectors.memory.source import BatchesSource

    rows = BatchesSource(batches, schema, bounded=bounded)
    return scan(rows, event_time=event_time, lateness=lateness, on_error=on_error)


def scan(
    source: Source,
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    on_error: OnError = "raise",
) -> Stream:
    """Read a source of one's own.

    Parameters
    ----------
    source
        An object with the methods of `arrowstream.Source`.
    event_time, lateness, on_error
        As in `scan_parquet`; an unbounded source with an event time needs `lateness`.

    Raises
    ------
    PlanError
        It lacks a method, has no such column, or that is not a time.

    Examples
    --------
    >>> import pyarrow as pa, arrowstream as ars
    >>> class Counting:
    ...     schema, bounded, replayable = pa.schema([("n", pa.int64())]), True, True
    ...     def partitions(self): return ["all"]
    ...     def open(self, partition, position): return CountingReader(position or 0)
    >>> class CountingReader:
    ...     def __init__(self, number): self.number = number
    ...     def read(self, max_rows):
    ...         if self.number == 3: return None
    ...         self.number += 1
    ...         return pa.record_batch({"n": [self.number]}), self.number
    ...     def close(self): pass
    >>> ars.scan(Counting()).collect()["n"].to_list()
    [1, 2, 3]
    """
    lacking = [name for name in _SOURCE_MEMBERS if not hasattr(source, name)]
    if lacking:
        hint = "arrowstream.Source says what a source has to have; for files and frames use scan_* and from_*"
        raise PlanError(f"{_a(source)} is not a source: it has no {', '.join(lacking)}", hint=hint)
    return Stream(build.scan(source, event_time=event_time, lateness=lateness, on_error=on_error))


def _a(value: object) -> str:
    return type(value).__name__
