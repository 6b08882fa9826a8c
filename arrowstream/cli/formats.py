"""Which format a file name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from arrowstream.connectors.files.compression import codec_of_name, without_codec
from arrowstream.errors import PlanError, nearest

if TYPE_CHECKING:
    from arrowstream.connectors.files.compression import Codec

SUFFIXES = {
    ".parquet": "parquet",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".avro": "avro",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))

WHOLLY_COMPRESSED = ("csv", "ndjson")
"""Formats that have no compression of their own."""

_FILES_LOOKED_AT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Format:
    """What a name says.

    Attributes
    ----------
    name
        "parquet", "csv" …
    suffix
        Of the format itself, ".tsv" for instance; "" if it was named by hand.
    compression
        Of the whole file, if its name ends so.
    """

    name: str
    suffix: str = ""
    compression: Codec | None = None


def format_of(path: str, given: str | None = None) -> Format:
    """The format of a file, a glob or a folder; `given` by hand if its name does not tell.

    Raises
    ------
    PlanError
        Neither the name nor what is in the folder tells, or there is no such format.

    Examples
    --------
    >>> format_of("logs/*.jsonl.gz")
    Format(name='ndjson', suffix='.jsonl', compression='gzip')
    """
    if given is not None:
        if given not in FORMATS:
            near = nearest(given, FORMATS)
            raise PlanError(
                f"there is no format {given}", choices=FORMATS, hint=f"did you mean {near}?" if near else None
            )
        return Format(given, *_told(path)[1:])
    suffix, _, compression = _told(path)
    if suffix in SUFFIXES:
        return Format(SUFFIXES[suffix], suffix, compression)
    if Path(path).is_dir():
        return _format_inside(path)
    raise PlanError(
        f"{path} does not tell its format by its name",
        choices=SUFFIXES,
        hint="a compressed file has a second suffix: .csv.gz; convert takes --from and --to",
    )


def is_one_file(path: str) -> bool:
    """Whether the name of an output is that of a file, not of a folder.

    Examples
    --------
    >>> is_one_file("out/bids.csv.gz"), is_one_file("out/")
    (True, False)
    """
    return not path.endswith("/") and not Path(path).is_dir() and _told(path)[0] in SUFFIXES


def _told(path: str) -> tuple[str, str, Codec | None]:
    """The format's suffix (twice, for who wants it as a part of `Format`), and the compression."""
    name = path.rstrip("/")
    suffix = PurePosixPath(without_codec(name)).suffix.lower()
    return suffix, suffix, codec_of_name(name)


def _format_inside(folder: str) -> Format:
    """The one format of the files in a folder.

    Raises
    ------
    PlanError
        There is none, or more than one.
    """
    found: dict[str, Format] = {}
    for count, file in enumerate(sorted(Path(folder).rglob("*"))):
        suffix, _, compression = _told(file.name)
        if suffix in SUFFIXES and not file.name.startswith((".", "_")):
            found.setdefault(suffix, Format(SUFFIXES[suffix], suffix, compression))
        if count >= _FILES_LOOKED_AT_MAX:
            break
    names = {one.name for one in found.values()}
    if len(names) > 1:
        raise PlanError(
            f"{folder} holds several kinds of files: {', '.join(sorted(found))}",
            hint=f"give a glob, such as '{folder.rstrip('/')}/*{min(found)}'",
        )
    if not found:
        raise PlanError(f"{folder} holds no files of a kind that can be read", choices=SUFFIXES)
    return next(iter(found.values()))
