"""Writing Arrow IPC."""

from __future__ import annotations

from formats import writing

QUESTION = writing("ipc")
