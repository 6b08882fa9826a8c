"""Rows as a CSV file, written by Polars."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, cast

import polars as pl

from arrowstream.connectors.files.lines import BOM
from arrowstream.connectors.files.pieces import Pieces
from arrowstream.connectors.files.time_text import with_texts
from arrowstream.errors import DataError, PlanError, unknown_choice

if TYPE_CHECKING:
    from arrowstream.connectors.files.encode import Content
    from arrowstream.types import Json

QuoteStyle: TypeAlias = Literal["necessary", "always", "non_numeric", "never"]

_CHUNK_ROWS = 1 << 17
_ENCODER_BYTES = 1 << 14
_QUOTE_STYLES = ("necessary", "always", "non_numeric", "never")
_QUOTED_STYLES = ("always", "non_numeric")  # in which every text is quoted
_SIGNS_OF_TIMES = set("0123456789-:.T")
_TERMINATORS = ("\n", "\r\n", "\r")  # that Polars quotes texts for


@dataclass(frozen=True, slots=True)
class CsvEncoding:
    """CSV. The options have the names, meanings and defaults of `polars.LazyFrame.sink_csv`.

    Null is an empty field and an empty text is "", so that both come back. What would come back as something
    else is a DataError, unless all texts are quoted: a text that is the `null_value`, or with
    quote_style="never" one that has a separator in it.

    Raises
    ------
    PlanError
        An option that cannot be.
    """

    include_bom: bool = False
    include_header: bool = True
    separator: str = ","
    line_terminator: str = "\n"
    quote_char: str = '"'
    datetime_format: str | None = None
    date_format: str | None = None
    time_format: str | None = None
    float_scientific: bool | None = None
    float_precision: int | None = None
    decimal_comma: bool = False
    null_value: str | None = None
    quote_style: QuoteStyle | None = None

    def __post_init__(self) -> None:
        for option in ("separator", "quote_char"):
            value = getattr(self, option)
            if len(value.encode()) != 1:
                raise PlanError(f"{option}={value!r} is not one byte")
        if len({self.separator, self.quote_char, "\n", "\r"}) < 4:
            raise PlanError(
                f"separator={self.separator!r} and quote_char={self.quote_char!r} have to differ, "
                "and cannot end lines"
            )
        if not self.line_terminator:
            raise PlanError("line_terminator='' does not end lines")
        if self.quote_style is not None and self.quote_style not in _QUOTE_STYLES:
            raise unknown_choice("quote_style", self.quote_style, _QUOTE_STYLES)
        if self.float_precision is not None and self.float_precision < 0:
            raise PlanError(f"float_precision={self.float_precision} is negative")

    @property
    def name(self) -> str:
        """Of the format."""
        return "CSV"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".csv"

    @property
    def chunk_rows(self) -> int:
        """As many as are quickly written at once."""
        return _CHUNK_ROWS

    @property
    def encoder_bytes(self) -> int:
        """Nothing is held between two writes."""
        return _ENCODER_BYTES

    def encoder(self, schema: pl.Schema) -> CsvEncoder:
        """Of one file."""
        return CsvEncoder(schema, self)

    def check_schema(self, schema: pl.Schema) -> None:
        """Raise PlanError naming a column that CSV cannot hold."""
        for column, dtype in schema.items():
            hint = _no_text(dtype)
            if hint is not None:
                raise PlanError(f"column '{column}' is {dtype}, which CSV cannot hold", hint=hint)

    def identity(self) -> dict[str, Json]:
        """All options: each changes the bytes."""
        return {"format": "csv", **asdict(self)}


class CsvEncoder:
    """Makes one file: the header, then rows as they come.

    Raises
    ------
    DataError
        A name of a column that would be read as something else.
    """

    def __init__(self, schema: pl.Schema, encoding: CsvEncoding) -> None:
        encoding.check_schema(schema)
        self._encoding = encoding
        self._signs, self._null = _misread(encoding)
        self._times_as_usual = (
            encoding.datetime_format is None
            and encoding.quote_style in {None, "necessary"}
            and not {encoding.separator, encoding.quote_char} & _SIGNS_OF_TIMES
        )
        self._head: list[bytes | memoryview] = [BOM] if encoding.include_bom else []
        if encoding.include_header:
            self._check(pl.Series("the header", schema.names()), None)
            self._head += self._written(pl.DataFrame(schema=schema), include_header=True)

    def encode(self, rows: pl.DataFrame) -> list[bytes | memoryview]:
        """The lines.

        Raises
        ------
        DataError
            A text that would be read as something else.
        """
        for column in rows.iter_columns():
            if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
                self._check(column, self._null)
        if self._times_as_usual:
            rows = with_texts(rows, sign="T", shortest=False)
        return self._written(rows, include_header=False)

    def append(self, part: list[bytes | memoryview]) -> Content:
        """Some lines; before the first ones the header."""
        return [*self._taken_head(), *part]

    def finish(self) -> Content:
        """Nothing is left but the header of a file without rows."""
        return self._taken_head()

    def _taken_head(self) -> list[bytes | memoryview]:
        """The header, once."""
        head, self._head = self._head, []
        return head

    def _written(self, frame: pl.DataFrame, *, include_header: bool) -> list[bytes | memoryview]:
        encoding = self._encoding
        written = Pieces()
        frame.write_csv(
            cast("BinaryIO", written),
            include_header=include_header,
            separator=encoding.separator,
            line_terminator=encoding.line_terminator,
            quote_char=encoding.quote_char,
            datetime_format=encoding.datetime_format,
            date_format=encoding.date_format,
            time_format=encoding.time_format,
            float_scientific=encoding.float_scientific,
            float_precision=encoding.float_precision,
            decimal_comma=encoding.decimal_comma,
            null_value=encoding.null_value,
            quote_style=encoding.quote_style,
        )
        return written.take()

    def _check(self, column: pl.Series, null: str | None) -> None:
        """Raise DataError for a text that would come back as something else."""
        if null is None and not self._signs:
            return
        text = column.cast(pl.String)
        if null is not None and (text == null).any():
            raise DataError(
                f"column '{text.name}' has the text {null!r}, which would be read as null",
                hint='choose another null_value, or quote texts: quote_style="non_numeric"',
            )
        if self._signs and text.str.contains_any(self._signs).any():
            raise DataError(
                f"column '{text.name}' has a text with {' or '.join(map(repr, self._signs))} in it, "
                "which would be read as the end of the text",
                hint='quote texts: quote_style="non_numeric"',
            )


def _misread(encoding: CsvEncoding) -> tuple[list[str], str | None]:
    """What a text must not have in it, and which text it must not be, to be read as it was."""
    never = encoding.quote_style == "never"
    signs = [encoding.separator, encoding.quote_char, "\n", "\r"] if never else []
    if encoding.quote_style in _QUOTED_STYLES:
        return signs, None
    if encoding.line_terminator not in _TERMINATORS:
        signs.append(encoding.line_terminator)
    null = encoding.null_value
    if null is None and never:
        null = ""
    return signs, null


def _no_text(dtype: pl.DataType) -> str | None:
    """What to do with a column whose values have no text that is read back; None if they have one."""
    if isinstance(dtype, pl.Struct):
        return "take its fields as columns (unnest), or write it as text: .struct.json_encode()"
    if dtype.is_nested():
        return "write it as text: .list.join(…), or as rows: explode"
    if isinstance(dtype, pl.Binary):
        return 'write it as text: .bin.encode("base64")'
    if isinstance(dtype, pl.Duration):
        return "write it as a number: .dt.total_microseconds()"
    if isinstance(dtype, pl.Int128 | pl.UInt128):
        return "cast it: to pl.Int64 if the values fit, else to pl.String"
    if isinstance(dtype, pl.Object | pl.Unknown):
        return "drop the column, or cast it to a type of its own"
    return None
