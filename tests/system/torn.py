"""A source with bad input: another source, of which some rows cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from arrowstream.config import DEAD, DEAD_DTYPE


@dataclass
class TornReader:
    reader: Any
    is_bad: pl.Expr

    def read(self, max_rows):
        result = self.reader.read(max_rows)
        if result is None:
            return None
        frame = pl.DataFrame(result[0])
        letter = pl.struct(
            original=pl.format("<{}>", frame.columns[0]).cast(pl.Binary),
            error=pl.lit("torn"),
            source=pl.lit("a.txt"),
            position=pl.format("line {}", frame.columns[0]),
        )
        torn = frame.with_columns(pl.when(self.is_bad).then(letter).cast(DEAD_DTYPE).alias(DEAD))
        if not torn[DEAD].count():
            return frame, result[1]
        visible = [pl.when(pl.col(DEAD).is_null()).then(name).alias(name) for name in frame.columns]
        return torn.select(*visible, DEAD), result[1]

    def close(self):
        self.reader.close()


@dataclass
class TornSource:
    """The rows of `source`; those for which `is_bad` is true cannot be read."""

    source: Any
    is_bad: pl.Expr

    def __getattr__(self, name):
        if name in ("project", "with_event_time", "with_metadata"):
            raise AttributeError(name)
        return getattr(self.source, name)

    def open(self, partition, position):
        return TornReader(self.source.open(partition, position), self.is_bad)
