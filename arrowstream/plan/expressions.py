"""Reading Polars expressions: whether one looks at other rows, and what columns it uses.

Polars answers some of this itself (`expr.meta`), but not reliably: `is_row_separable` is True for
`col - col.mean()`, and raises where it needs types. So each node of the tree is asked on its own, and
what cannot be asked is first rewritten into something that can.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from arrowstream.errors import PlanError
from arrowstream.plan.schema import POLARS_ERRORS, empty

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

Tree: TypeAlias = Any
"""An expression as `expr.meta.serialize(format="json")` writes it: dicts of one key, lists, leaves."""

_FUNCTION_MARK = ".python_udf("
_CUMULATIVE_MARK = ".Cumulative_eval("
_ROW_BY_ROW_SUFFIXES = frozenset(
    {"python_udf", "alias", "name", "cast", "strict_cast", "fill_null", "is_null", "is_not_null", "not"}
)
"""What may be done with the result of a Python function within one expression: such a tree cannot be read."""

_WHOLE_ARGUMENTS = frozenset(
    {
        "is_in()",
        "replace()",
        "replace_strict()",
        "str.contains_any()",
        "str.replace_many()",
        "str.extract_many()",
        "str.find_many()",
    }
)
"""Functions that take an argument which is not a list as a set of values: of the whole column."""

_HOLIDAYS_LAST = frozenset({"is_business_day()", "add_business_day()", "business_day_count()"})
"""Functions whose last argument is a list of days, the same for all rows."""

_OUTER = frozenset({"Over", "Rolling", "Gather", "SortBy"})
"""What is to be named in an error, rather than the aggregates or literals that it has inside."""

_NAMES = {
    "q_cut": "qcut",
    "rleid": "rle_id",
    "strptime": "str.to_datetime() without format=",
    "slice": "head() or slice()",
}


def tree_of(expr: pl.Expr) -> Tree | None:
    """The expression's tree; None if it has a Python function in it."""
    if _FUNCTION_MARK in str(expr):
        return None
    try:
        return json.loads(expr.meta.serialize(format="json"))
    except POLARS_ERRORS:
        return None  # a `fold`, or `name.map` with a lambda


def from_tree(tree: Tree) -> pl.Expr:
    """The expression that `tree_of` gave this tree for."""
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def has_function(expr: pl.Expr) -> bool:
    """Whether a Python function is called in it."""
    return _FUNCTION_MARK in str(expr)


def into_exprs(
    doing: str, positional: tuple[Any, ...], named: dict[str, Any] | None = None
) -> tuple[pl.Expr, ...]:
    """What Polars makes of such arguments: names are columns, other values literals, one iterable is many."""
    if len(positional) == 1 and isinstance(positional[0], dict):
        raise PlanError(f"{doing}: a dict is no expression", hint="unpack it: **{name: expression}")
    items: Iterable[Any] = positional
    if len(positional) == 1 and is_many(positional[0]):
        items = positional[0]
    return (
        *(into_expr(item) for item in items),
        *(into_expr(item).alias(name) for name, item in (named or {}).items()),
    )


def is_many(value: object) -> bool:
    """Whether Polars would take this argument for several."""
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes | pl.Series | pl.Expr)


def into_expr(value: Any) -> pl.Expr:
    """A column for a string, a literal for any other value."""
    if isinstance(value, pl.Expr):
        return value
    if isinstance(value, str):
        return pl.col(value)
    try:
        return pl.lit(value)
    except POLARS_ERRORS as error:
        raise PlanError(
            f"{value!r} is no expression: it is a {type(value).__name__}",
            hint='write an expression such as pl.col("price") * 2, the name of a column, or a value',
        ) from error


def plain_column(expr: pl.Expr) -> str | None:
    """The column's name, if the expression is just a column, possibly under another name."""
    bare = expr.meta.undo_aliases()
    return bare.meta.output_name() if bare.meta.is_column() else None


def root_columns(expr: pl.Expr, schema: pl.Schema) -> set[str]:
    """The columns of `schema` that have to be there to evaluate it."""
    if expr.meta.has_multiple_outputs() or "dtype_of(" in str(expr):
        return set(schema)  # selectors that could not be expanded; types that are looked up
    return {name for name in expr.meta.root_names() if name in schema}


