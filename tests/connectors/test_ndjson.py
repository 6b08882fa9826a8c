"""NDJSON: types, inference, bad lines, and files that others wrote."""

from __future__ import annotations

import io
import json
import random
from datetime import date, datetime, time
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from system.text_files import damaged, read_blocks, slots

from arrowstream.config import DEAD
from arrowstream.connectors.files.ndjson import NdjsonFormat
from arrowstream.errors import ArrowStreamError, DataError, PlanError


def frame(data, schema=None, *, on_error="raise", columns=None, **options):
    blocks = read_blocks(NdjsonFormat(**options), data, schema, on_error=on_error, columns=columns)
    return pl.concat([block.frame for block in blocks], how="diagonal")


def schema_of(data, **options):
    return dict(NdjsonFormat(**options).schema(io.BytesIO(data), "file"))


# Values


def test_numbers_are_exact_or_refused():
    schema = {"i": pl.Int64, "u": pl.UInt64, "t": pl.String, "w": pl.Int128}
    big = 2**53 + 1
    lines = [
        {"i": big, "u": 2**64 - 1, "t": 10**30, "w": -(10**30)},
        {"i": 2**63},
        {"u": -1},
        {"i": 1.0},
        {"w": 1.5},
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    assert slots(read_blocks(NdjsonFormat(), data, schema)) == [
        ("row", (big, 2**64 - 1, str(10**30), -(10**30))),
        *(("dead", json.dumps(line).encode(), f"line {number}") for number, line in enumerate(lines[1:], 2)),
    ]


def test_decimals_are_read_digit_by_digit():
    digits = "12345678901234567890.12"
    schema = {
        "d": pl.Decimal(38, 2),
        "n": pl.Struct({"l": pl.List(pl.Decimal(38, 2)), "f": pl.Float64}),
    }
    lists = f'{{"l":[{digits},1.5,"{digits}"],"f":0.12345678901234567}}'
    data = f'{{"d":{digits},"n":{lists}}}\n{{"d":1e2}}\n'.encode()
    exact = Decimal(digits)
    assert frame(data, schema).rows() == [
        (exact, {"l": [exact, Decimal("1.50"), exact], "f": 0.12345678901234567}),
        (Decimal(100), None),
    ]
    bad = b'{"d":1.255}\n{"d":0.1234567890123456789}\n{"d":"x"}\n{"d":[1]}\n{"d":true}\n'
    assert [slot[0] for slot in slots(read_blocks(NdjsonFormat(), bad, schema))] == ["dead"] * 5
    endless = b'{"d":' + b"9" * 400 + b"}"
    assert slots(read_blocks(NdjsonFormat(), endless, schema)) == [("dead", endless, "line 1")]


def test_wide_integers_are_never_rounded_floats():
    schema = {"w": pl.Int128}
    data = b'{"w":12345678901234567890123}\n{"w":12345678901234567890123.0}\n{"w":1e20}\n'
    assert [slot[0] for slot in slots(read_blocks(NdjsonFormat(), data, schema))] == ["row", "dead", "row"]


def test_times_and_choices_are_strings():
    schema = {
        "t": pl.Time,
        "d": pl.Date,
        "m": pl.Datetime("ms"),
        "z": pl.Datetime("us", "Europe/Berlin"),
        "c": pl.Categorical(),
        "e": pl.Enum(["a", ""]),
        "f": pl.Float32,
        "l": pl.List(pl.Array(pl.Int16, 2)),
    }
    data = (
        b'{"t":"01:02:03.5","d":"2020-01-01","m":"2020-01-01T00:00:00.5","z":"2020-01-01T00:00:00Z","c":"x",'
        b'"e":"","f":0.1,"l":[[1,2],null]}\n{"c":"","e":null}\n'
    )
    read = frame(data, schema)
    assert read.schema == pl.Schema(schema)
    assert read.select("t", "d", "m", "c", "e", "l").row(0) == (
        time(1, 2, 3, 500_000),
        date(2020, 1, 1),
        datetime(2020, 1, 1, 0, 0, 0, 500_000),
        "x",
        "",
        [[1, 2], None],
    )
    assert read["z"][0].isoformat() == "2020-01-01T01:00:00+01:00"
    assert read["f"].equals(pl.Series("f", [0.1, None], pl.Float32), null_equal=True)
    for bad in (
        *(
            b'{"t":"24:00:00"}',
            b'{"d":""}',
            b'{"m":"2020-01-01T00:00:00.0005"}',
            b'{"z":"2020-01-01T00:00:00"}',
        ),
        *(b'{"e":"b"}', b'{"l":[[1]]}', b'{"l":[[1,2],[1,40000]]}', b'{"l":1}', b'{"d":5}', b'{"e":1}'),
    ):
        assert slots(read_blocks(NdjsonFormat(), bad + b"\n" + data, schema))[0] == ("dead", bad, "line 1")


def test_a_string_column_has_the_json_text_of_other_values():
    data = b'{"a":1}\n{"a":true}\n{"a":{"x":[1,"y"]}}\n{"a":null}\n{}\n{"a":"x"}\n'
    assert frame(data, {"a": pl.String})["a"].to_list() == ["1", "true", '{"x": [1, "y"]}', None, None, "x"]


def test_of_a_key_that_comes_twice_the_first_counts():
    many = ",".join(f'"k{index}":{index}' for index in range(100))
    data = f'{{"a":1,{many},"a":2}}\n{{"a":3,"a":"x"}}\n{{"n":{{"x":1,"x":2}}}}\n'.encode()
    read = frame(data, {"a": pl.Int64, "n": pl.Struct({"x": pl.Int64})})
    assert read.rows() == [(1, None), (3, None), (None, {"x": 1})]
    assert slots(read_blocks(NdjsonFormat(), b'{"a":"x","a":1}', {"a": pl.Int64}))[0][0] == "dead"


def test_characters():
    data = b'{"t":"\\u00e9\\n\\"\\\\ \\ud83d\\ude00 \\u0000"}\n' + '{"t":"é😀"}\n'.encode()
    assert frame(data, {"t": pl.String})["t"].to_list() == ['é\n"\\ 😀 \0', "é😀"]
    for bad in (
        b'"\\ud800"',
        b'"\\ude00\\ud83d"',
        b'"\\\\\\ud800"',
        b'"\xff"',
        b'"\x01"',
        b'"\\x"',
        b'"\\ud83d\\n"',
    ):
        line = b'{"t":' + bad + b"}"
        assert slots(read_blocks(NdjsonFormat(), line, {"t": pl.String})) == [("dead", line, "line 1")]
    assert frame(b'{"t":"\\\\ud800"}', {"t": pl.String})["t"].to_list() == ["\\ud800"]


def test_nesting_without_end_is_a_bad_record():
    for depth in (1_500, 200_000):
        deep = b'{"a":1,"b":' + b"[" * depth + b"]" * depth + b"}"
        data = b'{"a":0}\n' + deep + b'\n{"a":2}\n'
        assert [slot[0] for slot in slots(read_blocks(NdjsonFormat(), data, {"a": pl.Int64}))] == [
            "row",
            "dead",
            "row",
        ]


def test_long_lists_and_texts_beside_bad_lines():
    lists = [[[row] * (row % 700), []] for row in range(60)]
    texts = ["é" * (row * 37 % 5_000) for row in range(60)]
    lines = [json.dumps({"l": inner, "t": text}) for inner, text in zip(lists, texts, strict=True)]
    lines[20] = lines[20][:-2]
    lines[25] = '{"t":"a text that is not in its view","l":5}'
    lines[30] = '{"l":[[1,2,3],[4,"x"]],"t":"x"}'
    lines[40] = '{"l":null,"t":"\\n"}'
    schema = {"l": pl.List(pl.List(pl.Int32)), "t": pl.String}
    found = slots(read_blocks(NdjsonFormat(), "\n".join(lines).encode(), schema))
    expected = [("row", row) for row in zip(lists, texts, strict=True)]
    expected[20] = ("dead", lines[20].encode(), "line 21")
    expected[25] = ("dead", lines[25].encode(), "line 26")
    expected[30] = ("dead", lines[30].encode(), "line 31")
    expected[40] = ("row", (None, "\n"))
    assert found == expected


def test_items_that_need_more_memory_than_there_should_be():
    schema = {"l": pl.List(pl.Struct({f"column {index}": pl.Int64 for index in range(2_000)}))}
    data = b'{"l":[]}\n{"l":[' + b",".join([b"null"] * 300_000) + b"]}\n"
    with pytest.raises(
        DataError, match=r"the lists of line 2 and those before it take more than 4,294,967,296"
    ):
        frame(data, schema)


def test_a_byte_order_mark_and_blank_lines_are_no_records():
    data = b'\xef\xbb\xbf{"a":1}\r\n\r\n \t\n{"a":x}\n'
    assert slots(read_blocks(NdjsonFormat(), data, {"a": pl.Int64})) == [
        ("row", (1,)),
        ("dead", b'{"a":x}', "line 4"),
    ]


def test_columns_in_the_order_asked_for():
    data = b'{"b":1,"a":2,"c":"x"}\n'
    assert frame(data, {"a": pl.Int64, "b": pl.Int64, "c": pl.Int64}, columns=["b", "a"]).rows() == [(1, 2)]


def test_types_that_no_json_can_be_are_refused():
    for dtype in (pl.Binary, pl.Duration("us"), pl.List(pl.Binary), pl.List(pl.Array(pl.Int8, 0))):
        with pytest.raises(PlanError, match="column 'b' cannot be"):
            frame(b"{}\n", {"a": pl.Int64, "b": dtype})


# Bad lines


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a":tru}', "no JSON: Expecting value at character 6"),
        (b"[1]", "no JSON object, which begins with { and ends with }"),
        (b'{"a":"x"}', "\"x\" in column 'a' is no Int64"),
        (b'{"a":1}}', "no JSON: Extra data at character 8"),
        (b'{"a":NaN}', "no JSON that can be read"),
        (b'{"b":"\xff"}', "no UTF-8"),
        (b'{"b":"\\udfff"}', "half of a surrogate pair is no character"),
    ],
)
def test_a_bad_line_says_what_and_where(line, message):
    data = b'{"a":1}\n\n' + line + b'\n{"a":2}\n'
    dead = frame(data, {"a": pl.Int64}, on_error="dead_letter")
    assert dead["a"].to_list() == [1, None, 2]
    assert dead[DEAD][1] == {"original": line, "error": message, "source": "file", "position": "line 3"}
    with pytest.raises(DataError) as caught:
        frame(data, {"a": pl.Int64})
    assert caught.value.fact.startswith(f"file, line 3: {message}")


