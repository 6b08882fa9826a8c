"""What `pl.all()` and other selectors stand for: expressions that give one column each.

Once written out, an expression no longer depends on what other columns a frame has: columns that nobody
needs are not read, hidden ones ride along, and each aggregation can be looked at on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from polars import selectors as cs

from arrowstream.errors import PlanError
from arrowstream.plan.expressions import from_tree, selected_fields, tree_of
from arrowstream.plan.schema import POLARS_ERRORS, empty

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from arrowstream.plan.expressions import Tree


def expand(
    exprs: Sequence[pl.Expr],
    schema: pl.Schema,
    outputs: Callable[[Sequence[pl.Expr]], pl.Schema],
    *,
    unselected: Collection[str] = (),
) -> tuple[pl.Expr, ...]:
    """The same expressions, each giving one column; those that cannot be expanded stay as they are.

    Parameters
    ----------
    schema
        Of the frame that the expressions see.
    outputs
        What expressions give in the place where they are used: the expansion is checked against it.
    unselected
        Columns that selectors do not see: the keys, where these are group-wise aggregates.
    """
    expanded: list[pl.Expr] = []
    for expr in exprs:
        if expr.meta.has_multiple_outputs():
            expanded.extend(_expanded(expr, schema, outputs, unselected))
        else:
            expanded.append(expr)
    return tuple(expanded)


def _expanded(
    expr: pl.Expr,
    schema: pl.Schema,
    outputs: Callable[[Sequence[pl.Expr]], pl.Schema],
    unselected: Collection[str],
) -> list[pl.Expr]:
    wanted = list(outputs([expr]).items())
    tree = tree_of(expr)
    if tree is None or not _is_faithful(tree, expr):
        return [expr] if wanted else []
    # Functions such as max_horizontal take all columns of a selector at once, others one after another.
    for splice in (False, True):
        try:
            found = [from_tree(node) for node in _variants(tree, schema, unselected, splice=splice)]
            if list(outputs(found).items()) == wanted:
                return found
        except (*POLARS_ERRORS, PlanError):
            continue
    return [expr]


def _is_faithful(tree: Tree, expr: pl.Expr) -> bool:
    """Whether reading the tree gives the expression again: infinities and NaN are lost in JSON."""
    try:
        return from_tree(tree).meta.eq(expr)
    except POLARS_ERRORS:
        return False


def _variants(tree: Tree, schema: pl.Schema, unselected: Collection[str], *, splice: bool) -> list[Tree]:
    if isinstance(tree, list):
        return _combinations([_variants(node, schema, unselected, splice=splice) for node in tree], list)
    if not isinstance(tree, dict) or "Literal" in tree:
        return [tree]
    if "Selector" in tree:
        visible = {name: dtype for name, dtype in schema.items() if name not in unselected}
        return [{"Column": name} for name in _selected(tree, visible)]
    if "Function" in tree:
        payload = tree["Function"]
        fields = selected_fields(payload["function"])
        if fields is not None:
            return _field_variants(payload["input"][0], fields, schema)
        if splice:
            nested = [_variants(node, schema, unselected, splice=True) for node in payload["input"]]
            return [{"Function": {**payload, "input": [node for nodes in nested for node in nodes]}}]
    keys = list(tree)
    values = [_variants(tree[key], schema, unselected, splice=splice) for key in keys]
    return _combinations(values, lambda chosen: dict(zip(keys, chosen, strict=True)))


def _combinations(choices: list[list[Tree]], make: Callable[[list[Tree]], Tree]) -> list[Tree]:
    counts = {len(nodes) for nodes in choices if len(nodes) != 1}
    if len(counts) > 1:
        raise ValueError(counts)
    return [
        make([nodes[0] if len(nodes) == 1 else nodes[number] for nodes in choices])
        for number in range(counts.pop() if counts else 1)
    ]


def _selected(selector: Tree, schema: Mapping[str, pl.DataType]) -> tuple[str, ...]:
    return cs.expand_selector(dict(schema), from_tree(selector).meta.as_selector())


def _field_variants(struct: Tree, fields: Tree, schema: pl.Schema) -> list[Tree]:
    dtype = next(iter(empty(schema).select(from_tree(struct)).collect_schema().values()))
    assert isinstance(dtype, pl.Struct), dtype  # or Polars had refused the expression
    named = pl.Schema({field.name: field.dtype for field in dtype.fields})
    return [
        {"Function": {"input": [struct], "function": {"StructExpr": {"FieldByName": name}}}}
        for name in _selected({"Selector": fields}, named)
    ]
