"""Columns that are the same in all rows of a file, because they say something about the file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import polars as pl

from arrowstream.connectors.files.hive import hive_keys
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from arrowstream.connectors.files.options import FileOptions
    from arrowstream.connectors.files.places import FoundFile


@dataclass(frozen=True, slots=True)
class FileLabels:
    """Columns of what the path of a file says.

    Parameters
    ----------
    keys
        Types of the Hive partitions' keys.
    values
        By path, a value of each key.
    path_columns
        Columns that hold the path itself.
    """

    keys: pl.Schema = field(default_factory=pl.Schema)
    values: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    path_columns: tuple[str, ...] = ()

    @property
    def schema(self) -> pl.Schema:
        """Columns and their types, in their order."""
        return pl.Schema({**self.keys, **dict.fromkeys(self.path_columns, pl.String())})

    def __call__(self, path: str) -> Mapping[str, pl.Series]:
        """The columns for one file, one row each."""
        found = {}
        if self.keys:
            keyed = zip(self.keys.items(), self.values[path], strict=True)
            found = {name: pl.Series(name, [value], dtype) for (name, dtype), value in keyed}
        return found | {name: pl.Series(name, [path], pl.String()) for name in self.path_columns}

    def with_path(self, column: str) -> Self:
        """The same, with another column that holds the path."""
        return replace(self, path_columns=(*self.path_columns, column))

    def rows(self, heights: Sequence[tuple[str, int]], columns: Sequence[str]) -> list[pl.Series]:
        """The columns that are among `columns`, for so many rows of each of these files."""
        found = [self(path) for path, _ in heights]
        return [
            pl.concat(
                [
                    labels[name].new_from_index(0, height)
                    for labels, (_, height) in zip(found, heights, strict=True)
                ]
            )
            for name in columns
            if name in self.schema
        ]


def labels_of(files: Sequence[FoundFile], file_schema: pl.Schema, options: FileOptions) -> FileLabels:
    """What the options of a scan ask for.

    Raises
    ------
    PlanError
        See `hive_keys`; or two columns of one name.
    """
    keys = hive_keys(
        files,
        hive_partitioning=options.hive_partitioning,
        hive_schema=options.hive_schema,
        try_parse_hive_dates=options.try_parse_hive_dates,
        file_schema=file_schema,
    )
    path = options.include_file_paths
    if path is not None and (path in file_schema or path in keys.schema):
        raise PlanError(
            f"include_file_paths='{path}': the files have a column of that name", hint="give another name"
        )
    return FileLabels(keys.schema, keys.values, () if path is None else (path,))