def test_one_bad_line_in_many_costs_itself_alone():
    lines = [b'{"a":%d,"b":"text %d"}' % (row, row) for row in range(300_000)]
    lines[123_456] = b'{"a":123456,"b":"te'
    lines[234_567] = b'{"a":"x","b":"text"}'
    read = frame(b"\n".join(lines), {"a": pl.Int64, "b": pl.String}, on_error="dead_letter")
    assert read[DEAD].is_not_null().arg_true().to_list() == [123_456, 234_567]
    assert read[DEAD][123_456]["position"] == "line 123457"
    assert (read.drop_nulls("a")["a"].diff().drop_nulls() <= 2).all()


def test_bad_lines_of_each_kind_in_several_blocks():
    kinds = {
        1: b'{"a":%d,"d":"2020-01-01"',
        2: b'{"a":"%d","d":"2020-01-01"}',
        3: b'{"a":%d,"d":"2020-13-01"}',
        4: b'{"a":%d "d":"2020-01-01"}',
        5: b'{"a":%d,"d":"\\ud800"}',
        6: b'{"a":%d,"l":["x"]}',
        7: b'{"a":%d,"q":"\xff"}',
        8: b'{"a":%d,"l":null}',
    }
    count = 360_000
    usual = b'{"a":%d,"d":"2020-01-01","l":[1]}'
    data = b"\n".join(kinds.get(row % 100, usual) % row for row in range(count))
    schema = {"a": pl.Int64, "d": pl.Date, "l": pl.List(pl.Int64)}
    read = frame(data, schema, on_error="dead_letter")
    dead = pl.Series([1 <= row % 100 <= 7 for row in range(count)])
    assert (read[DEAD].is_not_null() == dead).all()
    assert read["a"].drop_nulls().equals(pl.Series("a", range(count), pl.Int64).filter(~dead))


