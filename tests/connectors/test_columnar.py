"""Parquet and IPC files wherever they are, and whatever is wrong with them, by way of their sources."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import shutil
import traceback
from itertools import cycle
from pathlib import Path

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arrowstream as ars
from arrowstream.config import DEAD, END_OF_TIME
from arrowstream.connectors.files.columnar import IpcFormat, ParquetFormat
from arrowstream.connectors.files.columnar_source import IpcSource, ParquetSource
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.part_reader import FileLows, Lows
from arrowstream.errors import ArrowStreamError, ConnectorError, DataError, PlanError

US = pl.Datetime("us")


def frame(first, rows):
    numbers = pl.int_range(first, first + rows, eager=True)
    return pl.DataFrame({"t": numbers.cast(US), "id": numbers, "name": numbers.cast(pl.String)})


def write(path, rows, part_rows=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        rows.write_parquet(path, row_group_size=part_rows)
    else:
        rows.write_ipc(path, record_batch_size=part_rows)


@pytest.fixture(params=[".parquet", ".arrow"])
def folder(request, tmp_path):
    """Ids 0 to 59 in files of 20, 0, 30 and 10 rows, in folders that are Hive keys."""
    first = 0
    for name, rows in (
        ("day=2024-01-02/k=1/f1", 20),
        ("day=2024-01-02/k=2/f2", 0),
        ("day=2024-01-03/k=01/f9", 30),
    ):
        write(tmp_path / f"{name}{request.param}", frame(first, rows))
        first += rows
    write(tmp_path / f"day=2024-01-03/k=01/f10{request.param}", frame(first, 10))
    return tmp_path


def source_of(path, options=None, *, suffix=None, **more):
    kind = ParquetSource if (suffix or next(Path(path).rglob("f*")).suffix) == ".parquet" else IpcSource
    return kind(path, options, **more)


@pytest.fixture(params=["s3", "memory"])
def copied(request, folder):
    """The folder, a copy of it elsewhere, and that place's storage options."""
    options = None
    url = f"memory://{folder.name}"
    if request.param == "s3":
        bucket = request.getfixturevalue("s3")
        url, options = f"{bucket.url}/data", bucket.storage_options
    filesystem = fsspec.filesystem(request.param, **(options or {}))
    for file in folder.rglob("f*"):
        filesystem.pipe(f"{url}/{file.relative_to(folder)}", file.read_bytes())
    return folder, url, options


def read_all(reader, sizes=(1000,)):
    pieces, positions = [], []
    for size in cycle(sizes):
        if (read := reader.read(size)) is None:
            break
        assert 0 < read[0].height <= size
        pieces.append(read[0])
        positions.append(read[1])
    reader.close()
    return pieces, positions


def rows_of(source, partition="scan", position=None):
    pieces, _ = read_all(source.open(partition, position))
    return pl.concat(pieces, how="diagonal") if pieces else pl.DataFrame(schema=source.polars_schema)


# everywhere the same


@pytest.mark.parametrize("on_error", ["raise", "dead_letter"])
def test_copies_elsewhere_are_read_like_the_files(copied, on_error):
    folder, url, storage = copied
    local = source_of(folder, FileOptions(include_file_paths="path", on_error=on_error))
    suffix = next(folder.rglob("f*")).suffix
    options = FileOptions(include_file_paths="path", storage_options=storage, on_error=on_error)
    remote = source_of(url, options, suffix=suffix)
    scan = pl.scan_parquet if suffix == ".parquet" else pl.scan_ipc
    expected = scan(folder, include_file_paths="path").collect()
    assert local.polars_schema == remote.polars_schema == expected.schema
    there = rows_of(remote).with_columns(pl.col("path").str.replace(url, str(folder), literal=True))
    natural = expected.sort("id")
    assert there.equals(natural)
    assert rows_of(local).equals(natural)
    assert rows_of(remote.project(["day", "id"])).equals(natural.select("day", "id"))
    assert rows_of(remote.project(["path"]))["path"].to_list()[0].startswith(url)


