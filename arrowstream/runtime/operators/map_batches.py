"""A user's own function over batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arrowstream.config import HIDDEN
from arrowstream.errors import DataError
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.rejects import Rejects
from arrowstream.runtime.operators.rows_in import without

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from arrowstream.types import Json, OnError

_NOT_OF_A_ROW = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


class MapBatchesOperator:
    """Calls a function with each batch, and checks what it gives back.

    The function may drop, add and reorder rows, so that clocks and partitions of rows are lost: its
    output is one partition.

    May block: as the function does. Called by: the pipeline. Survives a crash: the counts.

    Parameters
    ----------
    operator_id
        Name in errors, metrics and checkpoints.
    function, schema
        What is called, and what it gives.
    on_error
        What becomes of rows on which it raises.
    letters_read
        Whether somebody reads them as dead letters.
    """

    __slots__ = ("_function", "_on_error", "_schema", "operator_id", "rejects")

    def __init__(
        self,
        operator_id: str,
        function: Callable[[pl.DataFrame], pl.DataFrame],
        schema: pl.Schema,
        *,
        on_error: OnError = "raise",
        letters_read: bool = False,
    ) -> None:
        self.operator_id = operator_id
        self.rejects = Rejects(on_error, are_read=letters_read)
        self._on_error = on_error
        self._function = function
        self._schema = schema

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """What the function makes of these rows."""
        visible = without(frame, HIDDEN)
        if self._on_error == "raise":
            return [self._checked(self._function(visible))]
        result, error = self._tried(visible)
        if error is None:
            return [self._checked(result)]
        errors = self._failing_rows(visible, error)
        bad = np.zeros(frame.height, np.bool_)
        bad[list(errors)] = True
        is_bad = pl.Series(bad)
        self.rejects.add(frame.filter(is_bad), pl.Series(list(errors.values()), dtype=pl.String))
        good = visible.filter(~is_bad)
        # Once more, together: the others come out as if the bad rows had never been there.
        return [self._checked(self._function(good))] if good.height else []

    def _tried(self, rows: pl.DataFrame) -> tuple[object, str | None]:
        """What the function gives, or what it raised."""
        try:
            return self._function(rows), None
        except _NOT_OF_A_ROW:
            raise
        except BaseException as error:  # noqa: BLE001 - Polars' panics are no Exceptions
            return None, f"{type(error).__name__}: {error}"

    def _failing_rows(self, rows: pl.DataFrame, error: str) -> dict[int, str]:
        """The rows on which the function raises and with what, found by halving."""
        found: dict[int, str] = {}
        failing = [(0, rows.height, error)]
        while failing:
            start, length, error = failing.pop()
            if length == 1:
                found[start] = error
                continue
            half = length // 2
            for begin, size in ((start + half, length - half), (start, half)):
                _, raised = self._tried(rows.slice(begin, size))
                if raised is not None:
                    failing.append((begin, size, raised))
        return found

    def _checked(self, result: object) -> pl.DataFrame:
        if not isinstance(result, pl.DataFrame):
            raise DataError(
                f"the function given to map_batches returned {type(result).__name__}, not a pl.DataFrame",
                hint="return the frame: one without rows, if there is nothing to give",
                operator_id=self.operator_id,
            )
        if result.schema == self._schema:
            return result
        if set(result.columns) != set(self._schema):
            raise self._wrong_schema(result)
        # A batch that happens to have only nulls in a column cannot know the column's type.
        result = result.select(
            pl.col(name).cast(dtype) if result.schema[name] == pl.Null else pl.col(name)
            for name, dtype in self._schema.items()
        )
        if result.schema != self._schema:
            raise self._wrong_schema(result)
        return result

    def _wrong_schema(self, result: pl.DataFrame) -> DataError:
        declared, found = dict(self._schema), dict(result.schema)
        differing = [
            f"{name}: {declared.get(name, 'absent')} declared, {found.get(name, 'absent')} returned"
            for name in {**declared, **found}
            if declared.get(name) != found.get(name)
        ]
        return DataError(
            f"the function given to map_batches does not keep to its schema ({'; '.join(differing)})",
            hint="cast in the function, or give map_batches the schema that it returns",
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
