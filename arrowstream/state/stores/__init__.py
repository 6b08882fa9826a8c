"""Stores: durable blobs by name. All behave as `MemoryStore` does."""

from __future__ import annotations

from arrowstream.state.stores.folder import FolderStore
from arrowstream.state.stores.memory import MemoryStore

__all__ = ["FolderStore", "MemoryStore"]
