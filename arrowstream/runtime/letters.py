"""Dead letters of one push: gathered from the source and the operators, given in the order of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import DEAD, DEAD_LETTERS, FILE, FILE_ROW, SLOT
from arrowstream.plan.letters import on_error_of
from arrowstream.plan.rewrites import has_places
from arrowstream.runtime.lowering import SCAN_ID
from arrowstream.runtime.operators.rows_in import without
from arrowstream.runtime.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from arrowstream.errors import ArrowStreamError
    from arrowstream.runtime.lowering import Stage
    from arrowstream.runtime.slots import Origin
    from arrowstream.runtime.turns import Turn
    from arrowstream.types import Json


class Letters:
    """Takes bad input out of frames, and makes dead letters of it where they are read.

    Parameters
    ----------
    stages
        All stages of the run, from the source down.
    partitions
        Names of the source's partitions.
    origin
        Columns in which the source says where a row is from.
    """

    __slots__ = (
        "_files",
        "_gathered",
        "_numbers",
        "_origin",
        "_rows",
        "_skips",
        "_slots",
        "_source_read",
        "_top",
        "from_source",
        "skipped",
        "stages",
    )

    def __init__(self, stages: Sequence[Stage], partitions: Sequence[str], origin: Origin) -> None:
        self._origin = origin
        self._files: pl.Series | None = None
        self._rows: pl.Series | None = None
        self._top = stages[0]
        self.stages = [stage for stage in stages if stage.letters]
        self._numbers = bool(self.stages) or any(has_places(stage.node) for stage in stages)
        self._skips = on_error_of(self._top.node) == "skip"
        self._source_read = any(self._top in stage.letters for stage in self.stages)
        self._slots = Slots(partitions)
        self._gathered: dict[Stage, list[pl.DataFrame]] = {}
        self.from_source = 0
        self.skipped = 0

    def turn(self, turns: Iterable[Turn]) -> None:
        """Partitions have joined."""
        for kind, place, name in turns:
            if kind == "join":
                self._slots.join(place, name)

    def enter(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of the frame, with the column SLOT if somebody asks for places."""
        if self._numbers:
            frame = self._slots.enter(frame)
            self._files, self._rows = (
                frame.get_column(name) if name is not None else None for name in self._origin
            )
            frame = without(frame, (FILE, FILE_ROW))
        if DEAD not in frame.columns:
            return frame
        is_row = frame.get_column(DEAD).is_null()
        dead = frame.height - int(is_row.sum())
        if dead:
            if self._skips:
                self.skipped += dead
            else:
                self.from_source += dead
            if self._source_read:
                self._gather(frame.filter(~is_row))
            return without(frame, (DEAD,)).filter(is_row)
        return without(frame, (DEAD,))

    def _gather(self, dead: pl.DataFrame) -> None:
        letters = dead.select(DEAD, SLOT).unnest(DEAD)
        partition, position = self._slots.places(letters.get_column(SLOT))
        self._gathered[self._top] = [
            letters.select(
                "original",
                "error",
                pl.lit(SCAN_ID).alias("operator"),
                "source",
                partition.alias("partition"),
                pl.coalesce("position", position).alias("position"),
                SLOT,
            )
        ]

    def of(self, stage: Stage) -> pl.DataFrame | None:
        """The new dead letters for a stage of them; None if there are none."""
        frames = [frame for producer in stage.letters for frame in self._made_by(producer)]
        if not frames:
            return None
        # Where one operator has made all of them they are in order, with or without slots.
        letters = pl.concat(frames)
        if len(frames) > 1:
            letters = letters.sort(SLOT, maintain_order=True, nulls_last=True)
        return letters.drop(SLOT)

    def _made_by(self, producer: Stage) -> list[pl.DataFrame]:
        """Several stages may read the letters of one operator; it gives them once."""
        found = self._gathered.setdefault(producer, [])
        rejects = getattr(producer.operator, "rejects", None)
        if producer.operator is not None and rejects is not None:
            found.extend(
                self._completed(letters, producer.operator.operator_id) for letters in rejects.take()
            )
        return found

    def _completed(self, letters: pl.DataFrame, operator_id: str) -> pl.DataFrame:
        if SLOT not in letters.columns:
            letters = letters.with_columns(pl.lit(None, pl.UInt32).alias(SLOT))
        slots = letters.get_column(SLOT)
        partition, position = self._slots.places(slots)
        source: pl.Expr | pl.Series = pl.lit(None, pl.String)
        if self._files is not None:
            source = self._files.gather(slots)
        if self._rows is not None:
            position = pl.select(pl.format("row {}", self._rows.gather(slots))).to_series()
        elif self._files is not None:  # the source was asked for the file only
            position += " of the partition"
        made = letters.with_columns(
            pl.lit(operator_id).alias("operator"),
            source.alias("source"),
            partition.alias("partition"),
            position.alias("position"),
        )
        return made.select(*DEAD_LETTERS, SLOT)

    def locate(self, error: ArrowStreamError, slot: int) -> None:
        """Say where a slot of the frame that entered last is: its file and row there, else its partition."""
        if self._files is not None:
            error.file = self._files[slot]
        if self._rows is not None:
            error.offset = self._rows[slot]
        else:
            partition, row = self._slots.rows(pl.Series([slot], dtype=pl.UInt32))
            error.partition, error.offset = partition[0], row[0]

    def leave(self) -> None:
        """All stages have been given theirs."""
        self._gathered.clear()

    def values(self) -> dict[str, Json]:
        """The counts, for a checkpoint."""
        return {"from_source": self.from_source, "skipped": self.skipped, "slots": self._slots.values()}

    def restore(self, values: Mapping[str, Json]) -> None:
        """Go on counting."""
        from_source, skipped, slots = values["from_source"], values["skipped"], values["slots"]
        assert isinstance(from_source, int)
        assert isinstance(skipped, int)
        assert isinstance(slots, dict)
        self.from_source, self.skipped = from_source, skipped
        self._slots.restore(slots)
