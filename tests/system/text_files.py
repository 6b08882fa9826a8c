"""What CSV and NDJSON files mean, in plain Python; files damaged at random; streams that read in bits."""

from __future__ import annotations

import io
import json
import math
import re
from datetime import date, datetime, time
from decimal import Context, Decimal, InvalidOperation

import polars as pl

from arrowstream.config import DEAD

INTEGER = re.compile(r"-?[0-9]+")
FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DATETIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
INTEGERS = {
    pl.Int8: (-(2**7), 2**7 - 1),
    pl.Int32: (-(2**31), 2**31 - 1),
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.UInt64: (0, 2**64 - 1),
}


class Bits(io.RawIOBase):
    """A stream that gives fewer bytes than it is asked for, and cannot seek."""

    def __init__(self, data, sizes=()):
        self._data, self._place, self._sizes = data, 0, list(sizes)

    def readable(self):
        return True

    def read(self, size=-1):
        wanted = len(self._data) if size < 0 else size
        if self._sizes:
            wanted = min(wanted, self._sizes.pop(0))
        piece = self._data[self._place : self._place + wanted]
        self._place += len(piece)
        return piece


def read_blocks(
    file_format,
    data,
    schema=None,
    *,
    columns=None,
    sizes=(),
    resume=None,
    on_error="dead_letter",
    growing=False,
):
    """All blocks of a file in memory."""
    schema = file_format.schema(io.BytesIO(data), "file") if schema is None else pl.Schema(schema)
    stream = Bits(data, sizes) if sizes else io.BytesIO(data)
    return list(
        file_format.blocks(
            stream,
            "file",
            schema=schema,
            columns=list(columns or schema),
            resume=resume,
            on_error=on_error,
            growing=growing,
        )
    )


def slots(blocks):
    """What is in some blocks: ("row", values) and ("dead", original, position)."""
    found = []
    for block in blocks:
        frame = block.frame
        dead = frame.get_column(DEAD).to_list() if DEAD in frame.columns else [None] * frame.height
        rows = frame.drop(DEAD, strict=False).rows()
        for row, letter in zip(rows, dead, strict=True):
            if letter is None:
                found.append(("row", tuple(map(plain, row))))
            else:
                assert all(value is None for value in row)
                assert letter["error"]
                found.append(("dead", letter["original"], letter["position"]))
    return found


def plain(value):
    """NaN that equals itself; zeros that differ by their sign."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value


# CSV


def csv_slots(data, schema, *, separator=b",", quote=b'"'):
    """The definition of a CSV file without a header, byte by byte."""
    found, place, line = [], 0, 1
    while place < len(data):
        fields, end, error = _csv_record(data, place, separator, quote)
        if error == "malformed":
            newline = data.find(b"\n", place)
            end = len(data) if newline < 0 else newline + 1
        record = data[place:end]
        original = record.removesuffix(b"\n").removesuffix(b"\r")
        if original or len(schema) == 1:
            values = None if error or len(fields) != len(schema) else _csv_values(fields, schema)
            found.append(("dead", original, f"line {line}") if values is None else ("row", values))
        line += record.count(b"\n")
        place = end
    return found


def _csv_record(data, place, separator, quote):
    fields, error = [], None
    while True:
        if data[place : place + 1] == quote:
            content, place = b"", place + 1
            while True:
                if place >= len(data):
                    return fields, place, "malformed"
                if data[place : place + 1] != quote:
                    content += data[place : place + 1]
                    place += 1
                elif data[place + 1 : place + 2] == quote:
                    content += quote
                    place += 2
                else:
                    place += 1
                    break
            fields.append((content, True))
            if data[place : place + 1] == b"\r" and data[place + 1 : place + 2] in {b"\n", b""}:
                place += 1
            elif data[place : place + 1] not in {separator, b"\n", b""}:
                return fields, place, "malformed"
        else:
            start = place
            while place < len(data) and data[place : place + 1] not in {separator, b"\n"}:
                place += 1
            content = data[start:place]
            if data[place : place + 1] != separator:
                content = content.removesuffix(b"\r")
            if b"\r" in content:
                error = "return"
            fields.append((content, False))
        if data[place : place + 1] != separator:
            return fields, place + 1 if place < len(data) else place, error
        place += 1


def _csv_values(fields, schema):
    values = []
    for (content, quoted), dtype in zip(fields, schema.values(), strict=True):
        try:
            text = content.decode()
            values.append(
                None if not text and (dtype != pl.String or not quoted) else plain(text_value(text, dtype))
            )
        except (UnicodeDecodeError, ValueError):
            return None
    return tuple(values)


def text_value(text, dtype):
    """The value of a text, ValueError if it is none."""
    kind = dtype if isinstance(dtype, type) else type(dtype)
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        number = int(_matched(INTEGER, text.strip(" \t")))
        if not low <= number <= high or (low == 0 and "-" in text):
            raise ValueError(text)
        return number
    if kind is pl.Float64:
        stripped = text.strip(" \t")
        return float(stripped if stripped in {"nan", "inf", "-inf"} else _matched(FLOAT, stripped))
    if kind is pl.Boolean:
        return {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}[
            _matched(re.compile("true|True|TRUE|false|False|FALSE"), text)
        ]
    if kind is pl.Date:
        return date.fromisoformat(_matched(DATE, text.strip(" \t")))
    if kind is pl.Datetime:
        return datetime.fromisoformat(_matched(DATETIME, text))
    if kind is pl.Time:
        return time.fromisoformat(_matched(TIME, text.strip(" \t")))
    if kind is pl.Decimal:
        number = Decimal(_matched(FLOAT, text.strip(" \t")))
        try:
            exact = number.quantize(Decimal(1).scaleb(-dtype.scale), context=Context(prec=100))
        except InvalidOperation as error:
            raise ValueError(text) from error
        if exact != number or len(exact.as_tuple().digits) > dtype.precision:
            raise ValueError(text)
        return exact
    return text


def _matched(pattern, text):
    if pattern.fullmatch(text) is None:
        raise ValueError(text)
    return text


# NDJSON


def ndjson_slots(data, schema):
    """The definition of an NDJSON file by Python's own parser of JSON."""
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip(b" \t\r"):
            original = line.removesuffix(b"\r")
            try:
                values = _json_values(original.decode(), schema)
                found.append(("row", values))
            except (ValueError, RecursionError):
                found.append(("dead", original, f"line {number}"))
    return found


