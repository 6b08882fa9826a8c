"""What a run looks at besides its input, when an epoch begins: the time, and files of rules."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from arrowstream.errors import PlanError
from arrowstream.plan.rules import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrowstream.plan.nodes import FilterFile
    from arrowstream.types import Json

_LOG = logging.getLogger("arrowstream.rules")


class WallClock:
    """The time in microseconds since 1970, and the number of the epoch.

    Parameters
    ----------
    clock
        Nanoseconds since 1970.
    """

    __slots__ = ("_clock",)

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock

    def observe(self, epoch: int) -> Json:
        """Now."""
        return [self._clock() // 1_000, epoch]


class RulesFile:
    """Reads the rules of a node again when their file has changed.

    What cannot be read or has a mistake is logged and counted, and the rules stay as they were.
    """

    __slots__ = ("_node", "_rules", "_text", "errors")

    def __init__(self, node: FilterFile) -> None:
        self._node = node
        self._rules = node.rules
        self._text: str | None = None
        self.errors = 0

    def observe(self, epoch: int) -> Json:  # noqa: ARG002
        """The rules in force, as pairs of name and SQL. Blocks on the disk."""
        try:
            text = self._node.path.read_text(encoding="utf-8")
            if text != self._text:
                self._text = text
                self._take(parsed(self._node.path, text, self._node.input.schema))
        except (OSError, UnicodeDecodeError, PlanError) as error:
            self.errors += 1
            _LOG.warning("%s: the rules stay as they were: %s", self._node.path, error)
        return [list(rule) for rule in self._rules]

    def _take(self, rules: tuple[tuple[str, str], ...]) -> None:
        if rules != self._rules:
            _LOG.info("%s: %d rules from now on, %d before", self._node.path, len(rules), len(self._rules))
        self._rules = rules
