"""Files over HTTPS from servers that are not trusted: bounded, retried, resumed with Range. Standard library alone.

https everywhere; plain http only to this machine itself, and only where the download began there: a redirect never
leads from https to http, nor from outside to "localhost" or to a number that is an address of this machine or of a
network that is not public. Names are not looked up for that: behind one that leads inside, https still asks for a
certificate of that name. What arrives is checked by the caller; here only its length and its pace are.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tsgen.common import VERSION
from tsgen.common.errors import DataError, UsageError

CHUNK_BYTES = 1 << 18
MAX_JSON_BYTES = 256 << 20
MAX_TRIES = 50
MAX_WAIT_S = 60.0
LOWEST_BYTES_A_S = 1000
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How often a request that made no headway is sent again, the first pause (doubled each time), the time-out."""

    failures: int = 5
    pause_s: float = 1.0
    timeout_s: float = 30.0


PATIENCE = Patience()


@dataclass
class Pace:
    """Whether bytes come too slowly: fewer than ``LOWEST_BYTES_A_S`` over the last ``window_s`` or more."""

    window_s: float
    since: float = field(default_factory=time.monotonic)
    came: int = 0

    def is_too_slow(self, n: int) -> bool:
        """``n`` more bytes have come just now."""
        self.came += n
        passed = time.monotonic() - self.since
        if passed < self.window_s:
            return False
        slow = self.came < LOWEST_BYTES_A_S * passed
        self.since, self.came = self.since + passed, 0
        return slow


class RefusedError(DataError):
    """The server said no for good. ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _TransientError(Exception):
    """Worth another try; ``wait_s`` is what the server asked for."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def check_url(url: str) -> str:
    """The address of a server as given, without a slash at its end. UsageError unless https, or http to loopback."""
    try:
        parts = urlsplit(url)
        more = parts.query or parts.fragment or parts.username or parts.port == 0
        good = bool(parts.hostname) and _is_allowed(url) and not more
    except ValueError:  # a bracket without its partner, a port that is none
        good = False
    if not good:
        raise UsageError(f"server {url!r} is not possible; give https://HOST (plain http only for this machine).")
    return url.rstrip("/")


def get_json(url: str, patience: Patience = PATIENCE) -> Any:
    """The JSON at ``url``, at most ``MAX_JSON_BYTES``. Raises RefusedError, or DataError when it is no JSON."""

    def once() -> bytes:
        with _opened(url, 0, patience.timeout_s) as response:
            data = bytearray()
            for chunk in _chunks(response, patience.timeout_s):
                data += chunk
                if len(data) > MAX_JSON_BYTES:
                    raise DataError(f"{url}: the answer is larger than {MAX_JSON_BYTES >> 20} MB; refused.")
            claimed = _whole_number(response.headers.get("Content-Length"))
            if claimed is not None and len(data) < claimed:
                raise _TransientError(f"the answer was cut after {len(data)} of {claimed} bytes")
            return bytes(data)

    failures = 0
    while True:
        try:
            data = once()
            break
        except _TransientError as problem:
            failures += 1
            _pause_or_give_up(url, problem, failures, patience, lambda n: None)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{url}: the answer is not JSON: {problem}.") from problem


def fetch(
    url: str,
    partial: Path,
    *,
    size: int | None,
    limit: int,
    advance: Callable[[int], None],
    patience: Patience = PATIENCE,
) -> None:
    """Bring the body of ``url`` into the file ``partial``, going on where that ends.

    ``size`` its length in bytes where it is known: then a cut body is gone on with; else the file is begun anew, and
    ``limit`` is the most that is taken. ``advance(n)`` hears of every n bytes, negative where some are thrown away.
    Raises RefusedError, or DataError after ``patience.failures`` tries in a row without headway.
    """
    if size is None:
        partial.unlink(missing_ok=True)
    failures = 0
    for _ in range(MAX_TRIES):
        before = _length(partial)
        if size is not None and before > size:
            _restart(partial, before, advance)
            before = 0
        try:
            _fetch_once(url, partial, before, size, limit, advance, patience.timeout_s)
            return
        except _TransientError as problem:
            if size is None:
                _restart(partial, _length(partial), advance)
            failures = 1 if _length(partial) > before else failures + 1
            _pause_or_give_up(url, problem, failures, patience, advance)
    raise DataError(f"{url}: given up after {MAX_TRIES} interruptions; run again to go on.")