def test_resume_elsewhere_at_every_position(copied):
    folder, url, storage = copied
    source = source_of(url, FileOptions(storage_options=storage), suffix=next(folder.rglob("f*")).suffix)
    source = source.with_metadata(file=None, row="row")
    whole = rows_of(source)
    assert whole["row"].to_list() == [*range(20), *range(30), *range(10)]
    pieces, positions = read_all(source.open("scan", None), (3, 1, 5))
    seen = 0
    for piece, position in zip(pieces, positions, strict=True):
        assert json.loads(json.dumps(position)) == position
        seen += piece.height
        assert rows_of(source, position=position).equals(whole.slice(seen))


def test_partitions_elsewhere(copied):
    folder, url, storage = copied
    suffix = next(folder.rglob("f*")).suffix
    source = source_of(url, FileOptions(storage_options=storage, clock_by="directory"), suffix=suffix)
    assert source.partitions() == ["day=2024-01-02/k=1", "day=2024-01-02/k=2", "day=2024-01-03/k=01"]
    assert rows_of(source, "day=2024-01-03/k=01")["id"].to_list() == list(range(20, 60))


def test_the_horizon_elsewhere(copied):
    folder, url, storage = copied
    suffix = next(folder.rglob("f*")).suffix
    local = source_of(folder, event_time="t")
    remote = source_of(url, FileOptions(storage_options=storage), suffix=suffix, event_time="t")
    assert (remote.horizon_missing() is None) == (local.horizon_missing() is None) == (suffix == ".parquet")
    reader, there = local.open("scan", None), remote.open("scan", None)
    _, positions = read_all(there, (4,))
    if suffix == ".arrow":  # the footers do not even tell how many rows there are
        assert {there.horizon(position, 0) for position in (None, *positions)} == {None}
        return
    for skip in range(61):
        assert there.horizon(None, skip) == reader.horizon(None, skip)
    _, local_positions = read_all(reader, (4,))
    for position, local_position in zip(positions, local_positions, strict=True):
        assert there.horizon(position, 0) == reader.horizon(local_position, 0)
    assert there.horizon(positions[-1], 0) == END_OF_TIME


def test_an_identity_elsewhere_changes_with_a_file(copied):
    folder, url, storage = copied
    suffix = next(folder.rglob("f*")).suffix

    def identity():
        return source_of(url, FileOptions(storage_options=storage), suffix=suffix).identity()

    before = identity()
    assert json.loads(json.dumps(before)) == before == identity()
    path = before["files"][0][0]
    other = next(folder.rglob("f10*")).read_bytes()
    fsspec.filesystem(url.partition(":")[0], **(storage or {})).pipe(path, other)
    assert identity() != before


def test_a_query_and_a_job_over_s3(s3, tmp_path):
    filesystem = fsspec.filesystem("s3", **s3.storage_options)
    for index in range(4):
        sink = io.BytesIO()
        frame(index * 100, 100).write_parquet(sink, row_group_size=10)
        filesystem.pipe(f"{s3.url}/in/{index}.parquet", sink.getvalue())
    stream = ars.scan_parquet(f"{s3.url}/in", event_time="t", storage_options=s3.storage_options)
    assert stream.filter(pl.col("id") % 2 == 0).collect()["id"].to_list() == list(range(0, 400, 2))
    stream.sink_parquet(tmp_path / "out").run(checkpoint=tmp_path / "checkpoint", progress=False)
    assert pl.read_parquet(tmp_path / "out").height == 400
    for secret in (s3.storage_options["secret"], s3.storage_options["key"]):
        assert secret not in stream.explain()
        for file in (tmp_path / "checkpoint").rglob("*"):
            assert file.is_dir() or secret.encode() not in file.read_bytes()


# files that differ: as Polars has it


