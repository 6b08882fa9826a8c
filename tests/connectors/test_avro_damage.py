"""Avro files that are damaged: what can be told apart is read, the rest is told or takes one slot."""

from __future__ import annotations

import io
import json
import random
import resource
import time
import zlib

import fastavro
import numpy as np
import polars as pl
import pytest

from arrowstream.config import DEAD, DEAD_DTYPE
from arrowstream.connectors.files.avro import AvroEncoding, AvroFormat
from arrowstream.connectors.files.avro import container as container_module
from arrowstream.connectors.files.avro import format as format_module
from arrowstream.connectors.files.avro import program as program_module
from arrowstream.connectors.files.encode import encode_file
from arrowstream.errors import ArrowStreamError, DataError

MARKER = b"0123456789abcdef"


def number(value):
    raw = value << 1 if value >= 0 else (-value << 1) - 1
    pieces = bytearray()
    while raw >= 0x80:
        pieces.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*pieces, raw])


def block(records, content):
    return number(records) + number(len(content)) + content + MARKER


def made(fields, *blocks, codec="null"):
    schema = {"type": "record", "name": "row", "fields": [{"name": n, "type": t} for n, t in fields.items()]}
    metadata = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    pieces = [b"Obj\x01", number(len(metadata))]
    for key, value in metadata.items():
        pieces += [number(len(key)), key.encode(), number(len(value)), value]
    return b"".join([*pieces, b"\x00", MARKER, *blocks])


def read(content, on_error="dead_letter", avro=None, columns=None):
    avro = avro or AvroFormat()
    schema = avro.schema(io.BytesIO(content), "x.avro")
    found = avro.blocks(
        io.BytesIO(content),
        "x.avro",
        schema=schema,
        columns=columns or schema.names(),
        resume=None,
        on_error=on_error,
    )
    frames = [block.frame for block in found]
    return pl.concat([pl.DataFrame(schema={**schema, DEAD: DEAD_DTYPE}), *frames], how="diagonal")


def slots(content, **options):
    """A row's first value, or (position, error) of a dead slot."""
    frame = read(content, **options)
    return [
        row[0] if row[-1] is None else (row[-1]["position"], row[-1]["error"]) for row in frame.iter_rows()
    ]


def text(value):
    return number(len(value)) + value


