"""The reference: a store that lives as long as the process. Used when a run has no checkpoint."""

from __future__ import annotations

import threading


class MemoryStore:
    """Blobs in a dict. Nothing survives a crash; any thread may call it."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, name: str, payload: bytes) -> bool:
        """Keep `payload` under `name`; False if the name exists."""
        with self._lock:
            if name in self._blobs:
                return False
            self._blobs[name] = payload
            return True

    def get(self, name: str) -> bytes | None:
        """The bytes, or None if there are none."""
        with self._lock:
            return self._blobs.get(name)

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with `prefix`, sorted."""
        with self._lock:
            return sorted(name for name in self._blobs if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Remove a blob; no error if it is gone."""
        with self._lock:
            self._blobs.pop(name, None)

    def location(self, name: str) -> str:
        """How errors name a blob."""
        return f"{name} (in memory)"
