"""Random chains of row steps that fit a schema; a step is applied to a LazyFrame and a Stream alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import polars.selectors as cs
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, repr=False)
class Step:
    """One verb; its text is Python, so that a failing example can be pasted."""

    text: str
    apply: Callable[[Any], Any]

    def __repr__(self) -> str:
        return self.text


def _step(text: str, **names: Any) -> Step:
    code = compile(f"s.{text}", "<step>", "eval")
    scope = {"pl": pl, "cs": cs, **names}
    return Step(text, lambda s: eval(code, scope, {"s": s}))


def predicates(schema: pl.Schema) -> list[str]:
    """Expressions that are true for some rows."""
    found = []
    for name, dtype in schema.items():
        col = f"pl.col({name!r})"
        found += [f"{col}.is_not_null()", f"{col}.is_null()"]
        if dtype.is_numeric() and not dtype.is_decimal():
            found += [f"{col} > 0", f"{col}.is_in([1, 2, 3])", f"({col} != 1) | {col}.is_null()"]
        if dtype.is_integer():
            found += [f"{col}.is_between(-5, 5)", f"{col}.eq_missing(None)"]
        if dtype.is_float():
            found += [f"{col}.is_nan()", f"{col}.is_finite()"]
        if dtype == pl.Boolean:
            found += [col, f"~{col}"]
        if dtype == pl.String:
            found += [f"{col}.str.contains('a')", f"{col} < 'b'", f"{col}.str.len_bytes() > 2"]
        if dtype == pl.Enum:
            found += [f"{col} == 'red'", f"{col}.cast(pl.String) > 'c'"]
        if dtype == pl.Categorical:
            found += [f"{col} == 'a'", f"{col}.is_in(['a', 'b'])"]
        if isinstance(dtype, pl.List):
            found.append(f"{col}.list.len() > 1")
        if isinstance(dtype, pl.Datetime):
            found += [f"{col}.dt.hour() > 11", f"{col}.dt.millisecond() % 40 == 0"]
    return found


def expressions(schema: pl.Schema) -> list[str]:
    """Expressions that give one value for each row."""
    found = ["pl.lit(1)", "pl.lit(None)", "pl.lit('x')"]
    numbers = [name for name, dtype in schema.items() if dtype.is_numeric() and not dtype.is_decimal()]
    for name, dtype in schema.items():
        col = f"pl.col({name!r})"
        found += [col, f"pl.struct({name!r}, one=pl.lit(1))", f"{col}.is_null().cast(pl.UInt8)"]
        if name in numbers:
            found += [f"{col} / 7", f"{col} * 2 + 1", f"{col} % 3", f"-{col}", f"{col} // 2", f"{col}.abs()"]
            found += [f"{col}.cast(pl.Float64).sqrt()", f"{col}.cast(pl.Float64).sin()", f"{col}.clip(-3, 3)"]
            found += [f"{col}.cast(pl.Int8, strict=False)", f"{col}.cast(pl.String)", f"{col}.fill_null(0)"]
            found += [f"pl.when({col} > 0).then({col})", f"pl.when({col} > 0).then(1).otherwise(2.5)"]
            found += [f"{col}.replace({{1: 2}})", f"{col}.replace_strict({{1: 'one'}}, default='many')"]
        if dtype.is_float():
            found += [f"{col}.round(1)", f"{col}.fill_nan(None)", f"{col}.floor()", f"{col}.is_nan()"]
        if dtype == pl.String:
            found += [f"{col}.str.to_uppercase()", f"{col} + '!'", f"{col}.str.split('a')", f"{col}.hash(1)"]
            found += [f"{col}.str.to_integer(strict=False)", f"{col}.cast(pl.Categorical)"]
            found += [f"{col}.str.extract('(a+)')", f"pl.format('{{}}-{{}}', {col}, pl.lit(1))"]
        if isinstance(dtype, pl.Datetime):
            found += [f"{col}.dt.truncate('7ms')", f"{col}.dt.date()", f"{col}.dt.offset_by('1mo')"]
            found += [f"{col} - {col}.dt.truncate('1h')", f"{col}.dt.strftime('%H:%M:%S')"]
        if dtype == pl.Date:
            found += [f"{col}.dt.year()", f"{col}.dt.month_start()", f"{col} + pl.duration(days=1)"]
        if isinstance(dtype, pl.List):
            found += [f"{col}.list.len()", f"{col}.list.get(0, null_on_oob=True)", f"{col}.list.reverse()"]
            if dtype.inner == pl.Int64:
                found += [f"{col}.list.sum()", f"{col}.list.eval(pl.element() * 2)", f"{col}.list.sort()"]
        if isinstance(dtype, pl.Struct):
            found += [f"{col}.struct.field({dtype.fields[0].name!r})", f"{col}.struct.json_encode()"]
        if dtype == pl.Boolean:
            found += [f"~{col}", f"{col}.cast(pl.Int32)"]
        if dtype in (pl.Categorical, pl.Enum):
            found.append(f"{col}.cast(pl.String)")
    if len(numbers) > 1:
        a, b = (f"pl.col({name!r})" for name in numbers[:2])
        found += [f"{a} + {b}", f"{a} / {b}", f"pl.max_horizontal({a}, {b})", f"pl.concat_list({a}, {b})"]
        found += [f"pl.coalesce({a}, {b})", f"pl.sum_horizontal({a}, {b})", f"pl.mean_horizontal({a}, {b})"]
        found.append(f"{a}.map_elements(lambda v: v, return_dtype=schema[{numbers[0]!r}])")
    if numbers:
        found += ["cs.numeric() + 1", "cs.numeric().name.suffix('_n')", "cs.float().fill_nan(0)"]
    return found


@st.composite
def steps(draw, schema: pl.Schema, *, keep: tuple[str, ...] = ()) -> Step:  # noqa: PLR0911
    """One step that fits the schema; the columns `keep` stay as they are."""
    free = [name for name in schema if name not in keep]
    listed = [name for name in free if isinstance(schema[name], pl.List | pl.Array)]
    structs = [name for name in free if isinstance(schema[name], pl.Struct)]
    numbers = [name for name in free if schema[name].is_numeric()]
    plain = [name for name in free if not schema[name].is_nested()]
    verbs = ["filter", "filter", "remove", "select", "with_columns", "with_columns", "drop", "rename", "cast"]
    verbs += ["drop_nulls", "fill_null", "unpivot"]
    verbs += ["explode"] * 3 * bool(listed) + ["unnest"] * 3 * bool(structs)
    verb = draw(st.sampled_from(verbs))
    if not free or (verb == "cast" and not plain):
        verb = "with_columns"
    some = st.lists(st.sampled_from(free or [*schema]), min_size=1, max_size=3, unique=True)
    fresh = f"x{draw(st.integers(0, 9))}"
    match verb:
        case "filter" | "remove":
            chosen = draw(st.lists(st.sampled_from(predicates(schema)), min_size=1, max_size=2))
            return _step(f"{verb}({', '.join(chosen)})")
        case "select":
            names = [*keep, *draw(some)]
            expr = draw(st.sampled_from(expressions(schema)))
            return _step(f"select({', '.join(map(repr, names))}, {fresh}={expr})", schema=schema)
        case "with_columns":
            expr = draw(st.sampled_from(expressions(schema)))
            name = draw(st.sampled_from([fresh, fresh, *free]))
            written = expr if "cs." in expr else f"({expr}).alias({name!r})"
            return _step(f"with_columns({written})", schema=schema)
        case "drop":
            return _step(f"drop({draw(some)[:1]})")
        case "rename":
            if len(free) > 1 and draw(st.booleans()):
                a, b = draw(st.permutations(free))[:2]
                return _step(f"rename({ {a: b, b: a} })")
            return _step(f"rename({ {draw(some)[0]: fresh} })")
        case "cast":
            dtype = draw(st.sampled_from(["pl.String", "pl.Float64", "pl.Int64", "pl.Float32", "pl.Binary"]))
            name = draw(st.sampled_from(plain))  # Polars is at odds with itself about structs
            return _step(f"cast({{{name!r}: {dtype}}}, strict={draw(st.booleans())})")
        case "drop_nulls":
            return _step(f"drop_nulls({draw(st.sampled_from([None, draw(some)]))})")
        case "fill_null":
            value = draw(st.sampled_from(["0", "1.5", "'none'", "strategy='zero'", "strategy='one'"]))
            return _step(f"fill_null({value})")
        case "unpivot":
            values = draw(st.permutations(numbers or plain or free))[: draw(st.integers(1, 3))]
            index = draw(st.sampled_from([[*keep], [*keep, *(name for name in free if name not in values)]]))
            names = draw(st.sampled_from(["", ", variable_name='var', value_name='val'"]))
            return _step(f"unpivot({values}, index={index}{names})")
        case "explode":
            chosen = listed[:1] if draw(st.booleans()) else draw(st.permutations(listed))[:1]
            return _step(f"explode({chosen}, {draw(st.sampled_from(['', 'empty_as_null=True']))})")
        case "unnest":
            separator = draw(st.sampled_from(["", ", separator='.'"]))
            return _step(f"unnest({draw(st.sampled_from(structs))!r}{separator})")
    raise AssertionError(verb)


@st.composite
def plans(draw, schema: pl.Schema, *, steps_max: int = 5, keep: tuple[str, ...] = ()) -> list[Step]:
    """A chain of steps that Polars accepts."""
    chain: list[Step] = []
    lazy = pl.LazyFrame(schema=schema)
    for _ in range(draw(st.integers(0, steps_max))):
        step = draw(steps(lazy.collect_schema(), keep=keep))
        try:
            following = step.apply(lazy)
            found = following.collect_schema()
            collected(following)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError):
            continue
        if all(found.get(name) == schema[name] for name in keep) and len(found):
            chain.append(step)
            lazy = following
    return chain


def applied(plan: list[Step], rows: Any) -> Any:
    """What the chain makes of a LazyFrame or a Stream."""
    for step in plan:
        rows = step.apply(rows)
    return rows


def collected(lazy: pl.LazyFrame) -> pl.DataFrame:
    """What the plan says, step by step: an optimizer may leave out a step that would fail."""
    return lazy.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())
