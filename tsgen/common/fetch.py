"""Files over HTTPS from servers that are not trusted: bounded, retried, resumed with Range. Standard library alone.

https everywhere; plain http only to this machine itself, and only where the download began there: a redirect never
leads from outside to an address of this machine, nor from https to http. What arrives is checked by the caller; here
only its length is.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tsgen.common import VERSION
from tsgen.common.errors import DataError, UsageError

CHUNK_BYTES = 1 << 18
MAX_JSON_BYTES = 256 << 20
MAX_TRIES = 50
MAX_WAIT_S = 60.0
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How often a request that made no headway is sent again, the first pause (doubled each time), the time-out."""

    failures: int = 5
    pause_s: float = 1.0
    timeout_s: float = 30.0


PATIENCE = Patience()


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
    parts = urlsplit(url)
    if not parts.hostname or not _is_allowed(url, loopback=True) or parts.query or parts.fragment or parts.username:
        raise UsageError(f"server {url!r} is not possible; give https://HOST (plain http only for this machine).")
    return url.rstrip("/")


def get_json(url: str, patience: Patience = PATIENCE) -> Any:
    """The JSON at ``url``, at most ``MAX_JSON_BYTES``. Raises RefusedError, or DataError when it is no JSON."""

    def once() -> bytes:
        with _opened(url, 0, patience.timeout_s) as response:
            data = bytes(response.read(MAX_JSON_BYTES + 1))
            claimed = response.headers.get("Content-Length", "")
            if len(data) > MAX_JSON_BYTES:
                raise DataError(f"{url}: the answer is larger than {MAX_JSON_BYTES >> 20} MB; refused.")
            if claimed.isdigit() and len(data) < int(claimed):
                raise _TransientError(f"the answer was cut after {len(data)} of {claimed} bytes")
            return data

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
        claimed = response.headers.get("Content-Length", "")
        end = size if size is not None else int(claimed) if claimed.isdigit() and len(claimed) < 19 else None
        most = limit if size is None else size
        with partial.open("ab") as handle:
            got = start
            while chunk := _read(response):
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


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as problem:
        raise _TransientError(f"the connection broke: {problem!r}") from problem


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
                asked = problem.headers.get("Retry-After", "") if problem.headers else ""
                raise _TransientError(f"HTTP {problem.code}", float(asked) if asked.isdigit() else 0.0) from problem
            raise RefusedError(problem.code, f"{url}: the server answers HTTP {problem.code}.") from problem
    except (urllib.error.URLError, http.client.HTTPException, OSError) as problem:
        raise _TransientError(f"no connection: {getattr(problem, 'reason', problem)}") from problem
    with response:
        yield response


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_allowed(newurl, loopback=_is_loopback(req.full_url)):
            raise DataError(f"{req.full_url} sends on to {newurl[:200]!r}, which is no https address; refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """http and https through the usual proxies; no files, no ftp, no data addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()


def _is_allowed(url: str, *, loopback: bool) -> bool:
    scheme = urlsplit(url).scheme
    if _is_loopback(url):
        return loopback and scheme in ("http", "https")
    return scheme == "https"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