# Types from the first rows


def test_types_are_those_that_take_all_of_the_sample():
    records = [
        {
            "i": 1,
            "f": 1,
            "b": True,
            "s": "x",
            "n": None,
            "l": [],
            "o": {"x": 1},
            "big": 2**63,
            "d": "2020-01-01",
        },
        {"i": -2, "f": 1.5, "b": False, "l": [1, None], "o": {"y": [{"z": None}]}, "huge": 2**64},
        {"mixed": 2**53 + 1, "either": 1, "e": {}, "nested": [[1], [2.5]]},
        {"mixed": 0.5, "either": "x", "e": {}, "o": None},
    ]
    data = "\n".join(map(json.dumps, records)).encode()
    inferred = schema_of(data)
    assert inferred == {
        "i": pl.Int64,
        "f": pl.Float64,
        "b": pl.Boolean,
        "s": pl.String,
        "n": pl.String,
        "l": pl.List(pl.Int64),
        "o": pl.Struct({"x": pl.Int64, "y": pl.List(pl.Struct({"z": pl.String}))}),
        "big": pl.UInt64,
        "d": pl.String,
        "huge": pl.String,
        "mixed": pl.String,
        "either": pl.String,
        "e": pl.String,
        "nested": pl.List(pl.List(pl.Float64)),
    }
    assert frame(data, inferred).height == 4