def _fetch_once(
    url: str,
    partial: Path,
    start: int,
    size: int | None,
    limit: int,
    advance: Callable[[int], None],
    timeout_s: float,
) -> None:
    if start == size:
        partial.touch()  # whole already, or of no bytes
        return
    with _opened(url, start, timeout_s) as response:
        begun = f"bytes {start}-"
        if response.status == http.client.PARTIAL_CONTENT and not str(
            response.headers.get("Content-Range", "")
        ).startswith(begun):
            _restart(partial, start, advance)
            raise _TransientError("the server sent another range than asked for")
        if start and response.status != http.client.PARTIAL_CONTENT:  # it knows no ranges and sends all
            _restart(partial, start, advance)
            start = 0
        end = size if size is not None else _whole_number(response.headers.get("Content-Length"))
        most = limit if size is None else size
        with partial.open("ab") as handle:
            got = start
            for chunk in _chunks(response, timeout_s):
                got += len(chunk)
                if got > most:
                    break
                handle.write(chunk)
                advance(len(chunk))
    if got > most:
        _restart(partial, _length(partial), advance)
        raise DataError(f"{url}: the server sends more than the {most} bytes it listed; refused.")
    if end is not None and got < end:
        raise _TransientError(f"cut after {got} of {end} bytes")


def _chunks(response: http.client.HTTPResponse, timeout_s: float) -> Iterator[bytes]:
    """The body as it comes, so that whoever waits for it hears of every piece."""
    pace = Pace(timeout_s)
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (http.client.HTTPException, OSError, ValueError) as problem:  # ValueError: a chunk's length is no number
            raise _TransientError(f"the connection broke: {problem!r}") from problem
        if not chunk:
            return
        yield chunk
        if pace.is_too_slow(len(chunk)):
            raise _TransientError(f"fewer than {LOWEST_BYTES_A_S} bytes a second come")


def _whole_number(text: str | None) -> int | None:
    """What a header states, None where it is no number of bytes or seconds."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None


@contextlib.contextmanager
def _opened(url: str, start: int, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
    headers = {"User-Agent": f"recur-attend-convolve/{VERSION}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = _OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as problem:
        with problem:
            if problem.code in TRANSIENT:
                asked = _whole_number(problem.headers.get("Retry-After")) if problem.headers else None
                raise _TransientError(f"HTTP {problem.code}", float(asked or 0)) from problem
            raise RefusedError(problem.code, f"{url}: the server answers HTTP {problem.code}.") from problem
    except (http.client.InvalidURL, ValueError) as problem:
        raise DataError(f"{url}: it, or an address it sends on to, makes no sense: {problem}.") from problem
    except (urllib.error.URLError, http.client.HTTPException, OSError) as problem:
        raise _TransientError(f"no connection: {getattr(problem, 'reason', problem)}") from problem
    with response:
        yield response


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_allowed(newurl, req.full_url):
            raise DataError(f"{req.full_url} sends on to {newurl[:200]!r}, which is no https address outside; refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Punctual(http.client.HTTPConnection):
    """The time-out holds for the head of an answer as a whole, not only between two of its bytes."""

    def getresponse(self) -> http.client.HTTPResponse:
        late = threading.Event()
        hang_up = threading.Timer(self.timeout or MAX_WAIT_S, _hang_up, (self.sock, late))
        hang_up.daemon = True
        hang_up.start()
        try:
            response = super().getresponse()
        finally:
            hang_up.cancel()
        if late.is_set():  # a head that was cut is no error to http.client
            response.close()
            raise TimeoutError("the head of the answer does not end")
        return response


class _SecurePunctual(_Punctual, http.client.HTTPSConnection):
    pass


def _hang_up(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # SSLSocket's own shutdown pulls the session from under the thread that reads
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _HTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Punctual, req)


class _HTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecurePunctual, req)


def _opener() -> urllib.request.OpenerDirector:
    """http and https through the usual proxies; no files, no ftp, no data addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HTTP(),
        _HTTPS(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()


def _is_allowed(url: str, sent_on_by: str | None = None) -> bool:
    """Whether to ask ``url``, which the user gave or, never from outside to inside, the address ``sent_on_by`` did."""
    parts = urlsplit(url)
    inside = _address(parts.hostname or "")
    former = inside if sent_on_by is None else _address(urlsplit(sent_on_by).hostname or "")
    if inside is not None and not inside.is_global and (former is None or former.is_global):
        return False
    if parts.scheme == "http":
        return inside is not None and inside.is_loopback and former is not None and former.is_loopback
    return parts.scheme == "https"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that ``host`` spells, in every way the system reads one (127.1, 2130706433), None for a name."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        return getattr(address, "ipv4_mapped", None) or address
    with contextlib.suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def _pause_or_give_up(
    url: str, problem: _TransientError, failures: int, patience: Patience, advance: Callable[[int], None]
) -> None:
    if failures >= patience.failures:
        raise DataError(f"{url}: {problem}, {failures} times in a row. What has come is kept; run again to go on.")
    end = time.monotonic() + min(max(patience.pause_s * 2 ** (failures - 1), problem.wait_s), MAX_WAIT_S)
    while (left := end - time.monotonic()) > 0:
        advance(0)  # a download that was stopped ends here
        time.sleep(min(left, 0.2))


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _restart(partial: Path, had: int, advance: Callable[[int], None]) -> None:
    partial.unlink(missing_ok=True)
    advance(-had)
