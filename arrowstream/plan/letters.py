"""Bad rows: rules that rows have to keep, and dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

import polars as pl

from arrowstream.config import DEAD_LETTERS
from arrowstream.errors import PlanError
from arrowstream.plan.nodes import DeadLetters, EventTime, MapBatches, Scan, Validate
from arrowstream.plan.schema import POLARS_ERRORS, translated
from arrowstream.plan.sql import check_reads_nothing
from arrowstream.plan.verbs import expanded, selected
from arrowstream.types import OnError

if TYPE_CHECKING:
    from arrowstream.plan.nodes import Node

ON_ERROR: tuple[str, ...] = get_args(OnError)


def check_on_error(doing: str, on_error: str) -> None:
    """Raise PlanError for anything but the words of `OnError`."""
    if on_error not in ON_ERROR:
        raise PlanError(f'{doing}: on_error="{on_error}" does not exist', choices=ON_ERROR)


def validate(node: Node, rules: Mapping[str, pl.Expr | str], *, on_error: OnError = "raise") -> Validate:
    """Let the rows pass for which every rule is true.

    Raises
    ------
    PlanError
        No rules, a rule that is not boolean, looks at other rows, or names an unknown column.
    """
    check_on_error("validate", on_error)
    if not isinstance(rules, Mapping) or not rules:
        raise PlanError(
            f"validate: {rules!r} has no rules",
            hint='write {"name of the rule": pl.col("price") > 0}, or SQL: {"name": "price > 0"}',
        )
    return Validate(
        inputs=(node,),
        schema=node.schema,
        event_time=node.event_time,
        lateness=node.lateness,
        unbounded=node.unbounded,
        rules=tuple((name, _rule(name, rule, node.schema)) for name, rule in rules.items()),
        on_error=on_error,
    )


def _rule(name: object, rule: object, schema: pl.Schema) -> pl.Expr:
    if not isinstance(name, str) or not name:
        raise PlanError(f"validate: {name!r} is no name of a rule", hint="name rules by strings")
    doing = f'validate: rule "{name}"'
    if not isinstance(rule, str | pl.Expr):
        raise PlanError(
            f"{doing} is {type(rule).__name__}", hint='give a boolean expression, or SQL such as "price > 0"'
        )
    return predicate(doing, rule, schema)


def predicate(doing: str, rule: str | pl.Expr, schema: pl.Schema) -> pl.Expr:
    """A boolean expression that looks at each row alone; a string is SQL.

    Raises
    ------
    PlanError
        It is not one; the message begins with `doing`.
    """
    expr = sql_expression(doing, rule, schema) if isinstance(rule, str) else rule
    exprs = expanded(doing, [expr], schema)
    dtypes = selected(doing, [single.alias(str(i)) for i, single in enumerate(exprs)], schema).dtypes()
    if len(dtypes) != 1:
        raise PlanError(
            f"{doing} gives {len(dtypes)} columns",
            hint="join them with pl.all_horizontal(…) or pl.any_horizontal(…)",
        )
    if dtypes[0] not in (pl.Boolean, pl.Null):
        raise PlanError(f"{doing} is {dtypes[0]}, not boolean", hint="compare: price > 0")
    return exprs[0]


def sql_expression(doing: str, text: str, schema: pl.Schema) -> pl.Expr:
    """A Polars SQL expression.

    Raises
    ------
    PlanError
        It cannot be parsed, or would read something else than the row; the message begins with `doing`.
    """
    try:
        check_reads_nothing(text)
    except PlanError as error:
        raise PlanError(f"{doing}: {error.fact}", hint=error.hint) from error
    try:
        return pl.sql_expr(text)
    except POLARS_ERRORS as error:
        raise translated(f"{doing}: {text!r} is no SQL expression", error, schema) from error


def dead_letters(node: Node) -> DeadLetters:
    """What `node` and the nodes upstream of it could not take.

    Raises
    ------
    PlanError
        None of them has `on_error="dead_letter"`.
    """
    producers = producers_upstream(node)
    if not producers:
        raise PlanError(
            "nothing upstream makes dead letters",
            hint='give on_error="dead_letter" to the source, or to with_event_time, map_batches or validate',
        )
    return DeadLetters(
        inputs=(producers[-1],),
        schema=DEAD_LETTERS,
        event_time=None,
        lateness=None,
        unbounded=producers[-1].unbounded,
        producers=producers,
    )


def producers_upstream(node: Node) -> tuple[Node, ...]:
    """The nodes that make dead letters, from the source down; nothing above dead letters themselves."""
    found: list[Node] = []
    above: Node | None = node
    while above is not None and not isinstance(above, DeadLetters):
        if makes_letters(above):
            found.append(above)
        above = above.inputs[0] if above.inputs else None
    return tuple(reversed(found))


def makes_letters(node: Node) -> bool:
    """Whether what the node cannot take becomes dead letters."""
    return on_error_of(node) == "dead_letter"


def on_error_of(node: Node) -> OnError | None:
    """What the node does with what it cannot take; None for a node that takes everything."""
    return node.on_error if isinstance(node, Scan | EventTime | MapBatches | Validate) else None
