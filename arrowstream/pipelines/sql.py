"""Polars SQL in pipeline files: expressions, and `SELECT … FROM self WHERE …`. Nothing else can be read.

A pipeline file says what it reads under `source`, and must not be able to read anything else behind that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from arrowstream.errors import PlanError
from arrowstream.plan.schema import POLARS_ERRORS
from arrowstream.plan.sql import check_reads_nothing, reads_elsewhere, shown, tokens

_STAR = re.compile(r"(?:self\s*\.\s*)?\*(?:\s*(?:exclude|except)\s*\(?([^()]*)\)?)?", re.IGNORECASE)
_NAME = re.compile(r'\w+|"(?:[^"]|"")*"')
_PARSING = re.compile(r"(?:sql parser error: |unable to parse )", re.IGNORECASE)

_REFUSED = {
    "group": "add a step group_by_dynamic, with agg",
    "having": "add a filter step after the windows",
    "order": "a stream has no end to wait for: windows come in their order",
    "limit": "add a step: limit",
    "join": None,
    "union": None,
    "except": None,
    "intersect": None,
}
"""What may follow FROM in SQL but not in a step on single rows, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Query:
    """`SELECT items FROM self WHERE where`."""

    items: tuple[pl.Expr, ...]
    where: pl.Expr | None


def expression(text: str) -> pl.Expr:
    """A SQL expression, with or without `AS name`.

    Raises
    ------
    PlanError
        It cannot be parsed, or would read something else than the row.

    Examples
    --------
    >>> print(expression("price > 100 AS dear"))
    [(col("price")) > (dyn int: 100)].alias("dear")
    """
    check_reads_nothing(text)
    try:
        found = pl.sql_expr(text)
    except POLARS_ERRORS as error:
        raise _refused(text, error) from error
    if '"SubPlan":' in found.meta.serialize(format="json"):
        raise reads_elsewhere(text)
    return found


def item(text: str) -> pl.Expr:
    """An expression, `*`, or `* EXCLUDE (a, b)`.

    Examples
    --------
    >>> print(item("*"))
    cs.all()
    """
    star = _STAR.fullmatch(text.strip())
    if star is None:
        return expression(text)
    if star[1] is None:
        return pl.all()
    names = _NAME.findall(star[1])
    return pl.exclude([name[1:-1].replace('""', '"') if name[0] == '"' else name for name in names])


def query(text: str) -> Query:
    """`SELECT … FROM self`, with `WHERE …` if wanted.

    Raises
    ------
    PlanError
        It is anything else.
    """
    parts = _clauses(text)
    if list(parts) not in (["select", "from"], ["select", "from", "where"]):
        raise PlanError(f"{shown(text)} is no query that a step can have", hint=_QUERY_HINT)
    source = parts["from"].strip()
    if source.lower() != "self":
        raise PlanError(
            f"a query can read nothing but self, not {shown(source)}",
            choices=("self",),
            hint='"self" is what comes out of the step before',
        )
    items = tuple(item(part) for part in split_list(parts["select"]))
    return Query(items, expression(parts["where"]) if "where" in parts else None)


_TRUNCATED_HINT = (
    "the day is CAST(time AS DATE), the hour TIMESTAMP(STRFTIME(time, '%Y-%m-%d %H:00:00')), "
    "its number EXTRACT(hour FROM time); to count in each hour, add a step group_by_dynamic"
)
"""Polars' DATE_TRUNC wants to know the type of its argument, which an expression alone does not tell."""

_QUERY_HINT = "write SELECT … FROM self, or SELECT … FROM self WHERE …"


def _refused(text: str, error: BaseException) -> PlanError:
    said = _PARSING.sub("", str(error)).strip().splitlines() or [""]
    hint = "it is a SQL expression: texts in 'single quotes', names with odd letters in \"double quotes\""
    if "','" in said[0]:
        hint = "write a list, with one expression an item"
    if "&&" in text:
        hint = "write AND"
    if text.count("(") != text.count(")"):
        hint = "inside of [ ] and { } a comma ends a text: put it into quotes"
    if "DATE_TRUNC" in said[0]:
        return PlanError(f"{shown(text)}: DATE_TRUNC cannot be used in an expression", hint=_TRUNCATED_HINT)
    if not text.strip():
        return PlanError("an expression is missing", hint="write a SQL expression, such as price > 100")
    found = re.search(r"unsupported function '?(\w+)'?", said[0])
    if found and found[1] in {"pl", "col", "cs"}:
        hint = "expressions are SQL, not Python: price > 100"
        return PlanError(f"{shown(text)} is no SQL expression", hint=hint)
    if found:
        return PlanError(
            f"{shown(text)}: SQL has no function {found[1]}", hint="functions are those of Polars SQL"
        )
    reason = said[0].removeprefix(f"'{text}' as Expr").strip()
    return PlanError(f"{shown(text)} is no SQL expression" + (f": {reason}" if reason else ""), hint=hint)


def _clauses(text: str) -> dict[str, str]:
    """What follows SELECT, FROM and WHERE, in their order."""
    parts: dict[str, str] = {}
    clause, depth = "", 0
    for kind, part in tokens(text.strip().removesuffix(";")):
        word = part.lower()
        depth += (part == "(") - (part == ")") if kind == "other" else 0
        if kind == "word" and depth == 0 and (clause != "from" or word == "where" or parts["from"].strip()):
            if word in _REFUSED and clause in {"from", "where"}:
                hint = _REFUSED[word] or _QUERY_HINT
                raise PlanError(f"a query of a step has no {part.upper()}", hint=hint)
            if word == "distinct" and clause == "select" and not parts["select"].strip():
                raise PlanError("a query of a step has no DISTINCT", hint=_QUERY_HINT)
            if word in {"select", "from", "where"}:
                if word in parts:
                    raise PlanError(f"{shown(text)} has {word.upper()} twice", hint=_QUERY_HINT)
                parts[word], clause = "", word
                continue
        if clause:
            parts[clause] += part if kind != "comment" else " "
        elif part.strip():
            raise PlanError(f"{shown(text)} does not begin with SELECT", hint=_QUERY_HINT)
    return parts


def split_list(text: str) -> list[str]:
    """The items of a list, at the commas that are not inside parentheses, brackets or quotes."""
    items, depth = [""], 0
    for kind, part in tokens(text):
        if kind == "other":
            depth += (part in "([") - (part in ")]")
            if part == "," and depth == 0:
                items.append("")
                continue
        items[-1] += part
    return items
