"""Where an output is: a local folder, or objects under a URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from arrowstream.connectors.files.local_output import LocalOutput
from arrowstream.connectors.files.objects import CONDITIONAL_PROTOCOLS, ObjectOutput
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrowstream.connectors.files.history import Medium
    from arrowstream.types import Delivery, PathLike

_LOCAL_PROTOCOLS = ("file", "local")
_READ_ONLY_PROTOCOLS = ("http", "https")
_FILE_SUFFIXES = (".parquet", ".arrow", ".ipc", ".feather", ".arrows", ".csv", ".ndjson", ".jsonl", ".avro")


def medium_of(path: PathLike, storage_options: Mapping[str, Any] | None = None) -> Medium:
    """The place that a path or URL names; PlanError if it cannot be an output. Nothing is opened."""
    protocol, rest = _split(path)
    if protocol is not None:
        return ObjectOutput(f"{protocol}://{rest}", storage_options)
    if storage_options:
        raise PlanError(
            f"storage_options= are given, but {rest} is a local folder", hint='give a URL, such as "s3://…"'
        )
    folder = Path(os.path.realpath(Path(rest).expanduser()))
    if folder == folder.parent:
        raise PlanError(f"{rest} cannot be an output", hint="name a folder inside it")
    if folder.is_file():
        raise _a_file(rest)
    return LocalOutput(folder)


def delivery_of(path: PathLike) -> Delivery:
    """What the place of an output can promise."""
    protocol, _ = _split(path)
    return "exactly_once" if protocol is None or protocol in CONDITIONAL_PROTOCOLS else "at_least_once"


def _split(path: PathLike) -> tuple[str | None, str]:
    """Protocol (None: local) and the rest of a path or URL that can be an output."""
    text = os.fspath(path)
    protocol, separator, rest = text.partition("://")
    if not separator or protocol in _LOCAL_PROTOCOLS:
        rest = rest if separator else text
        if rest.rstrip("/\\").endswith(_FILE_SUFFIXES):
            raise _a_file(rest)
        return None, rest
    protocol, rest = protocol.lower(), rest.rstrip("/")
    if urlsplit(text).password is not None or "?" in text:
        raise PlanError(
            f"the URL of an output ({protocol}://…) cannot hold a password or options",
            hint="give them as storage_options=, which are never shown",
        )
    if protocol in _READ_ONLY_PROTOCOLS:
        raise PlanError(f"{text} can only be read", hint='write to a local folder or to "s3://…"')
    if rest.endswith(_FILE_SUFFIXES):
        raise _a_file(text)
    if "/" not in rest and protocol != "memory":
        raise PlanError(
            f"{text} cannot be an output", hint=f'name a folder inside it: "{protocol}://{rest}/out"'
        )
    _require_known(protocol)
    return protocol, rest


def _require_known(protocol: str) -> None:
    from fsspec.registry import available_protocols

    if protocol not in available_protocols():
        raise PlanError(f"no file system is known for {protocol}://", hint='for example "s3://bucket/out"')


def _a_file(text: str) -> PlanError:
    return PlanError(
        f"{text} names a file, but an output is a folder that gets a file an epoch",
        hint=f'name a folder, for example "{text.rpartition(".")[0]}/"',
    )
