"""SQL aggregates as those that the engine folds, and a row of arithmetic over their results.

Polars' SQL writes `COUNT(*)` as `len().cast(Int64)` and `SUM(x)` as "null if there is nothing to count, else
the sum". The engine folds a bare `len()` and a bare `sum()` into a few bytes for each group, and keeps the
rows of the window for anything else; so the aggregates are computed in the window, and the rest after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arrowstream.plan.expressions import from_tree, tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from arrowstream.plan.expressions import Tree

_PREFIX = "__sql_"
_FOLDED = frozenset({"Sum", "Mean", "Var", "Std", "First", "Last", "Min", "Max", "Count"})
_SKIP_NULLS = _FOLDED - {"First", "Last"}
"""Aggregates to which a row that a FILTER leaves out is the same as a null."""

_NULL: Tree = {"Literal": {"Scalar": {"Null": "Null"}}}


@dataclass(frozen=True, slots=True)
class Split:
    """What to compute in the windows, by name; and every result as an expression over these names."""

    aggregates: dict[str, pl.Expr]
    results: dict[str, pl.Expr] | None

    @property
    def hidden(self) -> set[str]:
        """Names of aggregates that are no results themselves."""
        return {name for name in self.aggregates if name.startswith(_PREFIX)}


def split(named: Mapping[str, pl.Expr]) -> Split:
    """Take SQL aggregations apart.

    Examples
    --------
    >>> import polars as pl
    >>> found = split({"bids": pl.sql_expr("COUNT(*)"), "top": pl.sql_expr("MAX(price)")})
    >>> [str(expr) for expr in found.aggregates.values()]
    ['len()', 'col("price").max()']
    """
    import polars as pl

    aggregates: dict[str, pl.Expr] = {}
    results: dict[str, pl.Expr] = {}
    numbers: dict[str, str] = {}
    for name, expr in named.items():
        taken = _Taken(numbers, {})
        tree = _unnamed(tree_of(expr))
        rest = None if tree is None else taken.apart(tree)
        if rest is None or not taken.parts or _mentions_rows(rest):
            aggregates[name] = expr
            results[name] = pl.col(name)
        elif rest == {"Column": next(iter(taken.parts))} and len(taken.parts) == 1:
            aggregates[name] = from_tree(next(iter(taken.parts.values())))
            results[name] = pl.col(name)
        else:
            aggregates |= {part: from_tree(written) for part, written in taken.parts.items()}
            results[name] = from_tree(rest)
    if not any(name.startswith(_PREFIX) for name in aggregates):
        return Split(aggregates, None)
    return Split(aggregates, results)


@dataclass(slots=True)
class _Taken:
    """The aggregates found in one expression. `numbers` are the names of all so far, by what they compute."""

    numbers: dict[str, str]
    parts: dict[str, Tree] = field(default_factory=dict)

    def apart(self, tree: Tree) -> Tree:
        """The tree with the names of its aggregates in their places."""
        if tree == "Len" or (isinstance(tree, dict) and _is_folded(tree)):
            part = tree if tree == "Len" else _without_filter(tree)
            name = self.numbers.setdefault(json.dumps(part), f"{_PREFIX}{len(self.numbers)}")
            self.parts[name] = part
            return {"Column": name}
        if isinstance(tree, dict):
            if "Literal" in tree:
                return tree
            return {key: self.apart(value) for key, value in tree.items()}
        return [self.apart(value) for value in tree] if isinstance(tree, list) else tree


def _unnamed(tree: Tree | None) -> Tree | None:
    while isinstance(tree, dict) and "Alias" in tree:
        tree = tree["Alias"][0]
    return tree


def _is_folded(tree: Tree) -> bool:
    aggregate = tree.get("Agg") if len(tree) == 1 else None
    return isinstance(aggregate, dict) and next(iter(aggregate)) in _FOLDED


def _without_filter(tree: Tree) -> Tree:
    """The aggregate over values that are null where its FILTER is not true."""
    (kind, options), *_ = tree["Agg"].items()
    if kind not in _SKIP_NULLS:
        return tree
    if isinstance(options, dict) and "input" in options:
        if kind == "Count" and options.get("include_nulls"):
            return tree
        return {"Agg": {kind: {**options, "input": _masked(options["input"])}}}
    if isinstance(options, list):  # with degrees of freedom
        return {"Agg": {kind: [_masked(options[0]), *options[1:]]}}
    return {"Agg": {kind: _masked(options)}}


def _masked(tree: Tree) -> Tree:
    if isinstance(tree, dict) and "Filter" in tree:
        kept = tree["Filter"]
        return {"Ternary": {"predicate": kept["by"], "truthy": kept["input"], "falsy": _NULL}}
    return tree


def _mentions_rows(tree: Tree) -> bool:
    """Whether anything but the results of aggregates and literals is used, or another kind of aggregate."""
    if isinstance(tree, dict):
        if "Literal" in tree:
            return False
        if "Column" in tree:
            return not str(tree["Column"]).startswith(_PREFIX)
        return bool(tree.keys() & {"Agg", "Over", "Selector"}) or any(map(_mentions_rows, tree.values()))
    return isinstance(tree, list) and any(map(_mentions_rows, tree))
