"""The bytes of a remote file: several requests at a time, so that their latency does not add up."""

from __future__ import annotations

import io
import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from arrowstream.connectors.files.errors import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # threads stay behind


class NoRangesError(Exception):
    """The server sends whole files only."""


class _Coming(NamedTuple):
    """A range [start, end) that is being fetched."""

    start: int
    end: int
    future: Future[bytes]


class RemoteFile:
    """One version of a file, fetched range by range from several threads.

    Parameters
    ----------
    filesystem, path
        The file as fsspec has it.
    found
        What it has to be.
    streams
        Gives the file system for requests that take as long as the file.
    told
        An error of the client, as the one to raise.
    check
        Raises if the file is another one by now.
    """

    def __init__(
        self,
        filesystem: Any,  # fsspec has no types that tell what its file systems can do
        path: str,
        found: FoundFile,
        *,
        streams: Callable[[], Any],
        told: Callable[[BaseException], ArrowStreamError],
        check: Callable[[], None],
    ) -> None:
        self.found = found
        self.told = told
        self.check = check
        self._filesystem = filesystem
        self._path = path
        self._streams = streams
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
            except NoRangesError:
                raise
            except Exception as error:  # noqa: BLE001 - clients raise what they like
                told = self.told(error)
                wait_s = next(waits, None)
                if wait_s is None or self._closed or not getattr(told, "retryable", False):
                    raise told from None
                time.sleep(wait_s)

    def fetch_and_check(self, start: int, end: int) -> bytes:
        """The bytes, and that they are of the right version."""
        piece = self.fetch(start, end)
        self.check()
        return piece

    def whole(self) -> Any:
        """The file as the client streams it, in one request from the beginning."""
        try:
            if self._is_http:
                return self._streams().open(self._path, block_size=0, headers=self._headers())
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
                raise NoRangesError from None
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
        file = self._filesystem.open(self._path, size=self.found.size_bytes, cache_type="none")
        version = self.found.version
        if not self.is_pinned or not isinstance(version, str):
            return file
        if not hasattr(file, "read_kw"):  # an s3fs of before: it asks for the version itself
            file.close()
            return self._filesystem.open(self._path, cache_type="none")
        file.read_kw = {**file.read_kw, "IfMatch": version}  # what s3fs does after one more request
        return file

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", **self._filesystem.kwargs.get("headers", {})}
        version = self.found.version
        if isinstance(version, str) and version.startswith('"'):  # a weak one may not be asked for
            headers["If-Match"] = version
        return headers


