"""Sources in memory: frames, a LazyFrame, batches that Python makes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from arrowstream.config import END_OF_TIME
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError, PlanError, nearest
from arrowstream.types import schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrowstream.types import IntoSchema, Json, Position

_PARTITION = "scan"
_PIECE_ROWS = 65_536  # the grain of a frame's horizon: 1 M rows have 16 pieces


def frame_from_arrow(data: Any) -> pl.DataFrame:
    """The rows of anything that is an Arrow table, record batch or stream (PyCapsule protocol).

    Raises
    ------
    PlanError
        It is none of these.
    """
    if isinstance(data, pl.DataFrame):
        return data
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return pl.DataFrame(data)
        if hasattr(data, "__arrow_c_array__"):
            return pl.DataFrame(pa.record_batch(data))
    except pl.exceptions.DuplicateError as error:
        raise PlanError(
            f"two columns have one name: {error}", hint="rename one: .rename_columns([…])"
        ) from error
    raise PlanError(
        f"{type(data).__name__} is no Arrow data",
        hint="give a pyarrow Table or RecordBatch, or an object with __arrow_c_stream__",
    )


class FrameSource:
    """A frame in memory: bounded and replayable. A position is the number of rows read."""

    def __init__(self, frame: pl.DataFrame, *, event_time: str | None = None) -> None:
        self._frame = frame
        self._event_time = None if event_time is None else _checked(self.polars_schema, [event_time])[0]

    def __repr__(self) -> str:
        return f"DataFrame({self.row_count:,} rows)"

    @property
    def polars_schema(self) -> pl.Schema:
        """Columns and types of every batch."""
        return self._frame.schema

    @property
    def schema(self) -> pa.Schema:
        """The same in Arrow's terms."""
        return _arrow_schema(self.polars_schema)

    @property
    def bounded(self) -> bool:
        """A frame ends."""
        return True

    @property
    def replayable(self) -> bool:
        """A frame stays."""
        return True

    @property
    def row_count(self) -> int:
        """Rows of the frame."""
        return self._frame.height

    def partitions(self) -> list[str]:
        """One."""
        return [_PARTITION]

    def project(self, columns: Sequence[str]) -> FrameSource:
        """The same rows with these columns only (one stays, as it carries the row count)."""
        kept = _checked(self.polars_schema, columns) or self._frame.columns[:1]
        times = self._event_time if self._event_time in kept else None
        return FrameSource(self._frame.select(kept), event_time=times)

    def with_event_time(self, column: str) -> FrameSource:
        """The same rows, read by a reader that knows the `horizon` of this column."""
        return FrameSource(self._frame, event_time=column)

    def identity(self) -> Json:
        """What a checkpoint pins: schema, row count and a hash of the values."""
        hashes = self._frame.hash_rows().to_numpy().tobytes() if self._frame.width else b""
        schema: dict[str, Json] = {name: str(dtype) for name, dtype in self.polars_schema.items()}
        return {"schema": schema, "rows": self.row_count, "sha256": hashlib.sha256(hashes).hexdigest()}

    def horizon_missing(self) -> str | None:
        """Why the watermark stands still until the end; None if it moves."""
        return None if self._event_time is not None else "no event-time column is read from the frame"

    def open(self, partition: str, position: Position | None) -> FrameReader:
        """A reader that starts after `position` rows."""
        assert partition == _PARTITION
        return FrameReader(self._frame, self._event_time, _row_of(position))


