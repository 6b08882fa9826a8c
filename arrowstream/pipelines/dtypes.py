"""Types of columns as they are written in a pipeline file: the way Polars prints them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.errors import PlanError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

_SIMPLE = {
    dtype.__name__: dtype
    for dtype in (
        pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128,
        pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128,
        pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Binary,
        pl.Date, pl.Time, pl.Datetime, pl.Duration, pl.Decimal, pl.Categorical, pl.Null,
    )
}  # fmt: skip
_NESTED = ("List", "Array", "Struct", "Enum")
NAMES = (*_SIMPLE, *_NESTED)

_HINT = "write Int64, String, Datetime('us', 'UTC'), Decimal(38, 2), List(Int64), Struct({'a': Int64}) …"


def parse_dtype(text: str) -> pl.DataType:
    """The type that a text stands for.

    Raises
    ------
    PlanError
        There is no such type.

    Examples
    --------
    >>> parse_dtype("List(Datetime('ms'))")
    List(Datetime(time_unit='ms', time_zone=None))
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = _dtype(tree, text)
        pl.DataFrame(schema={"": found})  # some arguments are looked at only then
    except PlanError:
        raise
    except (SyntaxError, TypeError, ValueError, RecursionError, pl.exceptions.PolarsError) as error:
        raise PlanError(f'"{text}" is no type of a column', hint=_HINT) from error
    return found


def _dtype(tree: ast.expr, text: str) -> pl.DataType:
    match tree:
        case ast.Name(name):
            dtype = _SIMPLE.get(name)
            if dtype is None:
                raise _unknown(name, text)
            return dtype()
        case ast.Call(ast.Name(name), arguments, keywords):
            make = _parametric(name)
            if make is None:
                raise _unknown(name, text)
            return make(
                *(_argument(argument, text) for argument in arguments),
                **{str(keyword.arg): _argument(keyword.value, text) for keyword in keywords},
            )
    raise PlanError(f'"{text}" is no type of a column', hint=_HINT)


def _parametric(name: str) -> Callable[..., pl.DataType] | None:
    makers: dict[str, Callable[..., pl.DataType]] = {
        "Datetime": pl.Datetime,
        "Duration": pl.Duration,
        "Decimal": pl.Decimal,
        "List": pl.List,
        "Array": pl.Array,
        "Struct": pl.Struct,
        "Enum": pl.Enum,
    }
    return makers.get(name)


def _argument(tree: ast.expr, text: str) -> Any:
    match tree:
        case ast.Constant(value):
            return value
        case ast.List(items) | ast.Tuple(items) if all(isinstance(item, ast.Constant) for item in items):
            return ast.literal_eval(tree)
        case ast.Dict(keys, values) if None not in keys:
            return {
                ast.literal_eval(key): _dtype(value, text)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.Name(name) if name in {"ns", "us", "ms", "UTC"}:
            return name
    return _dtype(tree, text)


def _unknown(name: str, text: str) -> PlanError:
    if name in _NESTED:
        return PlanError(f'"{text}": {name} has to say of what', hint=_HINT)
    near = nearest(name, NAMES) or nearest(name.title(), NAMES)
    return PlanError(
        f'"{text}": there is no type {name}', choices=NAMES, hint=f"did you mean {near}?" if near else _HINT
    )
