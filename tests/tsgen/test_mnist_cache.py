"""Cache and mirrors: resume, wrong content, no network. The only server is on 127.0.0.1, started here."""

from __future__ import annotations

import hashlib
import http.server
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from digit_files import GOOD_IMAGES, GOOD_LABELS, IMAGES, LABELS, PACKED

from tsgen import digits, mnist_cache
from tsgen.common.errors import DataError
from tsgen.digits import load_digits, resolve_source
from tsgen.mnist_cache import RemoteFile, cache_directory


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, no cache and no mirror of the machine the tests run on."""
    monkeypatch.delenv(digits.MNIST_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist_cache, "cache_directory", lambda: tmp_path / "cache" / "tsgen" / "mnist")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mnist_cache, "MIRRORS", (unreachable_mirror(), unreachable_mirror()))


def unreachable_mirror() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


@dataclass
class Mirror:
    """A server on loopback: what it holds, what it was asked, and how it misbehaves."""

    content: dict[str, bytes]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ignores_range: bool = False
    breaks_after: int | None = None
    url: str = ""


@pytest.fixture
def start_mirror() -> Iterator[Callable[..., Mirror]]:
    servers = []

    def start(content: dict[str, bytes], **habits: object) -> Mirror:
        mirror = Mirror(content, **habits)  # type: ignore[arg-type]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name, range_header = self.path.lstrip("/"), self.headers.get("Range")
                mirror.asked.append((name, range_header))
                body = mirror.content.get(name)
                if body is None:
                    self.send_error(404)
                    return
                start_at = 0
                if range_header and not mirror.ignores_range:
                    start_at = int(range_header.removeprefix("bytes=").removesuffix("-"))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start_at}-{len(body) - 1}/{len(body)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(body) - start_at))
                self.end_headers()
                stop = len(body) if mirror.breaks_after is None else start_at + mirror.breaks_after
                self.wfile.write(body[start_at:stop])

            def log_message(self, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        mirror.url = f"http://127.0.0.1:{server.server_address[1]}/"
        return mirror

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


WRONG = {name: bytes(len(content)) for name, content in PACKED.items()}


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The five scans of this file take the place of MNIST's test partition."""
    files = tuple(RemoteFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in PACKED.items())
    monkeypatch.setattr(mnist_cache, "REMOTE_FILES", {"test": files})
    key = tuple(hashlib.sha256(content).hexdigest() for content in (GOOD_IMAGES, GOOD_LABELS))
    monkeypatch.setattr(digits, "_KNOWN", {key: ("mnist", "test")})


@pytest.fixture
def cache() -> Path:
    return mnist_cache.cache_directory()


def use(monkeypatch: pytest.MonkeyPatch, *mirrors: Mirror) -> None:
    monkeypatch.setattr(mnist_cache, "MIRRORS", tuple(mirror.url for mirror in mirrors))


