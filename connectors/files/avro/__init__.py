"""Avro object container files: every schema but recursive ones, decoded by a compiled kernel."""

from arrowstream.connectors.files.avro.format import AvroFormat

__all__ = ["AvroFormat"]
