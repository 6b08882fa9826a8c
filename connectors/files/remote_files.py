"""The bytes of a remote file: several requests at a time, so that their latency does not add up."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from arrowstream.connectors.files.errors import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsspec import AbstractFileSystem

    from arrowstream.connectors.files.places import FoundFile
    from arrowstream.errors import ArrowStreamError

_THREADS = 16  # of all remote files together; they wait
_LANES_MAX = 4  # requests of one file at a time
_BLOCK_BYTES_MIN = 1 << 18  # the first one: often only the head of a file is wanted
_BLOCK_BYTES_MAX = 4 << 20
_GAP_BYTES_MAX = 1 << 18  # of what nobody asked for that are read rather than asking again
_PIECE_BYTES = 1 << 20
_WAITS_S = (0.2, 1.0)  # before HTTP is tried again; S3 and others try by themselves
_WEAK = "W/"


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="arrowstream-remote")


def as_binary(file: io.RawIOBase) -> BinaryIO:
    """The same, as the type that callers know."""
    return cast("BinaryIO", file)


class _NoRangesError(Exception):
    """The server sends whole files only."""


class RemoteFile:
    """One version of a file, fetched range by range from several threads.

    Parameters
    ----------
    filesystem, path
        The file as fsspec has it.
    found
        What it has to be.
    told
        An error of the client, as the one to raise.
    check
        Raises if the file is another one by now.
    """

    def __init__(
        self,
        filesystem: AbstractFileSystem,
        path: str,
        found: FoundFile,
        *,
        told: Callable[[BaseException], ArrowStreamError],
        check: Callable[[], None],
    ) -> None:
        self.found = found
        self.told = told
        self.check = check
        self._filesystem = filesystem
        self._path = path
        self._is_http = "http" in filesystem.protocol
        self._free: list[Any] = []
        self._lock = threading.Lock()
        # What has an event loop takes requests from several threads; the others may not be made for it.
        self._lanes = threading.BoundedSemaphore(_LANES_MAX if filesystem.async_impl else 1)
        self._closed = False

    @property
    def is_pinned(self) -> bool:
        """Whether each request is refused if the file has changed."""
        return hasattr(self._filesystem, "call_s3") and not getattr(
            self._filesystem, "local_expiry_check", False
        )

    @property
    def is_remote(self) -> bool:
        """Whether it is worth asking for several ranges at a time."""
        return bool(self._filesystem.async_impl)

    def stream(self) -> io.RawIOBase:
        """The file from front to back."""
        return _StreamFile(self)

    def ranges(self) -> io.RawIOBase:
        """The file in any order."""
        return RangeFile(self)

    def fetch(self, start: int, end: int) -> bytes:
        """The bytes [start, end) of the file.

        Raises
        ------
        ConnectorError
            They do not come.
        """
        waits = iter(_WAITS_S if self._is_http else ())
        while True:
            try:
                with self._lanes:
                    return self._fetched(start, end)
            except _NoRangesError:
                raise
            except Exception as error:  # noqa: BLE001 - clients raise what they like
                told = self.told(error)
                wait_s = next(waits, None)
                if wait_s is None or self._closed or not getattr(told, "retryable", False):
                    raise told from None
                time.sleep(wait_s)

    def whole(self) -> Any:
        """The file as the client streams it, in one request from the beginning."""
        try:
            if self._is_http:
                return self._filesystem.open(self._path, block_size=0, headers=self._headers(), timeout=None)
            return self._filesystem.open(self._path)
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            raise self.told(error) from None

    def close(self) -> None:
        """Give the client's files back; those in use are closed by who uses them."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for file in free:
            file.close()

    def _fetched(self, start: int, end: int) -> bytes:
        with self._lock:
            file = self._free.pop() if self._free else None
        file = file or self._open()
        try:
            file.seek(start)
            piece = cast("bytes", file.read(end - start))
        except ValueError as error:
            file.close()
            if "range requests" in str(error):
                raise _NoRangesError from None
            raise
        except BaseException:
            file.close()
            raise
        with self._lock:
            if not self._closed:
                self._free.append(file)
                file = None
        if file is not None:
            file.close()
        if len(piece) != end - start:
            raise changed(self.found.path)
        return piece

    def _open(self) -> Any:
        if "memory" in self._filesystem.protocol:  # its files share one position
            return io.BytesIO(self._filesystem.cat_file(self._path))
        if self._is_http:
            return self._filesystem.open(
                self._path, size=self.found.size_bytes, cache_type="none", headers=self._headers()
            )
        if not self._filesystem.async_impl:
            return self._filesystem.open(self._path)
        file = self._filesystem.open(self._path, cache_type="none")
        etag = (getattr(file, "details", None) or {}).get("ETag")
        if etag is not None and self.found.version is not None and etag != self.found.version:
            file.close()
            raise changed(self.found.path)
        return file

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", **self._filesystem.kwargs.get("headers", {})}
        version = self.found.version
        if isinstance(version, str) and version.startswith('"'):  # a weak one may not be asked for
            headers["If-Match"] = version
        return headers