def row_dependence(expr: pl.Expr, schema: pl.Schema) -> str | None:
    """The construct in `expr` whose result for a row depends on other rows; None if there is none.

    Python functions (`map_elements`, `map_batches`) are taken at their word.

    Examples
    --------
    >>> row_dependence(pl.col("a") - pl.col("a").mean(), pl.Schema({"a": pl.Int64}))
    'mean()'
    >>> row_dependence(pl.col("a") + 1, pl.Schema({"a": pl.Int64}))
    """
    if _CUMULATIVE_MARK in str(expr):
        return "cumulative_eval()"
    tree = tree_of(expr)
    if tree is None:
        return _dependence_with_function(expr, schema)
    return _dependence(_readable(tree), schema)


def length_change(expr: pl.Expr) -> str | None:
    """The construct in `expr` that gives more or fewer rows than it gets; None if there is none."""
    tree = tree_of(expr)
    if tree is None:
        changes = (length_change(child) for child in expr.meta.pop())
        return next((change for change in changes if change), None)
    for node in _nodes(_readable(tree)):
        if not (_is(node, "is_length_preserving") or _is(node, "is_scalar") or _is_series(node)):
            return construct(node)
    return None


def is_constant(expr: pl.Expr) -> bool:
    """Whether its value is the same whatever the frame."""
    tree = tree_of(expr)
    return tree is not None and not _mentions(tree, ("Column", "Selector", "Len", "Element", "Random"))


def construct(expr: pl.Expr) -> str:
    """What the outermost node of `expr` is called."""
    tree = tree_of(expr)
    if tree is None:
        return "a Python function"
    if isinstance(tree, str):
        return f"{_snake(tree)}()"
    kind, payload = next(iter(tree.items()))
    if kind == "Literal":
        return "a literal Series" if "Series" in payload else "a literal"
    if kind == "Agg":
        name, options = next(iter(payload.items()))
        if name == "Count" and options["include_nulls"]:
            return "len()"
        return f"{_snake(name.removesuffix('NonNull'))}()"
    if kind == "Gather":
        return "get()" if payload.get("returns_scalar") else "gather()"
    name = _function_name(payload["function"]) if kind == "Function" else _snake(kind)
    name = _NAMES.get(name, name)
    return name if ")" in name else f"{name}()"


def _dependence(expr: pl.Expr, schema: pl.Schema) -> str | None:
    inputs = list(reversed(expr.meta.pop()))
    tree, name = tree_of(expr), construct(expr)
    if name in _WHOLE_ARGUMENTS:
        inputs, arguments = inputs[:1], inputs[1:]
        for argument in arguments:
            if is_constant(argument):
                continue
            if not _is_list(argument, schema):
                return f"{name} of a column"
            inputs.append(argument)
    if name in _HOLIDAYS_LAST and is_constant(inputs[-1]):
        inputs.pop()
    if isinstance(tree, dict) and tree.keys() & _OUTER:
        return name
    for node in inputs:
        if found := _dependence(node, schema):
            return found
    return None if _is(expr, "is_row_separable") and not _is_series(expr) else name


def _dependence_with_function(expr: pl.Expr, schema: pl.Schema) -> str | None:
    inputs = expr.meta.pop()
    for node in inputs:
        if found := row_dependence(node, schema):
            return found
    text = str(expr)
    if text.startswith(("[(", ".when(")):
        return None  # an operator, or when/then/otherwise
    for node in inputs:
        suffix = re.match(r"\.(\w+)", text.removeprefix(str(node)))
        if text.startswith(str(node)) and suffix and suffix[1] in _ROW_BY_ROW_SUFFIXES:
            return None
    called = re.findall(r"\.(\w+)\(", text)
    return f"{called[-1]}() around a Python function" if called else "a Python function"


def _is_list(expr: pl.Expr, schema: pl.Schema) -> bool:
    try:
        dtype = next(iter(empty(schema).select(expr).collect_schema().values()))
    except POLARS_ERRORS:
        return False
    return isinstance(dtype, pl.List | pl.Array)


def _is(expr: pl.Expr, property_: str) -> bool:
    try:
        return bool(getattr(expr.meta, property_)())
    except POLARS_ERRORS:  # not known how to ask: not known to be safe
        return False


