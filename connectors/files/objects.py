"""An output of objects: S3, `memory://`, and whatever else fsspec writes to.

A data object is put under its final name at once, if absent, after the manifest has decided who publishes the
epoch. So a process that was frozen and wakes up much later puts nothing: it has lost at the manifest. An
object that is there already must be the one that was to be put.

Where a put cannot be conditional (neither S3 nor memory), two processes at a time could both publish:
such an output is written at least once.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from arrowstream import durable, failpoints
from arrowstream.connectors.files.credentials import credentials, without_credentials
from arrowstream.connectors.files.history import RESTORE, DataFile, Manifest
from arrowstream.connectors.files.place_errors import missing_client
from arrowstream.errors import ArrowStreamError, ConnectorError, FencedError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

S3_PROTOCOLS = ("s3", "s3a")
CONDITIONAL_PROTOCOLS = (*S3_PROTOCOLS, "memory")
"""Places that can put an object if, and only if, there is none: what exactly once needs."""

MULTIPART_BYTES = 32 << 20
"""Larger objects are put in parts, which are uploaded side by side and repeated one by one."""

PART_BYTES = 8 << 20
_PARTS_MAX = 9_000  # S3 takes 10,000
_UPLOADS_AT_ONCE = 8
_PARTS_AT_ONCE = 4
_ATTEMPTS = 8  # of a put that meets another one (409), or whose upload somebody has aborted
_FIRST_WAIT_S = 0.05
_READ_BYTES = 1 << 20
_PROBE = "conditional"
_SHA256 = "sha256"  # key of an object's metadata


class Objects(Protocol):
    """What an output needs of a place. Keys are paths as fsspec has them, without the protocol."""

    def read(self, key: str) -> bytes | None:
        """An object, or None."""
        ...

    def sha256(self, key: str) -> str | None:
        """The checksum of an object's bytes, or None if it is not there."""
        ...

    def put_new(self, key: str, payload: bytes) -> bool:
        """Put an object if absent; False if it is there."""
        ...

    def put_file_new(self, key: str, source: Path, sha256: str) -> bool:
        """Put a file if absent; False if there is an object."""
        ...

    def keys(self, folder: str) -> list[str]:
        """All keys that begin with `folder` and "/"."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; no error if they are gone."""
        ...

    def abort_uploads(self, folder: str) -> None:
        """Abort what killed processes have left half uploaded."""
        ...


