from __future__ import annotations

import decimal
import io
import json

import fastavro
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from arrowstream.connectors.files.avro import AvroEncoding, AvroFormat
from arrowstream.connectors.files.encode import encode_file
from arrowstream.errors import DataError, PlanError

COMPRESSIONS = ("uncompressed", "deflate", "snappy", "zstd", "bzip2", "xz")

LEAVES = [
    pl.Null(),
    pl.Boolean(),
    pl.Int8(),
    pl.Int16(),
    pl.Int32(),
    pl.Int64(),
    pl.UInt8(),
    pl.UInt16(),
    pl.UInt32(),
    pl.Float32(),
    pl.Float64(),
    pl.String(),
    pl.Binary(),
    pl.Date(),
    pl.Datetime("ms"),
    pl.Datetime("us"),
    pl.Datetime("ns"),
    pl.Datetime("us", "UTC"),
    pl.Datetime("ms", "Europe/Berlin"),
    pl.Duration("ms"),
    pl.Duration("us"),
    pl.Duration("ns"),
    pl.Decimal(38, 0),
    pl.Decimal(12, 5),
    pl.Enum(["a", "b", "c"]),
]


def nested(leaves, names, *, max_leaves):
    """Types of these and of lists, arrays and structs."""
    return st.recursive(
        st.sampled_from(leaves),
        lambda inner: st.one_of(
            inner.map(pl.List),
            st.tuples(inner, st.integers(1, 3)).map(lambda found: pl.Array(*found)),
            st.dictionaries(st.sampled_from(names), inner, min_size=1, max_size=3).map(pl.Struct),
        ),
        max_leaves=max_leaves,
    )


def within(kind):
    """How many types are within one another."""
    if isinstance(kind, (pl.List, pl.Array)):
        return 1 + within(kind.inner)
    if isinstance(kind, pl.Struct):
        return 1 + max(within(field.dtype) for field in kind.fields)
    return 0


TYPES = nested(LEAVES, ["x", "y", "größe", "1"], max_leaves=4)
DEEP_TYPES = nested(
    [pl.Boolean(), pl.Int64(), pl.Float64(), pl.String(), pl.Binary(), pl.Enum(["a", "b"])],
    ["x", "y"],
    max_leaves=12,
).filter(lambda kind: within(kind) > 2)


def whole(low, high):
    return st.integers(low, high) | st.sampled_from([low, high])


def values(kind):
    """Python values of a type; numbers for the temporal ones."""
    if isinstance(kind, pl.List):
        found = st.lists(values(kind.inner), max_size=4)
    elif isinstance(kind, pl.Array):
        found = st.lists(values(kind.inner), min_size=kind.size, max_size=kind.size)
    elif isinstance(kind, pl.Struct):
        found = st.fixed_dictionaries({field.name: values(field.dtype) for field in kind.fields})
    elif isinstance(kind, pl.Decimal):
        limit = 10**kind.precision - 1
        context = decimal.Context(prec=60)
        found = whole(-limit, limit).map(lambda n: decimal.Decimal(n).scaleb(-kind.scale, context))
    elif isinstance(kind, pl.Enum):
        found = st.sampled_from(kind.categories.to_list())
    elif isinstance(kind, (pl.Datetime, pl.Duration)):
        found = whole(-(10**12), 10**12).map(lambda n: n if kind.time_unit == "ms" else 1000 * n)
    elif kind.is_integer():
        found = whole(pl.select(kind.min()).item(), pl.select(kind.max()).item())
    else:
        found = {
            pl.Null: st.none(),
            pl.Boolean: st.booleans(),
            pl.Float32: st.floats(width=32),
            pl.Float64: st.floats(),
            pl.String: st.text(max_size=20),
            pl.Binary: st.binary(max_size=20),
            pl.Date: st.dates(),
            pl.Time: st.times(),
        }[type(kind)]
    return st.none() | found


def physical(kind):
    """The type with numbers in place of times with a unit, which Python cannot hold exactly."""
    if isinstance(kind, pl.List):
        return pl.List(physical(kind.inner))
    if isinstance(kind, pl.Array):
        return pl.Array(physical(kind.inner), kind.size)
    if isinstance(kind, pl.Struct):
        return pl.Struct({field.name: physical(field.dtype) for field in kind.fields})
    return pl.Int64() if isinstance(kind, (pl.Datetime, pl.Duration)) else kind


def series(name, kind, found):
    return pl.Series(name, found, physical(kind)).cast(kind)