def _is_series(expr: pl.Expr) -> bool:
    return expr.meta.is_literal() and not expr.meta.is_scalar()


def _nodes(expr: pl.Expr) -> Iterator[pl.Expr]:
    for node in expr.meta.pop():
        yield from _nodes(node)
    yield expr


def _readable(tree: Tree) -> pl.Expr:
    return from_tree(_rewritten(tree))


def _rewritten(tree: Tree) -> Tree:
    """The same tree as far as rows are concerned, without what `expr.meta` needs types for."""
    if isinstance(tree, list):
        return [_rewritten(node) for node in tree]
    if not isinstance(tree, dict):
        return tree
    kind, payload = next(iter(tree.items()), ("", None))
    rewrite = _REWRITES.get(kind) if len(tree) == 1 else None
    found = rewrite(payload) if rewrite else None
    return {key: _rewritten(value) for key, value in tree.items()} if found is None else found


def _rewritten_literal(payload: Tree) -> Tree:
    # Infinities and NaN are written as null, which cannot be read again.
    return {"Literal": {"Dyn": {"Int": 1}} if _mentions_null_float(payload) else payload}


def _rewritten_eval(payload: Tree) -> Tree:
    return _rewritten(payload["expr"])  # it looks into one list at a time, and at no other column


def _rewritten_struct_eval(payload: Tree) -> Tree:
    inputs = [_rewritten(node) for node in (payload["expr"], *payload["evaluation"])]
    return {"Function": {"input": inputs, "function": "AsStruct"}}


def _rewritten_function(payload: Tree) -> Tree | None:
    function = payload["function"]
    if isinstance(function, dict) and "Sql" in function:
        # Of `a in (1, 2)` the list is a series of one row, the same for all.
        inputs = [_rewritten(node) for node in payload["input"] if not _is_series_literal(node)]
        return {"Function": {"input": inputs, "function": "AsStruct"}}
    is_known = isinstance(function, dict) and "Reinterpret" in function
    return _rewritten(payload["input"][0]) if is_known or selected_fields(function) is not None else None


def _is_series_literal(tree: Tree) -> bool:
    return isinstance(tree, dict) and isinstance(tree.get("Literal"), dict) and "Series" in tree["Literal"]


_REWRITES: dict[str, Callable[[Tree], Tree | None]] = {
    "Literal": _rewritten_literal,
    "Eval": _rewritten_eval,
    "StructEval": _rewritten_struct_eval,
    "Function": _rewritten_function,
    "OfExpr": lambda _: {"Literal": "Int64"},
    "Selector": lambda _: {"Column": ""},
    "Field": lambda _: {"Column": ""},
}


def selected_fields(function: Tree) -> Tree | None:
    """The selector over fields, if the function is `struct.field` with several of them."""
    if isinstance(function, dict) and isinstance(function.get("StructExpr"), dict):
        return function["StructExpr"].get("SelectFields")
    return None


def _mentions(tree: Tree, keys: Collection[str]) -> bool:
    if isinstance(tree, dict):
        return any(
            key in keys or (key != "Literal" and _mentions(value, keys)) for key, value in tree.items()
        )
    if isinstance(tree, list):
        return any(_mentions(node, keys) for node in tree)
    return isinstance(tree, str) and tree in keys


def _mentions_null_float(payload: Tree) -> bool:
    if isinstance(payload, dict):
        return any(
            (key.startswith("Float") and value is None) or _mentions_null_float(value)
            for key, value in payload.items()
        )
    return False


def _function_name(function: Tree) -> str:
    if isinstance(function, str):
        return _snake(function)
    key, options = next(iter(function.items()))
    if key == "Random":
        method = options["method"]
        return _snake(method if isinstance(method, str) else next(iter(method)))
    if key in ("RollingExpr", "RollingExprBy"):
        return f"rolling_{_snake(options.get('function') or options['function_by'])}"
    if key == "FillNullWithStrategy":
        return "fill_null(strategy=…)"
    if key == "StringExpr":
        name = _function_name(options)
        return name if name in _NAMES else f"str.{name}"
    if key in ("Boolean", "Range", "Business") or key.endswith("Expr"):
        return _function_name(options)
    return _snake(key)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
