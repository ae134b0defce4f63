"""Answers of broken and hostile servers, byte by byte from sockets on loopback: each ends in one line, in time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tsgen.common import fetch as module
from tsgen.common.dataverse import Checksum, Listing, RemoteFile
from tsgen.common.errors import DataError
from tsgen.common.fetch import Pace, Patience, fetch, get_json
from tsgen.common.mirror import download

HASTY = Patience(failures=2, pause_s=0.001, timeout_s=0.3)
OK = b"HTTP/1.1 200 OK\r\n"
BROKEN = {
    "a cut body in chunks": OK + b'Transfer-Encoding: chunked\r\n\r\n10\r\n{"a":',
    "a chunk of no length": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a cut body": OK + b"Content-Length: 100\r\n\r\n{",
    "a length of another script": OK + b"Content-Length: \xb3\r\n\r\n{",
    "a pause of another script": b"HTTP/1.1 503 x\r\nRetry-After: \xb3\r\nContent-Length: 0\r\n\r\n",
    "an address with half a bracket": b"HTTP/1.1 302 x\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n",
    "an address of no letters": b"HTTP/1.1 302 x\r\nLocation: https://\xff\xfe.x/\r\nContent-Length: 0\r\n\r\n",
    "an address with no port": b"HTTP/1.1 302 x\r\nLocation: https://x.org:y/\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "nothing": b"",
}


@contextmanager
def serving(reply: bytes | Callable[[socket.socket], None], *, reset: bool = False) -> Iterator[str]:
    """Every connection gets ``reply`` and is closed; the address."""

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            if callable(reply):
                reply(connection)
            else:
                connection.sendall(reply)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def drip(head: bytes, letter: bytes, pause_s: float) -> Callable[[socket.socket], None]:
    """``head``, then one letter after the other: no single wait is as long as the time-out."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(round(20 / pause_s)):
            connection.sendall(letter)
            time.sleep(pause_s)

    return reply


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_told_in_one_line(answer):
    with serving(answer) as url, pytest.raises(DataError, match=url):
        get_json(url, HASTY)


@pytest.mark.parametrize("first", ["reset", "stalled", "cut"])
def test_a_listing_whose_body_breaks_is_asked_for_again(first):
    answers = []

    def reply(connection: socket.socket) -> None:
        answers.append(1)
        if len(answers) > 1:
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")
            return
        connection.sendall(OK + b"Content-Length: 100\r\n\r\n{")
        time.sleep({"reset": 0.1, "stalled": 1, "cut": 0}[first])

    with serving(reply, reset=first == "reset") as url:
        assert get_json(url, HASTY) == {}
    assert len(answers) == 2


def test_a_length_of_another_script_is_none(tmp_path):
    with serving(OK + b"Content-Length: \xb3\r\n\r\nabc") as url:
        fetch(url, tmp_path / "x", size=None, limit=100, advance=lambda n: None, patience=HASTY)
    assert (tmp_path / "x").read_bytes() == b"abc"


@pytest.mark.parametrize("head", [OK + b"Content-Length: 1000000\r\n\r\n", OK + b"X: "], ids=["body", "head"])
def test_a_server_that_drips_is_left(head):
    begun = time.monotonic()
    with serving(drip(head, b"a", 0.05)) as url, pytest.raises(DataError, match="2 times in a row"):
        get_json(url, HASTY)
    assert time.monotonic() - begun < 5


def test_an_interruption_ends_a_download_that_drips(tmp_path):
    patience = Patience(failures=1, timeout_s=30.0)
    with serving(drip(OK + b"Content-Length: 1000000\r\n\r\n", b"a", 0.05)) as url:
        file = RemoteFile(1, "a.bin", 1_000_000, Checksum("MD5", "0" * 32))
        listing = Listing(url, "doi:10.7910/DVN/EDVAIY", "1.0", "CC0", (file,))
        interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            download(listing, tmp_path / "ts", quiet=True, patience=patience)
    assert time.monotonic() - begun < 5


def test_pace_is_that_of_each_window(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(10.0, since=0.0)
    for at, n, slow in ((9.0, 1, False), (10.0, 9999, False), (19.0, 50_000, False), (20.0, 0, False), (30.0, 9, True)):
        now[0] = at
        assert pace.is_too_slow(n) is slow, at


INSIDE = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://0.0.0.0/",
    "https://localhost./",
    "https://x.LOCALHOST/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "https://169.254.169.254/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
]


@pytest.mark.parametrize("url", INSIDE)
def test_a_redirect_from_outside_does_not_lead_inside(url):
    assert not module._is_allowed(url, "https://dataverse.harvard.edu/x")
    assert not module._is_allowed(url, "https://8.8.8.8/x")
    assert module._is_allowed(url, "https://10.0.0.5/x")
    assert not module._is_allowed(url.replace("https", "http"), "https://dataverse.harvard.edu/x")


def test_a_redirect_outside_is_https():
    assert module._is_allowed("https://s3.amazonaws.com/x", "https://dataverse.harvard.edu/x")
    assert module._is_allowed("https://8.8.8.8/x", "https://dataverse.harvard.edu/x")
    assert not module._is_allowed("http://s3.amazonaws.com/x", "http://127.0.0.1/x")
    assert not module._is_allowed("http://10.0.0.1/x", "http://127.0.0.1/x")
    assert module._is_allowed("http://127.0.0.1:8/x", "http://127.0.0.1/x")
