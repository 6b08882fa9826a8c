"""What is kept of each aggregation: which partial states it needs, and how its value comes out of them.

Aggregations share states: `sum` and `mean` of one float column keep one compensated sum between them. Every
group has its number of rows; nulls are counted a column, from the first null on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from arrowstream.errors import InternalError
from arrowstream.kernels import aggregate
from arrowstream.runtime.operators.key_codec import plain_values, plain_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrowstream.plan.nodes import Partial

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of partial state.

    Attributes
    ----------
    columns
        (name, dtype, initial value) of each accumulator.
    update, merge
        The kernels that fold rows, and other states, into the accumulators.
    encode
        Turns the input column into the kernel's values.
    timed
        Whether the kernel looks at the rows' times, ranks and nulls (first, last).
    """

    columns: tuple[tuple[str, type, Any], ...]
    update: Callable[..., None]
    merge: Callable[..., None]
    encode: Callable[[pl.Series], Array]
    timed: bool = False


def _as_float(column: pl.Series) -> Array:
    return column.cast(pl.Float64).rechunk().to_numpy()


def _bits(column: pl.Series) -> Array:
    """int64 words that keep every bit of a value, the sign of zero included."""
    if column.dtype.is_float():
        return _as_float(column).view(np.int64)
    return plain_words(column)


def _ordered(column: pl.Series) -> Array:
    """int64 words that compare as the values do."""
    words = plain_words(column)
    return words ^ np.int64(_INT64_MIN) if column.dtype == pl.UInt64 else words


_INTEGER, _FLOAT = (("value", np.int64, 0),), (("value", np.float64, np.nan),)
_PAIR = (("high", np.float64, 0.0), ("low", np.float64, 0.0))
_SPREAD = (("n", np.float64, 0.0), ("mean", np.float64, 0.0), ("squares", np.float64, 0.0))
_LEAST, _GREATEST = (("value", np.int64, _INT64_MAX),), (("value", np.int64, _INT64_MIN),)


def _at_time(initial: int) -> tuple[tuple[str, type, Any], ...]:
    return (
        ("time", np.int64, initial),
        ("rank", np.int64, initial),
        ("value", np.int64, 0),
        ("known", np.uint8, 0),
    )


OPERATIONS: dict[str, Operation] = {
    "sum_int": Operation(_INTEGER, aggregate.sum_int, aggregate.sum_int, plain_words),
    "sum_float": Operation(_PAIR, aggregate.sum_float, aggregate.merge_sum_float, _as_float),
    "min_int": Operation(_LEAST, aggregate.min_int, aggregate.min_int, _ordered),
    "max_int": Operation(_GREATEST, aggregate.max_int, aggregate.max_int, _ordered),
    "min_float": Operation(_FLOAT, aggregate.min_float, aggregate.min_float, _as_float),
    "max_float": Operation(_FLOAT, aggregate.max_float, aggregate.max_float, _as_float),
    "variance": Operation(_SPREAD, aggregate.variance, aggregate.merge_variance, _as_float),
    "first": Operation(_at_time(_INT64_MAX), aggregate.first, aggregate.first, _bits, timed=True),
    "last": Operation(_at_time(_INT64_MIN), aggregate.last, aggregate.last, _bits, timed=True),
}
"""Every partial state there is, by name."""


@dataclass(frozen=True, slots=True)
class State:
    """A partial state that a window node keeps: an operation on one of its input columns."""

    operation: str
    input: int

    def column(self, name: str) -> str:
        """Name of one accumulator in tables of state."""
        return f"{self.operation}_{self.input}_{name}"

    @property
    def columns(self) -> list[str]:
        """Names of all its accumulators."""
        return [self.column(name) for name, _, _ in OPERATIONS[self.operation].columns]


def nulls_column(column: int) -> str:
    """Name of the count of nulls in one input column."""
    return f"nulls_{column}"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One output column: the state it is made of (None: row and null counts do) and how."""

    partial: Partial
    input: int | None
    state: State | None

    def finish(self, arrays: dict[str, Array]) -> pl.Series:
        """The values of this column, given the accumulators of the groups to be emitted."""
        kind, dtype = self.partial.kind, self.partial.dtype
        valid = arrays["rows"]
        if self.input is not None and (nulls := arrays.get(nulls_column(self.input))) is not None:
            valid = valid - nulls
        if self.state is None:
            counts = arrays["rows"] if kind == "len" else valid
            return _wrapped(counts, dtype).alias(self.partial.name)
        parts = [arrays[name] for name in self.state.columns]
        return _FINISH[kind](self.partial, valid, parts).alias(self.partial.name)


def _wrapped(values: Array, dtype: pl.DataType) -> pl.Series:
    """Integers in `dtype`, wrapping round as Polars' arithmetic does."""
    if not dtype.is_integer():
        return plain_values(np.ascontiguousarray(values), dtype)
    return pl.Series(values.astype(_NUMPY_INTEGERS[str(dtype)], copy=False))


