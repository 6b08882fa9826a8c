"""The `arrowstream` command."""

from __future__ import annotations

from arrowstream.cli.app import app, main

__all__ = ["app", "main"]
