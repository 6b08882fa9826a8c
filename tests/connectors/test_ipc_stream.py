from __future__ import annotations

import io
import random
import struct
import time

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from arrowstream.config import DEAD, DEAD_DTYPE
from arrowstream.connectors.files import ipc_stream
from arrowstream.connectors.files.encode import encode_file
from arrowstream.connectors.files.errors import LIBRARY_ERRORS
from arrowstream.connectors.files.ipc_encode import IpcEncoding
from arrowstream.connectors.files.ipc_stream import IpcStreamFormat, layout
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError, PlanError

COMPRESSIONS = (None, "lz4", "zstd")


def stream_of(*batches, compression=None, schema=None, **options):
    file = io.BytesIO()
    tables = [batch.to_arrow() if isinstance(batch, pl.DataFrame) else batch for batch in batches]
    written = pa.ipc.IpcWriteOptions(compression=compression, **options)
    with pa.ipc.new_stream(file, schema or tables[0].schema, options=written) as writer:
        for table in tables:
            writer.write_table(table) if isinstance(table, pa.Table) else writer.write_batch(table)
    return file.getvalue()


def blocks(content, *, columns=None, resume=None, on_error="raise"):
    streams = IpcStreamFormat()
    schema = streams.schema(io.BytesIO(content), "x.arrows")
    return streams.blocks(
        io.BytesIO(content),
        "x.arrows",
        schema=schema,
        columns=columns or schema.names(),
        resume=resume,
        on_error=on_error,
    )


def read(content, **options):
    return pl.concat([block.frame for block in blocks(content, **options)])


def slots(content):
    """Rows' first values, or (position, error) of a dead slot."""
    schema = IpcStreamFormat().schema(io.BytesIO(content), "x.arrows")
    frames = [block.frame for block in blocks(content, on_error="dead_letter")]
    frame = pl.concat([pl.DataFrame(schema={**schema, DEAD: DEAD_DTYPE}), *frames], how="diagonal")
    return [
        row[0] if row[-1] is None else (row[-1]["position"], row[-1]["error"]) for row in frame.iter_rows()
    ]


ROWS = pl.DataFrame(
    {"i": range(10), "t": [f"text number {n}" for n in range(10)], "l": [[n, None] for n in range(10)]}
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    dataframes(
        max_cols=4,
        max_size=12,
        allow_null=True,
        excluded_dtypes=[pl.Object, pl.Categorical, pl.Int128, pl.UInt128],
    ),
    st.sampled_from(COMPRESSIONS),
)
def test_what_polars_writes_comes_back(rows, compression):
    file = io.BytesIO()
    rows.write_ipc_stream(file, compression=compression or "uncompressed")
    if rows.width:
        found = [block.frame for block in blocks(file.getvalue())]
        assert pl.concat([rows.clear(), *found]).equals(rows)
        assert IpcStreamFormat().schema(io.BytesIO(file.getvalue()), "x") == rows.schema


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_what_is_written_is_read(compression):
    encoding = IpcEncoding(compression=compression, format="stream", record_batch_size=3)
    content = b"".join(encode_file([ROWS], encoding))
    assert [block.frame.height for block in blocks(content)] == [3, 3, 3, 1]
    assert read(content).equals(ROWS)
    assert pl.read_ipc_stream(io.BytesIO(content)).equals(ROWS)
    assert read(content, columns=["l", "i"]).equals(ROWS.select("l", "i"))


def test_dictionaries_that_change_and_grow():
    def batch(words):
        return pa.record_batch({"c": pa.array(words).dictionary_encode(), "n": pa.array(range(len(words)))})

    words = [["a", "b", "a"], ["b", "c"], ["b", "c", "d", "d"]]
    for deltas in (False, True):
        content = stream_of(
            *(batch(some) for some in words), emit_dictionary_deltas=deltas, compression="zstd"
        )
        frame = read(content)
        assert frame["c"].cast(pl.String).to_list() == [word for some in words for word in some]
        found = list(blocks(content))
        for index, block in enumerate(found):
            rest = [later.frame["c"].to_list() for later in blocks(content, resume=block.resume)]
            assert rest == words[index + 1 :]


def test_it_resumes_behind_each_batch():
    content = stream_of(*(ROWS[n : n + 2] for n in range(0, 10, 2)))
    seen = 0
    for block in blocks(content):
        seen += block.frame.height
        rest = [later.frame for later in blocks(content, resume=block.resume)]
        assert pl.concat([ROWS.clear(), *rest]).equals(ROWS[seen:])
    with pytest.raises(ConnectorError, match=r"position \[-1, 0\] is not in x\.arrows"):
        list(blocks(content, resume=[-1, 0]))