def encoded(rows, encoding=None, pieces=1):
    size = max(1, -(-rows.height // pieces))
    batches = [batch for part in rows.iter_slices(size) for batch in part.to_arrow().to_batches()]
    if not batches:
        batches = [pa.RecordBatch.from_pylist([], schema=rows.to_arrow().schema)]
    return b"".join(encode_file(map(pl.DataFrame, batches), encoding or AvroEncoding()))


def decoded(content, **options):
    avro = AvroFormat()
    schema = avro.schema(io.BytesIO(content), "x.avro")
    frames = [
        block.frame
        for block in avro.blocks(
            io.BytesIO(content),
            "x.avro",
            schema=schema,
            columns=options.get("columns", schema.names()),
            resume=None,
            on_error="raise",
        )
    ]
    return pl.concat([pl.DataFrame(schema=schema).select(options.get("columns", pl.all())), *frames])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_type_comes_back(data):
    kinds = data.draw(st.lists(TYPES, min_size=1, max_size=3))
    count = data.draw(st.integers(0, 8))
    columns = [
        series(f"c{number}", kind, data.draw(st.lists(values(kind), min_size=count, max_size=count)))
        for number, kind in enumerate(kinds)
    ]
    rows = pl.DataFrame(columns)
    pieces = data.draw(st.integers(1, 3))
    content = encoded(rows, AvroEncoding(data.draw(st.sampled_from(COMPRESSIONS))), pieces)
    back = decoded(content)
    assert back.schema == rows.schema
    assert_frame_equal(back, rows)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fastavro_reads_types_within_types(data):
    kind = data.draw(DEEP_TYPES)
    rows = pl.DataFrame([pl.Series("c", data.draw(st.lists(values(kind), max_size=6)), kind)])
    content = encoded(rows)
    assert_frame_equal(decoded(content), rows)
    found = pl.DataFrame(list(fastavro.reader(io.BytesIO(content))), rows.schema)
    assert_frame_equal(found, rows)


def test_arrays_of_arrays_have_nulls_at_any_depth():
    kind = pl.Array(pl.Array(pl.Struct({"a": pl.Array(pl.List(pl.String), 1)}), 2), 2)
    one, other = {"a": [["x", None]]}, {"a": [None]}
    found = [
        None,
        [[one, None], None],
        [None, None],
        [[other, {"a": None}], [one, one]],
        [[None, other], [None, None]],
        None,
    ]
    rows = pl.DataFrame({"v": pl.Series(found, dtype=kind), "n": range(6)})
    content = encoded(rows)
    assert decoded(content).equals(rows)
    assert [row["v"] for row in fastavro.reader(io.BytesIO(content))] == found
    assert decoded(encoded(rows[2:5].extend(rows[:1]), pieces=2)).equals(rows[[2, 3, 4, 0]])


def test_a_list_of_another_length_than_noted_is_damage():
    content = encoded(pl.DataFrame({"v": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2))}))
    assert content.count(b'"polars":2') == 1
    damage = content.replace(b'"polars":2', b'"polars":3')
    with pytest.raises(pa.ArrowInvalid, match="a list has 2 items, and not 3 as the schema says"):
        decoded(damage)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_bytes_do_not_depend_on_batches(compression):
    rows = pl.select(
        a=pl.int_range(100_000),
        b=pl.int_range(100_000).cast(pl.String),
        c=pl.when(pl.int_range(100_000) % 3 > 0).then(pl.concat_list(pl.int_range(100_000), 7)),
    ).with_columns(d=pl.struct("a", "b"))
    encoding = AvroEncoding(compression)
    content = encoded(rows, encoding)
    assert all(encoded(rows, encoding, pieces) == content for pieces in (2, 7))
    assert decoded(content).equals(rows)
    assert decoded(content, columns=["c"]).equals(rows.select("c"))


def test_slices_and_chunks_are_written_as_what_they_show():
    rows = pl.DataFrame(
        {
            "t": ["a", None, "ccc", "dddd"] * 3,
            "l": [[1, None], None, [], [2]] * 3,
            "s": [{"x": True, "y": [b"1"]}, {"x": None, "y": []}, None, {"x": False, "y": None}] * 3,
            "f": pl.Series([[1, 2], None, [3, 4], [None, 5]] * 3, dtype=pl.Array(pl.Int8, 2)),
        }
    )
    content = b"".join(encode_file([rows[3:10]], AvroEncoding()))
    assert content == encoded(pl.concat([rows[3:5], rows[5:10]], rechunk=False))
    assert decoded(content).equals(rows[3:10])