class FrameReader:
    """Slices of a frame. Never blocks."""

    def __init__(self, frame: pl.DataFrame, event_time: str | None, row: int) -> None:
        self._frame = frame
        self._event_time = event_time
        self._row = row

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after them; None at the end."""
        piece = self._frame.slice(self._row, max_rows)
        if piece.height == 0:
            return None
        self._row += piece.height
        return piece, self._row

    def horizon(self, position: Position | None, skip: int) -> int | None:
        """The smallest event time after `position` and `skip` rows, to the grain of a piece."""
        row = _row_of(position) + skip
        if row >= self._frame.height:
            return END_OF_TIME
        return None if self._event_time is None else self._lows[row // _PIECE_ROWS]

    def close(self) -> None:
        """Nothing is held."""

    @cached_property
    def _lows(self) -> list[int]:
        assert self._event_time is not None
        return _suffix_minimums(self._frame[self._event_time])


class LazySource:
    """The result of a Polars query, streamed; run again, it must give the same rows in the same order.

    A position is the number of rows read.
    """

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._frame = frame
        try:
            self._schema = frame.collect_schema()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise PlanError(f"from_polars: the LazyFrame is wrong: {error}") from error

    def __repr__(self) -> str:
        return f"LazyFrame({', '.join(self._schema)})"

    @property
    def polars_schema(self) -> pl.Schema:
        """Columns and types of every batch."""
        return self._schema

    @property
    def schema(self) -> pa.Schema:
        """The same in Arrow's terms."""
        return _arrow_schema(self._schema)

    @property
    def bounded(self) -> bool:
        """A Polars query ends."""
        return True

    @property
    def replayable(self) -> bool:
        """The query is run again, and the rows before the position are skipped."""
        return True

    def partitions(self) -> list[str]:
        """One."""
        return [_PARTITION]

    def project(self, columns: Sequence[str]) -> LazySource:
        """The same rows with these columns only (one stays, as it carries the row count)."""
        return LazySource(self._frame.select(_checked(self._schema, columns) or self._schema.names()[:1]))

    def identity(self) -> Json:
        """What a checkpoint pins: the query, not the data that it reads."""
        return {"query": hashlib.sha256(self._frame.explain(optimized=False).encode()).hexdigest()}

    def horizon_missing(self) -> str | None:
        """Why the watermark stands still until the end."""
        return "a LazyFrame does not tell which times are still to come"

    def open(self, partition: str, position: Position | None) -> LazyReader:
        """A reader that starts after `position` rows."""
        assert partition == _PARTITION
        return LazyReader(self._frame, _row_of(position))


class LazyReader:
    """Runs the query on Polars' streaming engine. Blocks while Polars computes."""

    def __init__(self, frame: pl.LazyFrame, row: int) -> None:
        self._frame = frame.slice(row) if row else frame
        self._row = row
        self._batches: Iterator[pl.DataFrame] | None = None
        self._rest: pl.DataFrame | None = None

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after them; None at the end."""
        frame = self._rest
        if frame is None:
            try:
                if self._batches is None:
                    self._batches = self._frame.collect_batches(chunk_size=max_rows, maintain_order=True)
                frame = next(self._batches, None)
            except OSError as error:
                raise ConnectorError(f"the LazyFrame failed: {error}", offset=self._row) from error
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise DataError(f"the LazyFrame failed: {error}", offset=self._row) from error
        if frame is None:
            return None
        self._rest = frame.slice(max_rows) if frame.height > max_rows else None
        frame = frame.head(max_rows) if self._rest is not None else frame
        self._row += frame.height
        return frame, self._row

    def close(self) -> None:
        """Stop the query."""
        self._batches = None
        self._rest = None


class BatchesSource:
    """Batches that Python makes, each checked against the schema.

    Parameters
    ----------
    batches
        A zero-argument function that gives the batches anew each time, or a list of them: replayable. Any
        other iterable can be read once.
    schema
        Columns and types of every batch.
    bounded
        False if the batches may never end.
    """

    def __init__(
        self,
        batches: Iterable[object] | Callable[[], Iterable[object]],
        schema: IntoSchema,
        *,
        bounded: bool = True,
    ) -> None:
        if not callable(batches) and not isinstance(batches, Iterable):
            raise PlanError(
                f"batches are an iterable or a function that gives one, not {type(batches).__name__}",
                hint="for one frame use from_arrow or from_polars",
            )
        if isinstance(batches, (pl.DataFrame, pa.Table, pa.RecordBatch)):
            raise PlanError(
                f"one {type(batches).__name__} is no iterable of batches",
                hint="use from_arrow or from_polars",
            )
        self._batches = batches
        self._schema = schema_of(schema, "schema")
        self._bounded = bounded
        self._replayable = callable(batches) or isinstance(batches, (list, tuple))
        self._is_read = False

    def __repr__(self) -> str:
        return f"Batches({'can be read again' if self._replayable else 'read once'})"

    @property
    def polars_schema(self) -> pl.Schema:
        """Columns and types of every batch."""
        return self._schema

    @property
    def schema(self) -> pa.Schema:
        """The same in Arrow's terms."""
        return _arrow_schema(self._schema)

    @property
    def bounded(self) -> bool:
        """Whether the batches end."""
        return self._bounded

    @property
    def replayable(self) -> bool:
        """Whether they can be made again."""
        return self._replayable

    def partitions(self) -> list[str]:
        """One."""
        return [_PARTITION]

    def horizon_missing(self) -> str | None:
        """Why the watermark stands still until the end."""
        return "batches made in Python do not tell which times are still to come"

    def open(self, partition: str, position: Position | None) -> BatchesReader:
        """A reader that makes the batches anew and skips `position` rows."""
        assert partition == _PARTITION
        row = _row_of(position)
        if not self._replayable:
            if self._is_read or row:
                raise ConnectorError(
                    "the iterable of from_batches has been read already, it cannot be read again",
                    hint="give a function that makes a new iterable: from_batches(lambda: …, schema=…)",
                )
            self._is_read = True
        return BatchesReader(self._batches, self._schema, row)