WRITTEN = {
    "same": {"id": pl.Int64, "x": pl.Int32},
    "more": {"id": pl.Int64, "x": pl.Int32, "y": pl.String},
    "less": {"id": pl.Int64},
    "narrow": {"id": pl.Int64, "x": pl.Int8},
    "wide": {"id": pl.Int64, "x": pl.Int64},
    "order": {"x": pl.Int32, "id": pl.Int64},
    "float": {"id": pl.Int64, "x": pl.Float32},
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(sorted(WRITTEN)), min_size=1, max_size=3),
    missing=st.sampled_from(["insert", "raise"]),
    extra=st.sampled_from(["ignore", "raise"]),
    casts=st.sampled_from([None, pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast")]),
    schema=st.sampled_from(
        [None, {"id": pl.Int64(), "x": pl.Int32()}, {"x": pl.Float64(), "id": pl.Int64()}]
    ),
)
def test_columns_that_differ_are_what_they_are_to_polars(tmp_path, kinds, missing, extra, casts, schema):
    for old in tmp_path.iterdir():
        old.unlink()
    for index, kind in enumerate(kinds):
        columns = [pl.Series(name, [index, None]).cast(dtype) for name, dtype in WRITTEN[kind].items()]
        pl.DataFrame(columns).write_parquet(tmp_path / f"f{index}.parquet")
    given_options = {
        "schema": schema,
        "missing_columns": missing,
        "extra_columns": extra,
        "cast_options": casts,
    }
    try:
        expected = pl.scan_parquet(tmp_path, **given_options).collect()
    except pl.exceptions.PolarsError:
        with pytest.raises((PlanError, DataError)):
            rows_of(ParquetSource(tmp_path, FileOptions(**given_options)))
        return
    found = rows_of(ParquetSource(tmp_path, FileOptions(**given_options)))
    assert found.equals(expected)
    assert found.schema == expected.schema
    by_parts = rows_of(ParquetSource(tmp_path, FileOptions(**given_options, on_error="skip")))
    assert by_parts.equals(expected)


# what goes wrong


def noise(path, part):
    """Damage a column of a row group."""
    chunk = pq.read_metadata(path).row_group(part).column(1)
    start, content = chunk.dictionary_page_offset or chunk.data_page_offset, path.read_bytes()
    end = start + chunk.total_compressed_size
    path.write_bytes(content[:start] + b"\xff" * (end - start) + content[end:])


DAMAGE = {
    "cut short": lambda raw: raw[: len(raw) // 2],
    "empty": lambda _: b"",
    "text": lambda _: b"a,b\n1,2\n" * 100,
    "no footer": lambda raw: raw[:-20] + b"\xff" * 12 + raw[-8:],
}


@pytest.mark.parametrize("damage", list(DAMAGE))
@pytest.mark.parametrize("where", ["local", "web"])
def test_a_file_that_is_none_costs_only_itself(request, tmp_path, damage, where):
    web = request.getfixturevalue("web")
    names = [f"f{index}.parquet" for index in range(3)]
    for index, name in enumerate(names):
        write(web.folder / name, frame(index * 10, 10))
    bad = web.folder / names[1]
    bad.write_bytes(DAMAGE[damage](bad.read_bytes()))
    paths = [f"{web.url}/{name}" if where == "web" else web.folder / name for name in names]
    with pytest.raises(DataError) as raised:
        rows_of(ParquetSource(paths))
    assert str(paths[1]) in raised.value.fact
    source = ParquetSource(paths, FileOptions(on_error="dead_letter"), event_time="t")
    reader = source.open("scan", None)
    found = pl.concat(read_all(reader)[0], how="diagonal")
    assert found["id"].to_list() == [*range(10), None, *range(20, 30)]
    dead = found[DEAD][10]
    assert (dead["source"], dead["position"], dead["original"]) == (str(paths[1]), "file", None)
    assert str(paths[1]) in dead["error"]
    assert (reader.counters.rows, reader.counters.dead_letters, reader.counters.errors) == (20, 1, 0)
    assert reader.horizon(None, 0) == 0
    skipping = ParquetSource(paths, FileOptions(on_error="skip")).open("scan", None)
    assert pl.concat(read_all(skipping)[0], how="diagonal").equals(found)
    assert (skipping.counters.rows, skipping.counters.dead_letters, skipping.counters.errors) == (20, 0, 1)


def test_a_damaged_row_group_among_files(tmp_path):
    for index in range(3):
        write(tmp_path / f"f{index}.parquet", frame(index * 21, 21))
    noise(tmp_path / "f1.parquet", 1)
    source = ParquetSource(tmp_path, FileOptions(on_error="dead_letter", clock_by="scan"), event_time="t")
    for sizes in ((1,), (5,), (100,)):
        reader = source.open("scan", None)
        pieces, positions = read_all(reader, sizes)
        found = pl.concat(pieces, how="diagonal")
        assert found["id"].to_list() == [*range(28), None, *range(35, 63)]
        assert found[DEAD][28]["position"] == "row group 1"
        seen, low = 0, []
        for piece, position in zip(pieces, positions, strict=True):
            seen += piece.height
            assert rows_of(source, position=position).height == found.height - seen
            low.append((seen, reader.horizon(position, 0)))
        for seen, horizon in low:
            to_come = found["t"].to_physical()[seen:].drop_nulls()
            assert horizon <= (to_come.min() if len(to_come) else END_OF_TIME)


def test_lows_count_a_damaged_part_as_if_it_came():
    lows = Lows([FileLows((3, 2), (10, 5)), FileLows((), ()), FileLows((1, 0), (7, None))])
    assert [
        lows.after(lows.row(file, part, rows))
        for file, part, rows in [(0, 0, 0), (0, 1, 1), (1, 0, 0), (2, 1, 0)]
    ] == [5, 5, 7, END_OF_TIME]
    assert lows.row(0, 9, 9) == 5
    assert lows.row(3, 0, 0) == 6


@pytest.mark.parametrize("on_error", ["raise", "dead_letter"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_file_that_is_deleted_or_replaced_while_it_is_read(tmp_path, on_error, suffix):
    for index in range(2):
        write(tmp_path / f"f{index}{suffix}", frame(index * 5000, 5000), 500)
    source = source_of(tmp_path, FileOptions(on_error=on_error))
    second = tmp_path / f"f1{suffix}"
    content = second.read_bytes()
    for change, message in [
        (second.unlink, "does not exist"),
        (lambda: second.write_bytes(content + b" "), "has changed since"),
        (lambda: os.utime(second, ns=(1, 1)), "has changed since"),
    ]:
        reader = source.open("scan", None)
        change()
        with pytest.raises(ConnectorError, match=message):
            read_all(reader)
        reader.close()
        second.write_bytes(content)


@pytest.mark.parametrize("on_error", ["raise", "dead_letter"])
@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_an_ipc_file_that_is_shortened_while_it_is_read(tmp_path, on_error, compression):
    path = tmp_path / "f1.arrow"
    rows = frame(0, 200_000).with_columns(pl.col("id").shuffle(0))
    rows.write_ipc(path, record_batch_size=5_000, compression=compression)
    reader = IpcSource(path, FileOptions(on_error=on_error)).open("scan", None)
    first = reader.read(5_000)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ConnectorError, match="has changed since"):
        read_all(reader)
    reader.close()
    assert first is not None
    assert first[0].equals(rows.head(5_000))


def test_what_was_read_of_an_ipc_file_outlives_it(tmp_path):
    path = tmp_path / "f1.arrow"
    rows = frame(0, 100_000)
    rows.write_ipc(path, record_batch_size=10_000)
    found = ars.scan_ipc(path).collect(progress=False)
    os.truncate(path, 0)
    assert found.equals(rows)


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Enum(["a", "b"])])
def test_batches_with_dictionaries_are_read_ahead_in_order(tmp_path, kind):
    rows = frame(0, 30_000).with_columns(name=pl.Series(["a", "b", None] * 10_000, dtype=kind))
    write(tmp_path / "f1.arrow", rows, 1_000)
    assert rows_of(IpcSource(tmp_path)).equals(rows)
    assert rows_of(IpcSource(tmp_path).project(["name"])).equals(rows.select("name"))


@pytest.mark.parametrize("format", [ParquetFormat(), IpcFormat()], ids=["parquet", "ipc"])
@pytest.mark.parametrize("columns", [1, 3000])
def test_tails_of_long_footers(tmp_path, format, columns):  # noqa: A002 - the word for it
    rows = pl.DataFrame({f"a column with a long name {index}": [index] for index in range(columns)})
    path = tmp_path / f"f{format.suffixes[0]}"
    write(path, rows)
    with path.open("rb") as stream:
        tail = format.tail(stream)
    assert len(tail) < path.stat().st_size
    assert format.footer(tail).schema == format.footer(str(path)).schema == rows.schema
    assert path.read_bytes().endswith(tail)


# credentials


def test_nothing_that_can_be_shown_has_a_credential(s3, web, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "arrowstream")
    write(web.folder / "a.parquet", frame(0, 10))
    fsspec.filesystem("s3", **s3.storage_options).pipe(
        f"{s3.url}/a.parquet", (web.folder / "a.parquet").read_bytes()
    )
    canary = "CANARY-5b1d"
    options = {
        **s3.storage_options,
        "secret": f"{canary}-secret",
        "key": f"{canary}-key",
        "token": f"{canary}-token",
    }
    texts = []
    for url, storage in (
        (f"{s3.url}/a.parquet", options),
        (f"{web.url}/a.parquet?X-Amz-Signature={canary}", {"headers": {"Authorization": canary}}),
        (web.url.replace("//", f"//me:{canary}@") + "/a.parquet", None),
    ):
        stream = ars.scan_parquet(url, event_time="t", include_file_paths="path", storage_options=storage)
        job = stream.sink_parquet(tmp_path / f"out{len(texts)}")
        report = job.run(checkpoint=tmp_path / f"checkpoint{len(texts)}", progress=False)
        texts += [repr(stream), str(stream), stream.explain(), repr(job), repr(report), str(report)]
        texts.append(stream.collect().write_json())
        with pytest.raises(ArrowStreamError) as raised:
            ars.scan_parquet(url.replace("a.parquet", "b.parquet"), storage_options=storage).collect()
        texts += traceback.format_exception(raised.value)
        source = ParquetSource(url, FileOptions(storage_options=storage))
        texts += [repr(source), json.dumps(source.identity()), repr(source._options), repr(source._place)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 6
    for content in [
        *(text.encode() for text in texts),
        *(path.read_bytes() for path in files),
        caplog.text.encode(),
    ]:
        assert canary.encode() not in content


# mutated files


def mutated(content, draw):
    """A copy with a few bytes changed, most of them near the end, where the footer is."""
    raw = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        at = (
            draw.randrange(len(raw))
            if draw.random() < 0.5
            else len(raw) - 1 - draw.randrange(min(len(raw), 3000))
        )
        size = draw.randrange(1, 64)
        match draw.randrange(6):
            case 0:
                raw[at] ^= 1 << draw.randrange(8)
            case 1:
                raw[at] = draw.choice([0, 255, 127, 128, draw.randrange(256)])
            case 2:
                number = draw.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**40])
                raw[at : at + 8] = (number % 2**64).to_bytes(8, "little")[: draw.choice([4, 8])]
            case 3 if len(raw) > 200:
                del raw[at : at + size]
            case 4:
                raw[at:at] = draw.randbytes(size)
            case _:
                other = draw.randrange(len(raw))
                raw[at : at + size] = raw[other : other + size]
    return bytes(raw)


