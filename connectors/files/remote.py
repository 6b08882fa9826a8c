"""Files behind URLs, through fsspec."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

from arrowstream.connectors.files.credentials import credentials, shown
from arrowstream.connectors.files.paths import (
    Found,
    in_natural_order,
    is_glob,
    is_hidden,
    named,
    no_files_below,
    scheme_of,
)
from arrowstream.connectors.files.place_errors import missing_client, place_error, unknown_scheme
from arrowstream.connectors.files.places import FoundFile, check_same
from arrowstream.connectors.files.remote_files import RemoteFile, RemoteStream
from arrowstream.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from arrowstream.errors import ArrowStreamError
    from arrowstream.types import PathLike

_STATUS_THREADS = 16  # asking for the status of files is waiting for answers
_ATTEMPTS_MAX = 2  # of one request by botocore; s3fs has five of its own around them
_S3 = frozenset({"s3", "s3a"})
_VERSIONS = (
    "ETag", "etag", "generation", "VersionId", "md5Hash", "Content-MD5", "CRC", "mtime", "modified",
    "LastModified", "last_modified", "Last-Modified", "created",
)  # fmt: skip
"""What file systems say of a file that changes with its content, the surest first."""


class Located(NamedTuple):
    """A file as fsspec has it."""

    filesystem: Any  # fsspec has no types that tell what its file systems can do
    path: str


class RemotePlace:
    """URLs of one kind.

    Parameters
    ----------
    urls
        Those that will be read, which may hold credentials.
    storage_options
        fsspec's own, for the kind of URL.
    """

    def __init__(self, urls: Sequence[str], storage_options: Mapping[str, Any] | None = None) -> None:
        self._scheme = cast("str", scheme_of(urls[0]))
        self._options = dict(storage_options or {})
        self._secret = credentials(storage_options, urls)
        try:
            self._client_options = _with_defaults(self._scheme, self._options, urls)
        except ImportError as error:
            raise missing_client(error, self._scheme) from None
        self._urls: dict[str, str] = {}  # what to open, by the names that are shown
        self._http: Any = None
        for url in urls:
            if self._scheme in _S3 and shown(url) != url:
                raise PlanError(
                    f"{shown(url)} has credentials in front of its bucket",
                    hint='give them as storage_options={"key": …, "secret": …}',
                )
        self._located(urls[0])  # a missing package is told at once

    def __repr__(self) -> str:
        return f"RemotePlace({self._scheme}://)"

    @property
    def is_local(self) -> bool:
        """See `Place`."""
        return False

    def find(self, patterns: PathLike | Iterable[PathLike], suffixes: tuple[str, ...]) -> list[FoundFile]:
        """See `Place`."""
        texts = named(patterns)
        self._secret = credentials(self._options, texts)
        if self._scheme == "http":
            return self._find_named(texts)
        details: dict[str, FoundFile] = {}
        found: list[Found] = []
        for text in texts:
            files = self._files_of(text, suffixes)
            details.update((file.path, file) for file in files)
            found += [Found(file.path) for file in files]
        return [details[file.path] for file in in_natural_order(found)]

    def stat(self, path: str) -> FoundFile:
        """See `Place`."""
        filesystem, inner = self._located(self._urls.get(path, path))
        try:
            filesystem.invalidate_cache()
            info = filesystem.info(inner)
            return FoundFile(path, _size(info), _version(filesystem, info))
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            raise self._told(error, path) from None

    def open(self, file: FoundFile | str) -> BinaryIO:
        """See `Place`."""
        found = file if isinstance(file, FoundFile) else self.stat(file)
        filesystem, inner = self._located(self._urls.get(found.path, found.path))
        remote = RemoteFile(
            filesystem,
            inner,
            found,
            streams=lambda: self._endless(found.path),
            told=lambda error: self._told(error, found.path),
            check=lambda: self.check_unchanged(found),
        )
        return cast("BinaryIO", RemoteStream(remote))

    def check_unchanged(self, file: FoundFile) -> None:
        """See `Place`."""
        check_same(file, self.stat(file.path))

    def _files_of(self, pattern: str, suffixes: tuple[str, ...]) -> list[FoundFile]:
        filesystem, inner = self._located(pattern)
        search = _Search(filesystem, *_around(shown(pattern), inner))
        try:
            filesystem.invalidate_cache()
            found = search.matching(inner, suffixes)
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            raise self._told(error, shown(pattern)) from None
        if not found and not is_glob(inner):
            raise no_files_below(shown(pattern), suffixes)
        if not found:
            raise PlanError(
                f"no file matches {shown(pattern)}", hint="check the pattern, and how the files are called"
            )
        before, after = _around(pattern, inner)  # with what is not shown
        self._urls.update((file.path, f"{before}{search.inner(file)}{after}") for file in found)
        return found

    def _find_named(self, urls: Sequence[str]) -> list[FoundFile]:
        """Files of HTTP: it has no folders, and "?" begins a query."""
        names: dict[str, str] = {}
        for url in urls:
            name = shown(url)
            if "*" in name or name.endswith("/"):
                raise PlanError(
                    f"{name} does not name a file, and http has no list of files that could be searched",
                    hint="name each file by its URL: a list of them is read as one",
                )
            if url in names.values():
                raise PlanError(
                    f"{name} is named twice, its rows would be read twice", hint="name each file once"
                )
            others = sum(other.partition("#")[0] == name for other in names)
            names[f"{name}#{others + 1}" if others else name] = url  # they differ in what is not shown
        self._urls.update(names)
        with ThreadPoolExecutor(_STATUS_THREADS) as pool:
            found = list(pool.map(self.stat, names))
        by_path = {file.path: file for file in found}
        return [by_path[file.path] for file in in_natural_order(Found(path) for path in by_path)]

    def _located(self, url: str) -> Located:
        from fsspec.core import url_to_fs
        from fsspec.registry import available_protocols

        if self._http is not None:
            return Located(self._http, url)
        scheme = url.partition(":")[0].lower()
        try:
            filesystem, inner = url_to_fs(url, **self._client_options)
        except ImportError as error:
            raise missing_client(error, scheme) from None
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            if scheme not in available_protocols():
                raise unknown_scheme(scheme, available_protocols()) from None
            raise self._told(error, shown(url)) from None
        if self._scheme == "http":  # one for all, and for nobody else: it knows the hosts
            self._http = filesystem
        return Located(filesystem, str(inner))

    def _endless(self, name: str) -> Any:
        """The file system of HTTP for whole files."""
        from fsspec import filesystem

        from arrowstream.connectors.files.web import session_for

        hosts = _hosts([*self._urls.values(), name])
        options = {**self._client_options, "get_client": session_for(hosts, is_endless=True)}
        return filesystem("http", **{**options, **self._options})

    def _told(self, error: BaseException, name: str) -> ArrowStreamError:
        return place_error(error, name, self._secret)


@dataclass(frozen=True, slots=True)
class _Search:
    """Files of one file system, named by what stands before and after their paths in a URL."""

    filesystem: Any
    before: str
    after: str

    def inner(self, file: FoundFile) -> str:
        """The path in the file system."""
        return file.path[len(self.before) : len(file.path) - len(self.after)]

    def matching(self, pattern: str, suffixes: tuple[str, ...]) -> list[FoundFile]:
        """See `Place.find`."""
        if not is_glob(pattern):
            info = self.filesystem.info(pattern)
            return self._files([info]) if info["type"] == "file" else self._below(pattern, suffixes)
        matches = list(self.filesystem.glob(pattern, detail=True).values())
        found = self._files(matches)
        if "**" not in pattern:  # with "**" the files below match by themselves
            folders = [str(match["name"]) for match in matches if match.get("type") == "directory"]
            below = [file for folder in folders for file in self._below(folder, suffixes)]
            found += [replace(file, hive_start=0, in_folder=False) for file in below]
        return found

    def _below(self, folder: str, suffixes: tuple[str, ...]) -> list[FoundFile]:
        root = folder.strip("/")
        start = len(root) + 1 if root else 0
        infos = self.filesystem.find(folder, detail=True).values()
        return [
            replace(file, hive_start=len(self.before) + start, in_folder=True)
            for file in self._files(infos)
            if (path := self.inner(file)).lower().endswith(suffixes)
            and not any(map(is_hidden, path[start:].split("/")))
        ]

    def _files(self, infos: Iterable[Mapping[str, Any]]) -> list[FoundFile]:
        """Those that are files; some tools put objects for folders, which end in "/"."""
        return [
            FoundFile(
                f"{self.before}{str(info['name']).lstrip('/')}{self.after}",
                _size(info),
                _version(self.filesystem, info),
            )
            for info in infos
            if info.get("type") == "file" and not str(info["name"]).endswith("/")
        ]


def _with_defaults(scheme: str, options: Mapping[str, Any], urls: Iterable[str]) -> dict[str, Any]:
    """The options, with bounds to what is waited for, and nothing of a place remembered."""
    given = dict(options)
    if scheme in _S3:
        config = dict(given.get("config_kwargs") or {})
        config.setdefault("retries", {"total_max_attempts": _ATTEMPTS_MAX, "mode": "standard"})
        return {"use_listings_cache": False, **given, "config_kwargs": config}
    if scheme == "http":
        from arrowstream.connectors.files.web import session_for

        return {"get_client": session_for(_hosts(urls)), "skip_instance_cache": True, **given}
    return given


def _hosts(urls: Iterable[str]) -> set[str]:
    return {urlsplit(url).hostname or "" for url in urls}


def _around(shown_url: str, inner: str) -> tuple[str, str]:
    """What stands before and after a path of fsspec in the URL that it comes from."""
    first = shown_url.partition("::")[0]
    start = shown_url.find("://") + 3
    at = shown_url.find(inner.strip("/"), start) if "://" in first else shown_url.rfind(inner.strip("/"))
    if at < 0:  # the file system writes it in another way
        return shown_url[:start], ""
    chained = shown_url.find("::", at)
    return shown_url[:at], shown_url[chained:] if chained >= 0 else ""


def _size(info: Mapping[str, Any]) -> int:
    size = info.get("size")
    return -1 if size is None else int(size)


def _version(filesystem: Any, info: Mapping[str, Any]) -> int | str | None:
    if "memory" in filesystem.protocol:
        return str(filesystem.modified(info["name"]).isoformat())
    found = next((info[name] for name in _VERSIONS if info.get(name) is not None), None)
    return found if found is None or isinstance(found, int) else str(found)
