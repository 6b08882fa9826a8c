"""Hive partitions: columns from folders that are called key=value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import polars as pl

from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from arrowstream.connectors.files.places import FoundFile

_NULL = "__HIVE_DEFAULT_PARTITION__"
_SEPARATOR, _END = "\x1f", "\x1e"  # are in no name of a folder


class HiveKeys(NamedTuple):
    """What the folders say: types of the keys in the order of the folders, and their values by path."""

    schema: pl.Schema
    values: Mapping[str, tuple[object, ...]]


def hive_keys(
    files: Sequence[FoundFile],
    *,
    hive_partitioning: bool | None = None,
    hive_schema: Mapping[str, pl.DataType] | None = None,
    try_parse_hive_dates: bool = True,
    file_schema: Mapping[str, pl.DataType] | None = None,
) -> HiveKeys:
    """The keys of the files' folders, as Polars reads them.

    A key is looked for below the folder that the user named, or in the whole path of a file or glob; names of
    files have none. A type is that of `hive_schema`, else that of `file_schema`, which are the columns of the
    files themselves (a key that is one of them takes its place), else what all values of the key look like:
    integers, floats, booleans, dates and times, strings.

    Parameters
    ----------
    hive_partitioning
        None: if the user named one folder.

    Raises
    ------
    PlanError
        The files do not all have the same keys, or a value is not of the type of `hive_schema`.
    """
    if not (_is_one_folder(files) if hive_partitioning is None else hive_partitioning):
        return HiveKeys(pl.Schema(), {})
    texts = {file.path: _texts(file) for file in files}
    names = list(texts[files[0].path])
    for file in files:
        _check_names(file.path, list(texts[file.path]), files[0].path, names)
    given = {**(file_schema or {}), **(hive_schema or {})}
    columns = [
        _typed(name, [texts[file.path][name] for file in files], given.get(name), try_parse_hive_dates)
        for name in names
    ]
    rows = zip(*columns, strict=True) if columns else ()
    schema = pl.Schema({column.name: column.dtype for column in columns})
    return HiveKeys(schema, {file.path: row for file, row in zip(files, rows, strict=bool(columns))})


def _is_one_folder(files: Sequence[FoundFile]) -> bool:
    roots = {file.path[: file.hive_start] for file in files}
    return len(roots) == 1 and all(file.in_folder for file in files)


def _texts(file: FoundFile) -> dict[str, str | None]:
    """The values of the keys as they are written, None for Hive's null."""
    found: dict[str, str | None] = {}
    path = (
        file.path.partition("::")[0] if "://" in file.path else file.path
    )  # what an archive is in has no keys
    for part in path[file.hive_start :].split("/")[:-1]:
        if part.count("=") == 1:
            key, _, value = part.partition("=")
            if key in found:
                raise PlanError(
                    f"{file.path} has the key '{key}' twice",
                    hint="hive_partitioning=False reads the files without the keys of their folders",
                )
            found[key] = None if value == _NULL else unquote(value)
    return found


def _check_names(path: str, names: list[str], first: str, expected: list[str]) -> None:
    if sorted(names) != sorted(expected):
        raise PlanError(
            f"{path} lies in folders with {_listed(names)}, but {first} in folders with {_listed(expected)}",
            hint="read the folders apart, or with hive_partitioning=False without the keys of their names",
        )


def _listed(names: list[str]) -> str:
    return f"the key {' and '.join(map(repr, names))}" if names else "no key"


def _typed(name: str, texts: list[str | None], dtype: pl.DataType | None, try_parse_dates: bool) -> pl.Series:  # noqa: FBT001
    """The values of a key: CSV's inference is what Polars uses too."""
    distinct = pl.Series(name, list(dict.fromkeys(texts)), pl.String)
    content = "".join(f"{_NULL if text is None else text}{_END}" for text in distinct)
    try:
        values = pl.read_csv(
            content.encode(),
            has_header=False,
            new_columns=[name],
            separator=_SEPARATOR,
            eol_char=_END,
            quote_char=None,
            null_values=[_NULL],
            empty_string_is_null=False,
            schema_overrides=None if dtype is None else [dtype],
            infer_schema_length=None,
            try_parse_dates=try_parse_dates,
        ).to_series()
    except (pl.exceptions.PolarsError, NotImplementedError) as error:
        if dtype is not None:
            raise PlanError(
                f"the folders' key '{name}' cannot be read as {dtype}: {_first_line(error)}",
                hint="hive_schema= says of which type it is",
            ) from error
        values = distinct
    if values.dtype == pl.Time and dtype is None:  # which Polars cannot read from a folder's name
        values = distinct
    found = dict(zip(distinct, values, strict=True))
    return pl.Series(name, [found[text] for text in texts], values.dtype)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
