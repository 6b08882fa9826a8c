from __future__ import annotations

import asyncio
import io
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
import zipfile
from types import SimpleNamespace

import fsspec
import pytest
from yarl import URL

from arrowstream.connectors.files import remote, remote_files
from arrowstream.connectors.files import web as web_module
from arrowstream.connectors.files.credentials import credentials, shown, without_credentials
from arrowstream.connectors.files.options import FileOptions
from arrowstream.connectors.files.places import Place, place_of
from arrowstream.errors import ArrowStreamError, ConnectorError, PlanError

CSV = (".csv",)
NAMES = [
    "d/2.csv",
    "d/10.csv",
    "d/sub/k=1/3.CSV",
    "d/notes.txt",
    "d/_tmp/4.csv",
    "d/sub/.hidden.csv",
    "e/1.csv",
]


@pytest.fixture(params=["local", "s3", "memory"])
def tree(request, tmp_path):
    """A place with folders: where it is, and its storage options."""
    content = {name: name.encode() * 3 for name in NAMES}
    if request.param == "local":
        for name, text in content.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text)
        return str(tmp_path), None
    if request.param == "s3":
        bucket = request.getfixturevalue("s3")
        url, options = bucket.url, bucket.storage_options
    else:
        url, options = f"memory://{tmp_path.name}", None
    fsspec.filesystem(request.param, **(options or {})).pipe(
        {f"{url}/{name}": text for name, text in content.items()}
    )
    return url, options


def found(tree, patterns, suffixes=CSV):
    root, options = tree
    place = place_of(patterns, options)
    return [file.path.removeprefix(f"{root}/") for file in place.find(patterns, suffixes)]


def test_folders_globs_and_names(tree):
    root, options = tree
    assert found(tree, f"{root}/d") == ["d/2.csv", "d/10.csv", "d/sub/k=1/3.CSV"]
    assert found(tree, f"{root}/d/") == ["d/2.csv", "d/10.csv", "d/sub/k=1/3.CSV"]
    assert found(tree, root, (".txt",)) == ["d/notes.txt"]
    assert found(tree, f"{root}/d/*.csv") == ["d/2.csv", "d/10.csv"]
    assert found(tree, f"{root}/*/[12].csv") == ["d/2.csv", "e/1.csv"]
    assert found(tree, f"{root}/d/s*") == ["d/sub/k=1/3.CSV"]
    assert found(tree, f"{root}/d/**/*.CSV") == ["d/sub/k=1/3.CSV"]
    assert found(tree, f"{root}/d/*.txt") == ["d/notes.txt"]
    assert found(tree, [f"{root}/e/1.csv", f"{root}/d/?.csv"]) == ["d/2.csv", "e/1.csv"]
    place = place_of(root, options)
    assert isinstance(place, Place)
    files = place.find(f"{root}/d", CSV)
    assert all(file.in_folder for file in files)
    assert {file.path[: file.hive_start] for file in files} == {f"{root}/d/"}
    assert {file.hive_start for file in place.find(f"{root}/d/*.csv", CSV)} == {0}


def test_what_was_found_is_what_is_read(tree):
    root, options = tree
    place = place_of(root, options)
    for file in place.find(root, CSV):
        name = file.path.removeprefix(f"{root}/")
        assert file.size_bytes == len(name) * 3
        assert place.stat(file.path) == type(file)(file.path, file.size_bytes, file.version)
        with place.open(file) as stream:
            assert stream.read() == name.encode() * 3
        with place.open(file.path) as stream:
            assert (stream.seek(2), stream.read(3), stream.tell()) == (2, (name.encode() * 3)[2:5], 5)
            assert stream.seek(-1, io.SEEK_END) == file.size_bytes - 1
            buffer = bytearray(5)
            assert (stream.readinto(buffer), stream.read()) == (1, b"")


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["d/2.csv", "d/*.csv"], "2.csv is named twice, its rows would be read twice"),
        ("d/*.parquet", "no file matches"),
        ("d/sub", "no .parquet files below"),
    ],
)
def test_nothing_and_too_much(tree, patterns, message):
    root, _ = tree
    named = [f"{root}/{name}" for name in ([patterns] if isinstance(patterns, str) else patterns)]
    with pytest.raises(PlanError, match=message) as raised:
        found(tree, named, (".parquet",))
    assert raised.value.hint


