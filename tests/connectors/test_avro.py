"""Avro files of others, by fastavro: every type, codec and layout."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import uuid

import fastavro
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrowstream.connectors.files.avro import AvroEncoding, AvroFormat
from arrowstream.connectors.files.avro import container as container_module
from arrowstream.connectors.files.avro import format as format_module
from arrowstream.connectors.files.encode import encode_file
from arrowstream.errors import ConnectorError, DataError, PlanError

UTC = dt.UTC
MARKER = b"0123456789abcdef"
CODECS = ("null", "deflate", "snappy", "bzip2", "xz")
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


def written(schema, records, codec="null", **options):
    file = io.BytesIO()
    fastavro.writer(file, schema, records, codec=codec, sync_marker=MARKER, **options)
    return file.getvalue()


def number(value):
    raw = value << 1 if value >= 0 else (-value << 1) - 1
    pieces = bytearray()
    while raw >= 0x80:
        pieces.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*pieces, raw])


def made(schema, *contents, codec="null"):
    """A file by hand: blocks of (records, bytes), or bytes as they are."""
    metadata = {"avro.schema": schema if isinstance(schema, bytes) else json.dumps(schema).encode()}
    metadata["avro.codec"] = codec.encode()
    pieces = [b"Obj\x01", number(len(metadata))]
    for key, value in metadata.items():
        pieces += [number(len(key)), key.encode(), number(len(value)), value]
    pieces += [b"\x00", MARKER]
    for content in contents:
        if isinstance(content, tuple):
            records, inside = content
            pieces += [number(records), number(len(inside)), inside, MARKER]
        else:
            pieces.append(content)
    return b"".join(pieces)


def record(fields, name="row"):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}


def blocks(content, *, columns=None, resume=None, on_error="raise", avro=None):
    avro = avro or AvroFormat()
    schema = avro.schema(io.BytesIO(content), "x.avro")
    return avro.blocks(
        io.BytesIO(content),
        "x.avro",
        schema=schema,
        columns=columns or schema.names(),
        resume=resume,
        on_error=on_error,
    )


def read(content, **options):
    frames = [block.frame for block in blocks(content, **options)]
    dead = any(len(frame.columns) > len(frames[0].columns) for frame in frames)
    return pl.concat(frames, how="diagonal" if dead else "vertical")


def branch(name, value, names):
    """A value of a union that is not one of null and one type."""
    return {other: value if other == name else None for other in names}


# (schema, what is written, the column's type, what is read)
TYPES = {
    "null": ("null", [None, None], pl.Null(), [None, None]),
    "boolean": ("boolean", [True, False], pl.Boolean(), [True, False]),
    "int": ("int", [-(2**31), 0, 2**31 - 1], pl.Int32(), [-(2**31), 0, 2**31 - 1]),
    "long": ("long", [-(2**63), -1, 2**63 - 1], pl.Int64(), [-(2**63), -1, 2**63 - 1]),
    "float": ("float", [0.5, float("inf")], pl.Float32(), [0.5, float("inf")]),
    "double": ("double", [0.1, -0.0], pl.Float64(), [0.1, -0.0]),
    "bytes": ("bytes", [b"", b"\x00" * 13], pl.Binary(), [b"", b"\x00" * 13]),
    "string": ("string", ["", "twelve bytes", "more than twelve", "€"], pl.String(), None),
    "optional": (["null", "long"], [1, None], pl.Int64(), [1, None]),
    "optional, null last": (["string", "null"], ["a", None], pl.String(), ["a", None]),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, ["B", "A"], pl.Enum(["A", "B"]), None),
    "fixed": ({"type": "fixed", "name": "F", "size": 3}, [b"abc", b"def"], pl.Binary(), None),
    "long fixed": ({"type": "fixed", "name": "F", "size": 20}, [b"x" * 20], pl.Binary(), None),
    "array": ({"type": "array", "items": "int"}, [[1, 2], [], [3]], pl.List(pl.Int32()), None),
    "array of arrays": (
        {"type": "array", "items": {"type": "array", "items": ["null", "string"]}},
        [[["a", None], []], [], [[]]],
        pl.List(pl.List(pl.String())),
        None,
    ),
    "map": (
        {"type": "map", "values": "long"},
        [{"x": 1, "y": 2}, {}],
        pl.List(pl.Struct({"key": pl.String(), "value": pl.Int64()})),
        [[{"key": "x", "value": 1}, {"key": "y", "value": 2}], []],
    ),
    "record": (
        ["null", record({"a": "int", "b": ["null", "string"]}, "inner")],
        [{"a": 1, "b": None}, None, {"a": 2, "b": "x"}],
        pl.Struct({"a": pl.Int32(), "b": pl.String()}),
        None,
    ),
    "empty record": (record({}, "inner"), [{}, {}], pl.Struct([]), None),
    "union": (
        ["null", "long", "string"],
        [1, "a", None],
        pl.Struct({"long": pl.Int64(), "string": pl.String()}),
        [branch("long", 1, ("long", "string")), branch("string", "a", ("long", "string")), None],
    ),
    "union of records": (
        [record({"x": "int"}, "n.a"), record({"y": "string"}, "n.b")],
        [{"x": 1}, {"y": "z"}],
        pl.Struct({"a": pl.Struct({"x": pl.Int32()}), "b": pl.Struct({"y": pl.String()})}),
        [{"a": {"x": 1}, "b": None}, {"a": None, "b": {"y": "z"}}],
    ),
    "union of one": (["int"], [5], pl.Struct({"int": pl.Int32()}), [{"int": 5}]),
    "union of null": (["null"], [None, None], pl.Null(), None),
    "decimal": (
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
        [decimal.Decimal("-999.99"), decimal.Decimal("0.01"), decimal.Decimal(0)],
        pl.Decimal(5, 2),
        None,
    ),
    "fixed decimal": (
        {"type": "fixed", "name": "D", "size": 17, "logicalType": "decimal", "precision": 38, "scale": 0},
        [decimal.Decimal(10**37), decimal.Decimal(-(10**37))],
        pl.Decimal(38, 0),
        None,
    ),
    "uuid": (
        {"type": "string", "logicalType": "uuid"},
        [uuid.UUID(int=2**127 + 1)],
        pl.String(),
        ["80000000-0000-0000-0000-000000000001"],
    ),
    "date": ({"type": "int", "logicalType": "date"}, [dt.date(1969, 12, 31)], pl.Date(), None),
    "time-millis": (
        {"type": "int", "logicalType": "time-millis"},
        [dt.time(23, 59, 59, 999_000)],
        pl.Time(),
        None,
    ),
    "time-micros": ({"type": "long", "logicalType": "time-micros"}, [dt.time(0, 0, 0, 1)], pl.Time(), None),
    "timestamp-millis": (
        {"type": "long", "logicalType": "timestamp-millis"},
        [dt.datetime(1969, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)],
        pl.Datetime("ms", "UTC"),
        None,
    ),
    "timestamp-micros": (
        {"type": "long", "logicalType": "timestamp-micros"},
        [dt.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
        pl.Datetime("us", "UTC"),
        None,
    ),
    "timestamp-nanos": ({"type": "long", "logicalType": "timestamp-nanos"}, [7], pl.Datetime("ns", "UTC"), 7),
    "local-timestamp-millis": (
        {"type": "long", "logicalType": "local-timestamp-millis"},
        [dt.datetime(2024, 1, 1)],
        pl.Datetime("ms"),
        None,
    ),
    "local-timestamp-micros": (
        {"type": "long", "logicalType": "local-timestamp-micros"},
        [dt.datetime(2024, 1, 1, 0, 0, 0, 1)],
        pl.Datetime("us"),
        None,
    ),
    "local-timestamp-nanos": (
        {"type": "long", "logicalType": "local-timestamp-nanos"},
        [7],
        pl.Datetime("ns"),
        7,
    ),
    "duration": (
        {"type": "fixed", "name": "Du", "size": 12, "logicalType": "duration"},
        [b"\x01\x00\x00\x00\x02\x00\x00\x00\xff\xff\xff\xff"],
        pl.Struct({"months": pl.UInt32(), "days": pl.UInt32(), "milliseconds": pl.UInt32()}),
        [{"months": 1, "days": 2, "milliseconds": 2**32 - 1}],
    ),
    "unknown logical type": ({"type": "long", "logicalType": "of-the-future"}, [7], pl.Int64(), None),
    "logical type of another type": ({"type": "string", "logicalType": "date"}, ["x"], pl.String(), None),
}


@pytest.mark.parametrize("name", TYPES)
def test_types(name):
    schema, values, dtype, expected = TYPES[name]
    raw = written(record({"v": schema, "n": "int"}), [{"v": v, "n": n} for n, v in enumerate(values)])
    frame = read(raw)
    assert frame.schema["v"] == dtype
    if expected == 7:  # more than Python's times can say
        frame, expected = frame.with_columns(pl.col("v").cast(pl.Int64)), [7]
    assert frame["v"].to_list() == (values if expected is None else expected)
    assert frame["n"].to_list() == list(range(len(values)))
    assert read(raw, columns=["n"]).equals(frame.select("n"))


def test_a_fixed_uuid_is_text():
    kind = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
    value = uuid.UUID("0123abcd-ef01-2345-6789-abcdef012345")
    raw = made(record({"u": ["null", kind]}), (3, b"\x02" + value.bytes + b"\x00" + b"\x02" + bytes(16)))
    assert read(raw)["u"].to_list() == [str(value), None, str(uuid.UUID(int=0))]


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3},
        {"type": "bytes", "logicalType": "decimal"},
        {"type": "bytes", "logicalType": "big-decimal"},
    ],
)
def test_a_decimal_that_is_none_is_binary(kind):
    assert read(made(record({"v": kind}), (1, b"\x02\x01")))["v"].to_list() == [b"\x01"]


def test_decimals_of_many_bytes():
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 1}
    numbers = [0, 1, -1, 127, 128, -128, -129, 10**38 - 1, -(10**38) + 1, 2**64, -(2**64), 2**63]
    exact = decimal.Context(prec=50)
    for more in (0, 1, 20):
        content = b"".join(
            number(n) + value.to_bytes(n, "big", signed=True)
            for value in numbers
            for n in [value.bit_length() // 8 + 1 + more]
        )
        found = read(made(record({"v": kind}), (len(numbers), content)))["v"].to_list()
        assert [int(value.scaleb(1, exact)) for value in found] == numbers
    assert read(made(record({"v": kind}), (1, b"\x00")))["v"].to_list() == [decimal.Decimal(0)]


@pytest.mark.parametrize("value", [0, 1, -1, 63, 64, 2**31, 2**55, -(2**56), 2**62, 2**63 - 1, -(2**63)])
def test_numbers_of_every_length(value):
    raw = made(record({"v": "long", "w": "long"}), (1, number(value) + number(-value - 1)))
    assert read(raw).rows() == [(value, -value - 1)]


def test_numbers_may_be_longer_than_needed():
    content = b"\x82\x00" + b"\x82\x80\x80\x80\x80\x80\x80\x80\x80\x00" + b"\x82\x80\x00\x04"
    raw = made(record({"v": ["null", "long"], "w": ["null", "long"]}), (1, content))
    assert read(raw).rows() == [(1, 2)]


def test_arrays_in_blocks_with_sizes():
    content = number(-2) + number(2) + b"\x02\x04" + number(1) + b"\x06" + b"\x00"
    assert read(made(record({"v": {"type": "array", "items": "int"}}), (1, content))).item().to_list() == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("root", ["string", ["null", "string"], {"type": "array", "items": "string"}])
def test_a_schema_that_is_no_record_is_a_column(root):
    value = ["a"] if isinstance(root, dict) else "a"
    assert read(written(root, [value])).to_dicts() == [{"value": value}]


def test_named_types_in_namespaces():
    inner = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
    schema = {
        "type": "record",
        "name": "outer",
        "namespace": "x.y",
        "fields": [
            {"name": "a", "type": inner},
            {
                "name": "b",
                "type": {"type": "record", "name": "z.Inner", "fields": [{"name": "c", "type": "x.y.E"}]},
            },
            {"name": "d", "type": ["null", "E"]},
            {"name": "e", "type": {"type": "array", "items": "z.Inner"}},
        ],
    }
    row = {"a": "A", "b": {"c": "B"}, "d": None, "e": [{"c": "A"}]}
    assert read(written(schema, [row])).to_dicts() == [row]


SIMPLE = record({"id": "long", "name": ["null", "string"], "tags": {"type": "array", "items": "string"}})


def rows_of(count):
    return [
        {"id": n * 7919 - 10, "name": None if n % 5 == 0 else f"name {n}", "tags": ["x" * (n % 20)] * (n % 3)}
        for n in range(count)
    ]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("interval", [1, 1000, 10**6])
def test_codecs_and_blocks_of_any_size(codec, interval):
    rows = rows_of(2000)
    assert read(written(SIMPLE, rows, codec, sync_interval=interval)).to_dicts() == rows


def test_zstandard_with_and_without_sizes():
    import pyarrow as pa

    content = b"".join(number(n) for n in range(1000))
    sized = pa.Codec("zstd").compress(content, asbytes=True)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    streamed = sink.getvalue().to_pybytes()
    raw = made(
        record({"v": "int"}), (1000, sized), (1000, streamed), (2000, sized + streamed), codec="zstandard"
    )
    assert read(raw)["v"].to_list() == 4 * list(range(1000))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_it_reads_what_fastavro_reads(data):
    schema, value = data.draw(KINDS)
    full = record({"v": schema})
    rows = [{"v": row} for row in data.draw(st.lists(value, max_size=10))]
    raw = written(
        full,
        rows,
        data.draw(st.sampled_from(CODECS)),
        sync_interval=data.draw(st.sampled_from([1, 40, 9999])),
    )
    frames = [block.frame for block in blocks(raw)]
    expected = [as_read(schema, row["v"]) for row in rows]
    assert [row["v"] for frame in frames for row in frame.to_dicts()] == expected


def as_read(schema, value):
    """A value as it comes in columns: maps are lists of keys and values."""
    if isinstance(schema, list):
        return None if value is None else as_read(schema[1], value)
    if not isinstance(schema, dict):
        return value
    if schema["type"] == "array":
        return [as_read(schema["items"], item) for item in value]
    if schema["type"] == "map":
        return [{"key": key, "value": as_read(schema["values"], item)} for key, item in value.items()]
    return {field["name"]: as_read(field["type"], value[field["name"]]) for field in schema["fields"]}


def _records(fields):
    names = [f"f{n}" for n in range(len(fields))]
    schema = record(dict(zip(names, (kind for kind, _ in fields), strict=True)), "NAME")
    return schema, st.fixed_dictionaries(dict(zip(names, (values for _, values in fields), strict=True)))


def _named(schema, counter):
    """Every record gets a name of its own."""
    if isinstance(schema, list):
        return [_named(branch, counter) for branch in schema]
    if isinstance(schema, dict):
        schema = {
            key: _named(part, counter) if key in ("items", "values", "fields", "type") else part
            for key, part in schema.items()
        }
        if schema.get("name") == "NAME":
            counter.append(1)
            schema["name"] = f"r{len(counter)}"
    return schema


KINDS = st.recursive(
    st.sampled_from(
        [
            ("boolean", st.booleans()),
            ("int", st.integers(-(2**31), 2**31 - 1)),
            ("long", st.integers(-(2**63), 2**63 - 1)),
            ("double", st.floats(allow_nan=False)),
            ("string", st.text(max_size=30)),
            ("bytes", st.binary(max_size=30)),
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda kind: ({"type": "array", "items": kind[0]}, st.lists(kind[1], max_size=3))),
        inner.map(
            lambda kind: (
                {"type": "map", "values": kind[0]},
                st.dictionaries(st.text(max_size=3), kind[1], max_size=3),
            )
        ),
        inner.filter(lambda kind: not isinstance(kind[0], list)).map(
            lambda kind: (["null", kind[0]], st.none() | kind[1])
        ),
        st.lists(inner, min_size=1, max_size=3).map(_records),
    ),
    max_leaves=12,  # four types deep
).map(lambda kind: (_named(kind[0], []), kind[1]))


def test_blocks_are_resumed_behind_each(monkeypatch):
    monkeypatch.setattr(container_module, "BLOCK_BYTES", 4000)
    monkeypatch.setattr(container_module, "_HEADER_PIECE_BYTES", 1000)
    rows = rows_of(3000)
    for codec in ("null", "deflate"):
        raw = written(SIMPLE, rows, codec, sync_interval=1000)
        found = list(blocks(raw))
        assert len(found) > 5
        seen = 0
        for block in found:
            seen += block.frame.height
            rest = [later.frame for later in blocks(raw, resume=block.resume)]
            assert [row for frame in rest for row in frame.to_dicts()] == rows[seen:]
        assert seen == 3000


def test_a_large_block_comes_in_pieces(monkeypatch):
    monkeypatch.setattr(format_module, "BLOCK_BYTES", 2000)
    for module in (container_module, format_module):
        monkeypatch.setattr(module, "GROUP_BYTES_MAX", 4000)
    monkeypatch.setattr(format_module, "_ROWS_AT_ONCE_MIN", 100)
    rows = rows_of(3000)
    raw = written(SIMPLE, rows, sync_interval=10**9)
    found = list(blocks(raw))
    assert len(found) > 5
    seen = 0
    for block in found:
        assert block.frame.to_dicts() == rows[seen : seen + block.frame.height]
        seen += block.frame.height
        rest = [later.frame for later in blocks(raw, resume=block.resume)]
        assert [row for frame in rest for row in frame.to_dicts()] == rows[seen:]
    assert seen == 3000


def test_positions_of_other_files():
    raw = written(SIMPLE, rows_of(3))
    for resume in ([3, 0, 0], "x", [10**6, -1, 0]):
        with pytest.raises(ConnectorError, match=r"is not in x\.avro"):
            list(blocks(raw, resume=resume))


class OneWay(io.RawIOBase):
    """A stream that cannot seek, and gives little at once."""

    def __init__(self, content):
        self._content = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._content.read(min(size, 999) if size >= 0 else 999)

    def readinto(self, buffer):
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_stream_that_cannot_seek():
    rows = rows_of(2000)
    raw = written(SIMPLE, rows, "deflate", sync_interval=700)
    schema = AvroFormat().schema(OneWay(raw), "x")
    found = list(
        AvroFormat().blocks(OneWay(raw), "x", schema=schema, columns=["id"], resume=None, on_error="raise")
    )
    assert pl.concat([block.frame for block in found])["id"].to_list() == [row["id"] for row in rows]
    rest = AvroFormat().blocks(
        OneWay(raw), "x", schema=schema, columns=["id"], resume=found[3].resume, on_error="raise"
    )
    assert pl.concat([block.frame for block in rest]).equals(pl.concat([block.frame for block in found[4:]]))


def test_many_items_in_few_records():
    rows = [{"id": 1, "name": None, "tags": ["a"] * 5000}, {"id": 2, "name": "x", "tags": []}]
    assert read(written(SIMPLE, rows)).to_dicts() == rows


def test_records_of_no_bytes():
    assert read(made(record({"v": "null"}), (1000, b""))).height == 1000
    nothing = made(record({"v": {"type": "array", "items": "null"}}), (1, number(3) + b"\x00"))
    assert read(nothing)["v"].to_list() == [[None] * 3]


def test_a_file_without_anything_in_it():
    assert AvroFormat().schema(io.BytesIO(b""), "x") == pl.Schema()
    assert read(written(SIMPLE, [{"id": 1, "name": None, "tags": []}])).height == 1
    assert list(blocks(written(SIMPLE, []))) == []


def test_what_is_written_is_one_file_for_all(tmp_path):
    rows = pl.DataFrame(rows_of(100))
    raw = b"".join(encode_file([rows], AvroEncoding()))
    assert list(fastavro.reader(io.BytesIO(raw))) == read(raw).to_dicts() == rows.to_dicts()


# What cannot be a table


def test_a_block_that_claims_more_bytes_than_there_can_be_is_one_dead_slot():
    raw = made(record({"v": "int"}), (1, b"\x02"), number(1) + number(2**62) + MARKER)
    assert read(raw, on_error="dead_letter")["v"].to_list() == [1, None]


def test_recursion_is_named():
    schema = record({"v": "int", "next": ["null", "row"]})
    with pytest.raises(
        PlanError, match=r"field 'next' of x\.avro is a 'row' within a 'row', which no column can hold"
    ):
        AvroFormat().schema(io.BytesIO(made(schema)), "x.avro")
    deep = record({"v": {"type": "array", "items": record({"w": {"type": "map", "values": "row"}}, "inner")}})
    with pytest.raises(PlanError, match=r"field 'v\.\[\]\.w\.\{\}' of x.avro is a 'row'"):
        AvroFormat().schema(io.BytesIO(made(deep)), "x.avro")


def test_decimals_beyond_polars_are_named():
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 0}
    with pytest.raises(PlanError, match=r"field 'v' of x.avro is a decimal of 39 digits, Polars holds 38"):
        AvroFormat().schema(io.BytesIO(made(record({"v": kind}))), "x.avro")


def test_small_schemas_of_many_fields():
    fields = {"a": "int"}
    for n in range(30):
        inner = record(fields, f"r{n}")
        fields = {"a": inner, "b": f"r{n}"}
    with pytest.raises(PlanError, match="has more than 10,000 fields"):
        AvroFormat().schema(io.BytesIO(made(record(fields))), "x.avro")
    kind = "int"
    for _ in range(60):
        kind = {"type": "array", "items": kind}
    with pytest.raises(PlanError, match="is more than 48 types deep"):
        AvroFormat().schema(io.BytesIO(made(record({"a": kind}))), "x.avro")


@pytest.mark.parametrize(
    ("schema", "fact"),
    [
        (b"{", "has an Avro schema that is not JSON"),
        (b"[" * 100_000, "has an Avro schema that is not JSON"),
        (b"\xff", "has an Avro schema that is not JSON"),
        (b"7", "a type is 7"),
        (record({"a\0b": "int"}), "the name of a field has a NUL in it"),
        (record({"v": "strin"}), "at 'v': type 'strin' is not known"),
        ({"type": "record", "name": "x"}, "a record has no fields"),
        ({"type": "record", "name": "x", "fields": [{"type": "int"}]}, "a field has no name"),
        ({"type": "record", "name": "x", "fields": [3]}, "a field has no name"),
        (record({"v": {"type": "array"}}), "at 'v.\\[\\]': a type is null"),
        (record({"v": {"type": "enum", "name": "e"}}), "an enum has no symbols"),
        (record({"v": {"type": "enum", "name": "e", "symbols": ["a", "a"]}}), "or one of them twice"),
        (record({"v": {"type": "fixed", "name": "f", "size": -1}}), "a fixed has the size -1"),
        (record({"v": ["int", ["null"]]}), "a union is a branch of a union"),
        (record({"v": ["int", "int"]}), "a union has no branch, or one of them twice"),
        (record({"v": []}), "a union has no branch"),
        (record({"v": {"type": "enum", "name": "row", "symbols": ["a"]}}), "two types are named 'row'"),
        (
            {
                "type": "record",
                "name": "x",
                "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}],
            },
            "two fields have one name",
        ),
    ],
)
def test_schemas_that_are_none(schema, fact):
    with pytest.raises(DataError, match=fact):
        AvroFormat().schema(io.BytesIO(made(schema)), "x.avro")


def test_headers_that_are_none():
    def schema_of(raw):
        return AvroFormat().schema(io.BytesIO(raw), "x.avro")

    with pytest.raises(DataError, match=r"x\.avro is not an Avro file: it begins with b'PAR1'"):
        schema_of(b"PAR1" + b"x" * 100)
    raw = made(SIMPLE)
    for size in range(1, len(raw)):
        with pytest.raises(DataError):
            schema_of(raw[:size])
    with pytest.raises(DataError, match="is compressed with 'lzo', which is not known"):
        schema_of(made(SIMPLE, codec="lzo"))
    with pytest.raises(DataError, match="without a schema"):
        schema_of(b"Obj\x01\x00" + MARKER)
    with pytest.raises(DataError, match="damaged Avro header"):
        schema_of(b"Obj\x01\x02" + b"\xff" * 20)
    with pytest.raises(DataError, match="damaged Avro header"):
        schema_of(b"Obj\x01" + number(2**40))
