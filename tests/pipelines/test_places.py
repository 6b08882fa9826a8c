"""Where keys and values are, in YAML and in TOML; and what is no YAML or TOML, or more than plain values."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrowstream.pipelines.mistakes import MalformedError
from arrowstream.pipelines.toml_text import parse_toml
from arrowstream.pipelines.yaml_text import NODES_MAX, parse_yaml


def test_yaml_values_and_places():
    document = parse_yaml(
        "a: {b: 1, c: [x, 'y']}\n"
        "d:\n"
        "  - yes\n"
        "  - |\n"
        "    text\n"
        "  - 2026-01-01\n"
        "  - [0x10, 1_000, 1.5, .inf, true, ~]\n"
    )
    assert document.value == {
        "a": {"b": 1, "c": ["x", "y"]},
        "d": ["yes", "text\n", "2026-01-01", [16, 1000, 1.5, float("inf"), True, None]],
    }
    assert document.values["a", "c", 1] == (1, 18)
    assert document.keys["a", "c"] == (1, 11)
    assert document.values["d", 1] == (4, 5)
    assert document.values["d", 3, 4] == (7, 30)
    assert document.place_of(("d", 0, "nothing here")) == (3, 5)


def test_an_alias_is_where_its_anchor_is():
    document = parse_yaml("a: &x [1]\nb: *x\n")
    assert document.value == {"a": [1], "b": [1]}
    assert document.values["b", 0] == (1, 8)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: [1,\nb: 2", (2, 5), "this is no YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a: 'x' + 3", (1, 8), "this is no YAML: while parsing a block mapping, expected <block end>"),
        ("a: 1\nb: 2\na: 3", (3, 1), '"a" is here twice: first in line 1'),
        ("a: *x", (1, 4), "this is no YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", (2, 1), "this is no YAML: expected a single document"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "the tag tag:yaml.org,2002:python/object/apply"),
        ("a: !!binary aGk=", (1, 4), "the tag tag:yaml.org,2002:binary is not allowed"),
        ("a: !mine 1", (1, 4), "the tag !mine is not allowed"),
        ("a: !!int x", (1, 4), "'x' is no int"),
        ("[1, 2]: 3", (1, 1), "a key has to be a text"),
        ("a: &x [*x]", (1, 4), "this alias stands for what it is a part of"),
        ("a: \x01", (1, 4), "this is no YAML: unacceptable character"),
        ("[" * 1200, (1, 1), "this is nested too deeply"),
    ],
)
def test_what_is_no_plain_yaml(text, place, message):
    with pytest.raises(MalformedError) as found:
        parse_yaml(text)
    assert found.value.place == place
    assert found.value.message.startswith(message)


def test_aliases_cannot_explode():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(MalformedError, match=f"more than {NODES_MAX:,} values"):
        parse_yaml("\n".join(lines))


def test_toml_values_and_places():
    text = """\
title = "x" # a comment with [brackets] and "quotes"
[source]
parquet = "a"
options.inner.deep = 1
[[steps]]
filter = '''
price > 100''' # [no table]
"quoted key" = [1, { a = 2, "b c" = [3] }, "]"]

[[steps]]
select = [
  "a", # one
  "b",
]
[steps.agg]
n = 2026-01-01
[[steps.agg.list]]
last = true
"""
    document = parse_toml(text)
    assert document.value == {
        "title": "x",
        "source": {"parquet": "a", "options": {"inner": {"deep": 1}}},
        "steps": [
            {"filter": "price > 100", "quoted key": [1, {"a": 2, "b c": [3]}, "]"]},
            {"select": ["a", "b"], "agg": {"n": "2026-01-01", "list": [{"last": True}]}},
        ],
    }
    assert document.keys["source",] == (2, 1)
    assert document.values["source", "options", "inner", "deep"] == (4, 22)
    assert document.values["steps", 0] == (5, 1)
    assert document.values["steps", 0, "filter"] == (6, 10)
    assert document.keys["steps", 0, "quoted key"] == (8, 1)
    assert document.values["steps", 0, "quoted key", 1, "b c", 0] == (8, 38)
    assert document.values["steps", 1, "select", 1] == (13, 3)
    assert document.values["steps", 1, "agg", "n"] == (16, 5)
    assert document.keys["steps", 1, "agg", "list", 0, "last"] == (18, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = ", (1, 5)), ("a = 1\nb = [1,", (2, 8)), ("a = 1\na = 2", (2, 6)), ("[a", (1, 3)), ("", None)],
)
def test_what_is_no_toml(text, place):
    if place is None:
        assert parse_toml(text).value == {}
        return
    with pytest.raises(MalformedError, match="this is no TOML: ") as found:
        parse_toml(text)
    assert found.value.place == place


_texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)


def _basic(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_keys = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), _texts.map(_basic))
_scalars = st.one_of(
    st.integers(-99, 99).map(str),
    st.booleans().map(lambda flag: str(flag).lower()),
    _texts.map(_basic),
    _texts.filter(lambda text: "'" not in text).map(lambda text: f"'{text}'"),
    _texts.map(lambda text: '"""\n' + _basic(text)[1:-1] + '\n"""'),
    st.sampled_from(["2026-01-01T00:00:00Z", "1e3", "inf", "''''a'''''", '""""a"""""']),
)


def _array(items):
    return st.lists(items, max_size=3).map(lambda parts: "[ " + ", # ]\n ".join([*parts, "1"]) + "\n]")


def _table(items):
    pairs = st.lists(st.tuples(_keys, items), max_size=3, unique_by=lambda pair: pair[0])
    return pairs.map(lambda found: "{ " + ", ".join(f"{key} = {value}" for key, value in found) + " }")


_values = st.recursive(_scalars, lambda items: st.one_of(_array(items), _table(items)), max_leaves=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.booleans(), _keys, _keys, _values), max_size=5))
def test_every_toml_value_is_found_at_its_place(parts):
    lines = []
    for number, (array, header, key, value) in enumerate(parts):
        lines.append(f"[[t.{header}]]" if array else f"[t{number}.{header}] # = ")
        lines.append(f"  {key} = {value}")
    text = "\n".join(lines)
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a key twice
        return
    document = parse_toml(text)
    rows = text.split("\n")

    def visit(value, path):
        place = document.values[path]
        rest = rows[place.line - 1][place.column - 1 :]
        if isinstance(value, dict):
            for key, item in value.items():
                assert (*path, key) in document.keys
                visit(item, (*path, key))
        elif isinstance(value, list):
            assert rest.startswith("[")
            for index, item in enumerate(value):
                visit(item, (*path, index))
        elif isinstance(value, str):
            assert rest[0] in "\"'"
        elif isinstance(value, bool):
            assert rest.startswith(str(value).lower())
        elif isinstance(value, int):
            assert rest.startswith(str(value))

    visit(expected, ())