def _json_values(line, schema):
    record = json.loads(
        line.strip(" \t\r"), object_pairs_hook=_first, parse_constant=_refuse, parse_float=_float
    )
    if not isinstance(record, dict):
        raise ValueError(line)  # noqa: TRY004 - any error will do
    line.encode("utf-16", "strict")
    json.dumps(record, ensure_ascii=False).encode()  # no half of a pair
    return tuple(plain(json_value(record.get(name), dtype)) for name, dtype in schema.items())


def _first(pairs):
    record = {}
    for key, value in pairs:
        record.setdefault(key, value)
    return record


def _refuse(constant):
    raise ValueError(constant)


def _float(digits):
    if math.isinf(float(digits)):
        raise ValueError(digits)
    return float(digits)


def json_value(value, dtype):
    """The value of JSON as a type, ValueError if it is none."""
    kind = dtype if isinstance(dtype, type) else type(dtype)
    if value is None:
        return None
    if kind is pl.String:
        return value if isinstance(value, str) else ("text", value)
    if kind in INTEGERS and isinstance(value, int) and not isinstance(value, bool):
        low, high = INTEGERS[kind]
        if low <= value <= high:
            return value
    elif kind is pl.Float64 and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind is pl.Boolean and isinstance(value, bool):
        return value
    elif kind in {pl.Date, pl.Datetime, pl.Time} and isinstance(value, str):
        return text_value(value, dtype)
    elif kind is pl.List and isinstance(value, list):
        return [json_value(element, dtype.inner) for element in value]
    elif kind is pl.Struct and isinstance(value, dict):
        return {field.name: json_value(value.get(field.name), field.dtype) for field in dtype.fields}
    raise ValueError(value)


# Damage


def damaged(data, rng):
    """A few bytes changed, lost, doubled or put in: what a broken disk, program or person makes of a file."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content) + 1)
        match rng.randrange(6):
            case 0:
                del content[place:]
            case 1:
                del content[place : place + rng.randint(1, 40)]
            case 2:
                content[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
            case 3:
                content[place:place] = rng.choice(_TROUBLE)
            case 4 if place < len(content):
                content[place] ^= 1 << rng.randrange(8)
            case _:
                content[place:place] = content[place : place + rng.randint(1, 200)]
    return bytes(content)


_TROUBLE = (
    *(b'"', b'""', b"\n", b"\r", b"\r\n", b",", b"\x00", b"\xff", b"\\", b"\\ud800", b"{", b"}", b"[", b"]"),
    *(b":", b"null", b"NaN", b"1e999", b"9" * 40, b"\xef\xbb\xbf", b"0x10", b"-", b"\xe2\x80", b'\\"'),
    *(b"{" * 3000, b"[" * 3000),
)
