"""Files that have been read to their end, thousands of them, in a few bytes each."""

from __future__ import annotations

import base64
import os
import time
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arrowstream.connectors.files.watch import Seen
    from arrowstream.types import Json

GONE_MAX = 1000
"""Finished files that are not there and remembered, in case they come back."""

FORGET_S = 60.0
"""How often others are forgotten."""

_KEY_BYTES = 8
_END_BYTES = 4096  # of a file that tell it from others: of its beginning, and as much of its end


class Finished:
    """Files that have been read to their end, each by a few bytes, in the order in which that happened."""

    def __init__(self, saved: Json = None) -> None:
        packed = base64.b64decode(saved) if isinstance(saved, str) else b""
        self._keys = dict.fromkeys(packed[at : at + _KEY_BYTES] for at in range(0, len(packed), _KEY_BYTES))
        self._text: str | None = saved if isinstance(saved, str) else None
        self._forgets = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> list[bytes]:
        """All of them, the oldest first."""
        return list(self._keys)

    def add(self, keys: Iterable[bytes]) -> None:
        """These have been read."""
        before = len(self._keys)
        self._keys.update(dict.fromkeys(keys))
        if len(self._keys) != before:
            self._text = None

    def retain(self, known: Finished, forgets: int) -> None:
        """Forget what is forgotten; `forgets` counts how often that has happened."""
        if forgets != self._forgets:
            self._forgets = forgets
            kept = {key: None for key in self._keys if key in known}
            if len(kept) != len(self._keys):
                self._keys, self._text = kept, None

    def forgotten(self, there: set[bytes], gone_max: int) -> list[bytes]:
        """The oldest keys of files that are not `there`, so that no more than `gone_max` of them stay."""
        gone = [key for key in self._keys if key not in there]
        return gone[: max(0, len(gone) - gone_max)]

    def remove(self, keys: Iterable[bytes]) -> None:
        """Files with these keys are forgotten."""
        for key in keys:
            self._keys.pop(key, None)
        self._text = None

    def as_json(self) -> str:
        """For a position; made once for each change."""
        if self._text is None:
            self._text = base64.b64encode(b"".join(self._keys)).decode()
        return self._text


def keys_of(seen: Seen, descriptor: int | None) -> tuple[bytes, ...]:
    """By what a file that has been read is known again: its path, and the file under any other name.

    Both are together with its size and what is in it at both ends; a file of a place that has versions (or
    nothing better than a time) with these.
    """
    if descriptor is None:
        return (_key(seen.path, seen.size_bytes, seen.version or seen.mtime_ns),)
    size = os.fstat(descriptor).st_size
    ends = os.pread(descriptor, _END_BYTES, 0) + os.pread(descriptor, _END_BYTES, max(0, size - _END_BYTES))
    content = blake2b(ends, digest_size=_KEY_BYTES).digest()
    return _key(seen.path, size, content), _key(seen.device, seen.inode, size, content)


def _key(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=_KEY_BYTES).digest()


class FinishedFiles:
    """What a follower knows of finished files: of all, and apart of those whose partitions are over."""

    def __init__(self) -> None:
        self.retired = Finished()
        self._all = Finished()
        self._news: dict[str, list[bytes]] = {}
        self._keys: dict[tuple[object, ...], tuple[bytes, ...]] = {}
        self._forgets = 0
        self._forgot_s = time.monotonic()

    def restore(self, saved: Json, *, retired: bool) -> None:
        """Take over those of a position, or of the state."""
        keys = Finished(saved).keys()
        self._all.add(keys)
        if retired:
            self.retired.add(keys)

    def are(self, keys: Iterable[bytes]) -> bool:
        """Whether these are the keys of a finished file."""
        return any(key in self._all for key in keys)

    def has(self, seen: Seen) -> bool:
        """Whether a file has been read: it was looked into before, and has not changed since."""
        return self.are(self._keys.get(_version(seen), ()))

    def keys_of(self, seen: Seen, descriptor: int | None) -> tuple[bytes, ...]:
        """By what a file is known again once it is finished."""
        version = _version(seen)
        if version not in self._keys:
            self._keys[version] = keys_of(seen, descriptor)
        return self._keys[version]

    def add(self, keys: Iterable[bytes]) -> None:
        """A reader has finished a file, and takes note of it itself."""
        self._all.add(keys)

    def note(self, partition: str, keys: Iterable[bytes]) -> None:
        """A file turns out to hold nothing new: the partition has to be told."""
        new = [key for key in keys if key not in self._all]
        if new:
            self._all.add(new)
            self._news.setdefault(partition, []).extend(new)

    def tell(self, partition: str, finished: Finished) -> None:
        """Bring what a partition knows up to date."""
        finished.add(self._news.pop(partition, ()))
        finished.retain(self._all, self._forgets)

    def forget(self, found: Sequence[Seen]) -> None:
        """Let go of the oldest that are not there any more, now and then."""
        now = time.monotonic()
        if now - self._forgot_s < FORGET_S:
            return
        self._forgot_s = now
        there = {key for seen in found for key in self._keys.get(_version(seen), ())}
        forgotten = self._all.forgotten(there, GONE_MAX)
        self._all.remove(forgotten)
        self.retired.remove(forgotten)
        self._forgets += bool(forgotten)
        kept = {_version(seen) for seen in found}
        self._keys = {version: keys for version, keys in self._keys.items() if version in kept}


def _version(seen: Seen) -> tuple[object, ...]:
    return seen.path, seen.file, seen.size_bytes, seen.mtime_ns, seen.version
