from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import subprocess
import sys
import textwrap
from contextlib import suppress
from itertools import cycle

import cramjam
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrowstream.connectors.files import decompression as module
from arrowstream.connectors.files.compression import (
    CODECS,
    codec_of_content,
    codec_of_name,
    compressor,
    suffix_of_codec,
    without_codec,
)
from arrowstream.connectors.files.decompression import decompressed
from arrowstream.errors import ConnectorError, DataError, PlanError

CONTENT = "".join(
    f"{number},{number * number % 977},name {number % 13}\n" for number in range(80_000)
).encode()

WRITTEN_BY_OTHERS = {
    "gzip": gzip.compress,
    "zstd": lambda content: pa.compress(content, "zstd", asbytes=True),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "snappy": lambda content: bytes(cramjam.snappy.compress(content)),
    "lz4": lambda content: pa.compress(content, "lz4", asbytes=True),
}


def compress(codec, content, level=None, cuts=()):
    writer = compressor(codec, level)
    pieces = []
    start = 0
    for end in (*cuts, len(content)):
        pieces.append(writer.write(content[start:end]))
        start = end
    return b"".join([*pieces, writer.finish()])


def read(stored, path="a.csv", sizes=(1 << 16,), **options):
    pieces = []
    with decompressed(io.BytesIO(stored), path, **options) as stream:
        read_into(pieces, stream, sizes)
    return b"".join(pieces)


def read_into(pieces, stream, sizes):
    for size in cycle(sizes):
        if not (piece := stream.read(size)):
            break
        pieces.append(piece)


@pytest.fixture(scope="module", params=CODECS)
def codec(request):
    return request.param


@pytest.fixture(scope="module")
def stored(codec):
    return WRITTEN_BY_OTHERS[codec](CONTENT)


def test_what_others_wrote_is_read_whatever_its_name(codec, stored):
    assert codec_of_content(stored) == codec
    assert read(stored) == CONTENT
    assert read(stored, compression=codec) == CONTENT
    assert read(stored, sizes=(1, 7, 4 << 20)) == CONTENT
    with decompressed(io.BytesIO(stored), "a") as stream:
        assert stream.read() == CONTENT
        assert stream.read() == b""
    with decompressed(io.BytesIO(stored), "a") as stream:
        assert list(pa.PythonFile(stream, "r").read(100)) == list(CONTENT[:100])


def test_members_one_after_the_other(stored):
    assert read(stored * 3) == CONTENT * 3


def test_zeros_behind_a_member_are_padding():
    assert read(gzip.compress(b"a") + b"\0" * 1000) == b"a"
    assert read(gzip.compress(b"a") + b"\0" * 300_000 + gzip.compress(b"b")) == b"ab"


def test_what_we_write_does_not_depend_on_the_cuts(codec):
    whole = compress(codec, CONTENT)
    assert read(whole) == CONTENT
    assert compress(codec, CONTENT, cuts=(1, 1, 100, 1_048_577)) == whole


def test_no_content(codec):
    empty = compress(codec, b"")
    assert codec_of_content(empty) == codec
    assert read(empty) == b""
    assert read(b"", f"a{suffix_of_codec(codec)}") == b""


@pytest.mark.parametrize(("codec", "level"), [("gzip", 9), ("bz2", 1), ("xz", 0), ("zstd", 19), ("lz4", 9)])
def test_levels(codec, level):
    small = CONTENT[:200_000]
    assert read(compress(codec, small, level)) == small
    assert compress(codec, small, level) != compress(codec, small)


@pytest.mark.parametrize(
    ("codec", "level", "message"),
    [
        ("gzip", 10, "compression_level=10: gzip has levels 0 to 9"),
        ("bz2", 0, "compression_level=0: bz2 has levels 1 to 9"),
        ("zstd", 23, "zstd has levels -131072 to 22"),
        ("snappy", 1, "snappy has no levels"),
        ("brotli", None, "compression='brotli' is not known"),
    ],
)
def test_levels_and_codecs_that_do_not_exist(codec, level, message):
    with pytest.raises(PlanError) as raised:
        compressor(codec, level)
    assert message in raised.value.fact


def test_a_compression_that_does_not_exist():
    with pytest.raises(PlanError, match="compression='gz' is not known") as raised:
        read(b"a", compression="gz")
    assert "gzip" in raised.value.choices


def test_names():
    assert codec_of_name("LOG.CSV.GZ") == "gzip"
    assert [codec_of_name(f"a{suffix_of_codec(codec)}") for codec in CODECS] == list(CODECS)
    assert [without_codec(f"a.csv{suffix_of_codec(codec)}") for codec in CODECS] == ["a.csv"] * 6


def test_what_is_not_compressed_is_handed_on():
    assert read(CONTENT) == CONTENT
    assert read(b"BZh1,b\n1,2\n") == b"BZh1,b\n1,2\n"  # the columns of a file
    compressed = gzip.compress(b"a")
    assert read(compressed, "a.csv.gz", compression="uncompressed") == compressed


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, stored):
        self.stored = io.BytesIO(stored)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.stored.readinto(buffer)


