"""The stream: a lazy, immutable query over rows that may never end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from arrowstream.api.looks import Looks
from arrowstream.api.missing import missing_attribute
from arrowstream.api.results import Results
from arrowstream.api.rows import RowVerbs
from arrowstream.api.sinks import Sinks
from arrowstream.api.windows import DynamicGroupBy
from arrowstream.errors import PlanError
from arrowstream.plan import build
from arrowstream.plan.nodes import Node, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Concatenate, NoReturn, ParamSpec, TypeVar

    import polars as pl

    from arrowstream.types import (
        Duration,
        IntoExpr,
        IntoExprs,
        OnError,
    )

    P = ParamSpec("P")
    T = TypeVar("T")


class Stream(RowVerbs, Results, Looks, Sinks):
    """A query: where rows come from and what is done to them. Nothing runs until a result is asked for.

    Made by `scan_parquet`, `from_polars` and the like. Each verb gives a new stream; a stream can be used
    any number of times. Verbs and arguments are those of `pl.LazyFrame`.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> bids = ars.from_polars(pl.DataFrame({"auction": [1, 2, 1], "price": [90, 120, 150]}))
    >>> dear = bids.filter(pl.col("price") > 100)
    >>> dear
    <Stream {auction: Int64, price: Int64}, bounded>
    >>> dear.collect().rows()
    [(2, 120), (1, 150)]
    """

    __slots__ = ("__weakref__",)

    def limit(self, n: int = 5) -> Stream:
        """The first `n` rows; then reading stops.

        Raises
        ------
        PlanError
            `n` is negative.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2, 3]})).limit(2).collect().rows()
        [(1,), (2,)]
        """
        return Stream(build.limit(self._node, n))

    def head(self, n: int = 5) -> Stream:
        """The same as `limit`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ars.from_polars(pl.DataFrame({"a": [1, 2, 3]})).head(1).collect().rows()
        [(1,)]
        """
        return self.limit(n)

    def pipe(self, function: Callable[Concatenate[Stream, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(self, *args, **kwargs)`: keeps one's own steps in the chain.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> def positive(stream): return stream.filter(pl.col("a") > 0)
        >>> ars.from_polars(pl.DataFrame({"a": [-1, 1]})).pipe(positive).collect().rows()
        [(1,)]
        """
        return function(self, *args, **kwargs)

    def map_batches(
        self,
        function: Callable[[pl.DataFrame], pl.DataFrame],
        *,
        schema: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> Stream:
        """Call a function of one's own on each micro-batch.

        Parameters
        ----------
        function
            Takes and gives a `pl.DataFrame`. It must treat each row alone: where batches are cut depends
            on the machine. Called on one thread.
        schema
            Column names and types it gives; None: those it takes.
        on_error
            What to do if it raises: "raise"; or find the rows on which it does, by halving the batch, and
            "skip" them (counted) or give them to `dead_letters()`. It is then called once more, with the
            other rows of the batch.

        Raises
        ------
        PlanError
            The schema has no valid type.
        DataError
            While running: the function raised, or gave something else than it promised.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> ones = ars.from_polars(pl.DataFrame({"a": [1, 2]}))
        >>> ones.map_batches(lambda frame: frame * 10).collect().rows()
        [(10,), (20,)]
        """
        return Stream(build.map_batches(self._node, function, schema, on_error=on_error))

    def with_event_time(
        self, column: str, *, lateness: Duration | None = None, on_error: OnError = "raise"
    ) -> Stream:
        """Say which column is the time at which things happened.

        Parameters
        ----------
        column
            A Datetime column.
        lateness
            How far behind the largest time so far a row may come, such as "5s". None, on bounded input:
            no row is late. Unbounded input needs it.
        on_error
            What to do with a row whose time is null: "raise", "skip" (counted), or "dead_letter": give it
            to `dead_letters()`.

        Raises
        ------
        PlanError
            Unknown column, not a time, or unbounded input without `lateness`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> from datetime import datetime
        >>> logs = ars.from_polars(pl.DataFrame({"t": [datetime(2026, 1, 1)]}))
        >>> logs.with_event_time("t", lateness="5s").columns
        ['t']
        """
        return Stream(build.event_time(self._node, column, lateness=lateness, on_error=on_error))

    def group_by_dynamic(
        self,
        index_column: IntoExpr,
        *,
        every: Duration,
        period: Duration | None = None,
        offset: Duration | None = None,
        include_boundaries: bool = False,
        closed: Literal["left", "right", "both", "none"] = "left",
        label: Literal["left", "right", "datapoint"] = "left",
        group_by: IntoExprs | None = None,
        start_by: str = "window",
    ) -> DynamicGroupBy:
        """Windows of event time: `[start, start + period)`, one at every multiple of `every`.

        Parameters
        ----------
        index_column
            The event-time column.
        every
            Distance between window starts, as a Polars duration such as "10s".
        period
            Length of a window; None: `every` (tumbling). Longer than `every`: hopping, each row enters
            every window that contains it.
        offset
            Shifts all windows.
        include_boundaries
            Add `_lower_boundary` and `_upper_boundary`.
        closed
            "left" only: `[start, end)`.
        label
            Whether the index column of the result is the window's "left" or "right" end.
        group_by
            Further columns to group by.
        start_by
            "window" only: windows do not depend on the first row.

        Raises
        ------
        PlanError
            Not the event-time column, a duration that is none, or a setting that a stream cannot have.

        Notes
        -----
        Rows need not be sorted. A row that comes after all of its windows have closed is late: counted, and
        given by `.late()`. Unlike in Polars, hopping also gives windows that start before the first row.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> from datetime import datetime as at
        >>> frame = pl.DataFrame({"t": [at(2026, 1, 1, 0, 0, 1), at(2026, 1, 1, 0, 0, 12)]})
        >>> windows = ars.from_polars(frame, event_time="t").group_by_dynamic("t", every="10s")
        >>> windows.agg(n=pl.len()).collect()["n"].to_list()
        [1, 1]
        """
        windows = build.window(
            self._node,
            index_column,
            every=every,
            period=period,
            offset=offset,
            include_boundaries=include_boundaries,
            closed=closed,
            label=label,
            group_by=group_by,
            start_by=start_by,
        )
        return DynamicGroupBy(windows)

    def late(self) -> Stream:
        """The late rows of the one window upstream, with the columns they came with.

        Raises
        ------
        PlanError
            There is no window upstream, or more than one.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> from datetime import datetime
        >>> rows = pl.DataFrame({"t": [datetime(2026, 1, 1, 0, 0, s) for s in (1, 30, 2)]})
        >>> bids = ars.from_polars(rows, event_time="t", lateness="5s")
        >>> bids.group_by_dynamic("t", every="10s").agg(pl.len()).late().collect().height
        1
        """
        windows = list(_windows_upstream(self._node))
        if len(windows) == 1:
            return Stream(build.late_rows(windows[0]))
        text = "there is no window upstream, and so no late rows"
        if windows:
            text = f"{len(windows)} windows are upstream, and each has late rows of its own"
        hint = "call .late() on what group_by_dynamic(...) gives, or on the stream that .agg(...) gives"
        raise PlanError(text, hint=hint)

    def dead_letters(self) -> Stream:
        """What the nodes upstream could not take: bad input, and rows that were rejected.

        Those are made by every node upstream that has `on_error="dead_letter"`: the source, for what it
        cannot read and for rows without event time, `with_event_time`, `map_batches` and `validate`. Run it
        beside the result, from one read: `ars.run([result.sink_parquet("out/"),
        result.dead_letters().sink_parquet("bad/")])`; or alone. Dead letters that no such stream of a run
        gives are counted in its report, and warned of.

        Returns
        -------
        Stream
            Columns: `original` (the bytes of the line or record; a row as a JSON object, in which binary
            values are base64 and NaN is null; null for whole files and row groups), `error`, `operator` (as
            numbered in the plan of the run; "scan" is the source), `source` (the file), `partition`, and
            `position` ("line 17" of the file; "row 12" of it, counted from 0; of the partition where the
            source does not know the row of the file). Rows come in the order of the input, whatever the
            batches. Below a window or `map_batches`, rows have no place in the input: there the order is
            defined among the dead letters of one operator only, and source, partition and position are null.

        Raises
        ------
        PlanError
            Nothing upstream has `on_error="dead_letter"`.

        Notes
        -----
        CSV and NDJSON cannot hold bytes: sink `original` as text there, with
        `.with_columns(pl.col("original").cast(pl.String, strict=False))` (null where it is not UTF-8), or
        `.bin.encode("base64")`.

        Examples
        --------
        >>> import polars as pl, arrowstream as ars
        >>> bids = ars.from_polars(pl.DataFrame({"price": [90, -1]}))
        >>> valid = bids.validate({"positive": "price > 0"}, on_error="dead_letter")
        >>> valid.dead_letters().select("original", "error", "position").collect().rows()
        [(b'{"price":-1}', 'failed: positive', 'row 1')]
        """
        return Stream(build.dead_letters(self._node))

    def __getattr__(self, name: str) -> NoReturn:
        """Say what to write instead."""
        raise missing_attribute(name, type(self))

    def __bool__(self) -> NoReturn:
        """Raise TypeError: a query has no truth value."""
        msg = "the truth value of a Stream is ambiguous: it has not run"
        raise TypeError(msg)


def _windows_upstream(node: Node) -> Iterator[Window]:
    waiting = [node]  # a plan may be deeper than Python's stack
    while waiting:
        node = waiting.pop()
        if isinstance(node, Window):
            yield node
        waiting.extend(node.inputs)
