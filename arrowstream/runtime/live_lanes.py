"""The lanes of a source that is followed: partitions join, wait, come back and go while the feed runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from arrowstream.config import NO_TIME
from arrowstream.protocols import ConnectorCounters
from arrowstream.runtime.lanes import Lane, added
from arrowstream.runtime.turns import Turn

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from arrowstream.protocols import Following, Reader
    from arrowstream.types import Json, Position

_POLL_S = 0.2  # how long the thread that polls cannot be stopped
PLACES_MIN = 2
"""So many places there are at least: rows then carry their partition from the first one on."""

STATE = ""
"""Name among the cursors under which the source's own memory is kept: no partition is called so."""


class LiveLanes:
    """Opens, wakes and retires lanes. Methods are called under the feed's lock, except for `poll`.

    Parameters
    ----------
    following
        What the source tells.
    lanes
        The feed's, by place. A place that is free has a lane without a reader.
    changed
        The feed's lock.
    open_reader
        Opens the reader of a partition.
    idle_s
        How long a lane without rows is waited for; None: until it has some.
    """

    def __init__(
        self,
        following: Following,
        lanes: list[Lane],
        changed: threading.Condition,
        open_reader: Callable[[str], Reader],
        *,
        idle_s: float | None,
    ) -> None:
        self.ready: dict[Lane, None] = {}
        self.turns: list[Turn] = []
        self.error: BaseException | None = None
        self.retired = ConnectorCounters()
        self._following = following
        self._lanes = lanes
        self._changed = changed
        self._open_reader = open_reader
        self._idle_s = idle_s
        self._by_name: dict[str, Lane] = {}
        self._joining: dict[str, None] = {}

    def begin(self, names: list[str], cursors: Mapping[str, Json]) -> None:
        """Open what is there: `names` always, the partitions of the cursors, and those found now."""
        for name in names:
            self._place(len(self._lanes), name, cursors.get(name), state="active")
        if not names:
            saved = {
                name: cast("dict[str, Json]", cursor) for name, cursor in cursors.items() if name != STATE
            }
            places = {cast("int", cursor["place"]): name for name, cursor in saved.items()}
            for index in range(max([PLACES_MIN - 1, *places]) + 1):
                name = places.get(index, "")
                if name:
                    state = "idle" if saved[name]["idle"] else "active"
                    self._place(index, name, cursors[name], state=state)
                else:
                    self._lanes.append(free(index))
        self._wake(self._following.poll(0))
        self.join()

    def poll(self, is_closed: Callable[[], bool]) -> None:
        """On a thread of its own: wake what has something to read."""
        while not is_closed():
            try:
                names = self._following.poll(_POLL_S)
            except BaseException as error:  # noqa: BLE001 - raised again by the feed
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                return
            if names:
                with self._changed:
                    self._wake(names)
                    self._changed.notify_all()

    def _wake(self, names: list[str]) -> None:
        for name in names:
            lane = self._by_name.get(name)
            if lane is not None and not lane.exhausted:
                self.ready[lane] = None
                lane.is_dry = False  # its rows take part in the order, whoever is read first
            else:
                self._joining[name] = None

    def join(self) -> None:
        """Open what has been found since; a partition that is just about to go has to go first."""
        for name in [name for name in self._joining if name not in self._by_name]:
            del self._joining[name]
            index = next((lane.index for lane in self._lanes if lane.is_free), len(self._lanes))
            lane = self._place(index, name, None, state="new")
            self.ready[lane] = None

    def turn(self, now_s: float) -> None:
        """Note, before further rows are merged, which lanes join, wait, come back or go."""
        for lane in self._lanes:
            if lane.is_free:
                continue
            if lane.waiting:
                lane.quiet_s = None
                if lane.state != "active":
                    self.turns.append(Turn("join" if lane.state == "new" else "back", lane.index, lane.name))
                    lane.state = "active"
            elif lane.rows_out < lane.rows_read:
                lane.quiet_s = None
            elif lane.is_over:
                self._retire(lane)
            elif lane.state == "active" and self._idle_s is not None and lane.is_dry:
                if lane.quiet_s is None:
                    lane.quiet_s = now_s
                elif now_s - lane.quiet_s >= self._idle_s:
                    lane.state = "idle"
                    self.turns.append(Turn("idle", lane.index, lane.name))

    def cursor(self, lane: Lane) -> dict[str, Json] | None:
        """Where to go on with a lane; None if it need not be remembered."""
        if lane.is_free or (lane.state == "new" and lane.position is None):
            return None
        position, skip = lane.position, lane.skip
        within: Callable[[Position, int], Position] | None = getattr(lane.reader, "within", None)
        if skip and within is not None:
            position, skip = within(lane.held[0].position, skip), 0
        return {
            "position": position,
            "skip": skip,
            "max": lane.maximum,
            "ended": False,
            "place": lane.index,
            "idle": lane.state == "idle",
        }

    def _place(self, index: int, name: str, cursor: Json, *, state: str) -> Lane:
        lane = Lane(index, name, self._open_reader(name), None, 0, NO_TIME, ended=False)
        if isinstance(cursor, dict):
            lane.position, lane.skip, lane.maximum = cursor["position"], cursor["skip"], cursor["max"]
            lane.maximum_read, lane.skip_read = lane.maximum, lane.skip
        lane.state = state
        lane.is_dry = state != "new"  # until it is woken
        self._lanes[index : index + 1] = [lane]
        self._by_name[name] = lane
        return lane

    def _retire(self, lane: Lane) -> None:
        """All rows of a partition that is over are handed out: its place is free."""
        self._following.retire(lane.name, lane.position)
        if lane.state != "new":
            self.turns.append(Turn("gone", lane.index, lane.name))
        self.retired = added([self.retired, lane.counters])
        assert lane.reader is not None
        lane.reader.close()
        del self._by_name[lane.name]
        self.ready.pop(lane, None)
        self._lanes[lane.index] = free(lane.index)


def free(index: int) -> Lane:
    """A place without a partition."""
    lane = Lane(index, "", None, None, 0, NO_TIME, ended=True)
    lane.is_over = True
    return lane