def test_streams_behind_one_another():
    content = stream_of(ROWS[:4]) + stream_of(ROWS[4:])
    assert read(content).equals(ROWS)
    first = next(iter(blocks(content)))
    assert read(content, resume=first.resume).equals(ROWS[4:])
    other = stream_of(ROWS[:4]) + stream_of(ROWS.select("i"))
    with pytest.raises(DataError, match="has other columns than the first"):
        read(other)


def test_streams_of_before_arrow_0_15():
    content = stream_of(ROWS, use_legacy_format=True)
    assert not content.startswith(ipc_stream.STREAM_MARK)
    assert layout(content[:8]) == "stream"
    assert read(content).equals(ROWS)


def test_layouts():
    file = io.BytesIO()
    ROWS.write_ipc(file)
    assert layout(file.getvalue()[: ipc_stream.HEAD_BYTES]) == "file"
    assert layout(stream_of(ROWS)[: ipc_stream.HEAD_BYTES]) == "stream"
    for head in (
        b"",
        b"PAR1" * 2,
        b"Obj\x01\x04\x16av",
        b"a,b\n1,2\n",
        b'{"a": 1}',
        b"\x00" * 8,
        b"\x1f\x8b\x08" * 3,
    ):
        assert layout(head) is None


def test_a_stream_need_not_say_that_it_ends():
    content = stream_of(ROWS)
    assert read(content[:-8]).equals(ROWS)
    assert IpcStreamFormat().schema(io.BytesIO(b""), "x") == pl.Schema()
    assert list(blocks(stream_of(schema=ROWS.to_arrow().schema))) == []


def test_streams_cut_short():
    content = stream_of(ROWS[:5], ROWS[5:])
    complete = {}
    for size in range(1, len(content)):
        try:
            complete[size] = sum(block.frame.height for block in blocks(content[:size]))
        except DataError as error:
            if "x.arrows" not in error.fact:
                raise
    assert set(complete.values()) == {0, 5, 10}
    assert len(complete) < 12  # only between messages


def batch_bodies(content):
    """Where the bodies of the batches are."""
    found, at = [], 0
    with io.BytesIO(content) as file:
        messages = ipc_stream._Messages(file, "x")
        while not messages.is_at_end:
            message = messages.next()
            if message is not None and message.head.kind == "batch":
                at = message.offset + len(message.prefix) + len(message.metadata)
                found.append((at, at + message.head.body_bytes))
    return found


def test_a_bad_batch_is_one_slot():
    tables = [pa.table({"t": pa.array(["some text", "é" * 3], pa.large_string())}) for _ in range(3)]
    content = stream_of(*tables)
    begin, end = batch_bodies(content)[1]
    at = content.index("é".encode(), begin, end)
    bad = content[:at] + b"\xff" + content[at + 1 :]
    good = ["some text", "ééé"]
    found = slots(bad)
    assert found[:2] == found[3:] == good
    assert found[2][0] == "record batch 1"
    assert "UTF8" in found[2][1]
    with pytest.raises(
        DataError, match=r"x\.arrows: record batch 1 \(byte \d+\) cannot be read: .*UTF8"
    ) as caught:
        read(bad)
    assert caught.value.offset == 2
    letters = [block.frame for block in blocks(bad, on_error="dead_letter")]
    original = letters[1][DEAD][0]["original"]
    assert original in bad
    assert len(original) >= end - begin


def test_a_damaged_dictionary_ends_it():
    words = pa.array(["first word", "second word"]).dictionary_encode()
    content = stream_of(*[pa.record_batch({"c": words})] * 3)
    at = content.index(b"second")
    bad = content[:at] + b"\xff" + content[at + 1 :]
    with pytest.raises(DataError, match="a dictionary before it is damaged"):
        slots(bad)


