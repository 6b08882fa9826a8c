"""Columns that are the same in all rows of a file, because they say something about the file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from arrowstream.connectors.files.options import FileOptions


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


def labels_of(options: FileOptions) -> FileLabels:
    """What the options of a scan ask for."""
    paths = () if options.include_file_paths is None else (options.include_file_paths,)
    return FileLabels(path_columns=paths)
