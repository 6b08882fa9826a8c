"""The nodes of a plan. They are built by `arrowstream.plan.build`, which checks them, and never change.

Nodes are compared by identity: they hold `pl.Expr`, whose `==` builds an expression, and a node that
two streams share is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import polars as pl

    from arrowstream.protocols import Sink, Source
    from arrowstream.types import Label, OnError

TimeUnit: TypeAlias = Literal["ms", "us", "ns"]

PartialKind: TypeAlias = Literal[
    "len", "count", "sum", "min", "max", "mean", "var", "std", "first", "last", "any", "all"
]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Node:
    """What every node says about its output.

    Attributes
    ----------
    inputs
        The nodes it reads.
    schema
        Columns as the user sees them; hidden columns are never in it.
    event_time
        Name of the event-time column, None where it has been lost.
    lateness
        How far behind the maximum a row may be, in units of the event-time column; None: nothing is late.
    unbounded
        Whether the input may never end.
    """

    inputs: tuple[Node, ...]
    schema: pl.Schema
    event_time: str | None
    lateness: int | None
    unbounded: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scan(Node):
    """Reads a source; is itself the event-time node if `event_time` is set.

    `file_column` and `row_column` are those of its columns that the source was asked for by `with_metadata`.
    """

    source: Source
    on_error: OnError = "raise"
    file_column: str | None = None
    row_column: str | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Step(Node):
    """A node with one input."""

    @property
    def input(self) -> Node:
        """The one node it reads."""
        return self.inputs[0]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EventTime(Step):
    """Begins event time: from here on rows have a clock. `column` is `event_time`."""

    column: str
    on_error: OnError = "raise"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowStep(Step):
    """One Polars verb that looks at each row alone.

    `args` and `kwargs` are those of the `pl.LazyFrame` method `verb`, made explicit when the node was
    built: names instead of selectors, expressions instead of names where the verb takes expressions.
    """

    verb: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MapBatches(Step):
    """A user's function from one frame to another; it promises to look at each row alone."""

    function: Callable[[pl.DataFrame], pl.DataFrame]
    on_error: OnError = "raise"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Validate(Step):
    """Lets the rows pass for which every rule is true; each rule is a name and an expression."""

    rules: tuple[tuple[str, pl.Expr], ...]
    on_error: OnError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FilterFile(Step):
    """Lets the rows pass for which every rule of a file is true; it is read again at each epoch.

    Attributes
    ----------
    path
        The file.
    rules
        Names and SQL expressions, as they were when the plan was built.
    """

    path: Path
    rules: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProcessingTime(Step):
    """Adds the time at which the epoch began and its number, as columns; None: not this one."""

    time_column: str | None
    batch_column: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(name for name in (self.time_column, self.batch_column) if name is not None)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DeadLetters(Step):
    """What nodes upstream could not take, as rows of `config.DEAD_LETTERS`.

    Attributes
    ----------
    producers
        Those that make dead letters, from the source down; `input` is the last of them.
    """

    producers: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Limit(Step):
    """The first `n` rows."""

    n: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Windowed(Step):
    """Windows over the event time, `[start, start + period)` for every `start` on a grid.

    Attributes
    ----------
    index_column
        The event-time column.
    every, period, offset
        Polars duration strings.
    unit, time_zone
        Of the event-time column.
    every_units, period_units, origin_units
        The same as physical integers of `unit`, where windows are plain arithmetic: starts are the
        integers congruent to `origin_units` (0 ≤ origin < every) modulo `every_units`. All None for
        calendar windows ("1mo") and for columns in a time zone other than UTC, whose windows (tumbling
        only) are `dt.truncate`'s.
    """

    index_column: str
    every: str
    period: str
    offset: str
    unit: TimeUnit
    time_zone: str | None
    every_units: int | None
    period_units: int | None
    origin_units: int | None

    @property
    def tumbling(self) -> bool:
        """Whether each row lies in exactly one window; calendar windows always tumble."""
        return self.every_units is None or self.every_units == self.period_units


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """One output column that can be folded row by row into a small state.

    `input` is an expression over the input's rows (None for "len"); `dtype` is the output's type.
    """

    name: str
    kind: PartialKind
    input: pl.Expr | None
    input_dtype: pl.DataType | None
    dtype: pl.DataType
    ddof: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Holistic:
    """An aggregation that needs the window's rows: they are kept, and Polars evaluates it at the close.

    `expr` gives the one column `name`; `reason` says in a few words why it cannot be folded.
    """

    name: str
    expr: pl.Expr
    dtype: pl.DataType
    reason: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Window(Windowed):
    """Aggregates per group and window.

    Schema: group keys, then `_lower_boundary` and `_upper_boundary` if `include_boundaries`, the index
    column, aggregates. Event time of the output is the window's start, under the index column's name if
    `label` is "left".

    Attributes
    ----------
    group_by
        One expression a key, each looking at its row alone; `keys` are their names.
    aggs
        One Polars expression an aggregate column, selectors already expanded.
    aggregations
        The same, each found to be a `Partial` or `Holistic`, in output order.
    """

    group_by: tuple[pl.Expr, ...]
    keys: tuple[str, ...]
    aggs: tuple[pl.Expr, ...]
    aggregations: tuple[Partial | Holistic, ...]
    include_boundaries: bool
    label: Label


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LateRows(Windowed):
    """The input's rows that enter none of the windows any more; empty if there is no lateness."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sinked(Step):
    """Root of a job: rows of `input` go to `sink`."""

    sink: Sink
    name: str
