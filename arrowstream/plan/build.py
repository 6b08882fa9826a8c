"""Builds plans. Every function checks what it is given, and raises at the line that wrote the mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import polars as pl

from arrowstream.errors import InternalError, PlanError
from arrowstream.plan.aggregations import decompose, named, unfoldable_key
from arrowstream.plan.durations import parse
from arrowstream.plan.expressions import has_function, into_expr, into_exprs, plain_column
from arrowstream.plan.nodes import (
    EventTime,
    Holistic,
    LateRows,
    Limit,
    MapBatches,
    RowStep,
    Scan,
    Sinked,
    Window,
)
from arrowstream.plan.schema import (
    POLARS_ERRORS,
    checked_names,
    duplicate_column,
    out_schema,
    translated,
    unknown_column,
)
from arrowstream.plan.selectors import expand
from arrowstream.plan.verbs import VERBS, check_row_by_row, explicit, origins, runnable, selected
from arrowstream.plan.windows import grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arrowstream.plan.nodes import Node
    from arrowstream.protocols import Sink, Source
    from arrowstream.types import Duration, IntoExpr, IntoExprs, Label, OnError

_TO_DATETIME = {
    pl.String: '.str.to_datetime("%Y-%m-%d %H:%M:%S")',
    pl.Date: '.cast(pl.Datetime("us"))',
}
_FROM_EPOCH = 'pl.from_epoch("{}", time_unit="s")'


def scan(
    source: Source,
    *,
    event_time: str | None = None,
    lateness: Duration | None = None,
    on_error: OnError = "raise",
) -> Scan:
    """A plan that reads `source`.

    Raises
    ------
    PlanError
        The event-time column is unknown or no timestamp; lateness is missing on unbounded input, or given
        without event time; a column name or type that Polars does not have.
    """
    schema = checked_names("scan", _schema_of(source))
    if event_time is None and lateness is not None:
        raise PlanError("scan: lateness needs event time", choices=schema, hint="give event_time= as well")
    _check_on_error("scan", on_error)
    units = None
    if event_time is not None:
        units = _lateness("scan", schema, event_time, lateness, unbounded=not source.bounded)
    return Scan(
        inputs=(),
        schema=schema,
        event_time=event_time,
        lateness=units,
        unbounded=not source.bounded,
        source=source,
        on_error=on_error,
    )


def event_time(
    node: Node, column: str, *, lateness: Duration | None = None, on_error: OnError = "raise"
) -> EventTime:
    """Declare a column of `node` as event time.

    Raises
    ------
    PlanError
        The column is unknown or no timestamp; lateness is negative, or missing on unbounded input.
    """
    _check_on_error("with_event_time", on_error)
    units = _lateness("with_event_time", node.schema, column, lateness, unbounded=node.unbounded)
    return EventTime(
        inputs=(node,),
        schema=node.schema,
        event_time=column,
        lateness=units,
        unbounded=node.unbounded,
        column=column,
        on_error=on_error,
    )


def row_step(node: Node, verb: str, /, *args: Any, **kwargs: Any) -> RowStep:
    """Apply the `pl.LazyFrame` method `verb` to each row.

    Raises
    ------
    PlanError
        Unknown column, ill-typed, two columns of one name, or an expression that looks at other rows.
    """
    assert verb in VERBS, verb
    args, kwargs = explicit(verb, node.schema, args, kwargs)
    schema = out_schema(
        verb, node.schema, lambda frame: getattr(frame, verb)(*args, **kwargs), runs=runnable(args, kwargs)
    )
    if not schema:
        raise PlanError(f"{verb}: no column would be left", choices=node.schema)
    kept = _kept_event_time(node, schema, origins(verb, args, kwargs, node.schema))
    return RowStep(
        inputs=(node,),
        schema=schema,
        event_time=kept,
        lateness=None if kept is None else node.lateness,
        unbounded=node.unbounded,
        verb=verb,
        args=args,
        kwargs=kwargs,
    )


def map_batches(
    node: Node, function: Callable[[pl.DataFrame], pl.DataFrame], schema: Mapping[str, Any] | None = None
) -> MapBatches:
    """Apply a user's function to batches; `schema` is what it returns (None: the same columns).

    Event time is lost: the function may give any rows. Declare it again.

    Raises
    ------
    PlanError
        Not a function, or not a schema.
    """
    if not callable(function):
        raise PlanError(f"map_batches: {function!r} is no function")
    try:
        returned = node.schema if schema is None else pl.Schema(schema)
    except POLARS_ERRORS as error:
        raise PlanError(f"map_batches: schema: {error}", hint='write {"name": pl.Int64, …}') from error
    return MapBatches(
        inputs=(node,),
        schema=checked_names("map_batches", returned),
        event_time=None,
        lateness=None,
        unbounded=node.unbounded,
        function=function,
    )


def limit(node: Node, n: int = 5) -> Limit:
    """The first `n` rows.

    Raises
    ------
    PlanError
        `n` is not a whole number, or negative.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise PlanError(f"limit: {n!r} is not a number of rows")
    return Limit(
        inputs=(node,),
        schema=node.schema,
        event_time=node.event_time,
        lateness=node.lateness,
        unbounded=False,  # reading stops with the last row
        n=n,
    )


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
    """Windows without aggregates yet: give them to `aggregate` or `late_rows`.

    Raises
    ------
    PlanError
        No event time, or another column than it; windows that cannot be; a key that is unknown, ill-typed
        or looks at other rows.
    """
    doing = "group_by_dynamic"
    column = _index_column(node, index_column)
    _check_options(closed, label, start_by)
    dtype = node.schema[column]
    assert isinstance(dtype, pl.Datetime), dtype  # event time was checked where it was declared
    on = grid(every, period, offset, unit=dtype.time_unit, time_zone=dtype.time_zone)
    keys = _keys(node, column, group_by)
    names = tuple(selected(doing, keys, node.schema)) if keys else ()
    bare = Window(
        inputs=(node,),
        schema=node.schema,
        event_time=column,
        lateness=None,
        unbounded=node.unbounded,
        index_column=column,
        every=on.every,
        period=on.period,
        offset=on.offset,
        unit=dtype.time_unit,
        time_zone=dtype.time_zone,
        every_units=on.every_units,
        period_units=on.period_units,
        origin_units=on.origin_units,
        group_by=keys,
        keys=names,
        aggs=(),
        aggregations=(),
        include_boundaries=include_boundaries,
        label=cast("Label", label),
    )
    return aggregate(bare)


