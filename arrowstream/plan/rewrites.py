"""What a plan needs of its sources, and what of it belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrowstream.plan.expressions import root_columns
from arrowstream.plan.nodes import (
    DeadLetters,
    EventTime,
    FilterFile,
    LateRows,
    Limit,
    MapBatches,
    ProcessingTime,
    RowStep,
    Scan,
    Sinked,
    Validate,
    Window,
)
from arrowstream.plan.verbs import into_value, origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from arrowstream.plan.nodes import Node


_KEEPS_COLUMNS = (EventTime, Limit, LateRows, Validate, FilterFile, ProcessingTime, Sinked)


def topological(roots: Sequence[Node]) -> list[Node]:
    """All nodes of the plan, each once, after the nodes that it reads."""
    found: dict[int, Node] = {}
    for root in roots:
        open_nodes = [root]  # a plan may be deeper than Python's stack
        while open_nodes:
            node = open_nodes[-1]
            unseen = [source for source in reversed(node.inputs) if id(source) not in found]
            if unseen:
                open_nodes.extend(unseen)
            else:
                found.setdefault(id(open_nodes.pop()), node)
    return list(found.values())


def consumers(roots: Sequence[Node]) -> dict[Node, list[Node]]:
    """For each node the nodes that read it."""
    nodes = topological(roots)
    found: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for source in node.inputs:
            found[source].append(node)
    return found


def fused(roots: Sequence[Node]) -> list[tuple[Node, ...]]:
    """The plan's nodes, sources first; row steps that run in one Polars plan are together."""
    readers = consumers(roots)
    results = set(roots)
    chains: list[list[Node]] = []
    of: dict[Node, list[Node]] = {}
    for node in topological(roots):
        before = node.inputs[0] if node.inputs else None
        joins = (
            isinstance(node, RowStep)
            and isinstance(before, RowStep)
            and len(readers[before]) == 1
            and before not in results
        )
        if joins and before is not None:
            of[node] = of[before]
            of[node].append(node)
        else:
            of[node] = [node]
            chains.append(of[node])
    return [tuple(chain) for chain in chains]


def required_columns(roots: Sequence[Node]) -> dict[Scan, set[str]]:
    """For each source the columns that have to be read; at least one, for the rows to be counted.

    A node's frames then hold at least the columns that its readers need, in the order of its schema. Dead
    letters that are read hold whole rows. What is bad input must not depend on the query: all of a source is
    read where it is skipped or made dead letters.
    """
    nodes = topological(roots)
    needed: dict[Node, set[str]] = {node: set() for node in nodes}
    for root in roots:
        needed[root] = set(root.schema)
    for producer in letters_read(nodes):
        for whole in producer.inputs:
            needed[whole] = set(whole.schema)
    for node in reversed(nodes):
        for source in node.inputs:
            needed[source] |= _needed_of_input(node, needed[node])
    found = {}
    for node in nodes:
        if isinstance(node, Scan):
            columns = needed[node] | ({node.event_time} if node.event_time is not None else set())
            if node.on_error != "raise":
                columns = set(node.schema)
            found[node] = columns or set(list(node.schema)[:1])
    return found


def letters_read(nodes: Sequence[Node]) -> set[Node]:
    """The nodes whose dead letters are read by one of these nodes."""
    return {producer for node in nodes if isinstance(node, DeadLetters) for producer in node.producers}


def places_asked(roots: Sequence[Node]) -> bool:
    """Whether somebody asks where rows come from: dead letters made of them, errors of rules."""
    nodes = topological(roots)
    return any(has_places(node) for node in nodes) or any(
        not isinstance(node, Scan) or node.event_time is not None for node in letters_read(nodes)
    )


def has_places(node: Node) -> bool:
    """Whether the node's errors say which row of the input they are about."""
    return isinstance(node, Validate) and node.on_error == "raise"


def source_column(node: Node, column: str) -> tuple[Scan, str] | None:
    """The column of a source that `column` of `node` is, value for value; None if it was computed.

    Rows may have been dropped or repeated on the way.
    """
    while not isinstance(node, Scan):
        if isinstance(node, RowStep):
            if node.verb == "fill_null":
                return None
            found = origins(node.verb, node.args, node.kwargs, node.input.schema).get(column)
            if found is None:
                return None
            column = found
        elif not isinstance(node, _KEEPS_COLUMNS) or column not in node.inputs[0].schema:
            return None
        node = node.inputs[0]
    return node, column


def _needed_of_input(node: Node, needed: set[str]) -> set[str]:
    """Which columns of its input `node` needs, for its own output to hold those `needed`."""
    schema = node.inputs[0].schema
    if isinstance(node, RowStep):
        return _needed_of_step(node, needed, schema)
    if isinstance(node, Window):
        exprs = (*node.group_by, *node.aggs)
        return {node.index_column}.union(*(root_columns(expr, schema) for expr in exprs))
    if isinstance(node, EventTime | LateRows):
        return needed | {node.column if isinstance(node, EventTime) else node.index_column}
    if isinstance(node, Validate):
        return needed.union(*(root_columns(expr, schema) for _, expr in node.rules))
    if isinstance(node, ProcessingTime):
        return needed - set(node.columns)
    if isinstance(node, MapBatches | FilterFile | Sinked):  # rules to come may look at any column
        return set(schema)
    if isinstance(node, DeadLetters):
        return set()
    return needed


def _needed_of_step(step: RowStep, needed: set[str], schema: pl.Schema) -> set[str]:
    verb, args = step.verb, step.args
    if verb in ("filter", "remove", "select", "with_columns"):
        roots = set().union(*(root_columns(expr, schema) for expr in args))
        return roots if verb == "select" else roots | (needed & set(schema))
    if verb == "rename":
        names = {args[0].get(name, name): name for name in schema}
        return {names[name] for name in needed}
    if verb == "unpivot":
        return {*args[0], *step.kwargs["index"]}
    if verb == "fill_null":
        return (needed & set(schema)) | root_columns(into_value(step.kwargs["value"]), schema)
    named = set() if verb == "drop" or not args else set(args[0])
    return (needed & set(schema)) | named
