"""Values of key columns as names of folders, `key=value`, in the way of Hive, Spark and Polars.

No value can lead out of the output or be read back as another one: what has a meaning in a path, a glob or a
URL is written as %XX, null as `__HIVE_DEFAULT_PARTITION__`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from arrowstream.errors import DataError, PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

NULL_NAME = "__HIVE_DEFAULT_PARTITION__"

_NAME_BYTES_MAX = 255  # of every file system in use
_ESCAPED = {
    character: f"%{code:02X}"
    for code in range(128)
    if (character := chr(code)) in "\"#%'*/:=?\\{}[]^<>|&+;~$`" or code < 0x20 or code == 0x7F
}


def check_keys(schema: pl.Schema, keys: Sequence[str]) -> None:
    """Raise PlanError naming a key that is not a column, or whose values cannot be the names of folders."""
    for key in keys:
        if key not in schema:
            raise PlanError(f"the rows have no column '{key}' to partition by", choices=schema.names())
        if not key or key.startswith((".", "_")):
            raise PlanError(
                f"column {key!r} cannot be a key: readers take no notice of folders of such a name",
                hint=f'give it another one: key=pl.col("{key}").alias("…")',
            )
        hint = _unfit(schema[key])
        if hint is not None:
            raise PlanError(
                f"column '{key}' is {schema[key]}, which cannot be the name of a folder", hint=hint
            )
    if len(set(keys)) != len(keys):
        raise PlanError(f"a key is there twice: {', '.join(keys)}")


def folders_of(keys: pl.DataFrame) -> list[str]:
    """The folder of each row of keys, with "/" at its end.

    Raises DataError naming the column for a value that cannot be a name.

    Examples
    --------
    >>> folders_of(pl.DataFrame({"city": ["Rome", "../x", None], "n": [1, 2, 3]}))
    ['city=Rome/n=1/', 'city=..%2Fx/n=2/', 'city=__HIVE_DEFAULT_PARTITION__/n=3/']
    """
    texts = [keys[key].cast(pl.String).to_list() for key in keys.columns]
    names = {key: escaped(key) for key in keys.columns}
    return [
        "".join(f"{_name(key, names[key], value)}/" for key, value in zip(keys.columns, row, strict=True))
        for row in zip(*texts, strict=True)
    ]


def escaped(text: str) -> str:
    """The text without what has a meaning in paths, globs or URLs.

    Examples
    --------
    >>> escaped("a/b=%2e é")
    'a%2Fb%3D%252e é'
    """
    return text.translate(_TABLE)


_TABLE = str.maketrans(_ESCAPED)


def _name(key: str, name: str, value: str | None) -> str:
    if value == NULL_NAME:
        raise DataError(
            f"column '{key}' has the value {NULL_NAME!r}, which stands for null in the name of a folder",
            hint="filter such rows, or partition by another column",
        )
    named = f"{name}={NULL_NAME if value is None else escaped(value)}"
    if len(named.encode()) > _NAME_BYTES_MAX:
        assert value is not None
        raise DataError(
            f"column '{key}' has a value of {len(value)} characters ({value[:20]!r} …): "
            "too long for the name of a folder",
            hint=f'partition by a part of it, for example pl.col("{key}").str.head(50).alias("…")',
        )
    return named


def _unfit(dtype: Any) -> str | None:
    """What to do about a type whose values would not be read back as they were."""
    if dtype.is_integer() and not isinstance(dtype, (pl.Int128, pl.UInt128)):
        return None
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None and dtype.time_unit != "ns":
            return None
        return 'partition by its date: key=pl.col("…").dt.date().alias("date")'
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Date)):
        return None
    return "cast it to pl.String, or partition by another column"
