"""What may be shown of URLs and options: everything but credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "…"
"""Stands where a credential was."""

_SHOWN_OPTIONS = frozenset({
    "anon", "asynchronous", "block_size", "cache_type", "compression", "connect_timeout",
    "default_block_size", "default_cache_type", "endpoint_url", "host", "max_attempts", "mode", "port",
    "project", "protocol", "read_timeout", "region", "region_name", "retries", "simple_links", "use_ssl",
    "version_aware",
})  # fmt: skip
"""Options whose values help in an error and open nothing; all others are taken for credentials."""

_SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
)
_SECRET_PREFIXES = ("FSSPEC_",)  # FSSPEC_S3_SECRET is storage_options={"secret": …} for s3

_SECRET_LENGTH_MIN = 4  # shorter ones would take words apart
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]*@")
_QUERY = re.compile(r"(?<=://)([^\s?#'\"<>]*)[?#][^\s'\"<>]*")


def shown(url: str) -> str:
    """The URL without user, password, query and fragment.

    Examples
    --------
    >>> shown("https://me:secret@host/a.csv?signature=1")
    'https://host/a.csv'
    """
    return "::".join(_shown(part) for part in url.split("::"))


def _shown(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    rest = _USERINFO.sub("", f"://{rest}")[3:]
    if scheme.lower() in {"http", "https"}:  # elsewhere "?" and "#" are characters of a path, or of a glob
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    return f"{scheme}://{rest}"


def credentials(options: Mapping[str, Any] | None, urls: Iterable[str] = ()) -> tuple[str, ...]:
    """All that must not be shown, of options, URLs and the environment; the longest first."""
    found = set(_values(options or {}))
    for url in urls:
        userinfo = _USERINFO.search(url)
        if userinfo is not None:
            found.update({userinfo[0][:-1], *userinfo[0][:-1].split(":", 1)})
        _, mark, query = url.partition("?")
        if mark and url.lower().startswith(("http:", "https:")):
            found.update({query, *(pair.partition("=")[2] for pair in query.split("&"))})
    for name, value in os.environ.items():
        if name in _SECRET_VARIABLES or name.startswith(_SECRET_PREFIXES):
            found.add(value)
    long = {value for value in found if len(value) >= _SECRET_LENGTH_MIN}
    written = {
        form
        for value in long
        for form in (value, quote(value, safe=""), quote_plus(value), repr(value)[1:-1])
    }
    return tuple(sorted(written, key=lambda value: (-len(value), value)))


def _values(options: Any) -> Iterable[str]:
    match options:
        case Mapping():
            for name, value in options.items():
                if name not in _SHOWN_OPTIONS or isinstance(value, Mapping):
                    yield from _values(value)
        case str():
            yield options
        case bytes():
            yield options.decode("utf-8", "replace")
        case None | bool() | int() | float():
            return
        case list() | tuple() | set() | frozenset():
            for value in options:
                yield from _values(value)
        case _:  # such as aiohttp.BasicAuth
            yield from _values(getattr(options, "__dict__", {}))


def without_credentials(text: str, secret: Iterable[str]) -> str:
    """The text with none of the secrets, and with no URL's user, password or query."""
    for value in secret:
        text = text.replace(value, HIDDEN)
    return _QUERY.sub(r"\1", _USERINFO.sub("", text))