class _Bytes(io.RawIOBase):
    """What reading from a place in a file is made of: `read`, `seek` and `_at` are the others'."""

    _at = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        piece = self.read(len(into))
        assert piece is not None
        into[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        return self.read() or b""


class _StreamFile(_Bytes):
    """Reads ahead: more and larger blocks, the longer it is read without a jump."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._size = file.found.size_bytes
        self._at = 0
        self._block = memoryview(b"")
        self._coming: deque[tuple[int, int, Future[bytes]]] = deque()
        self._ahead = 0
        self._block_bytes = _BLOCK_BYTES_MIN
        self._whole: Any = None
        self._is_checked = file.is_pinned
        if self._size < 0:
            self._whole = file.whole()
        elif file.is_remote:
            self._ask(0)

    def seekable(self) -> bool:
        return self._whole is None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Nothing is fetched until it is read."""
        if self._whole is not None:
            raise io.UnsupportedOperation("the server sends this file from front to back only")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        to = max(0, base + offset)
        ahead = to - self._at
        self._block = self._block[ahead:] if 0 <= ahead <= len(self._block) else memoryview(b"")
        self._at = to
        return to

    def read(self, size: int = -1) -> bytes:
        pieces: list[memoryview | bytes] = []
        left = size if size >= 0 else None
        while left is None or left > 0:
            if not self._block and not self._advance():
                break
            piece = self._block if left is None else self._block[:left]
            self._block = self._block[len(piece) :]
            self._at += len(piece)
            left = None if left is None else left - len(piece)
            pieces.append(piece)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        if not self.closed:
            for _, _, future in self._coming:
                future.cancel()
            self._coming.clear()
            self._file.close()
            if self._whole is not None:
                self._whole.close()
        super().close()

    def _advance(self) -> bool:
        """Get the block that begins here; False at the end."""
        if self._whole is None:
            if self._at >= self._size:
                self._check_end()
                return False
            try:
                self._block = memoryview(self._next())
            except _NoRangesError:
                self._restart()
            else:
                return True
        try:
            self._block = memoryview(self._whole.read(_PIECE_BYTES))
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            raise self._file.told(error) from None
        if not self._block:
            self._check_end()
        return bool(self._block)

    def _next(self) -> bytes:
        if not self._file.is_remote:
            return self._file.fetch(self._at, min(self._at + _BLOCK_BYTES_MAX, self._size))
        while self._coming and not self._coming[0][0] <= self._at < self._coming[0][1]:
            self._coming.popleft()[2].cancel()  # jumped over
            self._ahead, self._block_bytes = 0, _BLOCK_BYTES_MIN
        if not self._coming:
            self._ask(self._at)
        start, end, future = self._coming.popleft()
        asked = self._coming[-1][1] if self._coming else end
        while len(self._coming) < self._ahead and asked < self._size:
            asked = self._ask(asked)
        self._ahead = min(_LANES_MAX, self._ahead + 1)
        return future.result()[self._at - start :]

    def _ask(self, start: int) -> int:
        end = min(start + self._block_bytes, self._size)
        self._coming.append((start, end, _threads().submit(self._file.fetch, start, end)))
        self._block_bytes = min(_BLOCK_BYTES_MAX, 4 * self._block_bytes)
        return end

    def _restart(self) -> None:
        """Read the whole file instead, from where we are."""
        for _, _, future in self._coming:
            future.cancel()
        self._coming.clear()
        self._whole = self._file.whole()
        left = self._at
        while left > 0:
            try:
                piece = self._whole.read(min(left, _PIECE_BYTES))
            except Exception as error:  # noqa: BLE001 - clients raise what they like
                raise self._file.told(error) from None
            if not piece:
                raise changed(self._file.found.path)
            left -= len(piece)

    def _check_end(self) -> None:
        if not self._is_checked:
            self._is_checked = True
            self._file.check()


class RangeFile(_Bytes):
    """Any range of a file; those asked for with `prefetch` come together, and are kept until `release`."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._at = 0
        self._pieces: list[tuple[int, int, Future[bytes]]] = []
        self._copy: BinaryIO | None = None  # of the whole file, where the server has no ranges

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size()}[whence]
        self._at = max(0, base + offset)
        return self._at

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin to fetch the ranges [start, end): those that are near each other as one."""
        if not self._file.is_remote or self._copy is not None:
            return
        for start, end in joined(ranges):
            cuts = range(start, end, _BLOCK_BYTES_MAX)
            self._pieces += [
                (cut, stop, _threads().submit(self._file.fetch, cut, stop))
                for cut in cuts
                if (stop := min(cut + _BLOCK_BYTES_MAX, end))
            ]

    def release(self) -> None:
        """Forget what was fetched."""
        for _, _, future in self._pieces:
            future.cancel()
        self._pieces = []

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`."""
        end = self._size() if size < 0 else min(self._at + size, self._size())
        try:
            piece = self._read(self._at, end) if self._copy is None and self._at < end else b""
        except _NoRangesError:
            self._copy = self._copied()
        if self._copy is not None:
            self._copy.seek(self._at)
            piece = self._copy.read(max(0, end - self._at))
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """See `io.RawIOBase`."""
        if not self.closed:
            self.release()
            self._file.close()
            if self._copy is not None:
                self._copy.close()
        super().close()

    def _read(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            piece = next((piece for piece in self._pieces if piece[0] <= start < piece[1]), None)
            if piece is None:
                stop = min((first for first, _, _ in self._pieces if first > start), default=end)
                parts.append(self._file.fetch(start, min(stop, end)))
            else:
                first, _, future = piece
                parts.append(future.result()[start - first : end - first])
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _size(self) -> int:
        if self._file.found.size_bytes < 0 and self._copy is None:
            self._copy = self._copied()
        if self._copy is not None:
            return self._copy.seek(0, io.SEEK_END)
        return self._file.found.size_bytes

    def _copied(self) -> BinaryIO:
        copy = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - closed with this file
        whole = self._file.whole()
        try:
            while piece := whole.read(_PIECE_BYTES):
                copy.write(piece)
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            copy.close()
            raise self._file.told(error) from None
        finally:
            whole.close()
        return copy


def joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges in order, those that touch or nearly touch as one.

    Examples
    --------
    >>> joined([(10, 20), (0, 5), (5_000_000, 5_000_001)])
    [(0, 20), (5000000, 5000001)]
    """
    result: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1] + _GAP_BYTES_MAX:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result
