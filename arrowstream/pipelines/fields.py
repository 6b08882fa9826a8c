"""The kinds of values in a pipeline file, as pydantic types; and how an annotation of the API becomes one."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler, ValidationInfo, WithJsonSchema

from arrowstream import types
from arrowstream.errors import InternalError, PlanError
from arrowstream.pipelines import sql
from arrowstream.pipelines.dtypes import NAMES, parse_dtype
from arrowstream.plan import durations

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

DTYPE_PATTERN = rf"^({'|'.join(NAMES)})(\(.*\))?$"


class WrongError(ValueError):
    """An error of the API, in the form that pydantic collects."""

    def __init__(self, error: PlanError) -> None:
        super().__init__(error.fact)
        self.error = error


def _checked(check: Callable[[str], object]) -> Callable[[Any], Any]:
    def validate(value: Any) -> Any:
        try:
            return check(value)
        except PlanError as error:
            raise WrongError(error) from error

    return validate


def _duration(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise WrongError(PlanError(f"{value} has no unit", hint='write a duration such as "10s" or "1h30m"'))
    try:
        durations.parts(str(value) if isinstance(value, bool) else value)
    except PlanError as error:
        raise WrongError(
            PlanError(
                error.fact.removeprefix("duration: "),
                choices=error.choices,
                hint='write a duration such as "10s" or "1h30m"',
            )
        ) from error
    return str(value)


def _sql_text(value: Any) -> str:
    """SQL as text; numbers and truth values may stand without quotes."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise WrongError(PlanError("this is no SQL expression", hint="write a text, such as price > 100"))
    return value


def _located(text: str, info: ValidationInfo) -> str:
    """The path, seen from the folder of the pipeline file."""
    if not text:
        raise WrongError(PlanError("the path is empty"))
    folder = (info.context or {}).get("folder")
    if folder is None or "://" in text:
        return text
    path = str(Path(folder, Path(text).expanduser()))
    return path + "/" if text.endswith("/") else path


def listed(value: Any) -> Any:
    """One value as a list of one."""
    return value if isinstance(value, list) else [value]


class OneOrMany:
    """Marks a list of which a single item may be written without the brackets."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The item, or a list of them."""
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def _numbered(value: Any) -> Any:
    if isinstance(value, dict) and value:
        return value
    items = listed(value)
    if not items or value is None or value == {}:
        raise WrongError(
            PlanError("no expression is given", hint="write a list of expressions, or name: expression")
        )
    return dict(enumerate(items))


def _dtype(value: Any) -> pl.DataType:
    if not isinstance(value, str):
        raise WrongError(PlanError("this is no type of a column", hint="write its name, such as Int64"))
    found: pl.DataType = _checked(parse_dtype)(value)
    return found


class OrNames:
    """Marks a mapping for which a name, or a list of names, may stand."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A name, some names, or the mapping."""
        names = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [{"type": "string"}, names, handler(schema)]}


_SQL_SCHEMA = {"type": ["string", "number", "boolean"]}

PathText: TypeAlias = Annotated[str, AfterValidator(_located)]
PathTexts: TypeAlias = Annotated[list[PathText], BeforeValidator(listed), OneOrMany()]
DurationText: TypeAlias = Annotated[
    Any,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^-?(\d+(ns|us|ms|s|m|h|d|w|mo|q|y))+$"}),
]
SqlExpression: TypeAlias = Annotated[
    Any,
    BeforeValidator(lambda value: _checked(sql.expression)(_sql_text(value))),
    WithJsonSchema(_SQL_SCHEMA),
]
SqlItem: TypeAlias = Annotated[
    Any, BeforeValidator(lambda value: _checked(sql.item)(_sql_text(value))), WithJsonSchema(_SQL_SCHEMA)
]
SqlQuery: TypeAlias = Annotated[
    Any,
    BeforeValidator(lambda value: _checked(sql.query)(_sql_text(value))),
    WithJsonSchema({"type": "string"}),
]
SqlExpressions: TypeAlias = Annotated[list[SqlExpression], BeforeValidator(listed), OneOrMany()]
NamedSql: TypeAlias = Annotated[
    dict[Any, SqlItem],
    BeforeValidator(_numbered),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": _SQL_SCHEMA},
                {"type": "object", "additionalProperties": _SQL_SCHEMA},
            ]
        }
    ),
]
"""Expressions by name; those of a list have its indices for names, so that an error says which one it is."""

