"""Avro object container files: every schema but recursive ones, decoded and encoded by compiled kernels."""

from arrowstream.connectors.files.avro.encode import AvroEncoding
from arrowstream.connectors.files.avro.format import AvroFormat

__all__ = ["AvroEncoding", "AvroFormat"]
