"""Downloads against a server on this machine: whole, resumed, without ranges, damaged, broken."""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import http.client
import http.server
import io
import os
import sys
import threading
import time
import types

import pytest

from data import download, lock
from data.registry import Remote
from experiments.errors import UserError

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at any path; the flags make it misbehave."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True  # whether it honours Range
        self.status = None  # answer with this error
        self.stop_after = None  # bytes sent before each of the next connections breaks
        self.breaks = 0  # how many connections break
        self.requests = []  # the Range header of every request
        self.gate = None  # an event that answers wait for
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path="file"):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.gate:
            server.gate.wait(10)
        if server.status:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            last = len(server.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        body = server.content[start:]
        if server.breaks:
            server.breaks -= 1
            body = body[: server.stop_after]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "RETRY_WAIT", 0.01)
    with Server() as running:
        yield running
        running.shutdown()


def remote(*urls, **changes):
    values = {"name": "file.bin", "size": len(CONTENT), "sha256": SHA256, "urls": urls}
    return Remote(**(values | changes))


def fetch(wanted, folder):
    calls = []
    path = download.fetch(wanted, folder, lambda *call: calls.append(call))
    return path, calls


def test_whole_file(tmp_path, server):
    wanted = remote(server.url())
    path, calls = fetch(wanted, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in path.parent.iterdir()) == ["file.bin", "file.bin.sha256"]
    assert path.with_name("file.bin.sha256").read_text() == f"{SHA256}  file.bin\n"
    assert calls[0] == ("file.bin", 0, len(CONTENT))
    assert calls[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert download.fetched_here(path, wanted)


def test_a_file_of_someone_else_is_not_ours(tmp_path, server):
    wanted = remote(server.url())
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    assert not download.fetched_here(path, wanted)
    path, _ = fetch(wanted, tmp_path)
    path.write_bytes(CONTENT[:-1])
    assert not download.fetched_here(path, wanted)


def test_resumes_a_partial_file(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:60_000])
    path, calls = fetch(remote(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == ["bytes=60000-"]
    assert calls[0] == ("file.bin", 60_000, len(CONTENT))
    assert calls[-1] == ("file.bin", len(CONTENT), len(CONTENT))


def test_a_complete_part_needs_no_request(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    path, _ = fetch(remote(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == []


def test_starts_again_where_the_server_knows_no_ranges(tmp_path, server):
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 60_000)
    path, calls = fetch(remote(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == ["bytes=60000-"]
    assert calls[-1] == ("file.bin", len(CONTENT), len(CONTENT))


def test_goes_on_after_broken_connections(tmp_path, server):
    server.stop_after, server.breaks = 10_000, 6  # more breaks than ATTEMPTS, each with progress
    path, _ = fetch(remote(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None] + [f"bytes={n}0000-" for n in range(1, 7)]


@pytest.mark.parametrize("size", [60_000, len(CONTENT), len(CONTENT) + 10])
def test_a_damaged_part_is_thrown_away_once(tmp_path, server, size):
    (tmp_path / "file.bin.part").write_bytes(b"x" * size)
    path, _ = fetch(remote(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] is None


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"x", CONTENT + b"more"], ids=["changed", "longer"]
)
def test_wrong_checksum(tmp_path, server, content):
    server.content = content
    with pytest.raises(UserError, match=r"file\.bin .*checksum is wrong.* fetch it by hand"):
        fetch(remote(server.url()), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert server.requests == [None]


def test_a_shorter_file_than_published(tmp_path, server):
    server.content = CONTENT[:-1]
    with pytest.raises(UserError, match=r"cannot download file\.bin"):
        fetch(remote(server.url()), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_the_next_mirror_is_tried(tmp_path, server):
    with Server() as broken:
        broken.status = 404
        path, _ = fetch(remote(broken.url(), server.url()), tmp_path)
        broken.shutdown()
    assert path.read_bytes() == CONTENT
    assert len(broken.requests) == 1  # no use in asking again


def test_the_next_mirror_goes_on_where_the_first_stopped(tmp_path, server):
    with Server() as broken:
        broken.stop_after, broken.breaks = 50_000, 1
        answer = broken.url()
        original = download._receive

        def receive(url, start, *rest):
            if url == answer and start:
                broken.status = 503
            original(url, start, *rest)

        download._receive = receive
        try:
            path, _ = fetch(remote(answer, server.url()), tmp_path)
        finally:
            download._receive = original
            broken.shutdown()
    assert path.read_bytes() == CONTENT
    assert len(broken.requests) == 1 + download.ATTEMPTS
    assert server.requests == ["bytes=50000-"]


def broken_network(monkeypatch, method, errors):
    """Has an HTTP connection's ``method`` raise the errors in turn, None for a call that succeeds.

    EHOSTUNREACH has no class of its own: it is an OSError as a full disk's is.
    """
    original, errors = getattr(*method), iter(errors)

    def call(*arguments):
        if number := next(errors, None):
            raise OSError(number, os.strerror(number))
        return original(*arguments)

    monkeypatch.setattr(*method, call)


READ = (http.client.HTTPResponse, "read")
ANSWER = (http.client.HTTPConnection, "getresponse")


@pytest.mark.parametrize(
    ("method", "errors", "requests"),
    [
        (READ, [None, errno.EHOSTUNREACH], [None, "bytes=40000-"]),
        (READ, [errno.ENETUNREACH, None], [None, None]),
        (ANSWER, [errno.EHOSTUNREACH], [None, None]),
    ],
)
def test_a_network_that_goes_away_is_a_broken_connection(
    tmp_path, server, monkeypatch, method, errors, requests
):
    monkeypatch.setattr(download, "BLOCK", 40_000)
    broken_network(monkeypatch, method, errors)
    path, _ = fetch(remote(server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == requests


def test_a_network_that_stays_away_leads_to_the_next_mirror(tmp_path, server, monkeypatch):
    broken_network(monkeypatch, READ, [errno.EHOSTUNREACH] * download.ATTEMPTS)
    path, _ = fetch(remote(server.url(), server.url()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == download.ATTEMPTS + 1
    path.unlink()
    broken_network(monkeypatch, READ, [errno.EHOSTUNREACH] * download.ATTEMPTS)
    reason = os.strerror(errno.EHOSTUNREACH)
    with pytest.raises(UserError, match=rf"cannot download file\.bin .*{reason}.* by hand"):
        fetch(remote(server.url()), tmp_path)


def test_no_connection(tmp_path, server):
    url = server.url()
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError) as caught:
        fetch(remote(url), tmp_path)
    message = str(caught.value)
    assert "cannot download file.bin" in message
    assert f"fetch it by hand from {url} and put it at {tmp_path / 'file.bin'}" in message
    assert "\n" not in message


def test_full_disk_beforehand(tmp_path, server, monkeypatch):
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"not enough room .* for file\.bin"):
        fetch(remote(server.url()), tmp_path)
    assert server.requests == []


def test_full_disk_on_the_way(tmp_path, server, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "open", lambda *_: Full(), raising=False)
    with pytest.raises(UserError, match=r"cannot write .*file\.bin: no space left"):
        fetch(remote(server.url()), tmp_path)
    assert server.requests == [None]  # no other connection would help


def test_folder_that_cannot_be_made(tmp_path, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        fetch(remote(server.url()), tmp_path / "file" / "folder")


def test_the_bar_is_drawn_without_a_callback(tmp_path, server, capsys):
    download.fetch(remote(server.url()), tmp_path)
    assert "file.bin: 100%" in capsys.readouterr().err


# ---------------------------------------------------------------- several at once


def at_once(n, function):
    """The results of ``n`` threads, which stand for processes: each opens the lock's file anew."""
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return [f.result() for f in [pool.submit(function) for _ in range(n)]]


@pytest.mark.skipif(lock.fcntl is None, reason="no locks here")
def test_of_several_at_once_one_downloads(tmp_path, server, monkeypatch):
    said, server.gate = [], threading.Event()

    def say(text, **_):
        said.append(text)
        if len(said) == 2:
            server.gate.set()  # the first download ends once the two others wait for it

    monkeypatch.setattr(lock, "print", say, raising=False)
    found = at_once(3, lambda: fetch(remote(server.url()), tmp_path)[0].read_bytes())
    assert found == [CONTENT] * 3
    assert server.requests == [None]
    path = tmp_path / "file.bin"
    assert said == [f"Another process is downloading {path}: waiting for it"] * 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.bin", "file.bin.sha256"]


@pytest.mark.skipif(lock.fcntl is None, reason="no locks here")
def test_what_a_killed_process_left_is_no_lock(tmp_path, server):
    (tmp_path / "file.bin.lock").touch()
    assert fetch(remote(server.url()), tmp_path)[0].read_bytes() == CONTENT
    assert not (tmp_path / "file.bin.lock").exists()


@pytest.mark.skipif(lock.fcntl is None, reason="no locks here")
def test_no_two_hold_a_lock(tmp_path):
    """Though each holder removes the file that the others wait for."""
    inside, most = [], []

    def enter():
        for _ in range(50):
            with lock.alone(tmp_path / "lock", "waiting"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(1e-4)
                inside.pop()

    at_once(4, enter)
    assert most == [1] * 200
    assert list(tmp_path.iterdir()) == []


def test_downloads_where_there_are_no_locks(tmp_path, server, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if lock.fcntl is not None:
        monkeypatch.setattr(lock.fcntl, "flock", unknown)
        assert fetch(remote(server.url()), tmp_path / "a")[0].read_bytes() == CONTENT
    monkeypatch.setattr(lock, "fcntl", None)  # Windows
    assert fetch(remote(server.url()), tmp_path / "b")[0].read_bytes() == CONTENT


# ---------------------------------------------------------------- Google Drive, without it


def drive(monkeypatch, function):
    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=function))
    return remote(urls=(), drive_id="some-id")


def test_drive(tmp_path, monkeypatch):
    def serve(id, output, **_):
        assert id == "some-id"
        with open(output, "wb") as file:
            file.write(CONTENT)
        return output

    path, _ = fetch(drive(monkeypatch, serve), tmp_path)
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.bin", "file.bin.sha256"]


def test_drive_sends_something_else_twice(tmp_path, monkeypatch):
    calls = []

    def serve(output, **_):
        calls.append(output)
        with open(output, "wb") as file:
            file.write(b"<html>quota exceeded</html>")
        return output

    with pytest.raises(UserError, match="checksum is wrong"):
        fetch(drive(monkeypatch, serve), tmp_path)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("too many\nusers"), r"\(too many users\)"),
        (OSError("no route to host"), r"\(no route to host\)"),
        (ConnectionError("a very long story"), r"\(no connection to drive\.google\.com\)"),
        (None, "Google Drive refused"),
    ],
)
def test_drive_fails(tmp_path, monkeypatch, error, message):
    def serve(**_):
        if error:
            raise error

    with pytest.raises(UserError, match=message) as caught:
        fetch(drive(monkeypatch, serve), tmp_path)
    assert "https://drive.google.com/uc?id=some-id" in str(caught.value)


def test_drive_without_gdown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match="pip install gdown"):
        fetch(remote(urls=(), drive_id="some-id"), tmp_path)
