"""Group keys as words: equal where Polars says so, and back; then as keys of windows."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars import col
from polars.testing import assert_series_equal

from arrowstream.errors import DataError
from arrowstream.plan.aggregations import unfoldable_key
from arrowstream.plan.nodes import Holistic
from arrowstream.runtime.operators import key_codec
from arrowstream.runtime.operators.key_codec import KeyCodec, unsupported

modest = settings(max_examples=50, deadline=None)
TIMES = {"t": pl.Datetime("us"), "x": pl.Int64}
LONG = "a string with more than twelve bytes"
KEYS = {
    pl.Int8: [-(2**7), 2**7 - 1, 1],
    pl.Int16: [-(2**15), 2**15 - 1, 1],
    pl.Int32: [-(2**31), 2**31 - 1, 2**31 - 1],
    pl.Int64: [-(2**63), 2**63 - 1, 2**63 - 1],
    pl.UInt8: [0, 2**8 - 1, 7],
    pl.UInt16: [0, 2**16 - 1, 7],
    pl.UInt32: [0, 2**32 - 1, 2**32 - 1],
    pl.UInt64: [0, 2**64 - 1, 2**63],
    pl.Float32: [0.1, -2.5, 3.25],
    pl.Float64: [0.1, -2.5, 1e300],
    pl.Boolean: [True, False, True],
    pl.Date: [date(1969, 7, 20), date(2026, 1, 1), date(1, 1, 1)],
    pl.Time: [time(0), time(23, 59, 59, 999_999), time(12)],
    pl.Datetime("ms"): [datetime(1969, 1, 1), datetime(2026, 1, 1), datetime(1, 1, 1)],
    pl.Datetime("ns", "Europe/Berlin"): [datetime(1969, 1, 1), datetime(2026, 1, 1), datetime(1700, 1, 1)],
    pl.Duration("us"): [timedelta(-1), timedelta(1), timedelta(microseconds=1)],
    pl.String: ["", "twelve bytes", LONG],
    pl.Binary: [b"", b"\xff" * 13, b"\xff" * 12 + b"\0"],
    pl.Categorical: ["a", LONG, LONG + "!"],
    pl.Enum(["z", "a", LONG]): ["z", "a", LONG],
    pl.Int128: [2**100, -(2**100), 2**100 + 1],
    pl.List(pl.UInt128): [[2**127], [0, None], []],
    pl.Decimal(10, 2): ["1.25", "-1.25", "0.00"],
    pl.List(pl.Int8): [[1], [], [1, 2]],
    pl.Struct({"a": pl.Int8, "b": pl.String}): [{"a": 1, "b": LONG}, {"a": 1, "b": None}, {"a": 2, "b": ""}],
    pl.Null: [None, None, None],
}
WORDLESS = [dtype for dtype in KEYS if unsupported(pl.Series(dtype=dtype).dtype)]
WORDED = [dtype for dtype in KEYS if dtype not in WORDLESS]


def series(windows, dtype, values):
    return windows.of_type(dtype, values).get_column("v")


def encoded(codec, *columns):
    """One tuple of words a row."""
    words = codec.encode(columns, len(columns[0]))
    return list(map(tuple, words.reshape(-1, codec.words).tolist()))


def flat(keys):
    return np.array(keys, dtype=np.int64).reshape(-1)


def test_types_without_words_are_those_that_the_plan_does_not_fold():
    for dtype in KEYS:
        instance = pl.Series(dtype=dtype).dtype
        assert unsupported(instance) == bool(unfoldable_key(pl.Schema({"k": instance})))
    assert [
        pl.Int128, pl.List(pl.UInt128), pl.Decimal(10, 2), pl.List(pl.Int8),
        pl.Struct({"a": pl.Int8, "b": pl.String}), pl.Null,
    ] == WORDLESS  # fmt: skip


@pytest.mark.parametrize("dtype", WORDED, ids=str)
def test_there_and_back(windows, dtype):
    values = [*KEYS[dtype], KEYS[dtype][0]]
    column = series(windows, dtype, values)
    codec = KeyCodec([column.dtype])
    keys = encoded(codec, column)
    assert not codec.widened
    assert len(set(keys)) == len(set(values))
    assert keys[0] == keys[-1]
    (back,) = codec.decode(flat(keys), ["v"])
    assert_series_equal(back, column, check_exact=True)


@pytest.mark.parametrize("dtype", WORDED, ids=str)
def test_nulls_that_come_later_widen_keys(windows, dtype):
    column = series(windows, dtype, KEYS[dtype])
    codec = KeyCodec([column.dtype])
    stored = codec.encode([column], 3)
    narrow = codec.words
    with_nulls = series(windows, dtype, [None, *KEYS[dtype], None])
    keys = encoded(codec, with_nulls)
    assert codec.words == narrow + 1
    stored = list(map(tuple, codec.widen(stored).reshape(-1, codec.words).tolist()))
    assert keys[1:4] == stored
    assert keys[0] == keys[4]
    assert keys[0] not in stored
    (back,) = codec.decode(flat([*stored, *keys]), ["v"])
    assert_series_equal(back, pl.concat([column, with_nulls]), check_exact=True)
    assert encoded(codec, column) == stored  # and stay wide


@pytest.mark.parametrize("dtype", WORDED, ids=str)
def test_slices_and_chunks(windows, dtype):
    values = [*KEYS[dtype], None, *KEYS[dtype][::-1], None, KEYS[dtype][0]]
    column = series(windows, dtype, values)
    codec = KeyCodec([column.dtype])
    keys = encoded(codec, column)
    chunks = pl.concat([column[2:5], column[5:5], column[:7]], rechunk=False)
    assert chunks.n_chunks() > 1
    assert encoded(codec, chunks) == [*keys[2:5], *keys[:7]]
    assert encoded(codec, column[3:]) == keys[3:]
    assert encoded(codec, column[4:4]) == []
    assert encoded(codec, column.reverse()) == keys[::-1]


def test_zeros_and_nans_are_one():
    codec = KeyCodec([pl.Float64()])
    payloads = np.array([0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001], dtype=np.uint64)
    for values in (pl.Series([0.0, -0.0]), pl.Series(payloads.view(np.float64))):
        assert len(set(encoded(codec, values))) == 1


def test_no_keys_are_one_group():
    codec = KeyCodec([])
    assert codec.encode([], 3).tolist() == [0, 0, 0]
    assert codec.decode(np.zeros(2, dtype=np.int64), []) == []


def test_a_null_among_several_columns():
    codec = KeyCodec([pl.Int64(), pl.String(), pl.Boolean()])
    columns = [
        pl.Series([1, 1, None, 0, 0], dtype=pl.Int64),
        pl.Series([LONG, None, None, "", None]),
        pl.Series([None, True, None, False, None]),
    ]
    keys = encoded(codec, *columns)
    assert len(set(keys)) == 5
    for back, column in zip(codec.decode(flat(keys), ["", "", ""]), columns, strict=True):
        assert_series_equal(back, column)


texts = st.one_of(
    st.none(),
    st.text(max_size=4),
    st.sampled_from([12, 13, 16, 17, 64]).flatmap(
        lambda n: st.sampled_from(["x" * n, "x" * (n - 1) + "y", "y" + "x" * (n - 1), "x" * 4 + "y" * n])
    ),
)


@modest
@given(st.lists(st.lists(texts, max_size=12), max_size=4))
def test_batches_of_any_strings(batches):
    known, stored = {}, np.zeros(0, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_codec, "_SMALLEST_ARENA_BYTES", 16)
        patch.setattr(key_codec, "_SMALLEST_TABLE_SLOTS", 2)
        codec = KeyCodec([pl.String()])
        for batch in batches:
            before = codec.words
            words = codec.encode([pl.Series(batch, dtype=pl.String)], len(batch))
            if codec.words != before:
                stored = codec.widen(stored)
                known = {value: (*key, 0) for value, key in known.items()}
            stored = np.concatenate([stored, words])
            for value, key in zip(batch, words.reshape(-1, codec.words).tolist(), strict=True):
                assert known.setdefault(value, tuple(key)) == tuple(key)
    assert len(set(known.values())) == len(known)
    (back,) = codec.decode(stored, ["s"])
    assert back.to_list() == [value for batch in batches for value in batch]


def test_strings_handed_out_outlive_the_arena():
    codec = KeyCodec([pl.String()])
    names = [f"{LONG} number {i}" for i in range(5_000)]
    words = codec.encode([pl.Series(names)], 5_000)
    (handed_out,) = codec.decode(words, ["s"])
    codec.forget_all_but([])
    codec.encode([pl.Series(name[::-1] for name in names)], 5_000)
    assert handed_out.to_list() == names


def test_forgetting_frees_strings_and_moves_those_that_are_kept():
    codec = KeyCodec([pl.Int64(), pl.String()])
    numbers, names = range(20_000), [f"{LONG} number {i}" for i in range(20_000)]
    words = codec.encode([pl.Series(numbers), pl.Series(names)], 20_000)
    assert codec.has_garbage
    assert codec._interner.used_bytes == sum(map(len, names))
    kept = words.reshape(-1, 3)
    first, second = codec.forget_all_but([kept[:10].reshape(-1), kept[19_990:].reshape(-1)])
    assert codec._interner.used_bytes == sum(map(len, names[:10] + names[19_990:]))
    assert not codec.has_garbage
    for moved, rows in ((first, slice(10)), (second, slice(19_990, None))):
        assert codec.decode(moved, ["n", "s"])[1].to_list() == names[rows]
        assert encoded(codec, pl.Series(numbers[rows]), pl.Series(names[rows])) == list(
            map(tuple, moved.reshape(-1, 3).tolist())
        )


def test_an_arena_has_an_end():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_codec, "_LARGEST_ARENA_BYTES", 100_000)
        codec = KeyCodec([pl.String()])
        codec.encode([pl.Series(["a" * 50_000, "b" * 50_000])], 2)
        with pytest.raises(DataError, match="more than 2 GiB of distinct long strings as group keys"):
            codec.encode([pl.Series(["c" * 20])], 1)


def test_key_groups_belong_to_values():
    one, other = KeyCodec([pl.String(), pl.Int64()]), KeyCodec([pl.String(), pl.Int64()])
    names, numbers = pl.Series([f"{LONG} {i}" for i in range(300)]), pl.Series(range(300))
    other.encode([pl.Series(["what came before in another arena"]), pl.Series([1])], 1)
    found = one.key_groups(one.encode([names, numbers], 300))
    backwards = other.encode([names.reverse(), numbers.reverse()], 300)
    assert other.key_groups(backwards).tolist() == found[::-1].tolist()
    assert len(set(found.tolist())) > 128


# As keys of windows


def keyed(windows, dtype):
    """Rows whose keys repeat, with nulls from the middle on."""
    choice = [*KEYS[dtype], KEYS[dtype][1], *KEYS[dtype], None, KEYS[dtype][0], None] * 2
    rows = windows.of_type(dtype, choice)
    return rows.with_columns(col("t").set_sorted(), x=pl.int_range(pl.len(), dtype=pl.Int64))


@pytest.mark.parametrize("dtype", KEYS, ids=str)
def test_every_type_of_key(windows, dtype):
    rows = keyed(windows, dtype)
    for options in ({"every": "10us"}, {"every": "4us", "period": "8us"}):
        node = windows.node(rows.schema, col("x").sum(), middle=col("x").median(), group_by="v", **options)
        windows.check(node, rows, [2, 3, 9])


@pytest.mark.parametrize("dtype", [pl.Int128, pl.Decimal(10, 2), pl.List(pl.Int8), pl.Null], ids=str)
def test_keys_without_words_are_kept(windows, dtype):
    node = windows.node({"t": pl.Datetime("us"), "v": dtype}, pl.len(), every="10us", group_by="v")
    assert isinstance(node.aggregations[0], Holistic)


def test_keys_may_be_computed(windows):
    rows = windows.frame([(i, i) for i in range(-6, 6)], TIMES)
    node = windows.node(
        TIMES,
        pl.len(),
        every="4us",
        group_by=[(col("x") % 2 == 0).alias("even"), col("x").cast(pl.String).str.head(1).alias("sign")],
    )
    windows.check(node, rows, [3])


def test_zeros_and_nans_are_one_key_each(windows):
    schema = {"t": pl.Datetime("us"), "f": pl.Float64}
    rows = windows.frame([(i, x) for i, x in enumerate([0.0, -0.0, math.nan, -math.nan, 1.0])], schema)
    node = windows.node(schema, pl.len(), middle=pl.len() * 2, every="10us", group_by="f")
    assert windows.check(node, rows, [1, 3]).result.get_column("len").to_list() == [2, 2, 1]


def test_long_keys_are_forgotten_with_their_windows(windows):
    schema = {"t": pl.Datetime("us"), "s": pl.String}
    rows = windows.frame([(i, f"a long string, number {i}, and some more") for i in range(20_000)], schema)
    node = windows.node(schema, pl.len(), every="100us", group_by="s")
    done = windows.replay(node, rows, range(1_000, 20_000, 1_000))
    assert done.result.get_column("s").to_list() == rows.get_column("s").to_list()
    assert done.operator._folded._codec._interner.used_bytes < 200_000  # of 750,000
