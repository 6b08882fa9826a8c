"""A user's own function over batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import HIDDEN
from arrowstream.errors import DataError
from arrowstream.protocols import Snapshot
from arrowstream.runtime.operators.rows_in import without

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from arrowstream.types import Json


class MapBatchesOperator:
    """Calls a function with each batch, and checks what it gives back.

    The function may drop, add and reorder rows, so that clocks and partitions of rows are lost: its
    output is one partition.

    May block: as the function does. Called by: the pipeline. Survives a crash: nothing, it has no state.
    """

    __slots__ = ("_function", "_schema", "operator_id")

    def __init__(
        self, operator_id: str, function: Callable[[pl.DataFrame], pl.DataFrame], schema: pl.Schema
    ) -> None:
        self.operator_id = operator_id
        self._function = function
        self._schema = schema

    def process(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """What the function makes of these rows."""
        result = self._function(without(frame, HIDDEN))
        return [self._checked(result)]

    def _checked(self, result: object) -> pl.DataFrame:
        if not isinstance(result, pl.DataFrame):
            raise DataError(
                f"the function given to map_batches returned {type(result).__name__}, not a pl.DataFrame",
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
        """Empty."""
        return Snapshot()

    def restore(self, values: dict[str, Json], runs: Sequence[tuple[int, pa.Table]]) -> None:
        """Nothing to take over."""