class BatchesReader:
    """Takes batches from Python code, which may block."""

    def __init__(
        self, batches: Iterable[object] | Callable[[], Iterable[object]], schema: pl.Schema, row: int
    ) -> None:
        self._batches = batches
        self._schema = schema
        self._row = row
        self._skipped = row
        self._iterator: Iterator[object] | None = None
        self._count = 0
        self._rest: pl.DataFrame | None = None

    def read(self, max_rows: int) -> tuple[pl.DataFrame, Position] | None:
        """The next at most `max_rows` rows and the position after them; None at the end."""
        while self._rest is None:
            batch = self._next_batch()
            if batch is None:
                return None
            if not batch.height:
                return batch, self._row  # "nothing yet": the engine looks whether to go on
            skipped = min(self._skipped, batch.height)
            self._skipped -= skipped
            self._rest = batch.slice(skipped) if skipped < batch.height else None
        frame = self._rest.head(max_rows)
        self._rest = self._rest.slice(max_rows) if self._rest.height > max_rows else None
        self._row += frame.height
        return frame, self._row

    def close(self) -> None:
        """Close the iterator, if it is a generator."""
        close = getattr(self._iterator, "close", None)
        self._iterator = iter(())
        if close is not None:
            close()

    def _next_batch(self) -> pl.DataFrame | None:
        try:
            if self._iterator is None:
                made = self._batches() if callable(self._batches) else self._batches
                self._iterator = iter(made)
            batch = next(self._iterator)
        except StopIteration:
            return None
        except ArrowStreamError:
            raise
        except Exception as error:  # the user's code can raise anything
            raise ConnectorError(
                f"the batches of from_batches failed after {self._count} batches: "
                f"{type(error).__name__}: {error}",
                offset=self._row,
            ) from error
        self._count += 1
        return self._conforming(batch)

    def _conforming(self, batch: object) -> pl.DataFrame:
        number = self._count - 1
        try:
            frame = frame_from_arrow(batch)
        except PlanError as error:
            raise DataError(
                f"batch {number} of from_batches: {error.fact}", hint=error.hint, offset=self._row
            ) from error
        for name, dtype in self._schema.items():
            if name not in frame.columns:
                raise DataError(
                    f"batch {number} of from_batches has no column '{name}'",
                    choices=frame.columns,
                    hint="every batch must have the columns of schema=",
                    offset=self._row,
                )
            if frame.schema[name] != dtype:
                raise DataError(
                    f"column '{name}' of batch {number} of from_batches is {frame.schema[name]}, "
                    f"but {dtype} in schema=",
                    hint="cast the batch, or correct schema=",
                    offset=self._row,
                )
        extra = [name for name in frame.columns if name not in self._schema]
        if extra:
            raise DataError(
                f"batch {number} of from_batches has a column '{extra[0]}' that schema= does not have",
                choices=self._schema.names(),
                hint="drop it from the batch, or add it to schema=",
                offset=self._row,
            )
        return frame.select(self._schema.names())


def _suffix_minimums(times: pl.Series) -> list[int]:
    """Smallest physical time from each piece of the frame on; END_OF_TIME if there is none."""
    physical = times.to_physical()
    lows: list[int] = []
    low = END_OF_TIME
    for start in reversed(range(0, physical.len(), _PIECE_ROWS)):
        least = physical.slice(start, _PIECE_ROWS).min()
        if least is not None:
            assert isinstance(least, int)
            low = min(low, least)
        lows.append(low)
    return lows[::-1]


def _row_of(position: Position | None) -> int:
    if position is None:
        return 0
    if isinstance(position, int) and position >= 0:
        return position
    raise ConnectorError(
        f"position {position} is no number of rows", hint="it was written for another source"
    )


def _checked(schema: pl.Schema, columns: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in schema:
            similar = nearest(name, schema)
            raise PlanError(
                f"the frame has no column '{name}'",
                choices=schema.names(),
                hint=f"did you mean '{similar}'?" if similar else None,
            )
    return list(columns)


def _arrow_schema(schema: pl.Schema) -> pa.Schema:
    try:
        return schema.to_arrow()
    except pa.ArrowInvalid as error:
        name, dtype = next(item for item in schema.items() if not _is_in_arrow(*item))
        raise PlanError(
            f'column "{name}" is {dtype}, a type that Arrow does not have',
            hint=f'cast it first: frame.with_columns(pl.col("{name}").cast(…))',
        ) from error


def _is_in_arrow(name: str, dtype: pl.DataType) -> bool:
    try:
        pl.Schema({name: dtype}).to_arrow()
    except pa.ArrowInvalid:
        return False
    return True
