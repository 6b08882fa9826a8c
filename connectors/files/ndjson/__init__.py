"""Newline-delimited JSON: an object a line, parsed by Polars and checked against what it would change."""

from arrowstream.connectors.files.ndjson.encode import NdjsonEncoding
from arrowstream.connectors.files.ndjson.format import NdjsonFormat

__all__ = ["NdjsonEncoding", "NdjsonFormat"]
