from __future__ import annotations

import struct

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.none() | st.text(max_size=16) | st.sampled_from(["", "é" * 6, "é" * 7]), max_size=8),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]),
    start=st.integers(0, 3),
)
def test_text_and_bytes_become_views(values, kind, start):
    is_text = kind in {pa.string(), pa.large_string()}
    given_values = values if is_text else [None if value is None else value.encode() for value in values]
    array = pa.array(given_values, kind).slice(start)
    batch = pa.RecordBatch.from_arrays([array], ["x"])
    checked = sound(batch)
    checked.validate(full=True)
    if len(array):
        assert checked.schema.field("x").type == (pa.string_view() if is_text else pa.binary_view())
    frame = as_frame(batch, pl.Schema({"x": pl.String if is_text else pl.Binary}))
    assert frame["x"].to_list() == given_values[start:]
    assert frame["x"].null_count() == array.null_count


def test_text_in_the_slot_of_a_null_need_not_be_text():
    offsets = pa.py_buffer(struct.pack("<iiii", 0, 1, 3, 4))
    array = pa.Array.from_buffers(
        pa.string(), 3, [pa.py_buffer(b"\x05"), offsets, pa.py_buffer(b"a\xff\xffb")]
    )
    batch = pa.RecordBatch.from_arrays([array], ["x"])
    assert as_frame(batch, pl.Schema({"x": pl.String}))["x"].to_list() == ["a", None, "b"]


def test_a_wrong_number_of_nulls_is_refused():
    for kind in (pa.string(), pa.string_view()):
        array = pa.array(["a", None, "b"], kind)
        lying = pa.Array.from_buffers(kind, 3, array.buffers(), null_count=2)
        with pytest.raises(pa.ArrowInvalid, match="null"):
            sound(pa.RecordBatch.from_arrays([lying], ["x"]))


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
