"""Archives: honest ones score like their folder, hostile ones are refused and leave nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.submission import archive
from benchmark.submission.answers import AnswerKey, write_answers
from benchmark.submission.archive import opened
from benchmark.submission.check import check
from benchmark.submission.record import EvaluatedOn, Model, Submission
from benchmark.submission.truth import AnswerKeys
from tsgen.common.errors import DataError
from tsgen.common.files import write_json_atomic

DOMAINS = {"V": "val", "S1": "test", "S2": "test", "T": "test"}
DIVES = tuple(f"dive{number}" for number in range(48))
N = 20
KEYS = [
    AnswerKey(domain, split, DIVES, f"{number:064x}", np.arange(N), np.arange(N) % 48)
    for number, (domain, split) in enumerate(DOMAINS.items())
]


@pytest.fixture(scope="module")
def diving(tmp_path_factory):
    """A submission to Diving48 as one writes it by hand: top-5 answers, clips without a recipe."""
    root = tmp_path_factory.mktemp("submissions") / "diving"
    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        ranked = np.array([rng.permutation(48)[:5] for _ in range(N)])
        write_answers(root / "predictions" / "seed0" / f"{domain}.h5", 0, domain, np.arange(N), top5=ranked)
    facts = {key.domain: EvaluatedOn(key.split, N, key.content_hash) for key in KEYS}
    one = Submission("d", Model("m", "other", 1, True), "p", "s", "V", ("S1", "S2", "T"), (0,), facts)
    write_json_atomic(root / "submission.json", one.to_json())
    return root


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where archives are unpacked; empty again after each test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("around", [True, False], ids=["folder", "content"])
def test_an_archive_scores_like_its_folder(diving, tmp_path, scratch, kind, around):
    base = {"root_dir": diving.parent, "base_dir": diving.name} if around else {"root_dir": diving}
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), kind, **base))
    keys = AnswerKeys(keys=KEYS)
    checked = check(packed, keys)
    assert checked.problems == ()
    assert checked.scorecard() == check(diving, keys).scorecard()
    assert checked.scorecard().rows[1].top5 is not None


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            packed.writestr(info, content, zipfile.ZIP_DEFLATED if info.compress_type == 0 else None)
    return path


def tarred(path, members, compress=True):
    with tarfile.open(path, "w:gz" if compress else "w") as packed:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if content is not None:
                info.size = len(content)
            packed.addfile(info, io.BytesIO(content or b""))
    return path


def zip_link(target="/etc/passwd"):
    info = zipfile.ZipInfo("predictions")
    info.external_attr = 0o120777 << 16
    return [(info, target.encode())]


def tar_of(kind, name="predictions", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return [(info, None)]


def with_encryption(path):
    data = bytearray(zipped(path, [("submission.json", b"{}")]).read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)
    return path


def zip_that_lies(path):
    """The directory says 10 bytes, the data are 1000."""
    data = bytearray(zipped(path, [("submission.json", b"x" * 1000)]).read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)
    return path


def lzma_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("submission.json", b"{}")
    return path


def zip_of_many(path):
    data = bytearray(zipped(path, [("submission.json", b"{}")]).read_bytes())
    struct.pack_into("<HH", data, data.rfind(b"PK\x05\x06") + 8, 65535, 65535)
    path.write_bytes(data)
    return path


def tar_with_a_long_header(path):
    info = tarfile.TarInfo("submission.json")
    info.pax_headers = {"comment": "1" * 100_000}
    return tarred(path, [(info, b"{}")])


def tar_that_claims(path):
    """A header that announces 8 GiB, and little behind it."""
    info = tarfile.TarInfo("submission.json")
    info.size = 8 << 30
    path.write_bytes(gzip.compress(info.tobuf() + b"x" * 1024))
    return path


MEGABYTE = bytes(1 << 20)
HOSTILE = {
    "zip up": (lambda p: zipped(p, [("../evil", b"x")]), "'?../evil'? leads out of a submission"),
    "zip deep up": (lambda p: zipped(p, [("a/../../evil", b"x")]), "leads out of a submission"),
    "zip absolute": (lambda p: zipped(p, [("/tmp/evil", b"x")]), "leads out of a submission"),
    "zip backslash": (lambda p: zipped(p, [("a\\..\\evil", b"x")]), "leads out of a submission"),
    "zip drive": (lambda p: zipped(p, [("C:evil", b"x")]), "leads out of a submission"),
    "zip control characters": (lambda p: zipped(p, [("a\x1b[2J", b"x")]), r"the name 'a\\x1b\[2J' leads out"),
    "zip deep": (lambda p: zipped(p, [("a/b/c/d/e", b"x")]), "leads out of a submission"),
    "zip link": (lambda p: zipped(p, zip_link()), "predictions is a link or device"),
    "zip encrypted": (with_encryption, "is encrypted"),
    "zip lzma": (lzma_zip, "is not packed by deflate"),
    "zip bomb": (lambda p: zipped(p, [(f"{i}", MEGABYTE) for i in range(20)]), "unpacks to more than 16777216 bytes"),
    "zip huge file": (lambda p: zipped(p, [("a", MEGABYTE * 65)]), "has 68157440 bytes; allowed are 67108864"),
    "zip that lies": (zip_that_lies, "is no intact|is longer than it says"),
    "zip of many": (zip_of_many, "holds more than 4096 members"),
    "zip with too many": (lambda p: zipped(p, [(f"{i}", b"") for i in range(4097)]), "more than 4096 members"),
    "tar up": (lambda p: tarred(p, [("../evil", b"x")]), "leads out of a submission"),
    "tar absolute": (lambda p: tarred(p, [("/tmp/evil", b"x")]), "leads out of a submission"),
    "tar twice": (lambda p: tarred(p, [("a", b"x"), ("a", b"y")]), "holds a twice"),
    "tar file as folder": (lambda p: tarred(p, [("a", b"x"), ("a/b", b"y")]), "is no intact"),
    "tar link": (lambda p: tarred(p, tar_of(tarfile.SYMTYPE)), "predictions is a link, device"),
    "tar hard link": (lambda p: tarred(p, tar_of(tarfile.LNKTYPE)), "predictions is a link, device"),
    "tar device": (lambda p: tarred(p, tar_of(tarfile.CHRTYPE)), "predictions is a link, device"),
    "tar pipe": (lambda p: tarred(p, tar_of(tarfile.FIFOTYPE)), "predictions is a link, device"),
    "tar bomb": (lambda p: tarred(p, [(f"{i}", MEGABYTE) for i in range(20)]), "unpacks to more than 16777216"),
    "tar long header": (tar_with_a_long_header, "an extended header has"),
    "tar that claims": (tar_that_claims, "has 8589934592 bytes; allowed are 67108864"),
    "tar cut": (lambda p: cut(tarred(p, [("a", os.urandom(5000))])), "is no intact"),
    "zip cut": (lambda p: cut(zipped(p, [("a", os.urandom(5000))])), "its end is missing|is no intact"),
    "no archive": (lambda p: (p.write_text("hello"), p)[1], "is no intact .zip, .tar or .tar.gz"),
    "empty": (lambda p: (p.touch(), p)[1], "is no intact .zip, .tar or .tar.gz"),
}  # fmt: skip


def cut(path):
    os.truncate(path, path.stat().st_size // 2)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(tmp_path, scratch, name):
    build, message = HOSTILE[name]
    path = build(tmp_path / "packed")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message), opened(path):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_large_archive_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 10)
    with pytest.raises(DataError, match="an archive may have 10"), opened(zipped(tmp_path / "packed", [("a", b"x")])):
        pass


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no such directory or archive"), opened(tmp_path / "nothing"):
        pass


@pytest.fixture(scope="module")
def packed_bytes(diving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    return [
        Path(shutil.make_archive(str(folder / kind), kind, root_dir=diving)).read_bytes()
        for kind in ("zip", "tar", "gztar")
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_archives_end_in_clean_errors(packed_bytes, data):
    content = bytearray(data.draw(st.sampled_from(packed_bytes)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packed"
        path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
        try:
            check(path, AnswerKeys(keys=KEYS)).scorecard()
        except DataError:
            return
