"""Partitions that come and go while a run goes on: what happened, between which rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from arrowstream.types import Json


class Turn(NamedTuple):
    """Something that happened to the partition in a place (slot) of the feed, before the rows that follow.

    "join": it has rows for the first time, and the place was free. "idle": it has had none for so long that
    nobody waits for it. "back": it was idle and has rows again. "gone": it is over, and the place is free.
    """

    kind: Literal["join", "idle", "back", "gone"]
    slot: int
    name: str

    def as_json(self, rows: int) -> Json:
        """For the PLAN of an epoch: after how many rows of it, what, and to which partition."""
        return [rows, self.kind, self.name]
