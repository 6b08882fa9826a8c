"""Whatever a file says, lint says what is wrong with it, and never fails itself."""

from __future__ import annotations

import copy
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from arrowstream.pipelines import lint

TEXT = """\
source: {parquet: [bids.parquet], event_time: time, lateness: 5s, on_error: skip}
steps:
  - filter: price > 1
  - with_columns: {twice: price * 2}
  - select: ['*', price + 1 AS more]
  - cast: {more: Int8}
    strict: false
  - rename: {more: less}
  - sql: SELECT * FROM self WHERE price < 40
  - validate: {rule: price > 1}
    on_error: dead_letter
  - group_by_dynamic: time
    every: 10s
    group_by: [auction]
    agg: {n: COUNT(*), top: MAX(price)}
  - limit: 5
sinks:
  - parquet: out
    partition_by: {key: auction}
late: {parquet: late}
dead_letters: {parquet: bad}
run: {checkpoint: state, checkpoint_every: 5s, batch_rows: auto}
"""
JUNK = [None, 1.5, [[]], {"junk": "1"}]


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def replaced(value, path, junk):
    if not path:
        return junk
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    return changed


def removed(value, path):
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed


def dumped(value):
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(value, out)
    return out.getvalue()


DOCUMENT = YAML(typ="safe", pure=True).load(TEXT)


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_any_value_may_be_anything(write, junk):
    for path in paths(DOCUMENT):
        found = lint(write(dumped(replaced(DOCUMENT, path, junk))), environment={})
        assert all(mistake.place.line >= 1 and mistake.message for mistake in found), (path, found)


def test_any_value_may_be_missing(write):
    for path in paths(DOCUMENT):
        if path:
            lint(write(dumped(removed(DOCUMENT, path))), environment={})


def test_the_document_itself_is_right(mistakes):
    assert mistakes(TEXT) == []


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 8),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=4),
)
def test_any_text_may_be_broken(write, at, length, insertion):
    lint(write(TEXT[:at] + insertion + TEXT[at + length :]), environment={})
