"""`arrowstream convert`: every format to every other, and what is left of one that fails or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from itertools import product

import polars as pl
import pytest
from typer.testing import CliRunner

import arrowstream as ars
from arrowstream.cli import app
from arrowstream.cli.formats import Format, format_of, is_one_file
from arrowstream.errors import PlanError

runner = CliRunner()

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3],
        "name": ["a", None, 'c, "d"\né'],
        "price": [1.5, -2.25, None],
        "at": [datetime(2026, 1, 1), datetime(2026, 1, 2, 3, 4, 5, 678_000), None],
    }
)
SCHEMA = "id: Int64, name: String, price: Float64, at: Datetime('us')"
TEXTS = ("csv", "ndjson", "tsv")
WHOLE = ("parquet", "arrow", "arrows", "avro")
CODECS = ("gz", "zst", "bz2", "xz", "sz", "lz4")
SUFFIXES = (*WHOLE, *TEXTS)


def convert(*arguments):
    return runner.invoke(app, ["convert", *map(str, arguments)])


def typed(suffix):
    """What a format that has no types has to be told."""
    return ["--schema", SCHEMA] if suffix.split(".")[0] in TEXTS else []


def read(path):
    """The rows of one file, as others read them."""
    suffix = path.name.split(".", 1)[1]
    if suffix == "parquet":
        return pl.read_parquet(path)
    if suffix == "arrow":
        return pl.read_ipc(path)
    if suffix == "arrows":
        return pl.read_ipc_stream(path)
    if suffix == "avro":
        return pl.read_avro(path)
    name = ars.scan_ndjson if suffix.startswith(("ndjson", "jsonl")) else ars.scan_csv
    options = {"separator": "\t"} if suffix.startswith("tsv") else {}
    return name(path, schema=ROWS.schema, **options).collect(progress=False)


@pytest.mark.parametrize(("first", "second"), list(product(SUFFIXES, SUFFIXES)))
def test_every_format_to_every_other(tmp_path, first, second):
    ROWS.write_parquet(tmp_path / "rows.parquet")
    source, output = tmp_path / f"in.{first}", tmp_path / f"out.{second}"
    made = convert(tmp_path / "rows.parquet", source)
    assert made.exit_code == 0, made.output
    result = convert(source, output, *typed(first))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 rows in ")
    assert f": {output} (" in result.stdout
    assert read(output).equals(ROWS)
    names = {"rows.parquet", source.name, output.name}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(("suffix", "codec"), list(product(("csv", "ndjson"), CODECS)))
def test_compressed_texts(tmp_path, suffix, codec):
    ROWS.write_parquet(tmp_path / "rows.parquet")
    packed, back = tmp_path / f"rows.{suffix}.{codec}", tmp_path / "back.parquet"
    result = convert(tmp_path / "rows.parquet", packed)
    assert result.exit_code == 0, result.output
    assert not packed.read_bytes().startswith((b"id", b"{"))
    result = convert(packed, back, *typed(suffix))
    assert result.exit_code == 0, result.output
    assert pl.read_parquet(back).equals(ROWS)


@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        ("parquet", ["zstd", "snappy", "lz4", "gzip", "brotli", "uncompressed"]),
        ("arrow", ["zstd", "lz4", "uncompressed"]),
        ("avro", ["deflate", "snappy", "zstd", "bzip2", "xz", "uncompressed"]),
    ],
)
def test_codecs_inside_of_files(tmp_path, suffix, codecs):
    ROWS.write_parquet(tmp_path / "rows.parquet")
    for codec in codecs:
        output = tmp_path / f"{codec}.{suffix}"
        result = convert(tmp_path / "rows.parquet", output, "--compression", codec)
        assert result.exit_code == 0, result.output
        assert convert(output, tmp_path / f"{codec}.back.parquet").exit_code == 0
        assert pl.read_parquet(tmp_path / f"{codec}.back.parquet").equals(ROWS)


def test_levels(tmp_path):
    many = pl.DataFrame({"n": range(50_000)}).with_columns(text=pl.col("n").hash().cast(pl.String))
    many.write_parquet(tmp_path / "many.parquet")
    for level in (1, 9):
        result = convert(tmp_path / "many.parquet", tmp_path / f"{level}.csv.gz", "--level", level)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "9.csv.gz").stat().st_size < (tmp_path / "1.csv.gz").stat().st_size


def test_select_and_filter(tmp_path):
    ROWS.write_parquet(tmp_path / "rows.parquet")
    options = ["--select", "id * 10 AS ten", "--select", "name", "--filter", "id <> 2"]
    result = convert(tmp_path / "rows.parquet", tmp_path / "out.parquet", *options)
    assert result.stdout.startswith("2 rows in ")
    assert pl.read_parquet(tmp_path / "out.parquet").rows() == [(10, "a"), (30, 'c, "d"\né')]


def test_a_folder_of_files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for part in (1, 2, 10):
        (folder / f"{part}.csv").write_text(f"n\n{part}\n")
    assert convert(folder, tmp_path / "out.ndjson").exit_code == 0
    assert (tmp_path / "out.ndjson").read_text() == '{"n":1}\n{"n":2}\n{"n":10}\n'
    assert convert(folder / "*.csv", f"{tmp_path}/parts/", "--to", "parquet").exit_code == 0
    assert pl.read_parquet(tmp_path / "parts")["n"].to_list() == [1, 2, 10]


def test_formats_by_hand(tmp_path):
    (tmp_path / "data.txt").write_text("n\n1\n")
    result = convert(tmp_path / "data.txt", f"{tmp_path}/out/", "--from", "csv", "--to", "ndjson")
    assert result.exit_code == 0, result.output
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ['{"n":1}\n']


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_are_a_file_with_columns(tmp_path, suffix):
    ROWS.head(0).write_parquet(tmp_path / "rows.parquet")
    output = tmp_path / f"out.{suffix}"
    result = convert(tmp_path / "rows.parquet", output)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("0 rows in ")
    assert read(output).schema == ROWS.schema


BAD = "n\n1\nx\n3\n"


def test_bad_lines(tmp_path):
    (tmp_path / "in.csv").write_text(BAD)
    source, out, bad = tmp_path / "in.csv", tmp_path / "out.parquet", tmp_path / "bad.ndjson"
    schema = ["--schema", "n: Int64"]

    failed = convert(source, out, *schema)
    assert failed.exit_code == 1
    assert f"{source}" in failed.stderr
    assert "line 3" in failed.stderr
    assert 'leave bad lines out: --on-error skip or "dead_letter"' in failed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv"}

    skipped = convert(source, out, *schema, "--on-error", "skip")
    assert skipped.exit_code == 0, skipped.output
    assert skipped.stdout.splitlines()[1] == "1 skipped: could not be read"
    assert pl.read_parquet(out)["n"].to_list() == [1, 3]

    options = ["--on-error", "dead_letter", "--dead-letters", bad, "--overwrite"]
    kept = convert(source, out, *schema, *options)
    assert kept.exit_code == 0, kept.output
    assert kept.stdout.splitlines()[1] == f"1 dead letter: {bad}"
    assert pl.read_parquet(out)["n"].to_list() == [1, 3]
    assert pl.read_ndjson(bad)["position"].to_list() == ["line 3"]
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.parquet", "bad.ndjson"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["rows.parquet", "out.xls"], "error: out.xls does not tell its format by its name\n"),
        (["rows.parquet", "out.csv", "--from", "parket"], "error: there is no format parket\n"),
        (["rows.parquet", "out.csv", "--filter", "idd > 1"], 'error: filter: there is no column "idd"\n'),
        (["rows.parquet", "out.csv", "--filter", "id >"], "error: id > is no SQL expression\n"),
        (["rows.parquet", "out.csv", "--filter", "id IN (SELECT 1)"], "error: id IN (SELECT 1) would read"),
        (["rows.parquet", "out.parquet", "--compression", "zip"], "error: "),
        (["rows.parquet", "out.csv.gz", "--compression", "zstd"], "error: out.csv.gz is named as gzip"),
        (
            ["rows.parquet", "out.parquet.gz"],
            "error: out.parquet.gz: parquet is compressed inside of the file\n",
        ),
        (
            ["rows.parquet", "out.csv", "--compression", "zstd"],
            "error: out.csv does not say that it is compressed",
        ),
        (
            ["rows.parquet", "there.csv"],
            "error: {0}/there.csv is there already\n  hint: --overwrite replaces it\n",
        ),
        (
            ["rows.parquet", "nowhere/out.csv"],
            "error: there is no folder {0}/nowhere\n  hint: make it first\n",
        ),
        (["none.parquet", "out.csv"], "error: no file matches none.parquet\n"),
        (
            ["rows.parquet", "s3://bucket/out.csv"],
            "error: s3://bucket/out.csv names a file, but the output at a URL is a folder\n",
        ),
        (["rows.csv", "out.parquet", "--schema", "id"], "error: --schema: id says no type\n"),
        (["rows.csv", "out.parquet", "--schema", "id: int"], 'error: "int": there is no type int\n'),
        (["rows.parquet", "out.csv", "--dead-letters", "bad.csv"], "error: --dead-letters is given, but no"),
        (
            ["mixed", "out.csv"],
            (
                "error: mixed holds several kinds of files: .csv, .parquet\n"
                "  hint: give a glob, such as 'mixed/*.csv'\n"
            ),
        ),
        (["rows.csv", "out.parquet", "--on-error", "dead_letter"], "error: dead letters are to be made, but"),
        (["empty", "out.csv"], "error: empty holds no files of a kind that can be read\n"),
    ],
)
def test_what_cannot_be_converted(tmp_path, monkeypatch, arguments, error):
    monkeypatch.chdir(tmp_path)
    ROWS.write_parquet("rows.parquet")
    for name in ("rows.csv", "there.csv"):
        (tmp_path / name).write_text("id\n1\n")
    for name in ("mixed", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "mixed" / "a.csv").write_text("a\n")
    (tmp_path / "mixed" / "b.parquet").write_text("a\n")
    before = {path.name for path in tmp_path.iterdir()}
    result = convert(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(error.format(tmp_path)), result.stderr
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_output_that_is_replaced_is_whole_at_every_time(tmp_path):
    ROWS.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "out.csv").write_text("mine")
    assert convert(tmp_path / "nothing.parquet", tmp_path / "out.csv", "--overwrite").exit_code == 1
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert convert(tmp_path / "rows.parquet", tmp_path / "out.csv", "--overwrite").exit_code == 0
    assert read(tmp_path / "out.csv").equals(ROWS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_conversion_leaves_no_output_and_can_be_repeated(tmp_path):
    count = 3_000_000
    pl.DataFrame({"n": range(count)}).write_parquet(tmp_path / "many.parquet", row_group_size=50_000)
    output = tmp_path / "out.csv"
    command = [sys.executable, "-c", "from arrowstream.cli import main; main()", "convert"]
    with subprocess.Popen([*command, str(tmp_path / "many.parquet"), str(output)]) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.rglob("*.outbox")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)  # another process cannot be waited for in any other way
        process.send_signal(signal.SIGKILL)
    assert not output.exists()
    assert convert(tmp_path / "many.parquet", output).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"many.parquet", "out.csv"}
    assert pl.read_csv(output)["n"].to_list() == list(range(count))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.parquet", Format("parquet", ".parquet")),
        ("s3://b/c/*.ndjson.zst", Format("ndjson", ".ndjson", "zstd")),
        ("A.CSV.gz", Format("csv", ".csv", "gzip")),
        ("dir.d/x.jsonl", Format("ndjson", ".jsonl")),
    ],
)
def test_formats_are_told_by_names(path, found):
    assert format_of(path) == found


def test_what_a_name_does_not_tell():
    with pytest.raises(PlanError, match="does not tell its format"):
        format_of("a.gz")
    assert not is_one_file("out.csv/")
    assert not is_one_file("out")
