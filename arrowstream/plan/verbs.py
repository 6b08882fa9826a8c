"""The arguments of row verbs made explicit: every column named, every value an expression.

An explicit step means the same whatever other columns a frame has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.errors import PlanError
from arrowstream.plan.expressions import (
    has_function,
    into_expr,
    into_exprs,
    is_many,
    length_change,
    plain_column,
    row_dependence,
)
from arrowstream.plan.schema import POLARS_ERRORS, empty, out_schema, translated
from arrowstream.plan.selectors import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Explicit = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of the `pl.LazyFrame` method."""

_HINTS = {
    "str.to_datetime() without format=": "give format=: without it, the format is guessed from other rows",
    "fill_null(strategy=…)": "fill with a value",
    "a literal Series": "a stream has no fixed length; compare with is_in, or take the values from a column",
    "filter()": "make it a step of its own: .filter(…)",
    "explode()": "make it a step of its own: .explode(…)",
    "drop_nulls()": "make it a step of its own: .drop_nulls(…)",
}
_HINT = "aggregate the rows of a window instead: .group_by_dynamic(…).agg(…)"
_FUNCTION_HINT = "give the Python function a step of its own: .with_columns(x=….map_elements(…))"


def check_row_by_row(doing: str, exprs: Iterable[pl.Expr], schema: pl.Schema) -> None:
    """Raise PlanError for an expression that is not one value for each row, from that row alone."""
    for expr in exprs:
        if found := row_dependence(expr, schema):
            hint = _FUNCTION_HINT if "Python function" in found else _HINTS.get(found, _HINT)
            if found.endswith("of a column"):
                hint = "give it a list of values, or a column of lists"
            raise PlanError(f"{doing}: {found} looks at other rows than its own, in {expr}", hint=hint)
        if found := length_change(expr):
            raise PlanError(
                f"{doing}: {found} does not give one value for each row, in {expr}",
                hint=_HINTS.get(found, _HINT),
            )


def selected(doing: str, exprs: Sequence[pl.Expr], schema: pl.Schema) -> pl.Schema:
    """What the expressions give as columns of a frame."""
    return out_schema(doing, schema, lambda frame: frame.select(exprs), runs=False)


def expanded(doing: str, exprs: Sequence[pl.Expr], schema: pl.Schema) -> tuple[pl.Expr, ...]:
    """One expression a column where possible, all checked to be row by row."""
    found = expand(exprs, schema, lambda some: selected(doing, some, schema))
    check_row_by_row(doing, found, schema)
    return found


