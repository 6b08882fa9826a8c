"""Rules that rows have to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import HIDDEN, SLOT
from arrowstream.errors import DataError
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.rejects import Rejects
from arrowstream.runtime.operators.rows_in import evaluate, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from arrowstream.types import Json, OnError

_SHOWN_CHARS = 300


class ValidateOperator:
    """Lets the rows pass for which every rule is true; a rule that gives null has failed.

    May block: no. Called by: the pipeline. Survives a crash: the counts.

    Parameters
    ----------
    operator_id
        Name in errors, metrics and checkpoints.
    rules
        Names, and boolean expressions that look at each row alone.
    on_error
        What becomes of the other rows.
    letters_read
        Whether somebody reads them as dead letters.
    """

    __slots__ = ("_failed", "_on_error", "_passed", "bad_slot", "operator_id", "rejects")

    def __init__(
        self,
        operator_id: str,
        rules: Sequence[tuple[str, pl.Expr]],
        *,
        on_error: OnError,
        letters_read: bool,
    ) -> None:
        self.operator_id = operator_id
        self.rejects = Rejects(on_error, are_read=letters_read)
        self._on_error = on_error
        kept = [expr.fill_null(value=False) for _, expr in rules]
        self._passed = pl.all_horizontal(rule.alias(str(number)) for number, rule in enumerate(kept))
        self._failed = pl.lit("failed: ") + pl.concat_str(
            [pl.when(~rule).then(pl.lit(name)) for (name, _), rule in zip(rules, kept, strict=True)],
            separator=", ",
            ignore_nulls=True,
        )
        self.bad_slot: int | None = None

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows that keep all the rules."""
        (passed,) = evaluate(frame, [self._passed])
        if passed.all():
            return [frame]
        rejected = frame.filter(~passed)
        if self._on_error == "raise":
            raise self._broken(rejected.head(1))
        self.rejects.add(rejected, *evaluate(rejected, [self._failed]))
        return [frame.filter(passed)]

    def _broken(self, first: pl.DataFrame) -> DataError:
        """The error for a row; the pipeline knows where the input has the slot."""
        self.bad_slot = first[SLOT].item() if SLOT in first.columns else None
        failed = evaluate(first, [self._failed])[0].item()
        row_values = without(first, HIDDEN).row(0, named=True)
        values = ", ".join(f"{name}: {value}" for name, value in row_values.items())
        shown = values if len(values) <= _SHOWN_CHARS else f"{values[:_SHOWN_CHARS]}…"
        return DataError(
            f"a row does not keep the rules ({failed}): {shown}",
            hint='on_error="skip" drops such rows, "dead_letter" hands them on: .dead_letters()',
            operator_id=self.operator_id,
        )

    def on_watermark(self, watermark: int) -> tuple[list[pl.DataFrame], int]:
        """Nothing is held back."""
        return [], watermark

    def snapshot(self) -> Snapshot:
        """Counts."""
        return Snapshot(self.rejects.values())

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:  # noqa: ARG002
        """Go on counting."""
        self.rejects.restore(values)