class ObjectOutput:
    """A `Medium` of objects. Blocks on the service.

    Parameters
    ----------
    url
        Where the data objects are: protocol, bucket, prefix.
    storage_options
        fsspec's keys; never shown.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._home_url = f"{url.rpartition('/')[0]}/.{url.rpartition('/')[2]}.arrowstream"
        self._protocol = url.partition("://")[0]
        self._options = dict(storage_options or {})
        self._opened: Objects | None = None
        self._data = self._home = ""  # as the file system has them, when it is open

    @property
    def label(self) -> str:
        """The URL."""
        return self._url

    def make(self) -> None:
        """Check that a put can be conditional: a service that takes no notice of it must not be trusted."""
        if self._protocol not in CONDITIONAL_PROTOCOLS:
            return
        with self._errors():
            objects = self._objects
            objects.put_new(f"{self._home}/{_PROBE}", b"")
            if objects.put_new(f"{self._home}/{_PROBE}", b""):
                raise ConnectorError(
                    f"{self._url} cannot be written exactly once: the service takes no notice of "
                    "If-None-Match, and replaces what is there",
                    hint="update the service, or write to a local folder and copy it from there",
                )

    def take_over(self) -> None:
        """Abort the uploads of killed processes."""
        with self._errors():
            objects = self._objects
            objects.abort_uploads(self._data)

    def location(self, record: str) -> str:
        """The URL of a record."""
        return f"{self._home_url}/{record}"

    def read(self, record: str) -> bytes | None:
        """A record, or None."""
        with self._errors():
            objects = self._objects
            return objects.read(f"{self._home}/{record}")

    def put_new(self, record: str, payload: bytes, *, failpoint: str) -> bool:
        """Put a record if absent."""
        with self._errors():
            failpoints.hit(f"{failpoint}.before")
            objects = self._objects
            won = objects.put_new(f"{self._home}/{record}", payload)
            failpoints.hit(f"{failpoint}.after")
            return won

    def remove(self, record: str) -> None:
        """Remove a record."""
        with self._errors():
            objects = self._objects
            objects.delete([f"{self._home}/{record}"])

    def epochs(self) -> list[int]:
        """The epochs that have a manifest."""
        with self._errors():
            objects = self._objects
            names = [key.rpartition("/")[2] for key in objects.keys(f"{self._home}/manifests")]
        return sorted(int(name.removesuffix(".json")) for name in names if name.endswith(".json"))

    def data_names(self) -> list[str]:
        """Names of the objects of the output."""
        with self._errors():
            objects = self._objects
            names = [key.removeprefix(f"{self._data}/") for key in objects.keys(self._data)]
        return sorted(
            name
            for name in names
            # Some tools put an object for a folder, with "/" at the end of its name.
            if not name.endswith("/") and name and not any(_is_hidden(part) for part in name.split("/"))
        )

    def empty(self) -> None:
        """Remove all data and all manifests."""
        names = self.data_names()
        with self._errors():
            self._objects.delete([f"{self._data}/{name}" for name in names])
            self._objects.delete(self._objects.keys(f"{self._home}/manifests"))

    def place(self, manifest: Manifest, outbox: Path) -> None:
        """Put every file, several at a time."""
        if not manifest.files:
            return
        with self._errors():
            failpoints.hit("object.before")
            self._put_files(manifest, outbox)
            failpoints.hit("object.after")

    def complete(self, manifest: Manifest) -> bool:
        """Whether all files are there; the engine has the outbox and is asked for it if not."""
        return not self.missing(manifest)

    def missing(self, manifest: Manifest) -> list[str]:
        """Names of the files of an epoch that are not there."""
        with self._errors(), ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            there = pool.map(self._is_there, manifest.files)
            return [file.name for file, found in zip(manifest.files, there, strict=True) if not found]

    def url(self, name: str) -> str:
        """Where a data object is."""
        return f"{self._url}/{name}"

    @property
    def _objects(self) -> Objects:
        if self._opened is None:
            self._opened, self._data = _open(self._url, self._options)
            parent, _, name = self._data.rpartition("/")
            self._home = f"{parent}/.{name}.arrowstream"
        return self._opened

    def _put_files(self, manifest: Manifest, outbox: Path) -> None:
        if len(manifest.files) == 1:  # most epochs: no threads for it
            self._put_file(manifest, manifest.files[0], outbox)
            return
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            uploads = [pool.submit(self._put_file, manifest, file, outbox) for file in manifest.files]
            try:
                for upload in uploads:
                    upload.result()
            except BaseException:
                for upload in uploads:
                    upload.cancel()
                raise

    def _put_file(self, manifest: Manifest, file: DataFile, outbox: Path) -> None:
        objects = self._objects
        key, source = f"{self._data}/{file.name}", outbox / file.source
        if not source.is_file():
            raise FencedError(
                f"{source} is gone: a newer process has published epoch {manifest.epoch}",
                hint="let the newer process go on",
            )
        if not objects.put_file_new(key, source, file.sha256):
            self._is_there(file)
        failpoints.hit("object.put")

    def _is_there(self, file: DataFile) -> bool:
        """Whether the object is there; StateError if it is another one."""
        found = self._objects.sha256(f"{self._data}/{file.name}")
        if found not in {None, file.sha256}:
            raise StateError(
                f"{self.url(file.name)} is not what was published there: its checksum does not match",
                hint=RESTORE,
            )
        return found is not None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the service as what they mean for an output, without what gives access to it."""
        try:
            yield
        except ArrowStreamError:
            raise
        except Exception as error:  # noqa: BLE001 — every client library has errors of its own
            text = without_credentials(f"{type(error).__name__}: {error}", credentials(self._options))
            raise ConnectorError(
                f"{self._url} cannot be written: {text}",
                retryable=True,
                hint="see that the place exists and that you may write there (storage_options=), "
                "then run again: nothing is lost",
            ) from None