def aggregate(windows: Window, /, *aggs: IntoExprs, **named_aggs: IntoExpr) -> Window:
    """`windows` with these aggregates in place of those it had.

    Raises
    ------
    PlanError
        Unknown column, ill-typed, or two columns of one name.
    """
    rows = windows.input.schema
    heads = len(windows.keys) + 2 * windows.include_boundaries + 1

    def grouped(exprs: Sequence[pl.Expr], *, runs: bool = False) -> pl.Schema:
        return out_schema("agg", rows, lambda frame: _grouped(windows, frame, exprs), runs=runs)

    def outputs(exprs: Sequence[pl.Expr]) -> pl.Schema:
        return pl.Schema(list(grouped(exprs).items())[heads:])

    exprs = expand(
        into_exprs("agg", aggs, named_aggs),
        rows,
        outputs,
        unselected=(*windows.keys, windows.index_column),
    )
    schema = grouped(exprs, runs=not any(has_function(expr) for expr in (*exprs, *windows.group_by)))
    columns = list(schema.items())[heads:]
    if len(columns) != len(exprs):
        raise _not_one_column(exprs, outputs)
    exprs = tuple(named(expr, name) for expr, (name, _) in zip(exprs, columns, strict=True))
    unfoldable = unfoldable_key(pl.Schema({name: schema[name] for name in windows.keys}))
    return Window(
        **{name: getattr(windows, name) for name in _WINDOWS_FIELDS},
        schema=schema,
        aggs=exprs,
        aggregations=tuple(
            Holistic(name, expr, dtype, unfoldable)
            if unfoldable
            else decompose(expr, rows, name=name, dtype=dtype)
            for expr, (name, dtype) in zip(exprs, columns, strict=True)
        ),
    )