def test_categories_become_text():
    rows = pl.DataFrame({"c": pl.Series(["x", None, "y"], dtype=pl.Categorical)})
    assert decoded(encoded(rows)).equals(rows.cast(pl.String))


def test_no_rows_leave_the_columns():
    rows = pl.DataFrame(schema={"a": pl.Int64, "b": pl.List(pl.String)})
    assert decoded(encoded(rows)).equals(rows)


def test_others_read_it():
    rows = pl.DataFrame(
        {
            "i": [1, None, 3],
            "t": ["a", "é", None],
            "x": [0.5, None, -1.0],
            "n": [{"a": 1, "b": None}, {"a": 2, "b": [True]}, None],
        },
        schema_overrides={"n": pl.Struct({"a": pl.Int64, "b": pl.List(pl.Boolean)})},
    )
    for compression in ("uncompressed", "deflate", "snappy"):
        content = encoded(rows, AvroEncoding(compression))
        assert list(fastavro.reader(io.BytesIO(content))) == rows.to_dicts()
        assert pl.read_avro(io.BytesIO(content)).equals(rows)


def test_names_that_avro_forbids_are_noted():
    rows = pl.DataFrame({"user id": [1], "user.id": [2], "": [3], "1st": [{"a b": 4, "": 5}]})
    content = encoded(rows)
    assert decoded(content).equals(rows)
    assert list(fastavro.reader(io.BytesIO(content))) == [
        {"user_id": 1, "user_id_2": 2, "_": 3, "_1st": {"a_b": 4, "_": 5}}
    ]


def test_times_are_whole_microseconds():
    rows = pl.DataFrame({"t": pl.Series([1_000, 2_000]).cast(pl.Time)})
    assert decoded(encoded(rows)).equals(rows)
    with pytest.raises(DataError, match="column 't' has a time that is not whole microseconds"):
        encoded(pl.DataFrame({"t": pl.Series([1_000, 2_001]).cast(pl.Time)}))


@pytest.mark.parametrize(
    ("dtype", "fact"),
    [
        (pl.UInt64(), "column 'x' is UInt64, which Avro cannot hold"),
        (pl.Int128(), "column 'x' is Int128"),
        (pl.Struct({"a": pl.List(pl.UInt64)}), r"column 'x' \(Struct.* is UInt64"),
        (pl.Enum(["a b"]), "column 'x' .*is an Enum with the category 'a b'"),
        (pl.Enum([]), "an Enum without categories"),
        (pl.Array(pl.Int64, 0), "which Avro cannot hold"),
        (pl.List(pl.Array(pl.Int8, (2, 0))), r"column 'x' \(List.* is Array\(.* which Avro cannot hold"),
        (pl.Object(), "column 'x' is Object"),
    ],
)
def test_what_avro_cannot_hold(dtype, fact):
    with pytest.raises(PlanError, match=fact):
        AvroEncoding().check_schema(pl.Schema({"a": pl.Int64(), "x": dtype}))


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"compression": "gzip"}, "compression='gzip' is not known"),
        ({"record_name": "a b"}, "record_name='a b' is no name in Avro"),
        (
            {"compression": "deflate", "compression_level": 10},
            "10 is not between 0 and 9, the levels of deflate",
        ),
        ({"compression": "snappy", "compression_level": 1}, "no levels has snappy"),
    ],
)
def test_options_are_checked(options, fact):
    with pytest.raises(PlanError, match=fact):
        AvroEncoding(**options)


def test_levels_and_names():
    rows = pl.DataFrame({"a": ["x" * 50, "y" * 50] * 500})
    for compression, low, high in (("deflate", 0, 9), ("zstd", 1, 19), ("bzip2", 1, 9), ("xz", 0, 6)):
        sizes = []
        for level in (low, high):
            content = encoded(rows, AvroEncoding(compression, level, record_name="log"))
            assert decoded(content).equals(rows)
            sizes.append(len(content))
        assert sizes[1] <= sizes[0]
    header = next(fastavro.block_reader(io.BytesIO(encoded(rows, AvroEncoding(record_name="log")))))
    assert json.loads(json.dumps(header.writer_schema))["name"] == "log"


def test_identity_has_all_options():
    assert AvroEncoding("zstd", 5).identity() == {
        "format": "avro",
        "compression": "zstd",
        "compression_level": 5,
        "record_name": "row",
    }
