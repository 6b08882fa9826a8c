"""Reading CSV."""

from __future__ import annotations

from formats import reading

QUESTION = reading("csv")