def test_one_place_a_scan(tmp_path):
    with pytest.raises(PlanError, match="local paths and s3:// URLs in one scan"):
        place_of([tmp_path, "s3://bucket/x"])
    with pytest.raises(PlanError, match="http:// URLs and s3:// URLs in one scan"):
        place_of(["https://host/x", "s3://bucket/x"])
    with pytest.raises(PlanError, match="storage_options are for URLs"):
        place_of(tmp_path, {"key": "x"})
    with pytest.raises(PlanError, match="s4:// is not a kind of URL that can be read") as raised:
        place_of("s4://bucket/x")
    assert raised.value.choices
    assert place_of(f"file://{tmp_path}").is_local


@pytest.mark.parametrize(("url", "extra"), [("s3://bucket/x", "s3"), ("https://host/x", "http")])
def test_a_missing_client_names_the_extra(url, extra):
    script = f"""
import sys
sys.modules["s3fs"] = sys.modules["aiohttp"] = None
from arrowstream.connectors.files.places import place_of
from arrowstream.errors import ConnectorError
try:
    place_of({url!r})
except ConnectorError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert f'pip install "arrowstream[{extra}]"' in done.stdout, done.stderr


def test_other_protocols_of_fsspec(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/1.csv", "one")
        archive.writestr("x/2.csv", "two")
    url = f"zip://x/*.csv::{tmp_path}/a.zip"
    place = place_of(url)
    files = place.find(url, CSV)
    assert [file.path for file in files] == [f"zip://x/{index}.csv::{tmp_path}/a.zip" for index in (1, 2)]
    assert [place.open(file).read() for file in files] == [b"one", b"two"]


def test_a_key_with_odd_characters(s3):
    filesystem = fsspec.filesystem("s3", **s3.storage_options)
    names = ["a b.csv", "a#b.csv", "a%20b.csv", "a+b.csv", "ä.csv", "k=1/x.csv", "a?b.csv"]
    filesystem.pipe({f"{s3.bucket}/{name}": name.encode() for name in names})
    place = place_of(s3.url, s3.storage_options)
    files = place.find(s3.url, CSV)
    assert sorted(file.path for file in files) == sorted(f"{s3.url}/{name}" for name in names)
    for file in files:
        assert place.open(file).read().decode() == file.path.removeprefix(f"{s3.url}/")
        place.check_unchanged(file)


# http


def test_http_files_by_name(web):
    for name in ("10.csv", "2.csv"):
        (web.folder / name).write_text(name)
    urls = [f"{web.url}/{name}" for name in ("10.csv", "2.csv")]
    place = place_of(urls)
    files = place.find(urls, CSV)
    assert [file.path for file in files] == urls[::-1]
    assert [place.open(file).read() for file in files] == [b"2.csv", b"10.csv"]
    assert not place.is_local
    for bad in (f"{web.url}/*.csv", f"{web.url}/"):
        with pytest.raises(PlanError, match="http has no list of files") as raised:
            place_of(bad).find(bad, CSV)
        assert "a list of them" in raised.value.hint
    with pytest.raises(PlanError, match="is named twice"):
        place.find([urls[0], urls[0]], CSV)


def test_urls_that_differ_in_what_is_not_shown(web):
    web.server.answers["/x.csv"] = lambda request: answer(request, request.path.partition("=")[2].encode())
    urls = [f"{web.url}/x.csv?token={name}" for name in ("first", "second")]
    place = place_of(urls)
    files = place.find(urls, CSV)
    assert [file.path for file in files] == [f"{web.url}/x.csv", f"{web.url}/x.csv#2"]
    assert [place.open(file).read() for file in files] == [b"first", b"second"]


def test_user_and_password_of_a_url(web):
    seen = []
    web.server.answers["/x.csv"] = lambda request: seen.append(request.headers.get("Authorization")) or False
    (web.folder / "x.csv").write_text("x")
    url = web.url.replace("//", "//user:pass@") + "/x.csv"
    place = place_of(url)
    (file,) = place.find(url, CSV)
    assert place.open(file).read() == b"x"
    assert set(seen) == {"Basic dXNlcjpwYXNz"}
    assert file.path == f"{web.url}/x.csv"


def answer(request, content=b"", status=200, **headers):
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    if "Transfer_Encoding" not in headers:
        request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(content)


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_server_without_ranges(web, size):
    content = os.urandom(size)
    (web.folder / "x.bin").write_bytes(content)
    web.server.ranges = False
    place = place_of(f"{web.url}/x.bin")
    (file,) = place.find(f"{web.url}/x.bin", ())
    with place.open(file) as stream:
        assert stream.read(4) == content[:4]
        assert stream.read() == content[4:]
    with place.open(file) as stream:
        stream.seek(-4, io.SEEK_END)
        assert stream.read() == content[-4:]
        stream.seek(1)
        assert stream.read(3) == content[1:4]


def test_a_server_that_does_not_say_how_long_a_file_is(web):
    def chunked(request):
        answer(request, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Transfer_Encoding="chunked")

    web.server.answers["/x.csv"] = chunked
    place = place_of(f"{web.url}/x.csv")
    (file,) = place.find(f"{web.url}/x.csv", CSV)
    assert file.size_bytes == -1
    with place.open(file) as stream:
        assert not stream.seekable()
        with pytest.raises(io.UnsupportedOperation):
            stream.seek(0)
        assert (stream.read(7), stream.read()) == (b"hello w", b"orld")


# what is asked for


def test_large_files_come_in_several_requests_at_a_time(web, monkeypatch):
    content = os.urandom(20 << 20)
    (web.folder / "x.bin").write_bytes(content)
    now, most, lock = [0], [0], threading.Lock()

    def slowly(request):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)  # latency
        with lock:
            now[0] -= 1
        return False

    web.server.answers["/x.bin"] = slowly
    place = place_of(f"{web.url}/x.bin")
    (file,) = place.find(f"{web.url}/x.bin", ())
    web.requests.clear()
    with place.open(file) as stream:
        pieces = [stream.read(1 << 18)]
        while pieces[-1]:
            pieces.append(stream.read(1 << 18))
    assert b"".join(pieces) == content
    ranges = [range_ for method, _, range_ in web.requests if method == "GET"]
    assert len(ranges) == len(set(ranges)) < 12
    assert 2 <= most[0] <= 4


def test_only_the_head_is_fetched_if_only_the_head_is_read(web):
    (web.folder / "x.bin").write_bytes(bytes(50 << 20))
    place = place_of(f"{web.url}/x.bin")
    (file,) = place.find(f"{web.url}/x.bin", ())
    web.requests.clear()
    with place.open(file) as stream:
        assert stream.read(1000) == bytes(1000)
    assert [range_ for _, _, range_ in web.requests] == ["bytes=0-262143"]


def test_ranges_that_are_asked_for_together(web):
    content = os.urandom(10 << 20)
    (web.folder / "x.bin").write_bytes(content)
    place = place_of(f"{web.url}/x.bin")
    (file,) = place.find(f"{web.url}/x.bin", ())
    with place.open(file) as stream:
        assert stream.read(1) == content[:1]
        web.requests.clear()
        ranges = [(9_000_000, 9_000_010), (2_000_000, 2_000_100), (2_100_000, 2_200_000)]
        stream.prefetch(ranges)
        for start, end in ranges:
            stream.seek(start)
            assert stream.read(end - start) == content[start:end]
        asked = sorted(range_ for _, _, range_ in web.requests)
        assert asked == ["bytes=2000000-2199999", "bytes=9000000-9000009"]
        stream.release(3_000_000)
        stream.seek(9_000_005)
        assert stream.read(10) == content[9_000_005:9_000_015]


def test_joined_ranges():
    gap = remote_files._GAP_BYTES_MAX
    assert remote_files.joined([]) == []
    assert remote_files.joined([(5, 9), (0, 2), (2, 5)]) == [(0, 9)]
    assert remote_files.joined([(0, 1), (1 + gap, 2 + gap), (3 + 2 * gap, 4 + 2 * gap)]) == [
        (0, 2 + gap),
        (3 + 2 * gap, 4 + 2 * gap),
    ]


# what goes wrong


def test_a_file_that_is_not_there(tree):
    root, options = tree
    if place_of(root, options).is_local:
        with pytest.raises(PlanError, match=r"no file matches .*none\.csv"):
            place_of(root).find(f"{root}/none.csv", CSV)
        return
    with pytest.raises(ConnectorError, match=r"none\.csv does not exist") as raised:
        place_of(root, options).find(f"{root}/none.csv", CSV)
    assert not raised.value.retryable
    with pytest.raises(ConnectorError, match=r"none\.csv does not exist"):
        place_of(root, options).stat(f"{root}/none.csv")


def test_a_file_that_is_gone_or_changed(tree):
    root, options = tree
    place = place_of(root, options)
    (file,) = place.find(f"{root}/e/1.csv", CSV)
    if options is None and not root.startswith("memory"):
        os.utime(file.path, ns=(1, 1))
    else:
        scheme = root.partition(":")[0]
        time.sleep(0.001)  # what memory calls a version is a time
        fsspec.filesystem(scheme, **(options or {})).pipe(file.path, b"another")
    with pytest.raises(ConnectorError, match=r"1\.csv has changed since"):
        place.check_unchanged(file)
    with pytest.raises(ConnectorError, match=r"1\.csv has changed since"), place.open(file) as stream:
        stream.read()
    if options is not None:
        fsspec.filesystem("s3", **options).rm(file.path)
        with pytest.raises(ConnectorError, match=r"1\.csv does not exist \(any more\)"):
            place.check_unchanged(file)
        with pytest.raises(ConnectorError, match=r"1\.csv does not exist"), place.open(file) as stream:
            stream.read()


@pytest.mark.parametrize("kind", ["s3", "web"])
def test_a_file_that_changes_in_the_middle(request, kind):
    where = request.getfixturevalue(kind)
    options = where.storage_options if kind == "s3" else None

    def put(content):
        if kind == "s3":
            fsspec.filesystem("s3", **options).pipe(f"{where.url}/x.bin", content)
        else:
            (where.folder / "x.bin").write_bytes(content)

    put(bytes(12 << 20))
    url = f"{where.url}/x.bin"
    place = place_of(url, options)
    (file,) = place.find(url, ())
    with place.open(file) as stream:
        stream.read(1)
        put(b"\x01" * (12 << 20))
        with pytest.raises(ConnectorError, match=r"x\.bin has changed since"):
            stream.read()


@pytest.mark.parametrize("size", [3, 1_000_000])
def test_a_weak_version_is_checked_when_all_is_there(web, size):
    content, version = bytes(size), [1]

    def answer_weakly(request):
        first, last = 0, size - 1
        if (asked := request.headers.get("Range")) is not None:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
        answer(request, content[first : last + 1], 206, ETag=f'W/"{version[0]}"', X_Size=str(size))

    web.server.answers["/x.csv"] = lambda request: (
        answer(request, content, ETag=f'W/"{version[0]}"')
        if request.command == "HEAD"
        else answer_weakly(request)
    )
    place = place_of(f"{web.url}/x.csv")
    (file,) = place.find(f"{web.url}/x.csv", CSV)
    with place.open(file) as stream:
        assert stream.read() == content
    with place.open(file) as stream:
        stream.read(1)
        version[0] = 2
        if size < 1000:
            assert stream.read() == content[1:]  # came with the first byte
        else:
            with pytest.raises(ConnectorError, match="has changed since"):
                stream.read()
    with pytest.raises(ConnectorError, match="has changed since"), place.open(file) as stream:
        stream.read()


@pytest.mark.parametrize(
    ("status", "message", "retryable"),
    [
        (401, "access denied", False),
        (403, "access denied", False),
        (404, r"does not exist \(any more\)", False),
        (410, r"does not exist \(any more\)", False),
        (429, "the server answers 429", True),
        (500, "the server answers 500", True),
        (503, "the server answers 503", True),
        (418, "418", False),
    ],
)
def test_answers_of_http(web, monkeypatch, status, message, retryable):
    monkeypatch.setattr(remote_files, "_WAITS_S", (0.0, 0.0))
    web.server.answers["/x.csv"] = lambda request: answer(request, status=status)
    url = f"{web.url}/x.csv?signature=secret"
    with pytest.raises(ConnectorError, match=message) as raised:
        place_of(url).find(url, CSV)
    assert raised.value.retryable is retryable
    assert f"{web.url}/x.csv " in raised.value.fact
    assert raised.value.hint
    assert "secret" not in "".join(traceback.format_exception(raised.value))


def test_http_is_tried_again_a_few_times(web, monkeypatch):
    monkeypatch.setattr(remote_files, "_WAITS_S", (0.0, 0.0))
    (web.folder / "x.csv").write_text("abc")
    failures = [0]

    def failing(request):
        if request.command == "GET" and failures[0] > 0:
            failures[0] -= 1
            return answer(request, status=503)
        return False

    web.server.answers["/x.csv"] = failing
    place = place_of(f"{web.url}/x.csv")
    (file,) = place.find(f"{web.url}/x.csv", CSV)
    failures[0] = 2
    assert place.open(file).read() == b"abc"
    failures[0] = 3
    with pytest.raises(ConnectorError, match="503") as raised:
        place.open(file).read()
    assert raised.value.retryable


def test_answers_of_s3(s3, s3_server):
    import urllib.request

    fsspec.filesystem("s3", **s3.storage_options).pipe(f"{s3.url}/x.csv", b"x")
    with pytest.raises(ConnectorError, match=r"there is no such bucket|does not exist") as raised:
        place_of("s3://no-such-bucket-here/x.csv", s3.storage_options).find(
            "s3://no-such-bucket-here/x.csv", CSV
        )
    assert not raised.value.retryable
    wrong = {**s3.storage_options, "secret": "wrong"}

    def refuse_after(count):
        asked = urllib.request.Request(f"{s3_server}/moto-api/reset-auth", data=count, method="POST")
        asked.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(asked, timeout=30).close()

    refuse_after(b"0")
    try:
        with pytest.raises(ConnectorError, match=r"x\.csv cannot be read: access denied") as raised:
            place_of(s3.url, wrong).find(f"{s3.url}/x.csv", CSV)
    finally:
        refuse_after(b"inf")
    assert not raised.value.retryable
    assert "AWS_ACCESS_KEY_ID" in raised.value.hint
    with pytest.raises(ConnectorError, match="access denied"):
        place_of(s3.url, {"endpoint_url": s3.endpoint_url}).find(f"{s3.url}/x.csv", CSV)
    with pytest.raises(PlanError, match=r"the storage_options for .* are not understood: .*'kee'"):
        place_of(s3.url, {"kee": "x"}).find(f"{s3.url}/x.csv", CSV)
    with pytest.raises(PlanError, match="has credentials in front of its bucket"):
        place_of("s3://key:secret@bucket/x.csv")


@pytest.fixture
def silent():
    """The port of a server that accepts and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield server.getsockname()[1]


