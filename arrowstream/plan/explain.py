"""Plans in words: for people, for pictures, and for telling whether two plans are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.plan.durations import written
from arrowstream.plan.expressions import tree_of
from arrowstream.plan.letters import on_error_of
from arrowstream.plan.nodes import (
    DeadLetters,
    EventTime,
    FilterFile,
    Holistic,
    LateRows,
    Limit,
    MapBatches,
    Node,
    ProcessingTime,
    RowStep,
    Scan,
    Sinked,
    Validate,
    Window,
    Windowed,
)
from arrowstream.plan.rewrites import fused, letters_read, required_columns, topological

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrowstream.protocols import Source

_KINDS: dict[type[Node], str] = {
    Scan: "SCAN",
    EventTime: "EVENT TIME",
    Limit: "LIMIT",
    MapBatches: "MAP BATCHES",
    Validate: "VALIDATE",
    FilterFile: "FILTER FILE",
    ProcessingTime: "PROCESSING",
    DeadLetters: "DEAD LETTERS OF",
    Sinked: "SINK",
}

_LITERAL_TYPE = re.compile(r"dyn (?:int|float): ")
_OPERAND = re.compile(r"""(?<=[\[ ])\((col\("[^"()]*"\)|-?[\d.]+|"[^"()]*"|len\(\))\)""")
"""Simple operands, which Polars writes in parentheses."""

_DIGEST_CHARS = 8
_COLUMNS_SHOWN_MAX = 12


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """A box of a picture: what it is, and lines that say more."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes, and edges from the box that is read to the box that reads it, by index."""

    nodes: tuple[DrawnNode, ...]
    edges: tuple[tuple[int, int], ...]


def logical(roots: Sequence[Node]) -> str:
    """The plan as it was written: each node above what it reads."""
    lines = ["LOGICAL PLAN"]
    seen: set[Node] = set()
    waiting = [(root, 1) for root in reversed(roots)]  # a plan may be deeper than Python's stack
    while waiting:
        node, depth = waiting.pop()
        indent = "  " * depth
        if node in seen:
            lines.append(f"{indent}{_title(node)} (shared, see above)")
            continue
        seen.add(node)
        lines.append(indent + _title(node))
        lines.extend(f"{indent}  · {detail}" for detail in _details(node))
        waiting.extend((source, depth + 1) for source in reversed(node.inputs))
    return "\n".join(lines)


def physical(roots: Sequence[Node]) -> str:
    """How the plan runs, sources first: what is read, fused, folded or kept, and what is guaranteed."""
    lines = ["PHYSICAL PLAN"]
    columns = required_columns(roots)
    read = letters_read(topological(roots))
    for number, chain in enumerate(fused(roots), start=1):
        node = chain[-1]
        lines.append(f"  {number}. {_stage(chain)}")
        if isinstance(node, Scan):
            lines.extend(f"       {line}" for line in _reading(node, columns[node]))
        elif isinstance(node, EventTime):
            lines.append(f"       watermark: {_watermark(node)}")
        elif isinstance(node, Window):
            lines.extend(f"       {line}" for line in _computing(node))
        elif isinstance(node, LateRows) and node.lateness is None:
            lines.append("       always empty: nothing is late without lateness")
        elif isinstance(node, Sinked):
            lines.append(f"       {_delivery(node)}")
        elif isinstance(node, FilterFile):
            lines.append("       read again when an epoch begins: its PLAN records the rules")
        elif isinstance(node, ProcessingTime):
            lines.append("       of the epoch, as its PLAN records it: other in every run")
        lines.extend(f"       {line}" for line in _rejecting(node, is_read=node in read))
    return "\n".join(lines)


def graph(roots: Sequence[Node]) -> Graph:
    """The plan as boxes and arrows."""
    nodes = topological(roots)
    number = {node: index for index, node in enumerate(nodes)}
    return Graph(
        tuple(DrawnNode(_title(node), tuple(_details(node))) for node in nodes),
        tuple((number[source], number[node]) for node in nodes for source in node.inputs),
    )


def canonical(roots: Sequence[Node]) -> str:
    """The plan as text that is the same whenever the plan is the same, to be compared line by line.

    What a source reads and where a sink writes is not in it: a checkpoint pins those apart. Of a Python
    function only its place is, or its name where it has one.
    """
    nodes = topological(roots)
    number = {node: index for index, node in enumerate(nodes)}
    lines = []
    for node in nodes:
        inputs = ", ".join(f"#{number[source]}" for source in node.inputs)
        lines.append(f"#{number[node]} {type(node).__name__}({inputs}) {_identity(node)}".rstrip())
        if isinstance(node, Window):
            lines.extend(
                f"    key {key}: {_canonical(expr)}"
                for key, expr in zip(node.keys, node.group_by, strict=True)
            )
            lines.extend(
                f"    {aggregation.name}: {_canonical(expr)}"
                for aggregation, expr in zip(node.aggregations, node.aggs, strict=True)
            )
        if isinstance(node, Scan | MapBatches):
            lines.extend(f"    -> {name}: {dtype}" for name, dtype in node.schema.items())
    return "\n".join(lines)


def fingerprint(roots: Sequence[Node]) -> str:
    """SHA-256 of the canonical text."""
    return sha256(canonical(roots).encode()).hexdigest()


def shown(value: Any) -> str:
    """An expression as short as it can be said; other values as they are."""
    if not isinstance(value, pl.Expr):
        return str(value)
    return _OPERAND.sub(r"\1", _LITERAL_TYPE.sub("", str(value)))


def source_name(scan: Scan) -> str:
    """What the source calls itself."""
    has_repr = type(scan.source).__repr__ is not object.__repr__
    return repr(scan.source) if has_repr else type(scan.source).__name__


def _title(node: Node) -> str:
    if isinstance(node, RowStep):
        return node.verb.upper()
    if isinstance(node, Window):
        keys = f" BY {', '.join(node.keys)}" if node.keys else ""
        label = " LABEL right" if node.label == "right" else ""
        return f"WINDOW {_windows(node)}{keys}{label}{' WITH BOUNDARIES' if node.include_boundaries else ''}"
    if isinstance(node, LateRows):
        return f"LATE ROWS OF {_windows(node)}"
    subject = ""
    if isinstance(node, Scan):
        subject = source_name(node)
    elif isinstance(node, EventTime):
        subject = node.column
    elif isinstance(node, Limit):
        subject = str(node.n)
    elif isinstance(node, MapBatches):
        subject = _function_name(node.function)
    elif isinstance(node, Validate):
        subject = ", ".join(name for name, _ in node.rules)
    elif isinstance(node, FilterFile):
        subject = str(node.path)
    elif isinstance(node, ProcessingTime):
        subject = ", ".join(node.columns)
    elif isinstance(node, DeadLetters):
        subject = ", ".join(_place(producer) for producer in node.producers)
    elif isinstance(node, Sinked):
        subject = node.name
    return f"{_KINDS[type(node)]} {subject}"


def _details(node: Node) -> list[str]:
    if isinstance(node, RowStep):
        return _arguments(node)
    if isinstance(node, Window):
        keys = [f"key {shown(expr)}" for expr in node.group_by if not expr.meta.is_column()]
        return [*keys, *(shown(expr) for expr in node.aggs)]
    if isinstance(node, Scan):
        time = [f"event time {node.event_time}, {_lateness(node)}"] if node.event_time else []
        return [_columns(list(node.schema)), *time]
    if isinstance(node, EventTime):
        return [_lateness(node)]
    if isinstance(node, Validate):
        return [f"{name}: {shown(expr)}" for name, expr in node.rules]
    if isinstance(node, FilterFile):
        return [f"{name}: {sql}" for name, sql in node.rules]
    return []


def _place(producer: Node) -> str:
    return "map_batches" if isinstance(producer, MapBatches) else _KINDS[type(producer)].lower()


def _rejecting(node: Node, *, is_read: bool) -> list[str]:
    """What becomes of the rows that a node cannot take."""
    if isinstance(node, DeadLetters):
        barrier = any(isinstance(above, Window | MapBatches) for above in _between(node))
        return ["in the order of the input" + (", node by node" if barrier else "")]
    match on_error_of(node):
        case "skip":
            return ["bad input is dropped and counted"]
        case "dead_letter":
            return [f"bad input becomes dead letters{'' if is_read else ', which nobody reads'}"]
    return []


def _between(letters: DeadLetters) -> Iterator[Node]:
    """The nodes from the first producer of dead letters down to above the last."""
    node = letters.input
    while node is not letters.producers[0]:
        node = node.inputs[0]
        yield node


def _arguments(step: RowStep) -> list[str]:
    if step.verb == "unpivot":
        return [f"{', '.join(step.args[0])} beside {', '.join(step.kwargs['index']) or 'nothing'}"]
    if step.verb == "fill_null":
        value, strategy = step.kwargs["value"], step.kwargs["strategy"]
        return [shown(value) if strategy is None else f"strategy {strategy}"]
    if step.verb in ("rename", "cast"):
        return [f"{name} -> {to}" for name, to in step.args[0].items()]
    if step.verb in ("filter", "remove", "select", "with_columns"):
        return [shown(expr) for expr in step.args]
    names = step.args if step.verb == "drop" else step.args[0]
    return [_columns(list(names))]


def _windows(node: Windowed) -> str:
    period = "" if node.tumbling else f" PERIOD {node.period}"
    offset = "" if node.offset == "0ns" else f" OFFSET {node.offset}"
    return f"{node.index_column} EVERY {node.every}{period}{offset}"


def _columns(names: list[str]) -> str:
    more = len(names) - _COLUMNS_SHOWN_MAX
    return ", ".join(names[:_COLUMNS_SHOWN_MAX]) + (f", … {more} more" if more > 0 else "")


def _lateness(node: Node) -> str:
    if node.lateness is None or node.event_time is None:
        return "nothing is late"
    dtype = node.schema[node.event_time]
    assert isinstance(dtype, pl.Datetime), dtype
    return f"lateness {written(node.lateness, unit=dtype.time_unit)}"


def _function_name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _stage(chain: tuple[Node, ...]) -> str:
    titles = " → ".join(_title(node) for node in chain)
    return f"{titles} (one Polars plan per batch)" if isinstance(chain[-1], RowStep) else titles


def _reading(scan: Scan, columns: set[str]) -> list[str]:
    names = [name for name in scan.schema if name in columns]
    lines = [f"reads {len(names)} of {len(scan.schema)} columns: {_columns(names)}"]
    if scan.event_time is not None:
        lines.append(f"watermark: {_watermark(scan)}")
    if not scan.source.replayable:
        lines.append("cannot be read again: no checkpoints")
    if hasattr(scan.source, "follow"):
        lines.append(_following(scan.source))
    return lines


def _following(source: Source) -> str:
    """What depends on when rows come, and not on the rows alone."""
    timeout = getattr(source, "idle_timeout", None)
    idles = "none is ever idle" if timeout is None else f"idle after {timeout} without rows"
    if source.partitions():
        return "read as it comes: when lines and files are found decides their order"
    return f"partitions join as they are found, {idles}: the PLAN of an epoch records it"


def _watermark(node: Scan | EventTime) -> str:
    if node.lateness is not None:
        behind = _lateness(node).removeprefix("lateness ")
        return f"largest {node.event_time} so far in each partition, minus {behind}"
    if isinstance(node, EventTime):
        same = node.input.event_time == node.column
        return "as before" if same else "none until the end: no source knows what this column still holds"
    declare = getattr(node.source, "with_event_time", None)
    source = node.source if declare is None else declare(node.event_time)
    missing = getattr(source, "horizon_missing", None)
    reason = missing() if callable(missing) else "the source has no statistics"
    if reason is None:
        return f"smallest {node.event_time} not read yet, from the source's statistics"
    return f"none until the end: {reason}"


def _computing(node: Window) -> list[str]:
    lines = [
        f"kept    {aggregation.name}: the window's rows, because {aggregation.reason}"
        if isinstance(aggregation, Holistic)
        else f"folded  {aggregation.name}: {aggregation.kind}"
        for aggregation in node.aggregations
    ]
    if not lines:
        lines = ["folded  groups only"]
    if node.every_units is None:
        lines.append(f"windows by the calendar{f' of {node.time_zone}' if node.time_zone else ''}")
    return lines


def _delivery(node: Sinked) -> str:
    once = node.sink.delivery == "exactly_once"
    return f"delivery: {'exactly once, with a checkpoint' if once else 'at least once'}"


def _identity(node: Node) -> str:
    if isinstance(node, RowStep):
        kwargs = {name: node.kwargs[name] for name in sorted(node.kwargs)}
        return f"{node.verb} {_canonical(node.args)} {_canonical(kwargs) if kwargs else ''}"
    if isinstance(node, Windowed):
        options = (
            f" label={node.label} boundaries={node.include_boundaries}" if isinstance(node, Window) else ""
        )
        return f"{node.index_column} every={node.every} period={node.period} offset={node.offset}{options}"
    if isinstance(node, Scan):
        return f"event_time={node.event_time} lateness={node.lateness} on_error={node.on_error}"
    if isinstance(node, EventTime):
        return f"{node.column} lateness={node.lateness} on_error={node.on_error}"
    if isinstance(node, Limit):
        return str(node.n)
    if isinstance(node, FilterFile | ProcessingTime):
        told = (node.path,) if isinstance(node, FilterFile) else (node.time_column, node.batch_column)
        return " ".join(map(str, told))
    if isinstance(node, MapBatches | Validate):
        subject = (
            _function_name(node.function) if isinstance(node, MapBatches) else _canonical(dict(node.rules))
        )
        return f"{subject} on_error={node.on_error}"
    return f"{type(node.sink).__name__} {node.name}" if isinstance(node, Sinked) else ""


def _canonical(value: Any) -> str:
    """As `shown`, with a digest where that leaves something out."""
    if isinstance(value, pl.Expr):
        tree = None if value.meta.is_column() else tree_of(value)
        text = str(value)
        return text if tree is None else f"{text} ({sha256(repr(tree).encode()).hexdigest()[:_DIGEST_CHARS]})"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_canonical(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_canonical(item)}" for key, item in value.items()) + "}"
    return repr(value)
