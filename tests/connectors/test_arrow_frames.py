from __future__ import annotations

import struct

import polars as pl
import pyarrow as pa
import pytest

from arrowstream.connectors.files.arrow_frames import as_frame, sound

TEXT = "a text that is longer than twelve bytes"


def views(kind, *, wild):
    """One long value, a null whose view points nowhere if it is `wild`, and a short value."""
    long = struct.pack("<i4sii", len(TEXT), TEXT[:4].encode(), 0, 0)
    null = struct.pack("<iiii", 16, 7, 99, 10**9) if wild else bytes(16)
    short = struct.pack("<i12s", 1, b"x")
    buffers = [pa.py_buffer(b"\x05"), pa.py_buffer(long + null + short), pa.py_buffer(TEXT.encode())]
    return pa.Array.from_buffers(kind, 3, buffers)


def nested(array):
    """Every way in which an array can be inside another."""
    pair = pa.array([0, 3], pa.int32())
    return {
        "flat": array,
        "sliced": pa.concat_arrays([array.slice(2), array.slice(1)]).slice(1),
        "list": pa.ListArray.from_arrays(pair, array),
        "large": pa.LargeListArray.from_arrays(pair.cast(pa.int64()), array),
        "fixed": pa.FixedSizeListArray.from_arrays(array, 3),
        "struct": pa.StructArray.from_arrays([array, array], ["a", "b"]),
        "deep": pa.ListArray.from_arrays(pair, pa.StructArray.from_arrays([array], ["a"])),
        "map": pa.MapArray.from_arrays(pair, pa.array([1, 2, 3]), array),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.uint32()), array),
    }


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
@pytest.mark.parametrize("shape", list(nested(pa.array(["a", "b", "c"]))))
def test_views_of_nulls_that_point_nowhere(kind, shape):
    if shape == "dictionary":
        kind = pa.string_view()  # Polars has no categories of bytes
    wild, tame = (nested(views(kind, wild=wild))[shape] for wild in (True, False))
    wild.validate(full=True)  # all of this is Arrow
    batch, expected = (pa.RecordBatch.from_arrays([array], ["x"]) for array in (wild, tame))
    assert sound(expected) is expected
    schema = pl.DataFrame(pl.from_arrow(expected)).schema
    assert as_frame(batch, schema)["x"].to_list() == pl.DataFrame(pl.from_arrow(expected))["x"].to_list()
    assert as_frame(batch, schema).schema == schema


def test_categories_keep_what_they_are():
    enum = pl.DataFrame({"x": pl.Series(["b", None], dtype=pl.Enum(["a", "b"])), "s": [None, TEXT]})
    batch = enum.to_arrow(compat_level=pl.CompatLevel.newest()).to_batches()[0]
    broken = pa.RecordBatch.from_arrays(
        [batch.column("x"), views(pa.string_view(), wild=True).slice(0, 2)], schema=batch.schema
    )
    assert as_frame(broken, enum.schema).schema == enum.schema


def test_what_is_damaged_is_refused():
    for buffers in (
        [None, pa.py_buffer(struct.pack("<iii", 0, 5, 2)), pa.py_buffer(b"ab")],
        [None, pa.py_buffer(struct.pack("<iii", 0, 1, 2)), pa.py_buffer(b"a\xff")],
    ):
        array = pa.Array.from_buffers(pa.string(), 2, buffers)
        with pytest.raises(pa.ArrowInvalid):
            sound(pa.RecordBatch.from_arrays([array], ["x"]))


def test_types_are_those_asked_for():
    batch = pa.record_batch({"b": [1], "a": [2]})
    assert as_frame(batch, pl.Schema({"a": pl.Int8, "b": pl.Int64})).rows() == [(2, 1)]
