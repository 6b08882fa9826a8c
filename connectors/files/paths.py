"""From what the user names (files, globs, directories) to files in natural order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from arrowstream.connectors.files.credentials import shown
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from arrowstream.types import ClockBy, PathLike

_DIGITS = re.compile(r"(\d+)")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_HIDDEN_PREFIXES = (".", "_")
_MAGIC = re.compile(r"[*?\[]")


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


@dataclass(frozen=True, slots=True)
class Found:
    """A path, and how the user got to it: see `places.FoundFile`."""

    path: str
    hive_start: int = 0
    in_folder: bool = False


def named(patterns: PathLike | Iterable[PathLike]) -> list[str]:
    """What the user wrote for paths, as a list that is not empty.

    Raises
    ------
    PlanError
        It is neither a path nor several, or none at all.
    """
    if isinstance(patterns, (str, Path)):
        return [str(patterns)]
    if not isinstance(patterns, Iterable):
        raise PlanError(
            f"a path is a str or a Path, or a list of them, not {type(patterns).__name__}",
            hint='for example scan_parquet("bids/*.parquet")',
        )
    texts = [str(path) for path in patterns]
    if not texts:
        raise PlanError("no paths were given", hint="name a file, a glob or a directory")
    return texts


def scheme_of(pattern: str) -> str | None:
    """What a URL begins with, None for a local path; "http" and "https" are one.

    Examples
    --------
    >>> scheme_of("s3://bucket/a.csv"), scheme_of("https://host/a.csv"), scheme_of("bids/"), scheme_of("file:///a")
    ('s3', 'http', None, None)
    """
    scheme = _SCHEME.match(pattern)
    if scheme is None or scheme[1].lower() in {"file", "local"}:
        return None
    name = scheme[1].lower()
    return "http" if name == "https" else name


def in_natural_order(found: Iterable[Found]) -> list[Found]:
    """Files sorted by their paths.

    Raises
    ------
    PlanError
        A file is there twice.
    """
    ordered = sorted(found, key=lambda file: natural_key(file.path))
    for before, after in pairwise(ordered):
        if before.path == after.path:
            raise PlanError(
                f"{after.path} is named twice, its rows would be read twice",
                hint="let each file match one path",
            )
    return ordered


def find_local(patterns: PathLike | Iterable[PathLike], suffixes: tuple[str, ...]) -> list[Found]:
    """All local files that `patterns` name, by absolute paths in natural order.

    A directory gives the files below it that end in one of `suffixes`; names that begin with "." or "_"
    are left out. A glob or a file name gives what it says, whatever its suffix.

    Raises
    ------
    PlanError
        Nothing is found, or one file is named twice.
    """
    return in_natural_order(file for pattern in named(patterns) for file in _files_of(pattern, suffixes))


def find_files(patterns: PathLike | Iterable[PathLike], suffixes: tuple[str, ...]) -> list[str]:
    """The paths of `find_local`."""
    return [file.path for file in find_local(patterns, suffixes)]


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


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out of folders."""
    return name.startswith(_HIDDEN_PREFIXES)


def no_files_below(pattern: str, suffixes: tuple[str, ...]) -> PlanError:
    """For a folder without a file of the format."""
    return PlanError(
        f"no {' or '.join(suffixes)} files below {pattern}",
        hint='for files with other endings give a glob, such as "folder/**/*"',
    )


def is_glob(pattern: str) -> bool:
    """Whether it has wildcards."""
    return _MAGIC.search(pattern) is not None


def _files_of(pattern: str, suffixes: tuple[str, ...]) -> list[Found]:
    path = local_path(pattern)
    if path.is_dir():
        below = _files_below(path, suffixes)
        if not below:
            raise no_files_below(pattern, suffixes)
        start = len(_absolute(path)) + 1
        return [Found(file, start, in_folder=True) for file in below]
    if path.exists():  # also if its name has glob characters
        return [Found(_absolute(path))]
    found: list[str] = []
    if is_glob(str(path)):
        for match in map(Path, glob(str(path), recursive=True)):  # noqa: PTH207 - takes absolute patterns too
            if not match.is_dir():
                found.append(_absolute(match))
            elif "**" not in pattern:  # with "**" the files below match by themselves
                found += _files_below(match, suffixes)
    if not found:
        raise PlanError(
            f"no file matches {pattern}", hint=f"relative paths start at the working directory, {Path.cwd()}"
        )
    return [Found(file) for file in found]


def _files_below(directory: Path, suffixes: tuple[str, ...]) -> list[str]:
    found = []
    for folder, subfolders, names in os.walk(_absolute(directory)):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        found += [
            str(Path(folder, name))
            for name in names
            if name.lower().endswith(suffixes) and not is_hidden(name)
        ]
    return found


def _absolute(path: Path) -> str:
    return os.path.normpath(path.absolute())  # not resolve(): a link's own name is what the user sorts by


def local_path(pattern: str) -> Path:
    """A path as Python has it, from what the user wrote.

    Raises
    ------
    PlanError
        It is the URL of another place.
    """
    scheme = _SCHEME.match(pattern)
    if scheme is None:
        return Path(pattern).expanduser()
    if scheme_of(pattern) is None:
        return Path(pattern[scheme.end() :])
    raise PlanError(f"{shown(pattern)} is a URL, not a local path", hint="read it with storage_options=")
