"""What all verbs of a stream share: the plan node they build on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arrowstream.plan.nodes import Node


class Query:
    """Holds a plan node; the families of verbs derive from it, and `Stream` from them."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node
