"""Rules in a file: SQL expressions that a running query takes over when the file changes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from arrowstream.errors import PlanError
from arrowstream.plan.letters import predicate
from arrowstream.plan.nodes import FilterFile

if TYPE_CHECKING:
    import polars as pl

    from arrowstream.plan.nodes import Node
    from arrowstream.types import PathLike

Rules: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and SQL expressions, in the order of the file."""

_SUFFIXES = (".yaml", ".yml", ".toml", ".json", ".sql", ".txt")
_COMMENTS = ("--", "#")
_TEXT_CHARS_MATCHED = 24


def filter_file(node: Node, path: PathLike) -> FilterFile:
    """Keep the rows for which every rule in the file is true.

    Raises
    ------
    PlanError
        There is no such file, it cannot be parsed, or a rule has a mistake: with its line.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise PlanError(
            f"filter_file takes the path of a file, not {path!r}", hint='write filter_file("rules.yaml")'
        )
    file = Path(path).expanduser().absolute()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"filter_file: {file} cannot be read: {error}") from error
    return FilterFile(
        inputs=(node,),
        schema=node.schema,
        event_time=node.event_time,
        lateness=node.lateness,
        unbounded=node.unbounded,
        path=file,
        rules=parsed(file, text, node.schema),
    )


def parsed(file: Path, text: str, schema: pl.Schema) -> Rules:
    """The rules of a file's text.

    Raises
    ------
    PlanError
        A mistake, with its line.
    """
    if file.suffix not in _SUFFIXES:
        raise PlanError(f'filter_file: "{file.suffix}" of {file.name} is no kind of rules', choices=_SUFFIXES)
    rules = _lines(text) if file.suffix in (".sql", ".txt") else _named(file, _loaded(file, text))
    for name, sql in rules:
        doing = f'{file.name}, line {_line_of(text, name, sql)}: rule "{name}"'
        if not isinstance(sql, str):
            raise PlanError(f"{doing} is {sql!r}", hint='write an SQL expression, such as "price > 0"')
        predicate(doing, sql, schema)
    return rules


def predicates(rules: Rules, schema: pl.Schema) -> list[pl.Expr]:
    """The rules as boolean expressions."""
    return [predicate(f'rule "{name}"', sql, schema) for name, sql in rules]


def _lines(text: str) -> Rules:
    """One expression a line, named by its number."""
    numbered = ((f"line {number}", line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return tuple((name, line) for name, line in numbered if line and not line.startswith(_COMMENTS))


def _loaded(file: Path, text: str) -> Any:
    try:
        if file.suffix == ".json":
            return json.loads(text)
        if file.suffix == ".toml":
            return tomllib.loads(text)
        return _yaml(text)
    except ValueError as error:  # JSON's and TOML's own say the line
        raise PlanError(f"{file.name}: {error}") from error


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{getattr(error, 'problem', None) or error}") from error


def _named(file: Path, loaded: Any) -> Rules:
    """A list of expressions, or a mapping from names; either may be under "rules"."""
    if isinstance(loaded, dict) and list(loaded) == ["rules"] and isinstance(loaded["rules"], list | dict):
        loaded = loaded["rules"]
    if loaded is None:
        return ()
    if isinstance(loaded, list):
        return tuple((f"{number}", sql) for number, sql in enumerate(loaded, start=1))
    if isinstance(loaded, dict):
        return tuple((str(name), sql) for name, sql in loaded.items())
    raise PlanError(
        f"{file.name} has neither a list nor a mapping of rules",
        hint='write a name and an SQL expression for each: positive: "price > 0"',
    )


def _line_of(text: str, name: str, sql: object) -> int:
    """The line that says the rule, as well as it can be found: the parsers do not tell."""
    if name.startswith("line "):
        return int(name.removeprefix("line "))
    key = re.compile(rf"""^\s*[{{,]?\s*["']?{re.escape(name)}["']?\s*[:=]""")
    start = str(sql)[:_TEXT_CHARS_MATCHED].split('"')[0].splitlines() or [""]
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if key.match(line):
            return number
    return next((number for number, line in enumerate(lines, start=1) if start[0] and start[0] in line), 1)