def _not_one_column(exprs: Sequence[pl.Expr], outputs: Callable[[Sequence[pl.Expr]], pl.Schema]) -> PlanError:
    """The error for the first of the aggregates that does not give one column."""
    for expr in exprs:
        count = len(outputs([expr]))
        if not count:  # Polars drops an aggregate that is called as the index column or a boundary
            return duplicate_column("agg", expr.meta.output_name(raise_if_undetermined=False) or str(expr))
        if count > 1:
            return PlanError(
                f"agg: {expr} gives several columns, which cannot be told apart",
                hint="write one expression for each column",
            )
    raise InternalError("aggregates give other columns together than each alone")


def late_rows(windows: Window) -> LateRows:
    """The rows that enter none of `windows`, with the input's columns."""
    node = windows.input
    return LateRows(
        inputs=(node,),
        schema=node.schema,
        event_time=node.event_time,
        lateness=node.lateness,
        unbounded=node.unbounded,
        index_column=windows.index_column,
        every=windows.every,
        period=windows.period,
        offset=windows.offset,
        unit=windows.unit,
        time_zone=windows.time_zone,
        every_units=windows.every_units,
        period_units=windows.period_units,
        origin_units=windows.origin_units,
    )


def sinked(node: Node, sink: Sink, name: str) -> Sinked:
    """Send the rows of `node` to `sink`; `name` is how errors and metrics call it.

    Raises
    ------
    PlanError
        The sink cannot hold a type.
    """
    check = getattr(sink, "check_schema", None)
    if check is not None:
        check(node.schema)
    return Sinked(
        inputs=(node,),
        schema=node.schema,
        event_time=node.event_time,
        lateness=node.lateness,
        unbounded=node.unbounded,
        sink=sink,
        name=name,
    )


_WINDOWS_FIELDS = (
    "inputs",
    "event_time",
    "lateness",
    "unbounded",
    "index_column",
    "every",
    "period",
    "offset",
    "unit",
    "time_zone",
    "every_units",
    "period_units",
    "origin_units",
    "group_by",
    "keys",
    "include_boundaries",
    "label",
)
"""What the aggregates do not change."""


def _schema_of(source: Source) -> pl.Schema:
    # Arrow has no types for a Polars Enum's or Categorical's own settings, so a source may say more.
    known = getattr(source, "polars_schema", None)
    if isinstance(known, pl.Schema):
        return known
    try:
        return cast("pl.DataFrame", pl.from_arrow(source.schema.empty_table())).schema
    except POLARS_ERRORS as error:
        raise translated("scan", error, pl.Schema()) from error


def _check_on_error(doing: str, on_error: str) -> None:
    if on_error not in ("raise", "skip"):
        raise PlanError(f'{doing}: on_error="{on_error}" does not exist', choices=("raise", "skip"))


def _lateness(
    doing: str, schema: pl.Schema, column: str, lateness: Duration | None, *, unbounded: bool
) -> int | None:
    """Lateness in units of the event-time column, after checking both."""
    if column not in schema:
        raise unknown_column(doing, column, schema)
    dtype = schema[column]
    if not isinstance(dtype, pl.Datetime):
        convert = _TO_DATETIME.get(dtype.base_type())
        written = f'pl.col("{column}"){convert}' if convert else None
        if dtype.is_integer():
            written = _FROM_EPOCH.format(column)
        raise PlanError(
            f'{doing}: column "{column}" is {dtype}, not a timestamp (pl.Datetime)',
            choices=[name for name, other in schema.items() if isinstance(other, pl.Datetime)],
            hint=f"convert it first: .with_columns({written})" if written else None,
        )
    if lateness is None:
        if unbounded:
            raise PlanError(
                f"{doing}: the input is unbounded, so that lateness has to be given",
                hint='say how much rows may be out of order, such as lateness="5s"',
            )
        return None
    units = parse(lateness, unit=dtype.time_unit, name="lateness")
    if units < 0:
        raise PlanError(f'lateness: "{lateness}" is negative', hint='write "0s" or more')
    return units


