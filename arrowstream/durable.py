"""Files that survive a crash, and bytes that show when they have been damaged.

`put_new` is put-if-absent: a name appears with all of its bytes or not at all, and only one writer
wins it. `seal` and `unseal` wrap what is stored so that every truncation, bit flip or swapped file is seen.
These are shared by the checkpoint and by outputs on a file system, which must not know each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arrowstream import failpoints
from arrowstream.errors import FencedError, StateError

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT_VERSION = 1
"""Of everything that is stored; raised when an older arrowstream could misread it."""

TEMPORARY_SUFFIX = ".tmp"

_FSYNCS_AT_ONCE = 8
_BEHIND_BYTES = 32 << 20  # what waits in memory before the disk is told to begin
_HEADER = re.compile(rb"arrowstream/(\d+) ")
_COPY_BYTES = 1 << 20  # how much of a file is in memory while it is hashed


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file, and what it must contain. `name` is relative, with "/" on every system."""

    name: str
    bytes: int
    sha256: str


def seal(name: str, payload: bytes | memoryview) -> bytes:
    """`payload` behind one line of text that holds its name, length and SHA-256.

    Examples
    --------
    >>> seal("plan/1", b"{}")[:33]
    b'arrowstream/1 plan/1 2 44136fa355'
    """
    return _header(name, payload) + payload


def unseal(name: str, sealed: bytes, *, where: str) -> memoryview:
    """The payload of `seal`, not copied; StateError naming `where` unless it is that, to the last bit."""
    end = sealed.find(b"\n") + 1
    payload = memoryview(sealed)[end:]
    if end > 0 and sealed[:end] == _header(name, payload):
        return payload
    version = _HEADER.match(sealed)
    if version and int(version[1]) > FORMAT_VERSION:
        raise StateError(
            f"{where} is of storage format {int(version[1])}, this arrowstream knows {FORMAT_VERSION}",
            hint="update arrowstream, or the file is damaged",
        )
    raise StateError(
        f"{where} is damaged: its checksum does not match",
        hint="restore it from a copy, or start anew with another checkpoint and another output",
    )


def sealed_sha256(sealed: bytes) -> str:
    """The SHA-256 of the payload, as `seal` has written it down."""
    return sealed[: sealed.index(b"\n")].rpartition(b" ")[2].decode()


def put_new(path: Path, payload: bytes, *, failpoint: str) -> bool:
    """Write a file durably unless its name exists; False if it does (the other writer's is durable then).

    1. Write a temporary file beside it, and fsync it.
    2. link() it to its name: this is atomic, and fails if the name is there.
    3. fsync the folder, also after losing: nobody may act on a name that a power cut could take back.

    A failed fsync is an OSError and never repeated: the kernel may have dropped the pages.
    """
    failpoints.hit(f"{failpoint}.before")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            write_all(descriptor, payload)
            failpoints.hit(f"{failpoint}.written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        failpoints.hit(f"{failpoint}.synced")
        won = _link_new(temporary, path)
        failpoints.hit(f"{failpoint}.linked")
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    fsync_folder(path.parent)
    failpoints.hit(f"{failpoint}.after")
    return won


def write_all(descriptor: int, payload: bytes | memoryview) -> None:
    """write() until everything is written: one call may take only a part."""
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def begin_writing(descriptor: int, begun: int, end: int) -> int:
    """Let the disk begin with what is written, so that the fsync that is to come has less to wait for.

    It promises nothing: what fails is said by the fsync.

    Parameters
    ----------
    begun, end
        Bytes of the file that the disk has been told of, and that are written.

    Returns
    -------
    int
        `begun` of the next call.
    """
    if end - begun < _BEHIND_BYTES or not hasattr(os, "posix_fadvise"):
        return begun
    os.posix_fadvise(descriptor, begun, end - begun, os.POSIX_FADV_DONTNEED)
    return end


def fsync_all(paths: Sequence[Path]) -> None:
    """Make files, or the names in folders, durable: many at a time, as the disk can write them together.

    The OSError has the path as its `filename`.
    """
    if len(paths) <= 1:  # no threads for it
        for path in paths:
            _fsync_named(path)
        return
    with ThreadPoolExecutor(_FSYNCS_AT_ONCE) as pool:
        for _ in pool.map(_fsync_named, paths):
            pass


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable (or what has been written to a file)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed `put_new` has left in a folder. A writer that is still alive loses its put."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_COPY_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def stored_files(folder: Path) -> list[StoredFile]:
    """All files below a folder, by name."""
    paths = sorted(Path(top, name) for top, _, names in os.walk(folder) for name in names)
    files = [
        StoredFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
        for path in paths
    ]
    return sorted(files, key=lambda file: file.name)


def sha256_of_files(files: Sequence[StoredFile]) -> str:
    """One SHA-256 over names and contents, in any order."""
    lines = sorted(f"{file.sha256} {file.bytes} {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_name_within(name: str) -> bool:
    """Whether a relative file name stays in its folder, wherever that is, and is no hidden file there.

    Examples
    --------
    >>> [is_name_within(name) for name in ("a=1/b", "../b", "/b", "a//b", ".b")]
    [True, False, False, False, False]
    """
    return not any(not part or part.startswith(".") or "\0" in part for part in name.split("/"))


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder and all in it; what another process removes meanwhile is gone as well."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _fsync_named(path: Path) -> None:
    try:
        fsync_folder(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _header(name: str, payload: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(payload).hexdigest()
    return f"arrowstream/{FORMAT_VERSION} {name} {len(payload)} {digest}\n".encode()


def _link_new(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except FileNotFoundError as error:
        raise FencedError(
            f"{path.name} was not written: a newer process has taken over {path.parent}"
        ) from error
    return True