class FsspecObjects:
    """Any file system of fsspec. Only that of memory knows what it means to be the first."""

    def __init__(self, filesystem: Any, *, protocol: str) -> None:
        self._files = filesystem
        self._lock = _MEMORY_LOCK if protocol == "memory" else threading.Lock()

    def read(self, key: str) -> bytes | None:
        """An object, or None."""
        try:
            return bytes(self._files.cat_file(key))
        except FileNotFoundError:
            return None

    def sha256(self, key: str) -> str | None:
        """The checksum of an object's bytes, which are read for it."""
        digest = hashlib.sha256()
        try:
            with self._files.open(key, "rb") as file:
                while piece := file.read(_READ_BYTES):
                    digest.update(piece)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def put_new(self, key: str, payload: bytes) -> bool:
        """Put an object if absent."""
        return self._put_new(key, lambda temporary: self._files.pipe_file(temporary, payload))

    def put_file_new(self, key: str, source: Path, sha256: str) -> bool:  # noqa: ARG002 — it is in the bytes
        """Put a file if absent."""
        return self._put_new(key, lambda temporary: self._files.put_file(str(source), temporary))

    def keys(self, folder: str) -> list[str]:
        """All keys in a folder; those of unfinished puts do not count."""
        self._files.invalidate_cache()
        found = [str(key) for key in self._files.find(folder)]
        return [key for key in found if not key.endswith(durable.TEMPORARY_SUFFIX)]

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        for key in keys:
            with suppress(FileNotFoundError):
                self._files.rm_file(key)

    def abort_uploads(self, folder: str) -> None:
        """Remove what was not moved to its final name."""
        for key in self._files.find(folder):
            if str(key).endswith(durable.TEMPORARY_SUFFIX):
                with suppress(FileNotFoundError):
                    self._files.rm_file(key)

    def _put_new(self, key: str, write: Callable[[str], object]) -> bool:
        """Written under another name and moved: nobody sees half of it under its own."""
        parent, _, name = key.rpartition("/")
        temporary = f"{parent}/.{name}.{uuid.uuid4().hex}{durable.TEMPORARY_SUFFIX}"
        self._files.makedirs(parent, exist_ok=True)
        write(temporary)
        with self._lock:
            if self._files.exists(key):
                self._files.rm_file(temporary)
                return False
            self._files.mv(temporary, key)
            return True


_MEMORY_LOCK = threading.Lock()