def test_nobody_answers(silent, s3, monkeypatch):
    monkeypatch.setattr(web_module, "_READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(remote_files, "_WAITS_S", (0.0,))
    monkeypatch.setattr(remote, "_ATTEMPTS_MAX", 1)
    for port, message in ((silent, "no answer in time"), (1, "its server cannot be reached")):
        url = f"http://127.0.0.1:{port}/x.csv"
        with pytest.raises(ConnectorError, match=message) as raised:
            place_of(url).find(url, CSV)
        assert raised.value.retryable
        options = {
            **s3.storage_options,
            "endpoint_url": f"http://127.0.0.1:{port}",
            "config_kwargs": {"read_timeout": 0.1, "connect_timeout": 0.1},
        }
        with pytest.raises(ConnectorError, match=message) as raised:
            place_of("s3://b/x.csv", options).find("s3://b/x.csv", CSV)
        assert raised.value.retryable


# redirects


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/x",
        "http://[::1]:1/x",
        "http://localhost:1/x",
        "http://10.0.0.1/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://0.0.0.0:1/x",
        "//169.254.169.254/x",
        "http://0x7f000001:1/x",
        "http://2130706433:1/x",
    ],
)
def test_redirects_into_the_network_are_not_followed(web, target):
    web.server.answers["/x.csv"] = lambda request: answer(request, status=302, Location=target)
    url = f"{web.url}/x.csv"
    with pytest.raises(ConnectorError, match=r"x\.csv cannot be read") as raised:
        place_of(url).find(url, CSV)
    assert not raised.value.retryable  # as it would be if somebody had been asked


