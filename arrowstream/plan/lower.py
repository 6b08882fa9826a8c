"""Row steps as one lazy Polars plan per micro-batch."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrowstream.plan.nodes import RowStep

_Apply: TypeAlias = "Callable[[pl.LazyFrame], pl.LazyFrame]"

# Polars 2.1 moves a `with_columns` before another that computes its input, where the same columns are
# overwritten several times: wrong results, or type errors. Fused chains are just where that happens.
# Nor may a filter move before the expressions written before it: see `in_company`.
_OPTIMIZATIONS = pl.QueryOptFlags(cluster_with_columns=False, predicate_pushdown=False)

_CHANGES_ROWS = frozenset({"filter", "remove", "drop_nulls", "explode", "unpivot"})

_MASK = "__arrowstream_mask"
_PAIRS = "__arrowstream_pairs"


def compile_rows(steps: Sequence[RowStep], hidden: tuple[str, ...]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A function that applies the steps, in order, to a frame.

    Parameters
    ----------
    steps
        A chain: each reads the one before it.
    hidden
        Hidden columns of the frames. They ride along with their rows, and no expression sees them.

    Returns
    -------
    Callable
        Takes frames with the input's columns, or only those that `required_columns` names. Output is in
        the order of the last step's schema, hidden columns last.
    """
    plans: list[list[_Apply]] = [[]]
    for number, step in enumerate(steps):
        plans[-1].append(_compile(step, hidden))
        if step.verb in _CHANGES_ROWS and number + 1 < len(steps):
            plans.append([])  # what follows sees another number of rows: perhaps one
    ends = [*steps[-1].schema, *hidden]

    def apply(frame: pl.DataFrame) -> pl.DataFrame:
        result = frame
        for plan in plans:
            result = in_company(result, partial(_collected, plan))
        columns = [name for name in ends if name in result.columns]
        return result if columns == result.columns else result.select(columns)

    return apply


def in_company(frame: pl.DataFrame, apply: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """What `apply`, which looks at each row alone, gives for a frame; it never meets a single row.

    Polars takes a column of one row for a scalar, and divides scalars otherwise than columns: `x / 7` is
    `x * (1 / 7)` for two rows and more. No bit may depend on where a batch happens to end. (Polars' streaming
    engine, its default, cuts frames into pieces of its own, some of one row: so ours is the one in memory.)
    """
    if frame.height != 1:
        return apply(frame)
    # Column by column: concatenating frames would keep each value as the scalar that it is.
    twice = apply(pl.DataFrame([pl.concat([column, column], rechunk=True) for column in frame.get_columns()]))
    return twice.head(twice.height // 2)


def _collected(steps: Sequence[_Apply], frame: pl.DataFrame) -> pl.DataFrame:
    lazy = reduce(lambda plan, step: step(plan), steps, frame.lazy())
    return lazy.collect(engine="in-memory", optimizations=_OPTIMIZATIONS)


def _compile(step: RowStep, hidden: tuple[str, ...]) -> _Apply:
    if step.verb in _BY_VERB:
        return _BY_VERB[step.verb](step, hidden)
    if hidden and _sees_all_columns(step):
        return _around_hidden(step, hidden)
    if step.verb == "select":
        return lambda frame: frame.select(*step.args, *hidden)
    return lambda frame: _plain(step, frame)


def _plain(step: RowStep, frame: pl.LazyFrame) -> pl.LazyFrame:
    applied: pl.LazyFrame = getattr(frame, step.verb)(*step.args, **step.kwargs)
    return applied


def _sees_all_columns(step: RowStep) -> bool:
    return step.verb == "fill_null" or any(
        isinstance(arg, pl.Expr) and arg.meta.has_multiple_outputs() for arg in step.args
    )


def _around_hidden(step: RowStep, hidden: tuple[str, ...]) -> _Apply:
    """Selectors that could not be written out: evaluated beside the hidden columns, not with them."""

    def beside(frame: pl.LazyFrame) -> pl.LazyFrame:
        visible = frame.drop(hidden)
        return pl.concat([_plain(step, visible), frame.select(hidden)], how="horizontal")

    def masked(frame: pl.LazyFrame) -> pl.LazyFrame:
        # Not `select`, which gives one row for a predicate that is the same for all.
        mask = frame.drop(hidden).with_columns(pl.all_horizontal(*step.args).alias(_MASK)).select(_MASK)
        both = pl.concat([frame, mask], how="horizontal")
        rows = both.filter(_MASK) if step.verb == "filter" else both.remove(_MASK)
        return rows.drop(_MASK)

    return masked if step.verb in ("filter", "remove") else beside


# A frame may lack columns that nobody needs downstream, so the verbs below are not strict about them:
# that they exist in the whole input was checked when the step was built.


def _drop(step: RowStep, _hidden: tuple[str, ...]) -> _Apply:
    return lambda frame: frame.drop(step.args, strict=False)


def _rename(step: RowStep, _hidden: tuple[str, ...]) -> _Apply:
    return lambda frame: frame.rename(step.args[0], strict=False)


def _unpivot(step: RowStep, hidden: tuple[str, ...]) -> _Apply:
    """The new rows of each row one after another, where Polars leaves the order open.

    With the order of Polars' `unpivot`, results would depend on where micro-batches end.
    """
    variable, value = step.kwargs["variable_name"], step.kwargs["value_name"]
    beside = [*step.kwargs["index"], *hidden]
    dtype = step.schema[value]
    pairs = [
        pl.struct(pl.lit(name).alias(variable), pl.col(name).cast(dtype).alias(value))
        for name in step.args[0]
    ]
    if not pairs:
        none = [pl.lit(None, pl.String).alias(variable), pl.lit(None, dtype).alias(value)]
        return lambda frame: frame.select(*beside, *none).clear()
    listed = pl.concat_list(pairs).alias(_PAIRS)
    return lambda frame: frame.select(*beside, listed).explode(_PAIRS).unnest(_PAIRS)


_BY_VERB: dict[str, Callable[[RowStep, tuple[str, ...]], _Apply]] = {
    "drop": _drop,
    "rename": _rename,
    "unpivot": _unpivot,
}