def test_a_file_that_cannot_seek(stored):
    assert decompressed(Pipe(stored), "a").read() == CONTENT
    assert decompressed(Pipe(CONTENT), "a").read() == CONTENT


# damage


def test_a_file_cut_short(stored):
    for size in (len(stored) // 2, len(stored) - 1):
        with pytest.raises(DataError) as raised:
            read(stored[:size], "/d/a.csv.gz")
        assert raised.value.fact.startswith("/d/a.csv.gz is cut short")
        assert f"byte {size:,}" in raised.value.fact


def test_a_file_of_another_kind(codec):
    for stored in (CONTENT, b"x"):
        with pytest.raises(DataError) as raised:
            read(stored, f"/d/a.csv{suffix_of_codec(codec)}")
        assert f"/d/a.csv{suffix_of_codec(codec)} is " in raised.value.fact
        assert codec in raised.value.fact
        assert "mislabelled" in raised.value.hint


def test_rubbish_behind_the_content(stored):
    with pytest.raises(DataError, match=r"^/d/a is "):
        read(stored + b"rubbish" * 10, "/d/a")


def test_what_comes_before_the_damage_does_not_depend_on_how_it_is_read(stored):
    cut = stored[: len(stored) // 2]
    got = []
    for sizes in ((100_000,), (1 << 20, 3), (64 << 20,)):
        pieces = []
        with decompressed(io.BytesIO(cut), "a") as stream:
            with pytest.raises(DataError):
                read_into(pieces, stream, sizes)
            with pytest.raises(DataError):  # again
                stream.read(1)
        got.append(b"".join(pieces))
    assert got[0] == got[1] == got[2]
    assert CONTENT.startswith(got[0])


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1), to=st.binary(min_size=1, max_size=4))
def test_any_damage_is_a_data_error_or_does_not_matter(codec, where, to):
    read_damaged(WRITTEN_BY_OTHERS[codec](CONTENT[:20_000]), int(where * 20_000), to)


@pytest.mark.soak
def test_ten_thousand_damages(codec):
    stored = WRITTEN_BY_OTHERS[codec](CONTENT[:20_000])
    chance = random.Random(codec)
    for _ in range(10_000):
        read_damaged(stored, chance.randrange(20_000), chance.randbytes(chance.randint(1, 4)))


def read_damaged(stored, at, to):
    """A typed error, or content: with a checksum the right one."""
    at %= len(stored)
    with suppress(DataError):
        content = read(stored[:at] + to + stored[at + len(to) :])
        if codec_of_content(stored) in {"gzip", "xz", "snappy"} and at > 20:
            assert content == CONTENT[:20_000]


def test_an_error_of_the_disk_is_no_damage(stored):
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1):
            if self.tell() >= 100:
                raise OSError(5, "Input/output error")
            return super().read(min(size or 0, 100))

    with pytest.raises(OSError, match="Input/output error"), decompressed(Failing(stored), "a") as stream:
        stream.read(1 << 20)


# bombs


def bomb(codec, size_bytes):
    writer = compressor(codec)
    piece = bytes(1 << 20)
    return b"".join([*(writer.write(piece) for _ in range(size_bytes >> 20)), writer.finish()])


def test_more_content_than_the_cap(codec):
    stored = bomb(codec, 8 << 20)
    assert len(read(stored, max_bytes=8 << 20)) == 8 << 20
    with pytest.raises(DataError) as raised:
        read(stored, "/d/a", max_bytes=5_000_000)
    assert raised.value.fact.startswith("/d/a holds more than 5,000,000 bytes when decompressed")
    assert "decompressed_max" in raised.value.fact
    assert "decompressed_max=" in raised.value.hint


def test_without_a_cap_a_ratio_is_one(monkeypatch):
    stored = bomb("zstd", 64 << 20)
    assert len(read(stored)) == 64 << 20
    monkeypatch.setattr(module, "FLOOR_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"the cap of the default of decompressed_max, 1,000 times what is"):
        read(stored)
    assert read(WRITTEN_BY_OTHERS["gzip"](CONTENT)) == CONTENT


def test_a_bomb_takes_no_memory(codec):
    script = f"""
        import io, resource
        from arrowstream.connectors.files.compression import compressor
        from arrowstream.connectors.files.decompression import decompressed
        from arrowstream.errors import DataError
        writer = compressor({codec!r})
        piece = bytes(1 << 20)
        stored = b"".join([*(writer.write(piece) for _ in range(100)), writer.finish()])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            with decompressed(io.BytesIO(stored), "a", max_bytes=80 << 20) as stream:
                while stream.read(1 << 20):
                    pass
        except DataError:
            print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        timeout=60,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 64


def test_without_cramjam(monkeypatch):
    monkeypatch.setitem(sys.modules, "cramjam", None)
    for use in (lambda: compressor("snappy"), lambda: read(b"\xff\x06\x00\x00sNaPpY")):
        with pytest.raises(ConnectorError, match="Snappy needs the package cramjam") as raised:
            use()
        assert raised.value.hint == 'pip install "arrowstream[snappy]"'