def test_a_redirect_to_a_named_host_is_followed(web):
    web.server.answers["/x.csv"] = lambda request: answer(request, status=302, Location="/y.csv")
    (web.folder / "y.csv").write_text("moved")
    place = place_of(f"{web.url}/x.csv")
    (file,) = place.find(f"{web.url}/x.csv", CSV)
    assert place.open(file).read() == b"moved"


def test_addresses():
    for address in (
        "127.0.0.1",
        "169.254.169.254",
        "10.1.1.1",
        "::1",
        "fe80::1%eth0",
        "localhost",
        "0.0.0.0",
        "fd00::1",
    ):
        assert not web_module._is_public(address)
    for address in ("8.8.8.8", "2001:4860:4860::8888", "example.com"):
        assert web_module._is_public(address)


# credentials


def canaries():
    return [f"CANARY-{index:02}/+%&{index}" for index in range(50)]


def test_fifty_canaries_are_never_shown(s3, web, monkeypatch, caplog, capfd):
    """In options, URLs and the environment: nothing that is shown, raised or logged has one of them."""
    caplog.set_level(logging.INFO)
    logging.getLogger("arrowstream").setLevel(logging.DEBUG)
    words = [word.replace("/+%&", "x") for word in canaries()]
    monkeypatch.setenv("AWS_SESSION_TOKEN", words[0])
    monkeypatch.setenv("FSSPEC_S3_TOKEN", words[1])
    s3_options = {
        "key": words[2],
        "secret": words[3],
        "token": words[4],
        "client_kwargs": {"aws_session_token": words[5], "region_name": "us-east-1"},
        "s3_additional_kwargs": {"SSECustomerKey": words[6]},
        "profile": words[7],
    }
    shown_texts = []

    def attempt(action):
        try:
            shown_texts.append(repr(action()))
        except ArrowStreamError as error:
            shown_texts.extend([repr(error), str(error), error.fact, str(error.hint), str(vars(error))])
            shown_texts.extend(traceback.format_exception(error))

    for endpoint in (s3.endpoint_url, "http://127.0.0.1:1"):
        options = {**s3_options, "endpoint_url": endpoint}
        attempt(lambda: place_of(s3.url, options))  # noqa: B023 - called at once
        attempt(lambda: place_of(s3.url, options).find(f"{s3.url}/x.csv", CSV))  # noqa: B023
        shown_texts.append(repr(FileOptions(storage_options=options)))
    for index, word in enumerate(words[10:]):
        status = (200, 401, 403, 404, 429, 500, 302)[index % 7]
        web.server.answers["/x.csv"] = lambda request, status=status, word=word: answer(
            request, b"abc", status=status, Location=f"http://10.0.0.1/?{word}"
        )
        monkeypatch.setattr(remote_files, "_WAITS_S", ())
        url = [
            f"{web.url}/x.csv?X-Amz-Signature={word}&x=1",
            f"{web.url}/x.csv?{word}",
            f"{web.url.replace('//', f'//user:{word}@')}/x.csv",
            f"{web.url.replace('//', f'//{word}@')}/x.csv#{word}",
        ][index % 4]
        options = [None, {"headers": {"Authorization": f"Bearer {word}"}}][index % 2]
        attempt(lambda: place_of(url, options))  # noqa: B023
        attempt(lambda: place_of(url, options).find(url, CSV))  # noqa: B023
        attempt(lambda: place_of(url, options).find([url, url], CSV))  # noqa: B023
        attempt(lambda: place_of(url, options).open(place_of(url, options).find(url, CSV)[0]).read())  # noqa: B023
        attempt(lambda: place_of([url, "s3://b/x"], options))  # noqa: B023
        attempt(lambda: place_of(f"{url}/", options).find(f"{url}/", CSV))  # noqa: B023
    printed = capfd.readouterr()
    everything = "\n".join([*shown_texts, caplog.text, printed.out, printed.err])
    assert [word for word in words if word in everything] == []
    assert "127.0.0.1" in everything