BAD_VALUES = {
    "text": ("string", text(b"a\xffb"), "field 'v' is not UTF-8"),
    "long text": ("string", text(b"x" * 30 + b"\xed\xa0\x80"), "field 'v' is not UTF-8"),
    "boolean": ("boolean", b"\x02", "field 'v' is neither 0 nor 1"),
    "int": ("int", number(2**31), "field 'v' is a number out of its type's range"),
    "enum": (
        {"type": "enum", "name": "e", "symbols": ["a", "b"]},
        number(2),
        "field 'v' is a number out of its type's range",
    ),
    "time-millis": (
        {"type": "int", "logicalType": "time-millis"},
        number(86_400_000),
        "field 'v' is a number out of its type's range",
    ),
    "time-micros": (
        {"type": "long", "logicalType": "time-micros"},
        number(-1),
        "field 'v' is a number out of its type's range",
    ),
    "decimal": (
        {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 0},
        text(b"\x64"),
        "field 'v' has more digits than its type",
    ),
    "wide decimal": (
        {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 0},
        text(b"\x01" + bytes(16)),
        "field 'v' has more digits than its type",
    ),
    "array": (
        {"type": "array", "items": "string"},
        number(2) + text(b"a") + text(b"\xc0") + b"\x00",
        "field 'v[]' is not UTF-8",
    ),
    "null": (["null"], number(1), "field 'v' is a number out of its type's range"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_bad_value_costs_its_record(name):
    kind, value, error = BAD_VALUES[name]
    good = {
        "text": text(b"ok"),
        "long text": text(b"ok"),
        "decimal": text(b"\x00"),
        "wide decimal": text(b"\x63"),
    }
    good = good.get(name, b"\x00")
    content = b"".join([b"\x02" + good, b"\x04" + value, b"\x06" + good])
    raw = made({"n": "int", "v": kind}, block(1, b"\x00" + good), block(3, content))
    assert slots(raw) == [0, 1, ("record 3", error), 3]
    letter = read(raw)[DEAD][2]
    assert letter["original"] == b"\x04" + value
    assert letter["source"] == "x.avro"
    with pytest.raises(DataError, match=r"x\.avro: record 3 cannot be read: field 'v") as caught:
        read(raw, on_error="raise")
    assert caught.value.offset == 2
    assert slots(raw, columns=["n"])[:2] == [0, 1]  # what is not wanted is not looked at


BROKEN = {
    "text that goes on": (text(b"ab")[:-1], "goes beyond the end"),
    "negative length": (number(-1) + b"xx", "has a negative length"),
    "huge length": (number(2**62), "goes beyond the end"),
    "number without end": (b"\xff" * 12, "is a number of more than 64 bits"),
    "left over": (text(b"a") + b"zzz", "bytes are left over"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_block_that_does_not_add_up_is_one_slot(name):
    content, error = BROKEN[name]
    good = block(2, text(b"a") + text(b"b"))
    raw = made({"v": "string"}, good, block(2, text(b"c") + content), good)
    first = len(made({"v": "string"}, good))
    found = slots(raw)
    assert found[:2] == found[3:] == ["a", "b"]
    assert found[2][0] == f"block at byte {first}"
    assert error in found[2][1]
    with pytest.raises(DataError, match=rf"the block at byte {first} \(record 3\) is damaged: its "):
        read(raw, on_error="raise")
    assert read(raw)[DEAD][2]["original"] == text(b"c") + content


@pytest.mark.parametrize(
    "kind", ["int", ["null", "int"], ["null", "int", "string"], "string", {"type": "array", "items": "int"}]
)
def test_what_stands_behind_a_block_does_not_matter(kind):
    def packed(content):
        return zlib.compress(content, wbits=-15)

    cut_short = b"\x82\x01\x00\x04"  # a record, and the first field of another
    errors = set()
    for behind in (b"\x00", b"\xff", b"\x02", b"\x05"):
        raw = made(
            {"n": "int", "v": kind},
            block(2, packed(cut_short)),
            block(9, packed(behind * 30)),
            codec="deflate",
        )
        errors.add(slots(raw)[0])
    ((_, error),) = errors
    assert error.startswith("its 4 bytes are not 2 records: field 'v")
    assert error.endswith("goes beyond the end")


def test_unions_and_arrays_that_cannot_be():
    kind = ["null", "int", {"type": "array", "items": "int"}]
    for content, error in (
        (number(3), "has a branch that its union does not have"),
        (number(-1), "has a branch that its union does not have"),
        (number(2) + number(2**40), "has more items than bytes"),
        (number(2) + number(-(2**63)) + b"\x00", "has more items than bytes"),
        (number(2) + number(-1) + number(-1), "has more items than bytes"),
        (number(2) + number(1) + b"\x00", "goes beyond the end"),
    ):
        raw = made({"v": kind}, block(1, b"\x00"), block(1, content), block(1, b"\x00"))
        found = slots(raw)
        assert found[0] is found[2] is None
        assert error in found[1][1]
    for branch in (b"\x04", b"\xff\x01", b"\x83\x80\x00"):
        assert "has a branch" in slots(made({"v": ["null", "int"]}, block(1, branch + bytes(9))))[0][1]
    empty = {"type": "array", "items": "null"}
    assert "has more items than bytes" in slots(made({"v": empty}, block(1, number(2**40) + b"\x00")))[0][1]


def test_markers_counts_and_sizes_that_are_wrong():
    good, other = block(1, text(b"a")), block(1, text(b"b"))
    wrong_marker = number(1) + number(2) + text(b"x") + b"X" * 16
    for bad in (
        wrong_marker,
        number(100) + number(2) + text(b"x") + MARKER,  # more records than bytes
        number(-1) + number(2) + text(b"x") + MARKER,
        number(1) + number(-2) + text(b"x") + MARKER,
        number(1) + number(2**40) + text(b"x") + MARKER,
        number(1) + number(2**62) + text(b"x") + MARKER,
        number(1) + number(100) + text(b"x") + MARKER,  # swallows the next
        b"\xff" * 11 + MARKER,
        b"garbage" * 10 + MARKER,
    ):
        raw = made({"v": "string"}, good, bad, other, other)
        found = slots(raw)
        assert [slot for slot in found if isinstance(slot, str)] == ["a", "b", "b"], bad
        assert len(found) == 4
        assert found[1][0] == f"block at byte {len(made({'v': 'string'}, good))}"
        assert read(raw)[DEAD][1]["original"] == bad
        with pytest.raises(DataError, match="is damaged"):
            read(raw, on_error="raise")


def test_a_file_cut_short_anywhere():
    blocks = [block(2, text(b"a%d" % n) + text(b"b" * n)) for n in range(4)]
    raw = made({"v": "string"}, *blocks)
    header = len(made({"v": "string"}))
    ends = np.cumsum([header, *(len(piece) for piece in blocks)])
    whole = slots(raw)
    for size in range(header, len(raw)):
        found = slots(raw[:size])
        complete = int(np.searchsorted(ends, size, side="right")) - 1
        assert found[: 2 * complete] == whole[: 2 * complete]
        rest = found[2 * complete :]
        if size in ends:
            assert rest == []
        else:
            assert len(rest) == 1
            assert rest[0][0] == f"block at byte {ends[complete]}"


@pytest.mark.parametrize("codec", ["deflate", "snappy", "zstandard", "bzip2", "xz"])
def test_compressed_blocks_that_are_damaged(codec):
    names = {"zstandard": "zstd"}
    rows = pl.DataFrame({"v": [f"row {n}" for n in range(1000)]})
    encoded = b"".join(encode_file([rows], AvroEncoding(names.get(codec, codec))))
    begin = encoded.rindex(b"\x00" + encoded[-16:]) + 17
    header, content = encoded[:begin], encoded[begin:]
    for damage in (content[30:31], content[-30:-29], content[100:110]):
        at = content.index(damage)
        bad = content[:at] + bytes(byte ^ 0x55 for byte in damage) + content[at + len(damage) :]
        found = read(header + content + bad + content)
        assert found.height in (2001, 3000)  # zstd and deflate have no checksum
        if codec in ("snappy", "bzip2", "xz"):
            assert "cannot be decompressed" in found[DEAD][1000]["error"]
            assert found[DEAD][1000]["position"] == f"block at byte {begin + len(content)}"
        good = found.filter(pl.col(DEAD).is_null())
        assert good["v"][:1000].equals(rows["v"])
        assert good["v"][-1000:].equals(rows["v"])


def test_bombs_are_stopped_at_the_cap():
    zeros = bytes(1 << 20)
    bomb = zlib.compressobj(wbits=-15)
    content = b"".join([*(bomb.compress(zeros) for _ in range(300)), bomb.flush()])
    small = zlib.compress(text(b"a"), wbits=-15)
    raw = made({"v": "string"}, block(1, small), block(1, content), block(1, small), codec="deflate")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = slots(raw, avro=AvroFormat(block_bytes_max=32 << 20))
    assert [found[0], found[2]] == ["a", "a"]
    assert "more than 33,554,432 bytes" in found[1][1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 96 << 10  # KiB
    huge = number(1) + number(64 << 20) + b"x" * 100 + MARKER
    raw = made({"v": "string"}, block(1, text(b"a")), huge, block(1, text(b"b")))
    found = slots(raw, avro=AvroFormat(block_bytes_max=32 << 20))
    assert [found[0], found[2]] == ["a", "b"]
    assert "more than the 33,554,432 that one may have" in found[1][1]


def test_nulls_of_many_columns_are_read_a_few_at_once():
    wide = {
        "type": "record",
        "name": "wide",
        "fields": [{"name": f"c{n}", "type": "long"} for n in range(2000)],
    }
    raw = made({"v": ["null", wide]}, block(100_000, bytes(100_000)))
    assert read(raw)["v"].null_count() == 100_000


def test_items_of_many_columns_have_a_bound(monkeypatch):
    for module in (program_module, format_module):
        monkeypatch.setattr(module, "BYTES_MAX", 10 << 20)
    wide = {
        "type": "record",
        "name": "wide",
        "fields": [{"name": f"c{n}", "type": "long"} for n in range(100)],
    }
    raw = made({"v": {"type": "array", "items": ["null", wide]}}, block(1, number(20_000) + bytes(20_001)))
    with pytest.raises(DataError, match="take more than 10,485,760 bytes in memory"):
        read(raw)


def test_a_large_block_that_does_not_add_up_gives_no_row(monkeypatch):
    monkeypatch.setattr(format_module, "BLOCK_BYTES", 1000)
    for module in (container_module, format_module):
        monkeypatch.setattr(module, "GROUP_BYTES_MAX", 1000)
    content = text(b"abc") * 1000
    raw = made(
        {"v": "string"}, block(1, text(b"a")), block(1000, content[:-1] + b"\xff\xff"), block(1, text(b"b"))
    )
    found = slots(raw)
    assert [found[0], found[-1], len(found)] == ["a", "b", 3]
    bad = made({"v": "string"}, block(1000, content[:-3] + b"a\xffc"))
    found = slots(bad)
    assert found[:-1] == ["abc"] * 999
    assert found[-1] == ("record 1000", "field 'v' is not UTF-8")


def test_slots_are_counted_over_damage():
    bad = block(2, text(b"a"))
    record = block(3, text(b"a") + text(b"\xff") + text(b"b"))
    raw = made({"v": "string"}, record, bad, record)
    assert [slot[0] for slot in slots(raw) if isinstance(slot, tuple)] == [
        "record 2",
        f"block at byte {len(made({'v': 'string'}, record))}",
        "record 6",
    ]


def test_it_resumes_behind_damage(monkeypatch):
    monkeypatch.setattr(container_module, "_HEADER_PIECE_BYTES", 100)
    monkeypatch.setattr(container_module, "BLOCK_BYTES", 100)
    good, bad = block(3, text(b"a") + text(b"\xff") + text(b"b")), block(2, text(b"a") + b"\xff" * 11)
    raw = made({"v": "string"}, *([good] * 9), bad, good, b"x" * 500 + MARKER, good)
    avro = AvroFormat()
    schema = avro.schema(io.BytesIO(raw), "x")

    def found(resume):
        return list(
            avro.blocks(
                io.BytesIO(raw), "x", schema=schema, columns=["v"], resume=resume, on_error="dead_letter"
            )
        )

    def rows(blocks):
        return pl.concat([each.frame for each in blocks], how="diagonal").rows() if blocks else []

    everything = found(None)
    assert len(everything) > 4
    for index, each in enumerate(everything):
        assert rows(found(each.resume)) == rows(everything[index + 1 :])


def test_where_much_is_damaged_it_is_one_slot_and_quick():
    good = block(1, text(b"a"))
    junk = (b"junk" * 4 + MARKER) * 20_000
    raw = made({"v": "string"}, good, junk, good)
    started = time.perf_counter()
    found = slots(raw)
    assert [found[0], found[2], len(found)] == ["a", "a", 3]
    many = made({"v": "string"}, *([block(1, b"\x07"), good] * 2000))
    assert len(slots(many)) == 4000
    assert time.perf_counter() - started < 30


# Files changed at random


def mutated(content, source):
    """Some bytes changed, cut out, doubled, or the rest cut off."""
    content = bytearray(content)
    for _ in range(source.choice([1, 1, 2, 5])):
        at = source.randrange(len(content))
        size = source.choice([1, 1, 2, 8, 50])
        kind = source.randrange(5)
        if kind == 0:
            content[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            content[at : at + size] = source.randbytes(size)
        elif kind == 2:
            del content[at : at + size]
        elif kind == 3:
            content[at:at] = content[at : at + size]
        else:
            content[at : at + size] = source.choice([b"\xff", b"\x00", b"\x80"]) * size
        if not content:
            break
    return bytes(content[: source.randrange(len(content))] if source.random() < 0.05 else content)


INNER = {
    "type": "record",
    "name": "inner",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": ["null", "string"]}],
}
RICH = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "t", "type": ["null", "string"]},
        {"name": "e", "type": {"type": "enum", "name": "e", "symbols": ["a", "b", "c"]}},
        {"name": "l", "type": {"type": "array", "items": {"type": "array", "items": INNER}}},
        {"name": "m", "type": {"type": "map", "values": "double"}},
        {"name": "u", "type": ["null", "int", "string", "inner"]},
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "b", "type": "boolean"},
        {"name": "f", "type": {"type": "fixed", "name": "f", "size": 7}},
    ],
}


def originals(source):
    import datetime as dt
    import decimal

    def inner(n):
        return {"x": n, "y": source.choice([None, "text " * (n % 5)])}

    rows = [
        {
            "id": source.randrange(-(2**63), 2**63),
            "t": source.choice([None, "é" * source.randrange(20)]),
            "e": source.choice("abc"),
            "l": [[inner(k) for k in range(source.randrange(3))] for _ in range(source.randrange(3))],
            "m": {f"k{k}": k / 3 for k in range(source.randrange(3))},
            "u": source.choice([None, 7, "seven", inner(7)]),
            "d": decimal.Decimal(source.randrange(-(10**9) + 1, 10**9)).scaleb(-2),
            "when": dt.datetime.fromtimestamp(source.randrange(10**9), tz=dt.UTC),
            "b": n % 2 == 0,
            "f": source.randbytes(7),
        }
        for n in range(60)
    ]
    for codec in ("null", "deflate", "snappy", "bzip2", "xz"):
        for interval in (10, 700):
            file = io.BytesIO()
            fastavro.writer(file, RICH, rows, codec=codec, sync_interval=interval, sync_marker=MARKER)
            yield file.getvalue()
    frame = pl.DataFrame({"a": [1, None, 3] * 20, "b": ["x", "yy", None] * 20, "c": [[1.0], [], None] * 20})
    pairs = pl.Series([[[1, None], None], None, [None, [2, 3]]] * 20, dtype=pl.Array(pl.Int64, (2, 2)))
    frame = frame.with_columns(d=pairs)
    for compression in ("uncompressed", "zstd"):
        yield b"".join(encode_file([frame], AvroEncoding(compression)))


def fuzz(cases, seed):
    source = random.Random(seed)
    files = list(originals(source))
    counts = {"error": 0, "dead": 0, "rows": 0}
    for case in range(cases):
        content = mutated(source.choice(files), source)
        started = time.perf_counter()
        try:
            frame = read(content, on_error=source.choice(["raise", "dead_letter"]))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(container_module, "BLOCK_BYTES", source.choice([64, 500, 3000]))
                patch.setattr(container_module, "_HEADER_PIECE_BYTES", 50)
                assert read(content).equals(frame)  # wherever the windows begin
            counts["dead"] += frame.height - frame[DEAD].null_count()
            counts["rows"] += frame.height
            frame.write_ipc(io.BytesIO())  # touches every value
        except ArrowStreamError:
            counts["error"] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}, case {case}") from error
        assert time.perf_counter() - started < 20, f"seed {seed}, case {case}"
    return counts


def test_random_damage_is_told():
    counts = fuzz(200, 5)
    assert counts["error"] > 50
    assert counts["dead"] > 50
    assert counts["rows"] > 500


@pytest.mark.soak
def test_random_damage_is_told_ten_thousand_times():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(fuzz(10_000, seed))
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    assert grown_mb < 512, f"seed {seed}: {grown_mb} MB more"
