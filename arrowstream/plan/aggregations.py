"""Which aggregations can be folded row by row into a small state, and which need the window's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.plan.expressions import construct, length_change, root_columns, row_dependence, tree_of
from arrowstream.plan.nodes import Holistic, Partial
from arrowstream.plan.schema import POLARS_ERRORS, empty

if TYPE_CHECKING:
    from arrowstream.plan.expressions import Tree
    from arrowstream.plan.nodes import PartialKind

_NUMBERS = frozenset(
    {
        pl.Int8,
        pl.Int16,
        pl.Int32,
        pl.Int64,
        pl.UInt8,
        pl.UInt16,
        pl.UInt32,
        pl.UInt64,
        pl.Float32,
        pl.Float64,
        pl.Boolean,
    }
)
_TIMES = frozenset({pl.Date, pl.Datetime, pl.Duration, pl.Time})

_KEYS_WITHOUT_TABLE = (pl.Int128, pl.UInt128, pl.Null, pl.Object)

_INPUTS: dict[PartialKind, frozenset[Any]] = {
    "sum": _NUMBERS | {pl.Duration},
    "mean": _NUMBERS,
    "var": _NUMBERS,
    "std": _NUMBERS,
    "min": _NUMBERS | _TIMES,
    "max": _NUMBERS | _TIMES,
    "first": _NUMBERS | _TIMES,
    "last": _NUMBERS | _TIMES,
    "any": frozenset({pl.Boolean}),
    "all": frozenset({pl.Boolean}),
}
"""Types of values that the states are made for; "len" and "count" take any."""

_AGGREGATES: dict[str, PartialKind] = {
    "Sum": "sum",
    "Mean": "mean",
    "Var": "var",
    "Std": "std",
    "First": "first",
    "Last": "last",
    "Min": "min",
    "Max": "max",
}


def unfoldable_key(keys: pl.Schema) -> str | None:
    """Why groups with these keys have no compact table, if they have none."""
    for name, dtype in keys.items():
        if dtype.is_nested() or dtype.is_decimal() or dtype in _KEYS_WITHOUT_TABLE:
            return f'the key "{name}" is {dtype}'
    return None


def decompose(expr: pl.Expr, schema: pl.Schema, *, name: str, dtype: pl.DataType) -> Partial | Holistic:
    """How to compute one aggregation.

    Parameters
    ----------
    expr
        Gives one column; selectors are already expanded.
    schema
        Of the rows.
    name, dtype
        Of the result, as Polars has it.

    Examples
    --------
    >>> prices = pl.Schema({"price": pl.Int64})
    >>> decompose(pl.col("price").max(), prices, name="price", dtype=pl.Int64()).kind
    'max'
    >>> decompose(pl.col("price").median(), prices, name="price", dtype=pl.Float64()).reason
    'median() needs all rows'
    """
    found = _partial(_unnamed(expr), schema, name, dtype)
    return Holistic(name, expr, dtype, found) if isinstance(found, str) else found


def named(expr: pl.Expr, name: str) -> pl.Expr:
    """The expression, such that `meta.output_name()` is `name`: `name.keep()` hides it."""
    known = expr.meta.output_name(raise_if_undetermined=False)
    return expr if known == name else _unnamed(expr).alias(name)


def _unnamed(expr: pl.Expr) -> pl.Expr:
    while True:
        tree = tree_of(expr)
        if not isinstance(tree, dict) or not tree.keys() & {"Alias", "KeepName", "RenameAlias"}:
            return expr
        (expr,) = expr.meta.pop()


def _partial(expr: pl.Expr, schema: pl.Schema, name: str, dtype: pl.DataType) -> Partial | str:
    """The partial aggregation, or the reason why there is none."""
    tree = tree_of(expr)
    if tree == "Len":
        return Partial(name, "len", None, None, dtype)
    found = None if tree is None else _kind(tree)
    if found is None:
        return _reason(expr, schema)
    kind, ddof = found
    if kind == "len":
        values = expr.meta.pop()[0]
        return _unfit(values, schema) or Partial(name, "len", None, None, dtype)
    values = expr.meta.pop()[0]
    if unfit := _unfit(values, schema):
        return unfit
    input_dtype = _dtype(values, schema)
    if kind in _INPUTS and input_dtype.base_type() not in _INPUTS[kind]:
        return f"{construct(expr)} of {input_dtype} needs all rows"
    return Partial(name, kind, values, input_dtype, dtype, ddof)


def _kind(tree: Tree) -> tuple[PartialKind, int] | None:
    """The kind of aggregation and its degrees of freedom; None if it is none of those."""
    if "Agg" in tree:
        aggregate, options = next(iter(tree["Agg"].items()))
        if aggregate == "Count":
            return ("len" if options["include_nulls"] else "count"), 1
        if aggregate in ("Min", "Max") and options["propagate_nans"]:
            return None
        ddof = options[1] if aggregate in ("Var", "Std") else 1
        return (_AGGREGATES[aggregate], ddof) if aggregate in _AGGREGATES else None
    function = tree.get("Function", {}).get("function")
    if isinstance(function, dict):
        for variant, kind in (("Any", "any"), ("All", "all")):
            if function.get("Boolean") == {variant: {"ignore_nulls": True}}:
                return kind, 1  # type: ignore[return-value]
    return None


def _unfit(values: pl.Expr, schema: pl.Schema) -> str | None:
    """Why these values are not one for each row."""
    if found := row_dependence(values, schema) or length_change(values):
        return f"it aggregates the result of {found}"
    if not values.meta.root_names():
        return "it aggregates a literal"
    return None


def _reason(expr: pl.Expr, schema: pl.Schema) -> str:
    if not expr.meta.root_names():
        return "it is a literal"
    if not row_dependence(expr, schema):
        return "it keeps the rows as a list"
    tree = tree_of(expr)
    if isinstance(tree, dict) and tree.keys() & {"Agg", "Function"}:
        return f"{construct(expr)} needs all rows"
    return "it computes with aggregates" if tree is not None else "it calls a Python function"


def _dtype(expr: pl.Expr, schema: pl.Schema) -> pl.DataType:
    needed = root_columns(expr, schema)
    rows = pl.Schema({name: dtype for name, dtype in schema.items() if name in needed})
    try:
        return next(iter(empty(rows).select(expr).collect_schema().values()))
    except POLARS_ERRORS:  # types that only a group-wise evaluation finds
        return pl.Null()
