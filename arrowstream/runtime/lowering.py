"""From a plan to stages: which operator runs what, under which name, and where its rows go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arrowstream.config import CLOCK, NO_TIME, PARTITION, SLOT
from arrowstream.errors import InternalError, PlanError
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
from arrowstream.plan.rewrites import consumers, fused, has_places, letters_read, topological
from arrowstream.runtime.metrics import Meter
from arrowstream.runtime.operators.event_time import EventTimeOperator
from arrowstream.runtime.operators.filter_file import FilterFileOperator
from arrowstream.runtime.operators.limit import LimitOperator
from arrowstream.runtime.operators.map_batches import MapBatchesOperator
from arrowstream.runtime.operators.processing_time import ProcessingTimeOperator
from arrowstream.runtime.operators.rows import RowsOperator
from arrowstream.runtime.operators.validate import ValidateOperator
from arrowstream.runtime.outside import RulesFile, WallClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from arrowstream.plan.nodes import Node
    from arrowstream.protocols import Operator

SCAN_ID = "scan"
"""Name of the source in errors and dead letters, as operators have theirs."""

MERGED = "all"
"""Name of the one partition of a stream whose rows no longer belong to a partition of the source."""


@dataclass(slots=True, eq=False)
class Stage:
    """An operator in the tree.

    Attributes
    ----------
    operator
        None for a source without event time and for dead letters: rows go straight to the children.
    node
        The last of the plan's nodes that the operator stands for.
    unwanted
        Hidden columns of the input that neither the operator nor anything downstream looks at.
    above
        The operator whose rows it reads; None for the first.
    children
        The operators that read this one's rows.
    outputs
        Indexes of the plan's roots that these rows are the result of.
    letters
        Of dead letters only: the stages that make them, from the source down.
    letters_below
        The stages of the dead letters that this one makes.
    same_event_time
        Whether event time in the output is what it was in the input, so that horizons carry over.
    meter
        What it has done.
    watermark_in, watermark
        Of the input and of the output, as of the last `advance`.
    """

    operator: Operator | None
    node: Node
    above: Stage | None = None
    unwanted: tuple[str, ...] = ()
    children: list[Stage] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    letters: tuple[Stage, ...] = ()
    letters_below: list[Stage] = field(default_factory=list)
    same_event_time: bool = True
    meter: Meter = field(default_factory=Meter)
    watermark_in: int = NO_TIME
    watermark: int = NO_TIME


def scan_of(roots: Sequence[Node]) -> Scan:
    """The one source that all of the roots read.

    Raises
    ------
    PlanError
        If there are several.
    """
    scans = [node for node in topological(roots) if isinstance(node, Scan)]
    if len(scans) > 1:
        raise PlanError(
            f"these jobs read {len(scans)} sources, and a run reads one",
            hint="build all of them from the same stream (one scan), or run them one after another",
        )
    if not scans:
        raise InternalError("a plan without a source")
    return scans[0]


def lower(
    roots: Sequence[Node], *, partitions: Sequence[str], checkpointing: bool, helper: Executor | None
) -> tuple[Stage, list[Stage]]:
    """The tree of operators, and all of its stages from the source down.

    Parameters
    ----------
    roots
        Results of the run; all read one source.
    partitions
        Names of the source's partitions.
    checkpointing
        Whether operators will be asked for snapshots.
    helper
        One thread, on which an operator may do a part of its work.
    """
    lowering = _Lowering(roots, checkpointing=checkpointing, helper=helper)
    scan = scan_of(roots)
    several = (PARTITION,) if len(partitions) > 1 else ()
    slot = (SLOT,) if lowering.wants_slots else ()
    top = lowering.stage(scan, tuple(partitions), (*several, *slot))
    return top, lowering.stages


class _Lowering:
    def __init__(self, roots: Sequence[Node], *, checkpointing: bool, helper: Executor | None) -> None:
        self.stages: list[Stage] = []
        self._checkpointing = checkpointing
        self._helper = helper
        self._readers = consumers(roots)
        self._outputs: dict[Node, list[int]] = {}
        for index, root in enumerate(roots):
            self._outputs.setdefault(root.input if isinstance(root, Sinked) else root, []).append(index)
        chains = fused(roots)
        self._chains = {chain[0]: chain for chain in chains}
        # As `explain()` counts them.
        self._numbers = {chain[-1]: number for number, chain in enumerate(chains, start=1)}
        self._stage_of: dict[Node, Stage] = {}
        nodes = topological(roots)
        self._letters_read = letters_read(nodes)
        self._wanted: dict[Node, frozenset[str]] = {}
        for node in reversed(nodes):
            wanted = _wanted(node, self._wanted_below(node))
            numbered = node in self._letters_read or has_places(node)
            self._wanted[node] = wanted | {SLOT} if numbered else wanted

    @property
    def wants_slots(self) -> bool:
        """Whether somebody asks where rows are from."""
        return bool(self._letters_read) or any(has_places(node) for node in self._wanted)

    def stage(self, first: Node, partitions: tuple[str, ...], hidden: tuple[str, ...]) -> Stage:
        """The stage that begins with this node, with all below it."""
        nodes = self._chains[first]
        last = nodes[-1]
        wanted = self._wanted[first]
        kept = tuple(name for name in hidden if name in wanted)
        stage = Stage(
            self._operator(nodes, partitions, kept),
            last,
            unwanted=tuple(name for name in hidden if name not in wanted),
            outputs=self._outputs.get(last, []),
            same_event_time=not isinstance(last, EventTime) or last.input.event_time == last.column,
        )
        self.stages.append(stage)
        self._stage_of[last] = stage
        if isinstance(last, Window | MapBatches):
            partitions, kept = (MERGED,), ()
        elif isinstance(stage.operator, EventTimeOperator):
            kept = tuple(name for name in kept if name != CLOCK)
            kept += (CLOCK,) if stage.operator.keeps_clock else ()
        for reader in self._readers[last]:
            if isinstance(reader, DeadLetters):
                self._letters(reader)
            elif not isinstance(reader, Sinked):
                child = self.stage(reader, partitions, kept)
                child.above = stage
                stage.children.append(child)
        return stage

    def _letters(self, node: DeadLetters) -> None:
        """The stage of dead letters, with all below it: the rows of its input do not go there."""
        stage = self.stage(node, (MERGED,), ())
        stage.letters = tuple(self._stage_of[producer] for producer in node.producers)
        for producer in stage.letters:
            producer.letters_below.append(stage)

    def _wanted_below(self, node: Node) -> frozenset[str]:
        """Hidden columns that some operator below the node looks at."""
        return frozenset().union(*(self._wanted[reader] for reader in self._readers[node]))

    def _operator(
        self, nodes: tuple[Node, ...], partitions: tuple[str, ...], hidden: tuple[str, ...]
    ) -> Operator | None:
        node = nodes[-1]
        if isinstance(node, DeadLetters) or (isinstance(node, Scan) and node.event_time is None):
            return None
        if isinstance(node, RowStep):
            return self._rows(nodes, hidden)
        if _begins_event_time(node):
            return self._event_time(node, partitions)
        if isinstance(node, Window):
            # Imported where it is needed, because it loads Numba, which costs half a second.
            from arrowstream.runtime.operators.window import window_operator

            return window_operator(
                node,
                self._name("window", node),
                partitions=len(partitions),
                checkpointing=self._checkpointing,
                helper=self._helper,
            )
        return self._stateless(node)

    def _stateless(self, node: Node) -> Operator:
        if isinstance(node, MapBatches):
            return MapBatchesOperator(
                self._name("map-batches", node),
                node.function,
                node.schema,
                on_error=node.on_error,
                letters_read=node in self._letters_read,
            )
        if isinstance(node, Validate):
            return ValidateOperator(
                self._name("validate", node),
                node.rules,
                on_error=node.on_error,
                letters_read=node in self._letters_read,
            )
        if isinstance(node, Limit):
            return LimitOperator(self._name("limit", node), node.n)
        if isinstance(node, FilterFile):
            return FilterFileOperator(self._name("filter-file", node), node, RulesFile(node))
        if isinstance(node, ProcessingTime):
            return ProcessingTimeOperator(self._name("processing-time", node), node, WallClock())
        if isinstance(node, LateRows):
            # Imported where it is needed, because it loads Numba, which costs half a second.
            from arrowstream.runtime.operators.late_rows import LateRowsOperator

            return LateRowsOperator(self._name("late-rows", node), node)
        raise InternalError(f"no operator for a {type(node).__name__} node")

    def _name(self, kind: str, node: Node) -> str:
        return f"{kind}-{self._numbers[node]}"

    def _rows(self, nodes: tuple[Node, ...], hidden: tuple[str, ...]) -> RowsOperator:
        from arrowstream.plan.lower import compile_rows

        steps = [node for node in nodes if isinstance(node, RowStep)]
        return RowsOperator(self._name("rows", nodes[-1]), compile_rows(steps, hidden))

    def _event_time(self, node: Node, partitions: tuple[str, ...]) -> EventTimeOperator:
        assert isinstance(node, Scan | EventTime)
        assert node.event_time is not None
        return EventTimeOperator(
            self._name("event-time", node),
            column=node.event_time,
            dtype=node.schema[node.event_time],
            lateness=node.lateness,
            on_error=node.on_error,
            partitions=partitions,
            unbounded=node.unbounded,
            keeps_clock=node.lateness is not None and CLOCK in self._wanted_below(node),
            letters_read=node in self._letters_read,
        )


def _wanted(node: Node, below: frozenset[str]) -> frozenset[str]:
    """Hidden columns that the node needs in its input, for itself and for what is below it."""
    if isinstance(node, MapBatches | DeadLetters):
        return frozenset()
    if isinstance(node, Window):
        return frozenset({PARTITION, CLOCK})
    if isinstance(node, LateRows):
        return below | {CLOCK}
    if _begins_event_time(node):
        return below - {CLOCK} | {PARTITION}
    return below


def _begins_event_time(node: Node) -> bool:
    return isinstance(node, EventTime) or (isinstance(node, Scan) and node.event_time is not None)