def explicit(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    """Arguments for the same verb that name every column.

    Raises
    ------
    PlanError
        The arguments are wrong; errors that only the step's result shows are left to the caller.
    """
    return _VERBS[verb](verb, schema, args, kwargs)


def _filter(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    predicates: list[pl.Expr] = []
    for arg in args:
        items: tuple[Any, ...] = tuple(arg) if is_many(arg) else (arg,)
        is_mask = is_many(arg) and bool(items) and all(isinstance(item, bool) for item in items)
        if is_mask or isinstance(arg, pl.Series):
            raise PlanError(f"{verb}: a mask of values does not fit a stream", hint="write an expression")
        predicates.extend(into_expr(item) for item in items)
    predicates.extend(pl.col(name).eq(into_value(value)) for name, value in kwargs.items())
    if not predicates:
        raise PlanError(f"{verb}: no predicate was given", hint='write one, such as pl.col("price") > 100')
    found: list[pl.Expr] = []
    for predicate in predicates:
        single = expanded(verb, [predicate], schema)
        if len(single) != 1:
            raise PlanError(
                f"{verb}: {predicate} gives {len(single)} columns",
                hint="join them with pl.all_horizontal(…) or pl.any_horizontal(…)",
            )
        found.extend(single)
    return tuple(found), {}


def into_value(value: Any) -> pl.Expr:
    """A literal for anything that is not an expression, strings included."""
    return value if isinstance(value, pl.Expr) else pl.lit(value)


def _select(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    exprs = expanded(verb, into_exprs(verb, args, kwargs), schema)
    if verb == "select" and _gives_one_row(exprs, schema):
        raise PlanError(
            "select: only literals are left, which give one row whatever the input",
            hint="keep a column beside them, or use with_columns",
        )
    return exprs, {}


def _gives_one_row(exprs: tuple[pl.Expr, ...], schema: pl.Schema) -> bool:
    """Whether there are only scalars, of which Polars makes one row even if the input has none."""
    if any(expr.meta.root_names() and not expr.meta.has_multiple_outputs() for expr in exprs):
        return False
    if not exprs or any(has_function(expr) for expr in exprs):
        return False
    try:
        found = empty(schema).select(exprs).collect()
    except POLARS_ERRORS as error:
        raise translated("select", error, schema) from error
    return found.height > 0


def _drop(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    kept = out_schema(verb, schema, lambda frame: frame.drop(*args, **kwargs))
    return tuple(name for name in schema if name not in kept), {}


def _rename(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    mapping = args[0] if args else kwargs.get("mapping")
    names_only = isinstance(mapping, Mapping) and all(isinstance(name, str) for name in mapping.values())
    if not names_only and not callable(mapping):
        raise PlanError(
            f"rename: {mapping!r} does not say which name becomes which",
            hint='write rename({"old": "new"}), or give a function from the old name to the new',
        )
    renamed = out_schema(verb, schema, lambda frame: frame.rename(*args, **kwargs))
    return ({old: new for old, new in zip(schema, renamed, strict=True) if old != new},), {}


def _cast(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    cast = out_schema(verb, schema, lambda frame: frame.cast(*args, **kwargs))
    changed = {name: dtype for name, dtype in cast.items() if dtype != schema[name]}
    return (changed,), kwargs


def _explode(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    names = column_names(verb, schema, args)
    for name in names:
        if not isinstance(schema[name], pl.List | pl.Array):
            raise PlanError(
                f'explode: column "{name}" is {schema[name]}, neither list nor array',
                choices=[name for name, dtype in schema.items() if isinstance(dtype, pl.List | pl.Array)],
            )
    return (names,), kwargs


def _unnest(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    if all(arg is None for arg in args):
        names = tuple(name for name, dtype in schema.items() if isinstance(dtype, pl.Struct))
    else:
        names = column_names(verb, schema, args)
    for name in names:
        if not isinstance(schema[name], pl.Struct):
            raise PlanError(
                f'unnest: column "{name}" is {schema[name]}, not a struct',
                choices=[name for name, dtype in schema.items() if isinstance(dtype, pl.Struct)],
            )
    return (names,), kwargs


def _unpivot(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    options = dict(zip(("on",), args, strict=False)) | kwargs
    index = () if options.get("index") is None else column_names(verb, schema, (options["index"],))
    if options.get("on") is None:
        values = tuple(name for name in schema if name not in index)
    else:
        values = column_names(verb, schema, (options["on"],))
    # Polars has its own order of the index columns, which depends on how they were written.
    unpivoted = out_schema(verb, schema, lambda frame: frame.unpivot(*args, **kwargs))
    names = {
        "variable_name": options.get("variable_name") or "variable",
        "value_name": options.get("value_name") or "value",
    }
    return (values,), {"index": tuple(unpivoted)[:-2], **names}


def _drop_nulls(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    subset = args[0] if args else kwargs.get("subset")
    return (tuple(schema) if subset is None else column_names(verb, schema, (subset,)),), {}


def _fill_null(verb: str, schema: pl.Schema, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explicit:
    options = dict(zip(("value", "strategy", "limit"), args, strict=False)) | kwargs
    value, strategy = options.get("value"), options.get("strategy")
    if strategy not in (None, "zero", "one"):
        raise PlanError(
            f'fill_null: strategy="{strategy}" looks at other rows than its own',
            choices=("zero", "one"),
            hint="fill with a value",
        )
    if options.get("limit") is not None:
        raise PlanError("fill_null: limit counts neighbouring rows", hint="leave limit out")
    if (value is None) == (strategy is None):
        raise PlanError(
            "fill_null: give either a value or a strategy",
            hint='write fill_null(0), or fill_null(strategy="zero")',
        )
    if isinstance(value, pl.Expr | pl.Series):
        check_row_by_row(verb, (into_value(value),), schema)
    matches = options.get("matches_supertype", True)
    return (), {"value": value, "strategy": strategy, "matches_supertype": matches}


def column_names(verb: str, schema: pl.Schema, args: tuple[Any, ...]) -> tuple[str, ...]:
    """The columns that names and selectors stand for, in the order in which they are given."""
    selectors: list[Any] = []
    for arg in args:
        if arg is None:
            continue
        selectors.extend([arg] if isinstance(arg, str | pl.Expr) else arg)
    exprs = [into_expr(item) for item in selectors]
    for expr in exprs:
        if not expr.meta.is_column_selection(allow_aliasing=False):
            raise PlanError(
                f"{verb}: {expr} is neither a column nor a selector",
                hint='name columns: "price", pl.col("a", "b"), or selectors of polars.selectors',
            )
    found: dict[str, pl.DataType] = {}
    for expr in exprs:
        try:
            found.update(empty(schema).select(expr).collect_schema())
        except POLARS_ERRORS as error:
            raise translated(verb, error, schema) from error
    return tuple(found)


_VERBS: dict[str, Callable[[str, pl.Schema, tuple[Any, ...], dict[str, Any]], Explicit]] = {
    "filter": _filter,
    "remove": _filter,
    "select": _select,
    "with_columns": _select,
    "drop": _drop,
    "rename": _rename,
    "cast": _cast,
    "explode": _explode,
    "unnest": _unnest,
    "unpivot": _unpivot,
    "drop_nulls": _drop_nulls,
    "fill_null": _fill_null,
}

VERBS = tuple(_VERBS)
"""The row verbs there are."""


def runnable(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the step may be tried on an empty frame: no Python function is asked about that."""
    return not any(isinstance(value, pl.Expr) and has_function(value) for value in (*args, *kwargs.values()))


def origins(verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], schema: pl.Schema) -> dict[str, str]:
    """Which columns of the step's output are columns of its input, unchanged: output name to input name.

    `schema` is the input's. `fill_null` counts as no change: it leaves what is not null alone.
    """
    if verb in ("select", "with_columns"):
        return _origins_of_exprs(verb, args, schema)
    if verb == "rename":
        return {args[0].get(name, name): name for name in schema}
    if verb == "unpivot":
        return {name: name for name in kwargs["index"]}
    changed = {"cast": args[:1], "explode": args[:1], "unnest": args[:1], "drop": (args,)}.get(verb, ())
    return {name: name for name in schema if not any(name in names for names in changed)}


def _origins_of_exprs(verb: str, exprs: tuple[pl.Expr, ...], schema: pl.Schema) -> dict[str, str]:
    found = {name: name for name in schema} if verb == "with_columns" else {}
    for expr in exprs:
        multiple = expr.meta.has_multiple_outputs()
        source = None if multiple else plain_column(expr)
        single = None if multiple else expr.meta.output_name(raise_if_undetermined=False)
        for name in selected(verb, [expr], schema) if single is None else (single,):
            found.pop(name, None)
            if source is not None:
                found[name] = source
    return found