_NUMPY_INTEGERS = {
    "Int8": np.int8, "Int16": np.int16, "Int32": np.int32, "Int64": np.int64,
    "UInt8": np.uint8, "UInt16": np.uint16, "UInt32": np.uint32, "UInt64": np.uint64,
}  # fmt: skip


def _where(valid: Array, column: pl.Series) -> pl.Series:
    """`column` with nulls where `valid` is false."""
    if valid.all():
        return column
    return pl.select(pl.when(pl.Series(valid)).then(column)).to_series()


def _total(high: Array, low: Array) -> Array:
    return np.where(np.isfinite(high), high + low, high)


def _finish_sum(partial: Partial, _valid: Array, parts: Sequence[Array]) -> pl.Series:
    if len(parts) == 1:
        return _wrapped(parts[0], partial.dtype)
    return pl.Series(_total(*parts)).cast(partial.dtype)


def _finish_mean(partial: Partial, valid: Array, parts: Sequence[Array]) -> pl.Series:
    with np.errstate(invalid="ignore", divide="ignore"):
        return _where(valid > 0, pl.Series(_total(*parts) / valid).cast(partial.dtype))


def _finish_extreme(partial: Partial, valid: Array, parts: Sequence[Array]) -> pl.Series:
    values = parts[0]
    if partial.dtype == pl.UInt64:
        values = values ^ np.int64(_INT64_MIN)
    if values.dtype == np.float64:
        return _where(valid > 0, pl.Series(values).cast(partial.dtype))
    usable = valid > 0
    if usable.all():
        return plain_values(values, partial.dtype)
    return _where(usable, plain_values(np.where(usable, values, 0), partial.dtype))


def _finish_spread(partial: Partial, _valid: Array, parts: Sequence[Array]) -> pl.Series:
    n, _, squares = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        values = squares / (n - partial.ddof)
        if partial.kind == "std":
            values = np.sqrt(values)
    return _where(n > partial.ddof, pl.Series(values).cast(partial.dtype))


def _finish_end(partial: Partial, _valid: Array, parts: Sequence[Array]) -> pl.Series:
    *_, values, known = parts
    return _where(known.astype(bool), plain_values(np.ascontiguousarray(values), partial.dtype))


def _finish_any(_partial: Partial, _valid: Array, parts: Sequence[Array]) -> pl.Series:
    return pl.Series(parts[0] > 0)


_FINISH: dict[str, Callable[[Partial, Array, Sequence[Array]], pl.Series]] = {
    "sum": _finish_sum, "mean": _finish_mean, "min": _finish_extreme, "max": _finish_extreme,
    "var": _finish_spread, "std": _finish_spread, "first": _finish_end, "last": _finish_end,
    "any": _finish_any, "all": _finish_any,
}  # fmt: skip


def _operation(partial: Partial) -> str | None:
    dtype = partial.input_dtype
    is_float = dtype is not None and dtype.is_float()
    match partial.kind:
        case "len" | "count":
            return None
        case "sum":
            return "sum_float" if is_float else "sum_int"
        case "mean":
            return "sum_float"
        case "min" | "max":
            return f"{partial.kind}_{'float' if is_float else 'int'}"
        case "var" | "std":
            return "variance"
        case "first" | "last":
            return partial.kind
        case "any":
            return "max_int"
        case "all":
            return "min_int"
    raise InternalError(f"no state for the aggregation {partial.kind}")


def plan_states(partials: Sequence[Partial]) -> tuple[list[pl.Expr], list[State], list[Aggregation]]:
    """Input expressions, states and output columns of a window node; equal ones are kept once."""
    inputs: list[pl.Expr] = []
    places: dict[str, int] = {}
    states: list[State] = []
    aggregations = []
    for partial in partials:
        place = None
        if partial.input is not None:
            expr = partial.input.meta.undo_aliases()
            place = places.setdefault(expr.meta.serialize(format="json"), len(inputs))
            if place == len(inputs):
                inputs.append(expr)
        operation = _operation(partial)
        state = None
        if operation is not None:
            assert place is not None
            state = State(operation, place)
            if state not in states:
                states.append(state)
        aggregations.append(Aggregation(partial, place, state))
    return inputs, states, aggregations