def _kept_event_time(node: Node, schema: pl.Schema, kept: Mapping[str, str]) -> str | None:
    """Name of the input's event-time column in the output; its own name before any other."""
    if node.event_time is None:
        return None
    names = [
        name
        for name, source in kept.items()
        if source == node.event_time and schema[name] == node.schema[source]
    ]
    return node.event_time if node.event_time in names else next(iter(names), None)


def _index_column(node: Node, index_column: IntoExpr) -> str:
    doing = "group_by_dynamic"
    expr = into_expr(index_column)
    column = None if expr.meta.has_multiple_outputs() else plain_column(expr)
    if column is None or expr.meta.output_name(raise_if_undetermined=False) != column:
        raise PlanError(
            f"{doing}: index_column is {expr}, not the name of a column",
            hint="compute it before: .with_columns(…).with_event_time(…)",
        )
    if column not in node.schema:
        raise unknown_column(doing, column, node.schema)
    if node.event_time is None:
        raise PlanError(f"{doing}: the stream has no event time", hint=_how_it_was_lost(node, column))
    if column != node.event_time:
        raise PlanError(
            f'{doing}: "{column}" is not the event-time column, which is "{node.event_time}"',
            hint=f'declare it first: .with_event_time("{column}")',
        )
    return column


def _how_it_was_lost(node: Node, column: str) -> str:
    is_time = isinstance(node.schema[column], pl.Datetime)
    declare = f'declare it: .with_event_time("{column}")' if is_time else "declare it: .with_event_time(…)"
    while node.inputs:
        before = node.inputs[0]
        if before.event_time is not None:
            what = node.verb if isinstance(node, RowStep) else "map_batches"
            return f'"{before.event_time}" was lost in {what}; keep it unchanged there, or {declare}'
        node = before
    return declare


def _check_options(closed: str, label: str, start_by: str) -> None:
    doing = "group_by_dynamic"
    if closed != "left":
        raise PlanError(
            f'{doing}: closed="{closed}" is not supported yet',
            choices=("left",),
            hint="windows are [start, end): leave closed out",
        )
    if label == "datapoint":
        raise PlanError(
            f'{doing}: label="datapoint" depends on which row came first',
            choices=("left", "right"),
            hint="aggregate the index column: .agg(first=pl.col(…).min())",
        )
    if label not in ("left", "right"):
        raise PlanError(f'{doing}: label="{label}" does not exist', choices=("left", "right"))
    if start_by != "window":
        raise PlanError(
            f'{doing}: start_by="{start_by}" depends on which row came first',
            choices=("window",),
            hint="shift the windows by a fixed offset=",
        )


def _keys(node: Node, index_column: str, group_by: IntoExprs | None) -> tuple[pl.Expr, ...]:
    doing = "group_by_dynamic"
    if group_by is None:
        return ()
    exprs = into_exprs(doing, (group_by,))
    found = expand(exprs, node.schema, lambda some: selected(doing, some, node.schema))
    check_row_by_row(doing, found, node.schema)
    if any(expr.meta.has_multiple_outputs() for expr in found):
        raise PlanError(
            f"{doing}: a key in group_by gives several columns, which cannot be told apart",
            hint="write one expression for each key",
        )
    names = out_schema(
        doing,
        node.schema,
        lambda frame: frame.select(found),
        runs=not any(has_function(expr) for expr in found),
    )
    if index_column in names:
        raise PlanError(
            f'{doing}: "{index_column}" is the index column and cannot be a key as well',
            hint="leave it out of group_by, or give the key another name",
        )
    return found


def _grouped(windows: Window, frame: pl.LazyFrame, exprs: Sequence[pl.Expr]) -> pl.LazyFrame:
    """The same query in Polars, for its schema: `period` and `offset` do not change that."""
    return frame.group_by_dynamic(
        windows.index_column,
        every=windows.every,
        include_boundaries=windows.include_boundaries,
        label=windows.label,
        group_by=list(windows.group_by),
    ).agg(*exprs)
