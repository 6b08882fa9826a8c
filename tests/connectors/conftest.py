from __future__ import annotations

import functools
import os
import threading
import uuid
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest


@pytest.fixture(scope="session")
def s3_server():
    """A server of S3 on loopback, one for each test process; or the one that ARROWSTREAM_TEST_S3 names."""
    if endpoint := os.environ.get("ARROWSTREAM_TEST_S3"):
        yield endpoint
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A fresh bucket: `url` ("s3://bucket"), `bucket`, `storage_options`, `endpoint_url`, `is_moto`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    options = {
        "key": "key-of-the-tests",
        "secret": "secret-of-the-tests",
        "endpoint_url": s3_server,
        "client_kwargs": {"region_name": "us-east-1"},
    }
    fsspec.filesystem("s3", **options).call_s3("create_bucket", Bucket=bucket)
    return SimpleNamespace(
        url=f"s3://{bucket}",
        bucket=bucket,
        storage_options=options,
        endpoint_url=s3_server,
        is_moto="ARROWSTREAM_TEST_S3" not in os.environ,
    )


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves a folder, with ranges and ETags as other servers do."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def log_message(self, format, *args):  # noqa: A002 - the name it is called with
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))

    def _answer(self, *, with_body):
        special = self.server.answers.get(self.path.partition("?")[0])
        if special is not None and special(self) is not False:
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        etag = f'"{path.stat().st_mtime_ns}-{len(content)}"'
        if self.headers.get("If-Match", etag) != etag:
            self.send_error(412)
            return
        status, first, last = 200, 0, len(content) - 1
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and self.server.ranges:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            status, first = 206, int(begin)
            last = min(int(end), last) if end else last
        body = content[first : last + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def web(tmp_path_factory):
    """A web server on loopback: `url`, the `folder` it serves, the `requests` it had.

    `server.answers[path]` may answer a path in another way (False: as usual); `server.ranges = False` makes
    it one that sends whole files only.
    """
    folder = tmp_path_factory.mktemp("web")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(RangeHandler, directory=str(folder)))
    server.daemon_threads = True
    server.requests, server.answers, server.ranges = [], {}, True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield SimpleNamespace(
        url=f"http://127.0.0.1:{server.server_port}", folder=folder, server=server, requests=server.requests
    )
    server.shutdown()
    server.server_close()
