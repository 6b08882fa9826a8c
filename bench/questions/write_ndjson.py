"""Writing JSON lines."""

from __future__ import annotations

from formats import writing

QUESTION = writing("ndjson")
