"""CSV: text with a separator, parsed by PyArrow with a say of its own on what is malformed."""

from arrowstream.connectors.files.csv.encode import CsvEncoding
from arrowstream.connectors.files.csv.format import CsvFormat

__all__ = ["CsvEncoding", "CsvFormat"]