def test_sizes_are_not_taken_on_their_word():
    content = stream_of(pl.DataFrame({"i": [0] * 1000}), compression="zstd")
    size = struct.pack("<q", 8000)
    begin, _ = batch_bodies(content)[0]
    at = content.index(size, begin)
    bomb = content[:at] + struct.pack("<q", 1 << 40) + content[at + 8 :]
    assert "say that they are 1,099,511,627,776 when decompressed, above the cap of" in slots(bomb)[0][1]
    small = IpcStreamFormat(decompressed_max=7_999)
    schema = small.schema(io.BytesIO(content), "x")
    options = {"schema": schema, "columns": ["i"], "resume": None}
    with pytest.raises(DataError, match="above the cap of 7,999; decompressed_max= sets another"):
        list(small.blocks(io.BytesIO(content), "x", on_error="raise", **options))
    words = pa.record_batch({"c": pa.array(["a" * 999, "b"]).dictionary_encode()})
    coded = stream_of(words, compression="zstd")
    options = {"schema": small.schema(io.BytesIO(coded), "x"), "columns": ["c"], "resume": None}
    with pytest.raises(DataError, match=r"a dictionary of .* above the cap of 500"):
        list(IpcStreamFormat(500).blocks(io.BytesIO(coded), "x", on_error="skip", **options))
    with pytest.raises(DataError, match="no message of an Arrow IPC stream at byte"):
        read(ipc_stream.STREAM_MARK + b"\x00\x00\x00\x7f" + bytes(100))
    with pytest.raises(DataError, match="ends within a message"):
        read(content[:-100] + b"")


@pytest.mark.parametrize(
    "kind",
    [
        pa.month_day_nano_interval(),
        pa.decimal256(50, 2),
        pa.list_(pa.list_view(pa.int32())),
        pa.struct([("a", pa.run_end_encoded(pa.int32(), pa.int64()))]),
        pa.dense_union([pa.field("a", pa.int32())]),
    ],
)
def test_what_polars_does_not_have(kind):
    content = stream_of(schema=pa.schema([("a", pa.int64()), ("v", kind)]))
    with pytest.raises(PlanError, match=r"column 'v' of x\.arrows is .*, which Polars does not have"):
        read(content)


def test_columns_need_names_of_their_own():
    twice = stream_of(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(DataError, match=r"x\.arrows has two columns 'a'"):
        read(twice)
    content = stream_of(pl.DataFrame({"name": [1]}))
    with pytest.raises(DataError, match="a column name with a NUL in it"):
        read(content.replace(b"name", b"na\x00e"))
    with pytest.raises(DataError, match="has columns that cannot be read"):
        read(content.replace(b"name", b"na\xffe"))


def fuzz(cases, seed):
    source = random.Random(seed)
    frame = ROWS.with_columns(
        s=pl.struct("i", "t"),
        e=pl.Series(["a", "b"] * 5, dtype=pl.Enum(["a", "b"])),
        c=pl.Series(["x", "yy"] * 5, dtype=pl.Categorical),
        b=pl.Series([True, None] * 5),
        d=pl.Series([1, None] * 5).cast(pl.Decimal(10, 2)),
        f=pl.Series([[1, 2]] * 10, dtype=pl.Array(pl.Int16, 2)),
    )
    files = [stream_of(frame, frame, compression=compression) for compression in COMPRESSIONS]
    file = io.BytesIO()
    frame.write_ipc_stream(file)
    files.append(file.getvalue())
    counts = {"error": 0, "dead": 0, "rows": 0}
    for case in range(cases):
        content = bytearray(source.choice(files))
        for _ in range(source.choice([1, 1, 3])):
            at = source.randrange(len(content))
            kind = source.randrange(4)
            if kind == 0:
                content[at] ^= 1 << source.randrange(8)
            elif kind == 1:
                content[at : at + 8] = source.choice([b"\xff", b"\x00", b"\x7f"]) * 8
            elif kind == 2:
                content[at : at + 4] = source.randbytes(4)
            else:
                del content[at : at + source.choice([1, 8, 64])]
        started = time.perf_counter()
        try:
            for block in blocks(bytes(content), on_error=source.choice(["raise", "dead_letter"])):
                counts["rows"] += block.frame.height
                counts["dead"] += DEAD in block.frame.columns
                block.frame.write_ipc(io.BytesIO())  # touches every value
        except (ArrowStreamError, *LIBRARY_ERRORS):
            counts["error"] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}, case {case}") from error
        assert time.perf_counter() - started < 20, f"seed {seed}, case {case}"
    return counts


def test_random_damage_is_told():
    counts = fuzz(200, 1)
    assert counts["error"] > 50
    assert counts["rows"] > 500


@pytest.mark.soak
def test_random_damage_is_told_ten_thousand_times():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    print(fuzz(10_000, seed))
