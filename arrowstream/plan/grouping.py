"""Builds grouping by windows, with every check of `group_by_dynamic` and `agg`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import polars as pl

from arrowstream.errors import InternalError, PlanError
from arrowstream.plan.aggregations import decompose, named, unfoldable_key
from arrowstream.plan.expressions import has_function, into_expr, into_exprs, plain_column
from arrowstream.plan.nodes import Holistic, LateRows, RowStep, Window
from arrowstream.plan.schema import duplicate_column, out_schema, unknown_column
from arrowstream.plan.selectors import expand
from arrowstream.plan.verbs import check_row_by_row, selected
from arrowstream.plan.windows import grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrowstream.plan.nodes import Node
    from arrowstream.types import Duration, IntoExpr, IntoExprs, Label


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
