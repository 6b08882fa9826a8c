"""Texts with the values of columns in them."""

from __future__ import annotations

import re

import polars as pl

from arrowstream.errors import PlanError

_PLACE = re.compile(r"\$\$|\$\{([^{}]*)\}|\$")


def template(text: str, *, null: str = "") -> pl.Expr:
    """An expression that fills the places `${…}` of a text with values of the row.

    Parameters
    ----------
    text
        `${host}` is the value of a column, `${user.name}` that of a field of a struct, and
        `${time:%Y-%m-%d}` a time in the format given, as `dt.to_string` takes it. `$$` is a dollar sign.
    null
        What stands for null.

    Raises
    ------
    PlanError
        A `$` that begins no place, or a place without a name.

    Notes
    -----
    What a row itself does not have, `with_metadata` adds: its file and number, the time of its processing
    and the number of its batch.

    Examples
    --------
    >>> import polars as pl, arrowstream as ars
    >>> logs = ars.from_polars(pl.DataFrame({"host": ["a", None], "level": [3, 4]}))
    >>> logs.select(text=ars.template("<${level}> ${host}", null="-")).collect()["text"].to_list()
    ['<3> a', '<4> -']
    """
    parts: list[pl.Expr] = []
    end = 0
    for place in _PLACE.finditer(text):
        parts.append(pl.lit(text[end : place.start()]))
        parts.append(pl.lit("$") if place[0] == "$$" else _value(text, place).fill_null(null))
        end = place.end()
    return pl.concat_str([*parts, pl.lit(text[end:])])


def _value(text: str, place: re.Match[str]) -> pl.Expr:
    if place[0] == "$":
        raise PlanError(
            f"template: the $ at {place.start()} of {text!r} begins no ${{name}}",
            hint="write $$ for a dollar sign",
        )
    path, _, shape = place[1].partition(":")
    column, *fields = path.strip().split(".")
    if not column or not all(fields):
        raise PlanError(f"template: {place[0]} in {text!r} names no column", hint="write ${name}")
    value = pl.col(column)
    for field in fields:
        value = value.struct.field(field)
    return value.dt.to_string(shape) if shape else value.cast(pl.String)