def test_credentials_in_every_spelling():
    secret = "s3cr/et+%=ä"
    hidden = credentials(
        {"key": secret, "nested": [{"x": secret}], "region_name": "eu", "n": 3}, ["https://u:pw12@h/x"]
    )
    text = f"{secret} {secret.encode()!r} s3cr%2Fet%2B%25%3D%C3%A4 https://u:pw12@h/x?a=b eu"
    assert secret in hidden
    assert "eu" not in hidden
    shown_text = without_credentials(text, hidden)
    assert "s3cr" not in shown_text.replace("b'", "").split(" https")[0] or "…" in shown_text
    assert shown_text.endswith("https://h/x eu")


def test_what_is_shown_of_a_url():
    assert shown("s3://bucket/a?b#c") == "s3://bucket/a?b#c"
    assert shown("sftp://me:pw@host/a") == "sftp://host/a"
    assert shown("simplecache::https://me@host/a?x=1") == "simplecache::https://host/a"
    assert shown("/local/a@b") == "/local/a@b"


def test_a_name_is_looked_at_when_it_is_resolved():
    """Whatever the name of a redirect's host was before: its addresses count."""

    async def resolve(named):
        resolver = web_module._PublicResolver(frozenset(named))
        try:
            return await resolver.resolve("localhost", 80)
        finally:
            await resolver.close()

    assert asyncio.run(resolve({"localhost"}))
    with pytest.raises(web_module.InnerAddressError, match="localhost, which is not a public address"):
        asyncio.run(resolve({"example.org"}))


def test_https_is_not_left_by_a_redirect():
    async def follow(location, named=("8.8.8.8",)):
        redirects = web_module._redirects(frozenset(named)).on_request_redirect
        params = SimpleNamespace(
            url=URL("https://8.8.8.8/a/b.csv"), response=SimpleNamespace(headers={"Location": location})
        )
        await redirects[0](None, None, params)

    for fine in ("c.csv", "/c.csv", "https://8.8.8.8/c.csv", "https://1.1.1.1/", "https://example.org/"):
        asyncio.run(follow(fine))
    for location in ("http://8.8.8.8/c.csv", "https://127.0.0.1/", "//[::1]/", "https://192.168.0.1:8080/"):
        with pytest.raises(web_module.InnerAddressError, match="a redirect leads"):
            asyncio.run(follow(location))