class RemoteStream(io.RawIOBase):
    """Reads ahead: more and larger blocks, the longer it is read without a jump.

    Ranges that are needed in another order are asked for with `prefetch`: they come together.
    """

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._size_bytes = file.found.size_bytes
        self._at = 0
        self._block = b""
        self._block_start = 0
        self._coming: deque[_Coming] = deque()  # one after the other, without gaps
        self._fetched: list[_Coming] = []
        self._ahead = 0
        self._block_bytes = _BLOCK_BYTES_MIN
        self._whole: Any = None  # the client's own stream, where the server has no ranges
        self._whole_at = 0
        self.is_checked = file.is_pinned
        """Whether it is known that what was read is of one version, and which."""
        if self._size_bytes < 0:
            self._whole = file.whole()
        elif file.is_remote:
            self._ask(0)

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`; a server without ranges may show later."""
        return self._whole is None

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`; nothing is fetched until it is read."""
        if self._size_bytes < 0:
            raise io.UnsupportedOperation("the server sends this file from front to back only")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    @property
    def has_ranges(self) -> bool:
        """Whether the server sends parts of the file, as far as it is known."""
        return self._whole is None

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin to fetch the ranges [start, end): those that are near each other as one."""
        if self._file.is_remote and self._whole is None:
            self._fetched += [
                _Coming(cut, stop, _threads().submit(self._file.fetch, cut, stop))
                for start, end in joined(ranges)
                for cut in range(start, end, _BLOCK_BYTES_MAX)
                if (stop := min(cut + _BLOCK_BYTES_MAX, end))
            ]

    def release(self, before: int) -> None:
        """Forget what was fetched with `prefetch` and ends before this place."""
        for range_ in self._fetched:
            if range_.end <= before:
                range_.future.cancel()
        self._fetched = [range_ for range_ in self._fetched if range_.end > before]

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`; less than `size` only at the end."""
        pieces: list[bytes] = []
        left = size
        while left and (piece := self._piece(left)):
            self._at += len(piece)
            left -= len(piece) if left > 0 else 0
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        into = memoryview(buffer).cast("B")
        piece = self.read(len(into))
        into[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """See `io.RawIOBase`."""
        return self.read()

    def close(self) -> None:
        """See `io.RawIOBase`."""
        if not self.closed:
            for coming in (*self._coming, *self._fetched):
                coming.future.cancel()
            self._coming.clear()
            self._fetched.clear()
            self._block = b""
            self._file.close()
            if self._whole is not None:
                self._whole.close()
        super().close()

    def _piece(self, size: int) -> bytes:
        """Some bytes from here on; none at the end."""
        if not 0 <= self._at - self._block_start < len(self._block) and not self._advance():
            return b""
        first = self._at - self._block_start
        return self._block[first : first + size if size >= 0 else None]

    def _advance(self) -> bool:
        """Get the block that is here; False at the end."""
        if self._whole is None:
            if self._at >= self._size_bytes:
                self._check_end()
                return False
            try:
                self._block_start, self._block = self._next()
            except NoRangesError:
                for coming in (*self._coming, *self._fetched):
                    coming.future.cancel()
                self._coming.clear()
                self._fetched.clear()
            else:
                return True
        self._block = self._of_whole()
        self._block_start = self._at
        if not self._block:
            self._check_end()
        return bool(self._block)

    def _next(self) -> tuple[int, bytes]:
        if not self._file.is_remote:
            return self._at, self._file.fetch(self._at, min(self._at + _BLOCK_BYTES_MAX, self._size_bytes))
        fetched = next((range_ for range_ in self._fetched if range_.start <= self._at < range_.end), None)
        if fetched is not None:
            return fetched.start, fetched.future.result()
        while self._coming and not self._coming[0].start <= self._at < self._coming[0].end:
            self._coming.popleft().future.cancel()  # jumped over
            self._ahead, self._block_bytes = 0, _BLOCK_BYTES_MIN
        if not self._coming:
            self._ask(self._at)
        coming = self._coming.popleft()
        asked = self._coming[-1].end if self._coming else coming.end
        while len(self._coming) < self._ahead and asked < self._size_bytes:
            asked = self._ask(asked)
        self._ahead = min(_LANES_MAX, self._ahead + 1)
        return coming.start, coming.future.result()

    def _ask(self, start: int) -> int:
        end = min(start + self._block_bytes, self._size_bytes)
        fetch = self._file.fetch
        if not self.is_checked and (start, end) == (0, self._size_bytes):
            fetch = self._file.fetch_and_check  # one request brings all: no need to wait for the end
            self.is_checked = True
        self._coming.append(_Coming(start, end, _threads().submit(fetch, start, end)))
        self._block_bytes = min(_BLOCK_BYTES_MAX, 4 * self._block_bytes)
        return end

    def _of_whole(self) -> bytes:
        """The next piece of the client's own stream, begun again if we are behind it."""
        if self._whole is None or self._at < self._whole_at:
            if self._whole is not None:
                self._whole.close()
            self._whole, self._whole_at = self._file.whole(), 0
        try:
            while self._whole_at < self._at:
                skipped = self._whole.read(min(self._at - self._whole_at, _PIECE_BYTES))
                if not skipped:
                    return b""
                self._whole_at += len(skipped)
            piece = cast("bytes", self._whole.read(_PIECE_BYTES))
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            raise self._file.told(error) from None
        self._whole_at += len(piece)
        return piece

    def _check_end(self) -> None:
        if not self.is_checked:
            self.is_checked = True
            self._file.check()


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
