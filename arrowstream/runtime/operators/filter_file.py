"""Rules that are read again while the run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import polars as pl

from arrowstream.plan.rules import predicates
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.rows_in import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from arrowstream.plan.nodes import FilterFile
    from arrowstream.runtime.outside import RulesFile
    from arrowstream.types import Json


class FilterFileOperator:
    """Lets the rows pass for which every rule of the epoch is true.

    May block: no. Called by: the pipeline. Survives a crash: how often the file had a mistake; the rules
    come from the PLAN of the epoch.
    """

    __slots__ = ("_node", "_passes", "_rules", "operator_id", "outside")

    def __init__(self, operator_id: str, node: FilterFile, outside: RulesFile) -> None:
        self.operator_id = operator_id
        self.outside = outside
        self._node = node
        self._rules: Json = None
        self._passes: list[pl.Expr] = []

    @property
    def reload_errors(self) -> int:
        """How often the file could not be read, or had a mistake."""
        return self.outside.errors

    def begin_epoch(self, condition: Json) -> None:
        """Take these rules: pairs of name and SQL."""
        if condition == self._rules:
            return
        self._rules = condition
        pairs = tuple((name, sql) for name, sql in cast("list[list[str]]", condition))
        rules = predicates(pairs, self._node.input.schema)
        self._passes = (
            [pl.all_horizontal(rule.alias(str(n)) for n, rule in enumerate(rules))] if rules else []
        )

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows that keep all the rules."""
        if not self._passes:
            return [frame]
        (passes,) = evaluate(frame, self._passes)
        return [frame.filter(passes)]

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """The count of mistakes."""
        return Snapshot({"reload_errors": self.outside.errors})

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:  # noqa: ARG002
        """Go on counting."""
        self.outside.errors = cast("int", values["reload_errors"])
