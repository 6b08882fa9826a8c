"""Draws a plan as SVG, without an external program: boxes from the source down to the result."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CHAR_PX = 7.3
"""Width of a monospace character at 12 px; a little more than fonts need, so that text stays inside."""

_LINE_PX = 16
_PADDING_PX = 10
_GAP_X_PX = 28
_GAP_Y_PX = 30
_MARGIN_PX = 8
_LINE_CHARS_MAX = 72

_STYLE = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px"

_TIP = (
    '<defs><marker id="arrowstream-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="currentColor"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class Box:
    """A node to draw: what it is, and lines that say more."""

    title: str
    lines: tuple[str, ...] = ()

    @property
    def width(self) -> float:
        """Pixels."""
        return max(len(_cut(line)) for line in (self.title, *self.lines)) * _CHAR_PX + 2 * _PADDING_PX

    @property
    def height(self) -> float:
        """Pixels."""
        return (1 + len(self.lines)) * _LINE_PX + 2 * _PADDING_PX - 4


def svg(boxes: Sequence[Box], edges: Sequence[tuple[int, int]], *, standalone: bool = False) -> str:
    """A picture of the graph.

    Parameters
    ----------
    boxes
        At least one.
    edges
        Pairs of indexes, from a node to the one that reads it; no cycles.
    standalone
        On white, for a file. Otherwise in the colours of the page around it, light or dark.

    Returns
    -------
    str
        One `<svg>` element.

    Examples
    --------
    >>> svg([Box("scan"), Box("filter", ("price > 100",))], [(0, 1)]).count("<rect")
    2
    """
    layers = _layers(len(boxes), edges)
    tops = _tops(boxes, layers)
    centres = _centres(boxes, edges, layers)
    shift = _MARGIN_PX - min(centres[box] - boxes[box].width / 2 for layer in layers for box in layer)
    centres = {box: centre + shift for box, centre in centres.items()}
    width = max(centres[box] + boxes[box].width / 2 for box in centres) + _MARGIN_PX
    height = max(tops[box] + boxes[box].height for box in centres) + _MARGIN_PX
    colours = ";color:#1f2328;background:#fff" if standalone else ""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="query plan" '
        f'style="max-width:100%;height:auto;{_STYLE}{colours}">'
    )
    arrows = [_arrow(centres[a], tops[a] + boxes[a].height, centres[b], tops[b]) for a, b in edges]
    rectangles = [_rectangle(boxes[box], centres[box], tops[box]) for box in centres]
    return "\n".join([head, _TIP, *arrows, *rectangles, "</svg>"])


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Nodes by their distance from the source: the longest way, so that arrows only point down."""
    depth = [0] * count
    for _ in range(count):
        for above, below in edges:
            depth[below] = max(depth[below], depth[above] + 1)
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for box, level in enumerate(depth):
        layers[level].append(box)
    return layers


def _tops(boxes: Sequence[Box], layers: Sequence[Sequence[int]]) -> dict[int, float]:
    tops: dict[int, float] = {}
    top = float(_MARGIN_PX)
    for layer in layers:
        tops.update(dict.fromkeys(layer, top))
        top += max(boxes[box].height for box in layer) + _GAP_Y_PX
    return tops


def _centres(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], layers: Sequence[Sequence[int]]
) -> dict[int, float]:
    """Each node below the middle of its inputs, or as near to it as the others of its layer allow."""
    centres: dict[int, float] = {}
    for layer in layers:
        wanted = {box: _mean([centres[above] for above, below in edges if below == box]) for box in layer}
        placed = _apart(boxes, sorted(layer, key=lambda box: (wanted[box], box)), wanted)
        shift = _mean([wanted[box] - placed[box] for box in layer])
        centres.update({box: centre + shift for box, centre in placed.items()})
    return centres


def _apart(boxes: Sequence[Box], layer: Sequence[int], wanted: Mapping[int, float]) -> dict[int, float]:
    """From left to right, each where it is wanted or just beyond the one before."""
    placed: dict[int, float] = {}
    left = float("-inf")
    for box in layer:
        half = boxes[box].width / 2
        placed[box] = max(wanted[box], left + half)
        left = placed[box] + half + _GAP_X_PX
    return placed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_CHARS_MAX else line[: _LINE_CHARS_MAX - 1] + "…"


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (y1 + y2) / 2
    return (
        f'<path d="M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} {x2:.1f},{y2:.1f}" '
        'fill="none" stroke="currentColor" stroke-opacity="0.6" marker-end="url(#arrowstream-tip)"/>'
    )


def _rectangle(box: Box, centre: float, top: float) -> str:
    left = centre - box.width / 2
    text_x = left + _PADDING_PX
    first_y = top + _PADDING_PX + 11
    rectangle = (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="5" '
        'fill="#4c8bf5" fill-opacity="0.10" stroke="#4c8bf5" stroke-opacity="0.8"/>'
    )
    texts = [_text(box.title, text_x, first_y, 'font-weight="bold"')]
    for number, line in enumerate(box.lines, start=1):
        texts.append(_text(line, text_x, first_y + number * _LINE_PX, 'fill-opacity="0.8"'))
    return "\n".join([rectangle, *texts])


def _text(line: str, x: float, y: float, style: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" fill="currentColor" xml:space="preserve"'
    return f"<text {place} {style}>{escape(_cut(line))}</text>"
