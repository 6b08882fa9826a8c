"""The drawing of a plan: well-formed, nothing overlaps, arrows point down, text stays in its box."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowstream.api.graph import Box, svg

_SVG = "{http://www.w3.org/2000/svg}"


def _rectangles(picture):
    root = ET.fromstring(picture)
    found = [
        {key: float(box.get(key)) for key in ("x", "y", "width", "height")}
        for box in root.iter(f"{_SVG}rect")
    ]
    return root, found


def _overlap(a, b):
    apart_x = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
    apart_y = a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
    return not (apart_x or apart_y)


@st.composite
def trees(draw):
    count = draw(st.integers(1, 12))
    text = st.text(
        st.characters(min_codepoint=32, max_codepoint=0x3FF, exclude_characters="\x7f"), max_size=90
    )
    boxes = [Box(draw(text), tuple(draw(st.lists(text, max_size=3)))) for _ in range(count)]
    return boxes, [(draw(st.integers(0, below - 1)), below) for below in range(1, count)]


@given(trees())
def test_boxes_of_any_tree_lie_inside_and_apart_and_below_what_they_read(tree) -> None:
    boxes, edges = tree
    root, found = _rectangles(svg(boxes, edges))
    width, height = float(root.get("width")), float(root.get("height"))
    assert len(found) == len(boxes)
    for box in found:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
    assert not any(_overlap(a, b) for index, a in enumerate(found) for b in found[:index])
    assert len([path for path in root.iter(f"{_SVG}path") if path.get("marker-end")]) == len(edges)


def test_a_chain_is_drawn_straight_down() -> None:
    _, found = _rectangles(svg([Box("scan"), Box("filter", ("a > 1",)), Box("window")], [(0, 1), (1, 2)]))
    centres = {box["x"] + box["width"] / 2 for box in found}
    assert max(centres) - min(centres) < 0.2
    assert [box["y"] for box in found] == sorted(box["y"] for box in found)


def test_text_is_escaped_and_long_text_is_cut() -> None:
    picture = svg([Box('<b a="1"> & more', ("x" * 200,))], [])
    texts = [text.text for text in ET.fromstring(picture).iter(f"{_SVG}text")]
    assert texts == ['<b a="1"> & more', "x" * 71 + "…"]


@pytest.mark.parametrize(("standalone", "background"), [(True, True), (False, False)])
def test_a_file_has_a_background_and_a_page_gives_its_own(standalone, background) -> None:
    picture = svg([Box("scan")], [], standalone=standalone)
    assert ("background:#fff" in picture) is background
    assert 'fill="currentColor"' in picture