Rules: TypeAlias = dict[str, SqlExpression]
DType: TypeAlias = Annotated[
    Any,
    BeforeValidator(_dtype),
    WithJsonSchema({"type": "string", "pattern": DTYPE_PATTERN}),
]
DTypes: TypeAlias = dict[str, DType]
Names: TypeAlias = Annotated[list[str], BeforeValidator(listed), OneOrMany()]


class _Many:
    """`Iterable[X]` and the like, of which a file has lists."""

    def __class_getitem__(cls, item: Any) -> Any:
        return list[item]


class _Map:
    """`Mapping[K, V]`, of which a file has mappings."""

    def __class_getitem__(cls, item: Any) -> Any:
        return dict.__class_getitem__(item)


class _NotInFiles:
    """What only Python has: functions, frames."""

    def __class_getitem__(cls, _item: Any) -> type[_NotInFiles]:
        return cls


NOT_IN_FILES = _NotInFiles


class _OneOrSeveral:
    """`_CastConfig[X]` of Polars: one choice or several."""

    def __class_getitem__(cls, item: Any) -> Any:
        return item | list[item]


class _PolarsNames:
    """The names of `pl` in annotations; those that have a model of their own are put in by `signatures`."""

    DataFrame = NOT_IN_FILES
    Expr = NOT_IN_FILES
    PartitionBy = NOT_IN_FILES
    ScanCastOptions: Any = NOT_IN_FILES


_NAMESPACE: dict[str, Any] = {
    **{name: value for name, value in vars(types).items() if typing.get_origin(value) is Literal},
    "Any": Any,
    "Literal": Literal,
    "Iterable": _Many,
    "Sequence": _Many,
    "Mapping": _Map,
    "Callable": _NotInFiles,
    "PathLike": PathText,
    "Path": PathText,
    "Duration": DurationText,
    "Progress": bool | Literal["auto"],
    "ProgressListener": NOT_IN_FILES,
    "ColumnNames": Names,
    "IntoExpr": SqlExpression,
    "IntoExprs": SqlExpressions,
    "_CastConfig": _OneOrSeveral,
}


def name_type(name: str, type_: Any) -> None:
    """Say what `pl.<name>` is in annotations."""
    setattr(_PolarsNames, name, type_)


def type_of(annotation: str, where: Mapping[str, Any]) -> Any:
    """The pydantic type for an annotation of the API, as it stands in the source.

    Parameters
    ----------
    annotation
        Such as `"Duration | None"`.
    where
        The names of its module: where aliases that are not known here are looked up.

    Raises
    ------
    InternalError
        It has no counterpart in files.
    """
    namespace = {**where, **_NAMESPACE, "pl": _PolarsNames}
    try:
        # The text is our own source code's, never a user's.
        found = eval(annotation, namespace)  # noqa: S307
    except (NameError, TypeError, AttributeError) as error:
        raise InternalError(f"a pipeline file has no counterpart of the annotation {annotation}") from error
    return _without_python(found)


def _without_python(found: Any) -> Any:
    """The type without the parts that a file cannot have; `NOT_IN_FILES` if nothing is left."""
    if typing.get_origin(found) in (typing.Union, type(int | str)):
        parts = [part for part in typing.get_args(found) if part is not NOT_IN_FILES]
        if not parts:
            return NOT_IN_FILES
        if parts == [type(None)]:
            return NOT_IN_FILES
        if PathText in parts and list[PathText] in parts:
            parts = [PathTexts, *(part for part in parts if part not in (PathText, list[PathText]))]
        return typing.Union[tuple(parts)]  # noqa: UP007 - of a list that is made
    return found
