"""CSV files as a `StreamFormat`: options, the head of a file, and the blocks behind it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, cast

import polars as pl

from arrowstream.connectors.files.csv.decode import CsvDecoder, Dialect
from arrowstream.connectors.files.csv.quotes import scan
from arrowstream.connectors.files.lines import (
    BOM,
    RECORD_BYTES_MAX,
    Records,
    cut,
    in_order,
    newlines,
    place,
    shown,
    skip_to,
)
from arrowstream.connectors.files.streams import BLOCK_BYTES, Block
from arrowstream.connectors.files.text import check_readable, inferred
from arrowstream.errors import DataError, PlanError, unknown_choice
from arrowstream.types import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrowstream.types import Json, OnError

TextEncoding: TypeAlias = Literal["utf8", "utf8-lossy"]

_HEAD_BYTES = 1 << 16
_NOT_CSV = "the file is damaged, of another format, or has other options"


@dataclass(frozen=True, slots=True)
class CsvFormat:
    r"""How CSV files are read. The options have the names and meanings of `polars.scan_csv`.

    A record that has more or fewer fields than the header, or a value that is none of its column's type,
    is a bad record. An empty line is no record, unless there is one column only: a null. A text in quotes
    is never null. Integers, decimals and times are taken only if nothing of them is lost. Values in columns
    that are not asked for are not looked at.

    Parameters
    ----------
    has_header
        Whether the first record of each file names its columns; else they are column_0, column_1 …, as are
        those with an empty name.
    separator, quote_char, eol_char
        One byte each. `quote_char=None`: quotes are characters like others.
    comment_prefix
        Lines that begin so are left out.
    skip_lines, skip_rows, skip_rows_after_header
        Lines (whatever quotes are in them) and records before the header, and records after it, are left out.
    null_values
        Texts that stand for null: one, several, or one for each column in a mapping.
    empty_string_is_null
        Whether an empty field is null in a String column too; "" in quotes never is.
    encoding
        "utf8-lossy" puts � in place of what is not UTF-8.
    try_parse_dates
        Whether inferring looks for dates, times and datetimes in ISO 8601.
    truncate_ragged_lines
        Whether fields beyond those of the header are dropped, and missing ones null.
    decimal_comma
        Whether numbers have a comma where others have a point.
    infer_schema, infer_schema_length
        How many records the types are inferred from (None: all); without `infer_schema` all are String.
    schema_overrides
        Types of some columns, in place of inferred ones.
    new_columns
        Names in place of those of the header, the first ones if there are fewer.

    Raises
    ------
    PlanError
        An option that cannot be.

    Examples
    --------
    >>> CsvFormat(separator=";", decimal_comma=True).identity()["separator"]
    ';'
    """

    has_header: bool = True
    separator: str = ","
    comment_prefix: str | None = None
    quote_char: str | None = '"'
    eol_char: str = "\n"
    skip_rows: int = 0
    skip_lines: int = 0
    skip_rows_after_header: int = 0
    null_values: str | Sequence[str] | Mapping[str, str] | None = None
    empty_string_is_null: bool = True
    encoding: TextEncoding = "utf8"
    try_parse_dates: bool = False
    truncate_ragged_lines: bool = False
    decimal_comma: bool = False
    infer_schema: bool = True
    infer_schema_length: int | None = 100
    schema_overrides: Mapping[str, pl.DataType | type[pl.DataType]] | None = None
    new_columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        for option in ("separator", "quote_char", "eol_char"):
            value = getattr(self, option)
            if value is not None and len(value.encode()) != 1:
                raise PlanError(f"{option}={value!r} is not one byte")
        signs = [sign for sign in (self.separator, self.quote_char, self.eol_char) if sign is not None]
        if len(set(signs)) < len(signs):
            raise PlanError(
                f"separator={self.separator!r}, quote_char={self.quote_char!r} "
                f"and eol_char={self.eol_char!r} have to differ"
            )
        if {"\n", "\r"} & {self.separator, self.quote_char}:
            raise PlanError(r"\n and \r can only be the eol_char")
        if self.comment_prefix == "":
            raise PlanError("comment_prefix='' would leave out every line", hint="None: no comments")
        for option in ("skip_rows", "skip_lines", "skip_rows_after_header"):
            if getattr(self, option) < 0:
                raise PlanError(f"{option}={getattr(self, option)} is negative")
        if self.encoding not in {"utf8", "utf8-lossy"}:
            raise unknown_choice("encoding", self.encoding, ("utf8", "utf8-lossy"))
        if self.schema_overrides is not None:
            overrides = schema_of(self.schema_overrides, "schema_overrides")
            object.__setattr__(self, "schema_overrides", overrides)  # in place of the classes of types

    @property
    def name(self) -> str:
        """For texts."""
        return "CSV"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of file names."""
        return (".csv", ".tsv", ".txt")

    @property
    def has_types(self) -> bool:
        """The reader decides about types."""
        return False

    @property
    def is_sparse(self) -> bool:
        """Every record has all columns."""
        return False

    def identity(self) -> dict[str, Json]:
        """All options, as they change which rows there are."""
        options: dict[str, Json] = {option.name: getattr(self, option.name) for option in fields(self)}
        dialect = self._dialect()
        options["null_values"] = dict(dialect.column_nulls) or list(dialect.nulls)
        options["schema_overrides"] = {
            name: str(dtype) for name, dtype in (self.schema_overrides or {}).items()
        }
        options["new_columns"] = list(self.new_columns)
        return options

    def without_types(self) -> CsvFormat:
        """See `StreamFormat`."""
        return replace(self, infer_schema=False)

    def schema(self, stream: BinaryIO, path: str) -> pl.Schema:
        """See `StreamFormat`. Bad records are left out of the sample."""
        stream = self._plain(stream)
        head = self._head(stream, path, growing=False)
        if head is None:
            return pl.Schema()
        overrides = dict(self.schema_overrides or {})
        types = self._inferred(stream, path, head) if self.infer_schema else {}
        return pl.Schema({name: overrides.get(name, types.get(name, pl.String())) for name in head.names})

    def _inferred(self, stream: BinaryIO, path: str, head: _Head) -> dict[str, pl.DataType]:
        dialect, wanted = self._dialect(), self.infer_schema_length
        text = pl.Schema(dict.fromkeys(head.names, pl.String()))
        decoder = CsvDecoder(dialect, text, head.names, path, "skip")
        pieces = cut(
            stream,
            path,
            begun=head.rest,
            offset=head.offset,
            line=head.line,
            find=decoder.find,
            is_plain=decoder.is_plain,
            growing=False,
            block_bytes=BLOCK_BYTES if wanted is None else _HEAD_BYTES,
        )
        frames, rows = [text.to_frame()], 0
        for piece in pieces:
            frames.append(decoder.rows(piece))
            rows += frames[-1].height
            if wanted is not None and rows >= wanted:
                break
        sample = pl.concat(frames)
        columns = [dialect.plain(column) for column in (sample if wanted is None else sample.head(wanted))]
        types = {column.name: inferred(column, dates=self.try_parse_dates) for column in columns}
        if self.decimal_comma:
            for column in columns:
                if types[column.name] == pl.String:
                    types[column.name] = inferred(dialect.with_point(column), dates=self.try_parse_dates)
        return types

    def blocks(
        self,
        stream: BinaryIO,
        path: str,
        *,
        schema: pl.Schema,
        columns: Sequence[str],
        resume: Json,
        on_error: OnError,
        growing: bool = False,
    ) -> Iterator[Block]:
        """See `StreamFormat`.

        Raises
        ------
        PlanError
            A column of a type that no text can be.
        DataError
            The header is not that of `schema`; with on_error="raise" a bad record.
        """
        check_readable(pl.Schema({name: schema[name] for name in columns}), self.name, nested=False)
        stream = self._plain(stream)
        begun = b""
        if resume is None:
            head = self._head(stream, path, growing=growing)
            if head is None:
                return
            if head.names != schema.names():
                raise DataError(
                    f"{path} has the columns {', '.join(head.names)} now, not {', '.join(schema.names())}",
                    hint="the file was written anew: build the query again",
                )
            begun, offset, line = head.rest, head.offset, head.line
            if growing:
                yield Block(pl.DataFrame(schema={name: schema[name] for name in columns}), [offset, line])
        else:
            offset, line = place(resume, path)
            skip_to(stream, offset, path)
        decoder = CsvDecoder(self._dialect(), schema, columns, path, on_error)
        pieces = cut(
            stream,
            path,
            begun=begun,
            offset=offset,
            line=line,
            find=decoder.find,
            is_plain=decoder.is_plain,
            growing=growing,
        )
        yield from in_order(pieces, decoder.block)

    def _dialect(self) -> Dialect:
        nulls = self.null_values
        by_column = dict(nulls) if isinstance(nulls, Mapping) else {}
        return Dialect(
            separator=self.separator,
            quote=self.quote_char,
            comment=None if self.comment_prefix is None else self.comment_prefix.encode(),
            nulls=() if isinstance(nulls, Mapping) or nulls is None else _texts(nulls),
            column_nulls=by_column,
            empty_is_null=self.empty_string_is_null,
            lossy=self.encoding == "utf8-lossy",
            ragged=self.truncate_ragged_lines,
            decimal_comma=self.decimal_comma,
            eol=self.eol_char,
        )

    def _plain(self, stream: BinaryIO) -> BinaryIO:
        """The stream with newlines at the ends of lines."""
        swap = self._dialect().swap
        return stream if swap is None else cast("BinaryIO", _Swapped(stream, swap))

    def _head(self, stream: BinaryIO, path: str, *, growing: bool) -> _Head | None:
        """Read up to the first record of rows; None if the head is not there, or not whole yet."""
        data = b""
        while True:
            piece = stream.read(_HEAD_BYTES)
            data += piece
            head = self._head_in(data, path, at_end=not piece and not growing)
            if head is not None or not piece:
                return head
            if len(data) > RECORD_BYTES_MAX:
                raise DataError(f"{path} has no header within {RECORD_BYTES_MAX >> 20} MiB", hint=_NOT_CSV)

    def _head_in(self, data: bytes, path: str, *, at_end: bool) -> _Head | None:
        start = len(BOM) if data.startswith(BOM) else 0
        for _ in range(self.skip_lines):
            newline = data.find(b"\n", start)
            if newline < 0:
                return None
            start = newline + 1
        content = data[start:]
        dialect = self._dialect()
        quote = None if dialect.quote is None else dialect.quote.encode()
        quoting = scan(content, at_end, separator=ord(dialect.separator), quote=quote)
        records = Records.of(content[: quoting.end], quoting.quotes)
        comment = dialect.comment
        named: int | None = None
        for index in range(self.skip_rows, len(records)):
            record = records.at(index)
            if record and not (comment is not None and record.startswith(comment)):
                named = index
                break
        if named is None:
            return None
        if int(records.starts[named]) in quoting.malformed:
            raise DataError(
                f"{path}, line {1 + newlines(data[:start]) + int(records.lines[named])}: "
                f"{quoting.malformed[int(records.starts[named])]}: {shown(records.at(named))}",
                hint="this is the header: " + _NOT_CSV,
            )
        fields = self._fields(records.at(named), path)
        if self.has_header and any("\0" in name for name in fields):
            raise DataError(f"{path} has a header with NUL in it: {shown(records.at(named))}", hint=_NOT_CSV)
        first = named + self.has_header + self.skip_rows_after_header
        if first > len(records) and not at_end:
            return None
        begin = start + (int(records.starts[first]) if first < len(records) else quoting.end)
        return _Head(self._names(fields), data[begin:], begin, 1 + newlines(data[:begin]))

    def _fields(self, record: bytes, path: str) -> list[str]:
        try:
            text = record.decode()
        except UnicodeDecodeError as error:
            if self.encoding == "utf8-lossy":
                text = record.decode("utf-8", "replace")
            else:
                raise DataError(f"{path} is not UTF-8: {shown(record)}", hint=_NOT_CSV) from error
        quoting: Literal[0, 3] = csv.QUOTE_NONE if self.quote_char is None else csv.QUOTE_MINIMAL
        try:
            return next(
                csv.reader([text], delimiter=self.separator, quotechar=self.quote_char, quoting=quoting)
            )
        except csv.Error as error:
            raise DataError(f"{path} has no header: {error}: {shown(text)}", hint=_NOT_CSV) from error

    def _names(self, fields: list[str]) -> list[str]:
        """Different names for all columns, as Polars makes them; Arrow's tables lose empty ones."""
        is_named = self.has_header
        fields = [name if name and is_named else f"column_{index}" for index, name in enumerate(fields)]
        swap = {ord("\n"): self.eol_char, ord(self.eol_char): "\n"}
        fields = [field.translate(swap) for field in fields]
        fields[: len(self.new_columns)] = self.new_columns[: len(fields)]
        seen: Counter[str] = Counter()
        names: list[str] = []
        for field in fields:
            name = field if not seen[field] else f"{field}_duplicated_{seen[field] - 1}"
            seen[field] += 1
            while name in names:
                name += "_"
            names.append(name)
        return names


@dataclass(frozen=True, slots=True)
class _Head:
    """Names of the columns, and where rows begin: byte, line, and what was read from there on."""

    names: list[str]
    rest: bytes
    offset: int
    line: int


class _Swapped:
    """A stream in which two bytes have each other's place."""

    def __init__(self, stream: BinaryIO, table: bytes) -> None:
        self._stream = stream
        self._table = table

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size).translate(self._table)

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _texts(nulls: str | Sequence[str]) -> tuple[str, ...]:
    return (nulls,) if isinstance(nulls, str) else tuple(nulls)