class S3Objects:
    """S3, or what speaks its protocol, through s3fs: every put is conditional."""

    def __init__(self, filesystem: Any) -> None:
        self._call = filesystem.call_s3
        self._cat = filesystem.cat_file

    def read(self, key: str) -> bytes | None:
        """An object, or None."""
        try:
            return bytes(self._cat(key))
        except FileNotFoundError:
            return None

    def sha256(self, key: str) -> str | None:
        """The checksum that was put with an object; of its bytes if somebody else has put it."""
        try:
            head = self._call("head_object", **_bucket_and_key(key))
        except FileNotFoundError:
            return None
        known = head.get("Metadata", {}).get(_SHA256)
        if known is not None:
            return str(known)
        content = self.read(key)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def put_new(self, key: str, payload: bytes) -> bool:
        """Put an object if absent."""
        return self._put(key, payload, hashlib.sha256(payload).hexdigest())

    def put_file_new(self, key: str, source: Path, sha256: str) -> bool:
        """Put a file if absent, in parts if it is large."""
        if source.stat().st_size <= MULTIPART_BYTES:
            return self._put(key, source.read_bytes(), sha256)
        if self.sha256(key) is not None:  # before all of it is uploaded in vain
            return False
        return _retried(functools.partial(self._put_parts, key, source, sha256))

    def keys(self, folder: str) -> list[str]:
        """All keys that begin with `folder` and "/"."""
        bucket, _, prefix = f"{folder}/".partition("/")
        listed = self._pages("list_objects_v2", "ContinuationToken", Bucket=bucket, Prefix=prefix)
        return [f"{bucket}/{item['Key']}" for page in listed for item in page.get("Contents", [])]

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            list(pool.map(lambda key: self._call("delete_object", **_bucket_and_key(key)), keys))

    def abort_uploads(self, folder: str) -> None:
        """Abort the uploads of killed processes; who may not list them leaves them to the bucket's rules."""
        bucket, _, prefix = f"{folder}/".partition("/")
        with suppress(PermissionError):
            for page in list(
                self._pages("list_multipart_uploads", "KeyMarker", Bucket=bucket, Prefix=prefix)
            ):
                for upload in page.get("Uploads", []):
                    self._abort(bucket, upload["Key"], upload["UploadId"])

    def _put(self, key: str, payload: bytes, sha256: str) -> bool:
        return _retried(
            lambda: self._call(
                "put_object",
                **_bucket_and_key(key),
                Body=payload,
                IfNoneMatch="*",
                Metadata={_SHA256: sha256},
            )
        )

    def _put_parts(self, key: str, source: Path, sha256: str) -> None:
        """Upload in parts; nothing is seen under the key before all of them are there."""
        where = _bucket_and_key(key)
        upload = self._call("create_multipart_upload", **where, Metadata={_SHA256: sha256})["UploadId"]
        failpoints.hit("object.begun")
        part_bytes = max(PART_BYTES, -(-source.stat().st_size // _PARTS_MAX))
        starts = range(0, source.stat().st_size, part_bytes)

        def put_part(number: int) -> dict[str, Any]:
            with source.open("rb") as file:
                file.seek(starts[number - 1])
                body = file.read(part_bytes)
            part = self._call("upload_part", **where, UploadId=upload, PartNumber=number, Body=body)
            failpoints.hit("object.part")
            return {"PartNumber": number, "ETag": part["ETag"]}

        try:
            with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
                parts = list(pool.map(put_part, range(1, len(starts) + 1)))
            self._call(
                "complete_multipart_upload",
                **where,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except Exception:
            self._abort(where["Bucket"], where["Key"], upload)
            raise

    def _abort(self, bucket: str, key: str, upload: str) -> None:
        with suppress(FileNotFoundError, OSError):  # whoever takes over next aborts what is left
            self._call("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)

    def _pages(self, method: str, token: str, **where: str) -> Iterator[dict[str, Any]]:
        """Every page of a listing."""
        start: dict[str, str] = {}
        while True:
            page = self._call(method, **where, **start)
            yield page
            following = page.get(f"Next{token}")
            if not page.get("IsTruncated") or not following:
                return
            start = {token: following}


def _retried(put: Callable[[], object]) -> bool:
    """Whether a conditional put was the first; repeated while another one is under way or has aborted it."""
    for attempt in range(_ATTEMPTS):
        try:
            put()
        except Exception as error:
            code = _code(error)
            if code in {"PreconditionFailed", "412"}:
                return False
            again = {"ConditionalRequestConflict", "OperationAborted", "409", "NoSuchUpload"}
            if code not in again or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_FIRST_WAIT_S * 2**attempt)
        else:
            return True
    raise AssertionError  # the last attempt returns or raises


def _code(error: Exception) -> str:
    """The code that S3 gave, which s3fs keeps in the cause of its own errors."""
    for cause in (error, error.__cause__):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return "PreconditionFailed" if isinstance(error, FileExistsError) else ""


def _bucket_and_key(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


def _open(url: str, options: Mapping[str, Any]) -> tuple[Objects, str]:
    """The place of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        filesystem, path = url_to_fs(url, **options)
    except ImportError as error:
        raise missing_client(error, protocol) from None
    if protocol in S3_PROTOCOLS:
        return S3Objects(filesystem), str(path)
    return FsspecObjects(filesystem, protocol=protocol), str(path)


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "_"))
