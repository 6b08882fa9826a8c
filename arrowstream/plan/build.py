"""Builds plans. Every function checks what it is given, and raises at the line that wrote the mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import polars as pl

from arrowstream.errors import PlanError
from arrowstream.plan.durations import parse
from arrowstream.plan.grouping import aggregate, late_rows, window
from arrowstream.plan.letters import check_on_error, dead_letters, validate
from arrowstream.plan.metadata import with_metadata
from arrowstream.plan.nodes import EventTime, Limit, MapBatches, RowStep, Scan, Sinked
from arrowstream.plan.rules import filter_file
from arrowstream.plan.schema import POLARS_ERRORS, checked_names, out_schema, translated, unknown_column
from arrowstream.plan.verbs import VERBS, explicit, origins, runnable
from arrowstream.types import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from arrowstream.plan.nodes import Node
    from arrowstream.protocols import Sink, Source
    from arrowstream.types import Duration, OnError

__all__ = [
    "aggregate",
    "dead_letters",
    "event_time",
    "filter_file",
    "late_rows",
    "limit",
    "map_batches",
    "row_step",
    "scan",
    "sinked",
    "validate",
    "window",
    "with_metadata",
]

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
    check_on_error("scan", on_error)
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
    check_on_error("with_event_time", on_error)
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
    node: Node,
    function: Callable[[pl.DataFrame], pl.DataFrame],
    schema: Mapping[str, Any] | None = None,
    *,
    on_error: OnError = "raise",
) -> MapBatches:
    """Apply a user's function to batches; `schema` is what it returns (None: the same columns).

    Event time is lost: the function may give any rows. Declare it again.

    Raises
    ------
    PlanError
        Not a function, or not a schema.
    """
    check_on_error("map_batches", on_error)
    if not callable(function):
        raise PlanError(
            f"map_batches: {function!r} is no function",
            hint="give one that takes a pl.DataFrame and gives one",
        )
    returned = node.schema if schema is None else schema_of(schema, "schema")
    return MapBatches(
        inputs=(node,),
        schema=checked_names("map_batches", returned),
        event_time=None,
        lateness=None,
        unbounded=node.unbounded,
        function=function,
        on_error=on_error,
    )


def limit(node: Node, n: int = 5) -> Limit:
    """The first `n` rows.

    Raises
    ------
    PlanError
        `n` is not a whole number, or negative.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise PlanError(f"limit: {n!r} is not a number of rows", hint="write 0 or more, such as limit(5)")
    return Limit(
        inputs=(node,),
        schema=node.schema,
        event_time=node.event_time,
        lateness=node.lateness,
        unbounded=False,  # reading stops with the last row
        n=n,
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


def _schema_of(source: Source) -> pl.Schema:
    # Arrow has no types for a Polars Enum's or Categorical's own settings, so a source may say more.
    known = getattr(source, "polars_schema", None)
    if isinstance(known, pl.Schema):
        return known
    given = source.schema
    if isinstance(given, pl.Schema):
        return given
    if not hasattr(given, "empty_table"):
        raise PlanError(
            f"scan: the schema of {type(source).__name__} is {type(given).__name__}, not a pa.Schema",
            hint='write pa.schema([("name", pa.int64()), …])',
        )
    twice = next((name for index, name in enumerate(given.names) if name in given.names[:index]), None)
    if twice is not None:
        raise PlanError(f'scan: two columns are called "{twice}"', hint="rename one of them in the source")
    try:
        return cast("pl.DataFrame", pl.from_arrow(given.empty_table())).schema
    except POLARS_ERRORS as error:
        raise translated("scan", error, pl.Schema()) from error


def _lateness(
    doing: str, schema: pl.Schema, column: str, lateness: Duration | None, *, unbounded: bool
) -> int | None:
    """Lateness in units of the event-time column, after checking both."""
    if not isinstance(column, str):
        raise PlanError(
            f"{doing}: event time is named by a string, not by {column}",
            choices=[name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)],
            hint="compute it before: .with_columns(…).with_event_time(…)",
        )
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
