from __future__ import annotations

import polars as pl
import pytest

from arrowstream.errors import PlanError
from arrowstream.plan import build, explain
from arrowstream.plan.rules import parsed


@pytest.fixture
def read(scan, tmp_path):
    def read(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return build.filter_file(scan(x=pl.Int64, s=pl.String), path)

    return read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.yaml", "low: x < 3\n# a comment\nlike: s LIKE 'a%'\n"),
        ("r.yml", "rules:\n  low: x < 3\n  like: s LIKE 'a%'\n"),
        ("r.toml", "low = 'x < 3'\nlike = \"s LIKE 'a%'\"\n"),
        ("r.toml", "[rules]\nlow = 'x < 3'\nlike = \"s LIKE 'a%'\"\n"),
        ("r.json", '{"rules": {"low": "x < 3", "like": "s LIKE \'a%\'"}}'),
    ],
)
def test_rules_have_names(read, name, text):
    assert read(name, text).rules == (("low", "x < 3"), ("like", "s LIKE 'a%'"))


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("r.sql", "-- low ones\nx < 3\n\n# named\ns = 'a'\n", ("line 2", "line 5")),
        ("r.txt", "x < 3\ns = 'a'", ("line 1", "line 2")),
        ("r.yaml", "- x < 3\n- s = 'a'\n", ("1", "2")),
        ("r.json", '["x < 3", "s = \'a\'"]', ("1", "2")),
        ("r.toml", "rules = ['x < 3', \"s = 'a'\"]", ("1", "2")),
    ],
)
def test_lists_of_rules(read, name, text, names):
    assert read(name, text).rules == tuple(zip(names, ("x < 3", "s = 'a'"), strict=True))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("r.yaml", "low: x < 3\nhigh: y > 5\n", 'r.yaml, line 2: rule "high": there is no column "y"'),
        ("r.yaml", "low: [x\n", "r.yaml: line 2: "),
        (
            "r.toml",
            "low = 'x < 3'\nhigh = 'x +'\n",
            "r.toml, line 2: rule \"high\": 'x +' is no SQL expression",
        ),
        ("r.toml", "low = 'x < 3'\nhigh = \n", "(at line 2, column 8)"),
        ("r.json", '{"low": "x < 3",\n "high": 5}', 'r.json, line 2: rule "high" is 5\n  hint: write an SQL'),
        ("r.json", '{"low": }', "line 1 column 9"),
        ("r.sql", "x < 3\n\nx + 1\n", 'r.sql, line 3: rule "line 3" is Int64, not boolean'),
        ("r.sql", "SUM(x) > 3", 'r.sql, line 1: rule "line 1": sum() looks at other rows'),
        ("r.csv", "x < 3", 'filter_file: ".csv" of r.csv is no kind of rules\n  choices: .yaml'),
    ],
)
def test_mistakes_have_lines(read, name, text, told):
    with pytest.raises(PlanError) as caught:
        read(name, text)
    assert told in str(caught.value)


def test_there_has_to_be_a_file(scan, tmp_path):
    with pytest.raises(PlanError, match="cannot be read"):
        build.filter_file(scan(x=pl.Int64), tmp_path / "none.yaml")
    with pytest.raises(PlanError, match="takes the path of a file, not 3"):
        build.filter_file(scan(x=pl.Int64), 3)


def test_what_the_rules_are_is_no_part_of_the_plan_but_shown(read):
    low, high = read("r.sql", "x < 3"), read("r.sql", "x > 3")
    assert explain.fingerprint([low]) == explain.fingerprint([high])
    assert "· line 1: x < 3" in explain.logical([low])
    assert "read again when an epoch begins" in explain.physical([low])
    assert parsed(low.path, "x > 3", low.schema) == high.rules


def test_rules_to_come_may_look_at_every_column(read):
    step = build.row_step(read("r.sql", "x < 3"), "select", "s")
    assert "reads 2 of 2 columns" in explain.physical([step])