def originals(suffix):
    rows = frame(0, 12).with_columns(
        cat=pl.col("name").cast(pl.Categorical()),
        enum=pl.Series(["a", "b"] * 6, dtype=pl.Enum(["a", "b"])),
        dec=pl.col("id").cast(pl.Decimal(10, 2)),
        bits=pl.col("id") % 2 == 0,
        words=pl.concat_list(
            pl.col("name"), pl.lit(None, pl.String), pl.lit("a longer string than a view holds")
        ),
        nested=pl.struct("id", x=pl.concat_list("id", "id")),
        array=pl.concat_list("id", "id").cast(pl.Array(pl.Int8, 2)),
        nothing=pl.when(pl.col("id") > 3).then(pl.lit("also a longer string than a view holds")),
    )
    contents = []
    for compression in ("uncompressed", "zstd", "lz4"):
        sink = io.BytesIO()
        if suffix == ".parquet":
            rows.write_parquet(sink, row_group_size=5, compression=compression)
        else:
            rows.write_ipc(sink, record_batch_size=5, compression=compression)
        contents.append(sink.getvalue())
    sink = io.BytesIO()
    table = rows.drop("cat", "enum").to_arrow(compat_level=pl.CompatLevel.oldest())
    if suffix == ".parquet":
        pq.write_table(table, sink, row_group_size=5, data_page_version="2.0", write_page_checksum=True)
    else:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    return [*contents, sink.getvalue()]


