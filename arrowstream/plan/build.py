"""Builds plans. Every function checks what it is given, and raises at the line that wrote the mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arrowstream.plan.nodes import EventTime, LateRows, Limit, MapBatches, Node, RowStep, Scan, Sinked, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from arrowstream.protocols import Sink, Source
    from arrowstream.types import Duration, IntoExpr, IntoExprs, OnError


def scan(
    source: Source,
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    on_error: OnError = "raise",
) -> Scan:
    """A plan that reads `source`."""
    raise NotImplementedError


def event_time(
    node: Node, column: str, *, lateness: Duration | None = None, on_error: OnError = "raise"
) -> EventTime:
    """Declare a column of `node` as event time."""
    raise NotImplementedError


def row_step(node: Node, verb: str, *args: Any, **kwargs: Any) -> RowStep:
    """Apply the `pl.LazyFrame` method `verb` to each row."""
    raise NotImplementedError


def map_batches(
    node: Node, function: Callable[[pl.DataFrame], pl.DataFrame], schema: Mapping[str, Any] | None = None
) -> MapBatches:
    """Apply a user's function to batches; `schema` is what it returns (None: the same columns)."""
    raise NotImplementedError


def limit(node: Node, n: int = 5) -> Limit:
    """The first `n` rows."""
    raise NotImplementedError


def window(
    node: Node,
    index_column: IntoExpr,
    *,
    every: Duration,
    period: Duration | None = None,
    offset: Duration | None = None,
    include_boundaries: bool = False,
    closed: str = "left",
    label: str = "left",
    group_by: IntoExprs | None = None,
    start_by: str = "window",
) -> Window:
    """Windows without aggregates yet: give them to `aggregate` or `late_rows`."""
    raise NotImplementedError


def aggregate(windows: Window, *aggs: IntoExprs, **named_aggs: IntoExpr) -> Window:
    """`windows` with these aggregates in place of those it had."""
    raise NotImplementedError


def late_rows(windows: Window) -> LateRows:
    """The rows that enter none of `windows`, with the input's columns."""
    raise NotImplementedError


def sinked(node: Node, sink: Sink, name: str) -> Sinked:
    """Send the rows of `node` to `sink`; `name` is how errors and metrics call it."""
    raise NotImplementedError