@pytest.mark.usefixtures("pinned")
def test_download_then_cache(start_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    mirror = start_mirror(PACKED)
    use(monkeypatch, mirror)
    first = load_digits(None, "test")
    assert first.source == "mnist"
    assert mirror.asked == [(f"{IMAGES}.gz", None), (f"{LABELS}.gz", None)]
    assert not list(cache.glob("*.part"))
    assert load_digits("mnist", "test").sha256 == first.sha256
    assert len(mirror.asked) == 2, "the second load asks nobody"
    (cache / f"{IMAGES}.gz").write_bytes(WRONG[f"{IMAGES}.gz"])
    assert load_digits("mnist", "test").sha256 == first.sha256
    assert mirror.asked[2:] == [(f"{IMAGES}.gz", None)], "a damaged file is fetched again, the good one is not"


@pytest.mark.usefixtures("pinned")
def test_a_broken_download_is_resumed(
    start_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    mirror = start_mirror(PACKED, breaks_after=1000)
    use(monkeypatch, mirror)
    with pytest.raises(DataError, match=f"the connection ended after 1000 of {len(PACKED[IMAGES + '.gz'])} bytes"):
        load_digits("mnist", "test")
    assert (cache / f"{IMAGES}.gz.part").stat().st_size == 1000
    mirror.breaks_after = None
    assert load_digits("mnist", "test").source == "mnist"
    assert mirror.asked[1] == (f"{IMAGES}.gz", "bytes=1000-")


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(
    ("part", "ignores_range", "requests"),
    [
        (PACKED[f"{IMAGES}.gz"][:500], True, ["bytes=500-"]),  # the whole file comes: begin again
        (bytes(500), False, ["bytes=500-", None]),  # the part was bad: once more from zero
        (PACKED[f"{IMAGES}.gz"], False, []),  # complete, only not yet renamed
        (bytes(99_999), False, [None]),  # too long
    ],
)
def test_what_a_part_file_leads_to(
    start_mirror: Callable[..., Mirror],
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    part: bytes,
    ignores_range: bool,
    requests: list[str | None],
) -> None:
    mirror = start_mirror(PACKED, ignores_range=ignores_range)
    use(monkeypatch, mirror)
    cache.mkdir(parents=True)
    (cache / f"{IMAGES}.gz.part").write_bytes(part)
    assert load_digits("mnist", "test").source == "mnist"
    assert [asked for name, asked in mirror.asked if name == f"{IMAGES}.gz"] == requests


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(("content", "why"), [(WRONG, "not the pinned one"), ({}, "404")])
def test_the_second_mirror_helps_out_and_two_bad_ones_are_an_error(
    start_mirror: Callable[..., Mirror],
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    content: dict[str, bytes],
    why: str,
) -> None:
    bad, good = start_mirror(content), start_mirror(PACKED)
    use(monkeypatch, bad, bad)
    with pytest.raises(DataError, match=why):
        load_digits("mnist", "test")
    assert not [file for file in cache.iterdir() if file.name != ".lock"], "nothing wrong stays in the cache"
    use(monkeypatch, bad, good)
    assert load_digits("mnist", "test").source == "mnist"


def test_without_network_the_error_is_quick_and_names_the_ways_out() -> None:
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        load_digits(None, "train")
    assert time.monotonic() - started < 15
    for way in ("train-images-idx3-ubyte.gz", "TSGEN_MNIST_DIR", "--digits PATH", "--digits embedded"):
        assert way in str(caught.value)


def test_a_mirror_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # accepts by its backlog, says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(mnist_cache, "MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/",))
        monkeypatch.setattr(mnist_cache, "OPEN_DEADLINE_S", 0.2)
        monkeypatch.setattr(mnist_cache, "SOCKET_TIMEOUT_S", 0.4)
        with pytest.raises(DataError, match=r"no answer within 0\.2 s"):
            load_digits("mnist", "test")
        time.sleep(0.4)  # let the abandoned thread end before the next test


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    with pytest.raises(DataError, match=r"the cache .* cannot be used"):
        load_digits("mnist", "test")


@pytest.mark.usefixtures("pinned")
def test_other_digits_never_come_from_the_cache(
    start_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, start_mirror(PACKED))
    monkeypatch.setattr(digits, "_KNOWN", {})  # as if the pinned files were someone else's
    with pytest.raises(DataError, match="not the test digits of mnist"):
        load_digits("mnist", "test")


def test_the_pinned_files_have_plausible_pins() -> None:
    files = [file for pair in mnist_cache.REMOTE_FILES.values() for file in pair]
    assert sum(file.size_bytes for file in files) == 11_594_722
    assert len({file.sha256 for file in files}) == 4
    assert all(len(file.sha256) == 64 for file in files)


@pytest.mark.usefixtures("pinned")
def test_auto_prefers_the_cache_to_the_embedded(
    start_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, start_mirror(PACKED))
    assert resolve_source("auto", ("test",)) == "mnist"
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have their own place for caches")
def test_the_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "tsgen" / "mnist"
