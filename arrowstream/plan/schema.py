"""What a Polars plan gives, found out on a frame without rows; and Polars' errors in our words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.config import HIDDEN
from arrowstream.errors import PlanError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_HIDDEN_PREFIX = "__arrowstream_"

POLARS_ERRORS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    TypeError,
    ValueError,
)
"""What building or running a plan may raise: the Python layer of Polars raises the last two."""

_QUOTED = re.compile(r"""["']([^"']+)["']""")
_UNWRAPPED = re.compile(r"""`Result::unwrap\(\)` on an `Err` value: \w+\(ErrString\("(.*)"\)\)""")
_IN_EXPRESSION = re.compile(r"This error occurred in the following expression:\s*(\S.*)")


def empty(schema: pl.Schema) -> pl.LazyFrame:
    """A frame with these columns and no rows."""
    return pl.DataFrame(schema=schema).lazy()


def out_schema(
    doing: str,
    schema: pl.Schema,
    apply: Callable[[pl.LazyFrame], pl.LazyFrame],
    *,
    runs: bool = True,
) -> pl.Schema:
    """The schema that `apply` gives for input of `schema`.

    Parameters
    ----------
    doing
        What the user wrote, in errors: the verb.
    runs
        Run it on the empty frame too: many type errors show only then. Not for Python functions, which
        may not expect that.

    Raises
    ------
    PlanError
        Unknown column, ill-typed, or two columns of one name.
    """
    try:
        plan = apply(empty(schema))
        found = plan.collect_schema()
        if runs:
            found = plan.collect().schema
    except POLARS_ERRORS as error:
        raise translated(doing, error, schema) from error
    return checked_names(doing, found)


def checked_names(doing: str, schema: pl.Schema) -> pl.Schema:
    """`schema`, if the user may name columns so."""
    taken = [name for name in schema if name.startswith(_HIDDEN_PREFIX)]
    if taken:
        raise PlanError(
            f'{doing}: column names that begin with "{_HIDDEN_PREFIX}" are taken: "{taken[0]}"',
            hint="rename it",
        )
    return schema


def unknown_column(doing: str, name: str, columns: Iterable[str]) -> PlanError:
    """The error for a column that is not there."""
    columns = [column for column in columns if column not in HIDDEN]
    near = nearest(name, columns)
    return PlanError(
        f'{doing}: there is no column "{name}"',
        choices=columns,
        hint=f'did you mean "{near}"?' if near else None,
    )


def duplicate_column(doing: str, name: str) -> PlanError:
    """The error for two columns of one name."""
    return PlanError(
        f'{doing}: two columns would be called "{name}"',
        hint='give one of them another name with .alias("…")',
    )


def translated(doing: str, error: BaseException, schema: pl.Schema) -> PlanError:
    """A Polars error as a PlanError that names the verb."""
    fact = str(error).strip()
    quoted = _QUOTED.search(fact)
    if isinstance(error, pl.exceptions.ColumnNotFoundError) and quoted:
        return unknown_column(doing, quoted[1], schema)
    if isinstance(error, pl.exceptions.StructFieldNotFoundError):
        return PlanError(f'{doing}: there is no struct field "{fact.splitlines()[0]}"')
    if quoted and (isinstance(error, pl.exceptions.DuplicateError) or "is duplicate" in fact):
        return duplicate_column(doing, quoted[1])
    summary = fact.split("\n\n")[0].replace("\n", " ")
    hint = None
    if panic := _UNWRAPPED.search(summary):  # what Polars meant to say
        summary = panic[1]
    if "filter predicate must be of type" in summary:
        hint = "compare: pl.col(…) > 0, or name=value for equality"
    elif "supertype" in summary:
        hint = "cast the columns to one type first: .cast({…})"
    elif "operation not supported for dtype" in summary:
        hint = "cast the column first, or leave it out"
    elif "cannot compare" in summary or "not allowed on" in summary:
        hint = "cast one of the two first: .cast(…)"
    place = _IN_EXPRESSION.search(fact)
    return PlanError(f"{doing}: {summary}" + (f" (in {place[1].strip()})" if place else ""), hint=hint)
