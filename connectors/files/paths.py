"""From what the user names (files, globs, directories) to files in natural order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from glob import glob, has_magic
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from arrowstream.types import ClockBy, PathLike

_DIGITS = re.compile(r"(\d+)")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_HIDDEN_PREFIXES = (".", "_")


def natural_key(path: str) -> tuple[object, ...]:
    """Sort key: "2" before "10", folder by folder; equal only for equal paths.

    Examples
    --------
    >>> sorted(["b10", "b2", "a/1", "B1"], key=natural_key)
    ['B1', 'a/1', 'b2', 'b10']
    """
    return (tuple(_natural_part(part) for part in PurePath(path).parts), path)


def _natural_part(part: str) -> tuple[tuple[int, int, str], ...]:
    pieces = (piece for piece in _DIGITS.split(part) if piece)
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)


def find_files(paths: PathLike | Iterable[PathLike], suffixes: tuple[str, ...]) -> list[str]:
    """Absolute paths of all files that `paths` name, in natural order.

    A directory gives the files below it that end in one of `suffixes`; names that begin with "." or "_"
    are left out. A glob or a file name gives what it says, whatever its suffix.

    Raises
    ------
    PlanError
        Nothing is found, a URL is given, or one file is named twice.
    """
    if isinstance(paths, (str, Path)):
        named = [str(paths)]
    elif isinstance(paths, Iterable):
        named = [str(path) for path in paths]
    else:
        raise PlanError(
            f"a path is a str or a Path, or a list of them, not {type(paths).__name__}",
            hint='for example scan_parquet("bids/*.parquet")',
        )
    if not named:
        raise PlanError("no paths were given", hint="name a file, a glob or a directory")
    found = sorted((file for pattern in named for file in _files_of(pattern, suffixes)), key=natural_key)
    for before, after in pairwise(found):
        if before == after:
            raise PlanError(
                f"{after} is named twice, its rows would be read twice", hint="let each file match one path"
            )
    return found


def partition_names(files: list[str], clock_by: ClockBy) -> list[str]:
    """The partition of each file: paths relative to the folder that all of them share.

    Examples
    --------
    >>> partition_names(["/d/a/1.parquet", "/d/b/1.parquet"], "directory")
    ['a', 'b']
    """
    if clock_by == "scan":
        return ["scan"] * len(files)
    root = os.path.commonpath([Path(file).parent for file in files])
    names = [Path(file) if clock_by == "file" else Path(file).parent for file in files]
    return [name.relative_to(root).as_posix() for name in names]


def _files_of(pattern: str, suffixes: tuple[str, ...]) -> list[str]:
    path = _local(pattern)
    if path.is_dir():
        found = _files_below(path, suffixes)
        if not found:
            raise PlanError(
                f"no {' or '.join(suffixes)} files below {pattern}",
                hint='for files with other endings give a glob, such as "folder/**/*"',
            )
        return found
    if path.exists():  # also if its name has glob characters
        return [_absolute(path)]
    found = []
    if has_magic(str(path)):
        for match in map(Path, glob(str(path), recursive=True)):  # noqa: PTH207 - takes absolute patterns too
            if not match.is_dir():
                found.append(_absolute(match))
            elif "**" not in pattern:  # with "**" the files below match by themselves
                found += _files_below(match, suffixes)
    if not found:
        raise PlanError(
            f"no file matches {pattern}", hint=f"relative paths start at the working directory, {Path.cwd()}"
        )
    return found


def _files_below(directory: Path, suffixes: tuple[str, ...]) -> list[str]:
    found = []
    for folder, subfolders, names in os.walk(_absolute(directory)):
        subfolders[:] = [name for name in subfolders if not name.startswith(_HIDDEN_PREFIXES)]
        found += [
            str(Path(folder, name))
            for name in names
            if name.lower().endswith(suffixes) and not name.startswith(_HIDDEN_PREFIXES)
        ]
    return found


def _absolute(path: Path) -> str:
    return os.path.normpath(path.absolute())  # not resolve(): a link's own name is what the user sorts by


def _local(pattern: str) -> Path:
    scheme = _SCHEME.match(pattern)
    if scheme is None:
        return Path(pattern).expanduser()
    if scheme[1] == "file":
        return Path(pattern[len("file://") :])
    raise PlanError(
        f"{pattern} is a URL, only local files can be read so far",
        hint="copy the files to a local folder first",
    )
