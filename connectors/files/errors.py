"""Errors of Polars, PyArrow and the operating system, told in terms of a file and what to do about it."""

from __future__ import annotations

import errno

import polars as pl
import pyarrow as pa

from arrowstream.errors import ArrowStreamError, ConnectorError, DataError

LIBRARY_ERRORS = (
    OSError,
    UnicodeDecodeError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    pa.ArrowException,
)
"""What reading a file can raise. Polars' panics are a BaseException; PyArrow decodes names as they come."""


def translated(error: BaseException, path: str, format_name: str) -> ArrowStreamError:
    """The error to raise `from error`, naming the file."""
    if isinstance(error, ArrowStreamError):
        return error
    if isinstance(error, FileNotFoundError):
        return ConnectorError(
            f"{path} does not exist (any more)",
            hint="restore the file, or build the query again so that it is left out",
        )
    if isinstance(error, PermissionError):
        return ConnectorError(f"{path} cannot be opened: permission denied", hint="make the file readable")
    if isinstance(error, OSError) and _is_of_the_system(error):
        return ConnectorError(f"{path} cannot be read: {error}", retryable=True)
    return DataError(
        f"{path} is not a readable {format_name} file: {_first_line(error)}",
        hint="the file is damaged, cut short or of another format: write it again, or leave it out",
    )


def _is_of_the_system(error: OSError) -> bool:
    """Or of a library that calls it so if bytes are not what they should be, or lead before the file."""
    return error.errno not in {None, errno.EINVAL} or "os error" in str(error)


def unattributed(error: BaseException, paths: list[str], format_name: str) -> ArrowStreamError:
    """For an error that reading the files one by one does not show again."""
    among = paths[0] if len(paths) == 1 else f"{paths[0]} or one of the {len(paths) - 1} files after it"
    return ConnectorError(
        f"reading {among} failed: {_first_line(error)}",
        retryable=True,
        hint=f"each {format_name} file can be read alone: run again, with less memory in use",
    )


class ChangedError(ConnectorError):
    """A file is not what it was when it was found."""


def changed(path: str) -> ChangedError:
    """For a file whose size or modification time is not what it was when the query was built."""
    return ChangedError(
        f"{path} has changed since the query was built",
        hint="build the query again; files that are still written to cannot be replayed",
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