def test_how_much_is_looked_at():
    data = b'{"a":1}\n' * 200 + b'{"a":"x","b":1}\n'
    assert schema_of(data) == {"a": pl.Int64}
    assert schema_of(data, infer_schema_length=None) == {"a": pl.String, "b": pl.Int64}
    assert schema_of(data, schema_overrides={"a": pl.Int8}) == {"a": pl.Int8}
    assert schema_of(b"\nx\n[1]\n" + data) == {"a": pl.Int64}
    assert schema_of(b"") == schema_of(b"\n{}\n") == {}


def test_keys_that_cannot_be_columns():
    with pytest.raises(DataError, match=r"file has the key 'a\\x00'"):
        schema_of(b'{"a\\u0000":1}\n')
    with pytest.raises(DataError, match=r"file has the key 'x\\x00'"):
        schema_of(b'{"a":[{"x\\u0000":1}]}\n')
    assert schema_of(b'{"\\ud800":1}\n{"a":1}\n') == {"a": pl.Int64}
    assert frame(b'{"a":1,"b\\u0000":2}\n', {"a": pl.Int64}).rows() == [(1,)]


# Files of others


OTHERS = pl.DataFrame(
    {
        "i": [1, None, -(2**63)],
        "f": [0.1, None, 1e300],
        "s": ['quote " and \\', None, "line\nbreak é"],
        "b": [True, None, False],
        "l": [[1, 2], None, []],
        "o": [{"x": "y", "z": [1.5]}, {"x": None, "z": None}, {"x": "", "z": []}],
    }
)


def by_polars(path):
    OTHERS.write_ndjson(path)


def by_duckdb(path):
    others = OTHERS  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql(f"copy others to '{path}' (format json)")


def by_pandas(path):
    table = pd.DataFrame({name: pd.Series(OTHERS[name].to_list(), dtype=object) for name in OTHERS.columns})
    table.to_json(path, orient="records", lines=True, double_precision=15)


def by_python(path):
    path.write_text("\n".join(json.dumps(row) for row in OTHERS.rows(named=True)))


def by_python_sparsely(path):
    rows = [
        {key: value for key, value in row.items() if value is not None} for row in OTHERS.rows(named=True)
    ]
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\r\n" for row in rows))


@pytest.mark.parametrize("write", [by_polars, by_duckdb, by_pandas, by_python, by_python_sparsely])
def test_files_of_others(write, tmp_path):
    write(tmp_path / "others.ndjson")
    read = frame((tmp_path / "others.ndjson").read_bytes(), OTHERS.schema)
    assert_frame_equal(read, OTHERS)


# Damage


def fuzz(cases, seed):
    """Damaged files: rows, dead slots or a typed error; the same ones however the bytes arrive."""
    rng = random.Random(seed)
    seeds = []
    for lines in (3, 60):
        records = [
            {
                "i": row,
                "s": f'te"xt é {row}',
                "f": row / 7,
                "l": [row, None],
                "o": {"x": row % 2 == 0, "d": "2020-01-01"},
            }
            for row in range(lines)
        ]
        seeds.append("\n".join(map(json.dumps, records)).encode())
        seeds.append("\r\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode())
    counts = {"rows": 0, "dead": 0, "errors": 0}
    for case in range(cases):
        data = damaged(rng.choice(seeds), rng)
        try:
            schema = NdjsonFormat().schema(io.BytesIO(data), "file")
            if rng.random() < 0.5:
                schema = pl.Schema(
                    {
                        "i": pl.Int64,
                        "f": pl.Decimal(38, 20),
                        "l": pl.List(pl.Int8),
                        "o": pl.Struct({"d": pl.Date}),
                    }
                )
            if not schema:
                continue
            whole = slots(read_blocks(NdjsonFormat(), data, schema))
        except ArrowStreamError:
            counts["errors"] += 1
            continue
        cuts = [rng.randint(1, 400) for _ in range(20)]
        assert slots(read_blocks(NdjsonFormat(), data, schema, sizes=cuts)) == whole, (seed, case, data)
        dead = sum(slot[0] == "dead" for slot in whole)
        counts["rows"] += len(whole) - dead
        counts["dead"] += dead
    return counts


def test_damaged_files():
    counts = fuzz(200, 7)
    assert min(counts["rows"], counts["dead"]) > 0


@pytest.mark.soak
def test_ten_thousand_damaged_files():
    print(fuzz(10_000, 8))