def fuzzed(tmp_path, suffix, seeds):
    contents = originals(suffix)
    path = tmp_path / f"f{suffix}"
    for seed in seeds:
        draw = random.Random(seed)
        path.write_bytes(mutated(draw.choice(contents), draw))
        for on_error in ("raise", "skip", "dead_letter"):
            options = FileOptions(on_error=on_error)
            try:
                found = rows_of(source_of(tmp_path, options))
            except (DataError, PlanError):
                continue
            except BaseException:
                print(f"seed {seed} of {suffix}")
                raise
            else:
                found.write_ipc(io.BytesIO())  # looks at every value


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_mutated_files_are_errors_or_answers(tmp_path, suffix):
    fuzzed(tmp_path, suffix, range(200))


@pytest.mark.soak
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_many_mutated_files_are_errors_or_answers(tmp_path, suffix):
    fuzzed(tmp_path, suffix, range(1000, 11_000))


def test_a_bomb_among_parts_is_refused_before_a_byte_is_decoded(tmp_path):
    bomb = pl.DataFrame({"id": [1], "s": ["a" * 5_000_000]})
    for suffix in (".parquet", ".arrow"):
        folder = tmp_path / suffix
        folder.mkdir()
        if suffix == ".parquet":
            bomb.write_parquet(folder / "f1.parquet")
        else:
            bomb.write_ipc(folder / "f1.arrow", compression="zstd")
        write(folder / f"f2{suffix}", bomb.with_columns(s=pl.lit("b")))
        assert rows_of(source_of(folder)).height == 2
        with pytest.raises(
            DataError, match=r"f1\..* is too large: it holds 5,000,\d+ bytes .* of decompressed_max"
        ):
            source_of(folder, FileOptions(decompressed_max=1 << 20))
        found = rows_of(source_of(folder, FileOptions(decompressed_max=1 << 20, on_error="dead_letter")))
        assert found["id"].to_list() == [None, 1]
        assert "the cap of decompressed_max" in found[DEAD][0]["error"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(
        st.tuples(
            st.sampled_from(["1", "02", "__HIVE_DEFAULT_PARTITION__", "a%20b"]),
            st.sampled_from(["2024-01-01", "2024-02-30", "__HIVE_DEFAULT_PARTITION__"]),
        ),
        min_size=1,
        max_size=3,
    ),
    has_column=st.booleans(),
    options=st.sampled_from(
        [
            {},
            {"try_parse_hive_dates": False},
            {"hive_schema": {"k": pl.String, "d": pl.String}},
            {"hive_partitioning": False},
            {"hive_partitioning": True},
        ]
    ),
    on_error=st.sampled_from(["raise", "skip"]),
)
def test_keys_of_folders_are_the_columns_that_polars_has(tmp_path, keys, has_column, options, on_error):
    shutil.rmtree(tmp_path)
    for index, (key, date) in enumerate(keys):
        rows = pl.DataFrame({"id": [2 * index, 2 * index + 1]})
        if has_column:
            rows = rows.with_columns(k=pl.lit("of the file"), last=pl.lit(1))
        write(tmp_path / f"k={key}" / f"d={date}" / f"f{index}.parquet", rows)
    expected = pl.scan_parquet(tmp_path, include_file_paths="path", **options).collect().sort("id")
    source = ParquetSource(tmp_path, FileOptions(on_error=on_error, include_file_paths="path", **options))
    assert source.polars_schema == expected.schema
    assert rows_of(source).sort("id").equals(expected)
    for name in expected.columns:
        assert (
            rows_of(source.project([name, "id"] if name != "id" else [name]))
            .sort("id")[name]
            .equals(expected[name])
        )
