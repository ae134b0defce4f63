"""The authors' archives over HTTP on loopback: folders, ingested tables, verification, resuming, hostile listings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dataverse_server import DOI, Dataverse, Stored

from tsgen.common import dataverse
from tsgen.common.dataverse import Checksum, list_files, safe_path
from tsgen.common.errors import DataError, UsageError
from tsgen.common.fetch import Patience, check_url, get_json
from tsgen.common.mirror import check_folder, download, read_record

FAST = Patience(failures=4, pause_s=0.001, timeout_s=5.0)
BIG = bytes(range(256)) * 4096  # 1 MiB


def stored(**of_path: Stored) -> list[Stored]:
    files = [
        Stored("2dot/0.jpg", b"frame 0"),
        Stored("2dot/1.jpg", b"frame 1"),
        Stored("2dot/labels.tab", b",class\n0,3\n", original="2dot/labels.csv"),
        Stored("big.bin", BIG),
        Stored("empty.txt", b""),
    ]
    return files + list(of_path.values())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def get(server: Dataverse, out: Path, **options):
    return download(list_files(DOI, server.url, patience=FAST), out, quiet=True, patience=FAST, **options)


def test_files_lie_in_their_folders_and_tables_under_their_original_name(tmp_path):
    said: list[str] = []
    with Dataverse(stored()) as server:
        summary = get(server, tmp_path / "ts", say=said.append)
    found = contents(tmp_path / "ts")
    record = json.loads(found.pop("dataverse.json"))
    assert found == {
        "2dot/0.jpg": b"frame 0",
        "2dot/1.jpg": b"frame 1",
        "2dot/labels.csv": b",class\n0,3\n",
        "big.bin": BIG,
        "empty.txt": b"",
    }
    assert (record["doi"], record["version"], record["complete"], record["licence"]) == (DOI, "1.1", True, "CC0 1.0")
    assert {facts["verified"] for facts in record["files"].values()} == {"checksum"}
    assert (summary.files, summary.fetched, summary.unchecked) == (5, 5, ())
    assert "CC0 1.0" in said[0]
    assert check_folder(tmp_path / "ts") == []


def test_a_second_run_fetches_nothing_and_a_damaged_file_alone_is_fetched_again(tmp_path):
    with Dataverse(stored()) as server:
        get(server, tmp_path / "ts")
        assert get(server, tmp_path / "ts").fetched == 0
        (tmp_path / "ts" / "2dot" / "1.jpg").write_bytes(b"frame X")
        assert check_folder(tmp_path / "ts") == ["2dot/1.jpg has changed"]
        assert get(server, tmp_path / "ts").fetched == 1
        (tmp_path / "ts" / "2dot" / "1.jpg").unlink()
        assert check_folder(tmp_path / "ts") == ["2dot/1.jpg is gone"]
        assert get(server, tmp_path / "ts").fetched == 1
    assert check_folder(tmp_path / "ts") == []


@pytest.mark.parametrize("faults", [["500", "503", "429"], ["cut", "cut"], ["corrupt"], ["cut", "no ranges"]])
def test_faults_that_pass_are_overcome(tmp_path, faults):
    with Dataverse(stored()) as server:
        server.file("big.bin").faults = list(faults)
        server.listing_faults = ["500"]
        get(server, tmp_path / "ts")
        ranges = server.file("big.bin").requests
    assert (tmp_path / "ts" / "big.bin").read_bytes() == BIG
    if faults == ["cut", "cut"]:
        assert ranges == [None, f"bytes={len(BIG) // 2}-", f"bytes={len(BIG) // 4 * 3}-"]


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (["corrupt"] * 3, "did not have the listed content"),
        (["gone"], "HTTP 404"),
        (["longer"], "more than the 1048576 bytes"),
        (["500"] * 4, "4 times in a row"),
    ],
)
def test_faults_that_stay_are_told_after_all_others_have_come_and_a_later_run_goes_on(tmp_path, faults, told):
    with Dataverse(stored()) as server:
        server.file("big.bin").faults = list(faults)
        with pytest.raises(DataError, match=f"1 of 5 files .*big.bin: .*{told}"):
            get(server, tmp_path / "ts")
        assert not (tmp_path / "ts" / "big.bin").exists()
        assert check_folder(tmp_path / "ts") == ["the download was not finished; run it again to go on"]
        assert get(server, tmp_path / "ts").fetched == 1
    assert check_folder(tmp_path / "ts") == []


def test_a_server_that_fails_every_time_is_not_asked_for_every_file(tmp_path):
    with Dataverse([Stored(f"{number}.jpg", b"x", faults=["gone"]) for number in range(200)]) as server:
        with pytest.raises(DataError, match="200 of 200 files"):
            get(server, tmp_path / "ts")
        assert sum(len(file.requests) for file in server.files) < 20
        with pytest.raises(DataError, match="files of"):
            get(server, tmp_path / "ts")


def test_a_range_that_was_not_asked_for_is_not_glued_on(tmp_path):
    with Dataverse(stored()) as server:
        server.file("big.bin").faults = ["cut", "wrong range"]
        get(server, tmp_path / "ts")
    assert (tmp_path / "ts" / "big.bin").read_bytes() == BIG


def test_a_table_whose_listed_checksum_is_of_no_form_is_fetched_until_two_downloads_agree(tmp_path):
    wrong = {"dataFile": {"checksum": {"type": "MD5", "value": "0" * 32}}}
    with Dataverse(stored()) as server:
        table = server.file("2dot/labels.csv")
        table.entry, table.faults = wrong, ["", "corrupt"]
        with pytest.raises(DataError, match="3 downloads did not"):
            get(server, tmp_path / "ts")
        summary = get(server, tmp_path / "ts")
        assert summary.unchecked == ("2dot/labels.csv",)
        assert "two equal downloads" in summary.text()
        assert get(server, tmp_path / "ts").fetched == 0
        server.file("2dot/0.jpg").entry = wrong  # but a file that is no table must have its checksum
        with pytest.raises(DataError, match=r"2dot/0\.jpg"):
            get(server, tmp_path / "other")
    assert (tmp_path / "ts" / "2dot" / "labels.csv").read_bytes() == b",class\n0,3\n"


def test_restricted_files_are_named_and_the_others_come(tmp_path):
    with Dataverse(stored(secret=Stored("secret.bin", b"x", restricted=True))) as server:
        with pytest.raises(DataError, match=r"1 of 6 .*secret\.bin: restricted .*version=1\.1"):
            get(server, tmp_path / "ts")
        assert server.file("secret.bin").requests == []
    assert (tmp_path / "ts" / "big.bin").read_bytes() == BIG


def test_a_folder_stays_with_its_version_and_its_data_set(tmp_path):
    with Dataverse(stored()) as server:
        get(server, tmp_path / "ts")
        server.version = (2, 0)
        with pytest.raises(UsageError, match=r"holds version 1\.1, not 2\.0"):
            get(server, tmp_path / "ts")
        with pytest.raises(DataError, match=r"does not give .* \(version 1\.1\): HTTP 404"):
            list_files(DOI, server.url, "1.1", FAST)
        server.doi = "doi:10.7910/DVN/OTHER"
        with pytest.raises(UsageError, match=r"holds doi:10\.7910/DVN/EDVAIY"):
            download(list_files(server.doi, server.url), tmp_path / "ts", quiet=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with Dataverse(stored()) as server, pytest.raises(UsageError, match="no earlier download"):
        get(server, tmp_path / "mine")


def test_a_part_of_the_files_is_whole_but_not_the_data_set(tmp_path, monkeypatch):
    needed: list[int] = []
    monkeypatch.setattr("tsgen.common.mirror.check_free_space", lambda folder, n, what: needed.append(n))
    with Dataverse([Stored("a.jpg", b"a" * 5000), Stored("b.jpg", b"b" * 1000)]) as server:
        summary = get(server, tmp_path / "ts", wanted=lambda file: file.path == "a.jpg")
        assert "1 of 2 files" in summary.text()
        assert check_folder(tmp_path / "ts") == []
        record = read_record(tmp_path / "ts")
        assert (record["finished"], record["complete"], record["listed"]) == (True, False, 2)
        assert "2 files" in get(server, tmp_path / "ts", wanted=lambda file: file.path == "b.jpg").text()
        assert read_record(tmp_path / "ts")["complete"] is True
        get(server, tmp_path / "ts")
    assert needed == [5000, 1000, 0], "bytes of files that were not asked for counted as room"


def test_a_link_to_nothing_is_no_place_for_a_download(tmp_path):
    (tmp_path / "ts").symlink_to(tmp_path / "nowhere")
    with Dataverse(stored()) as server, pytest.raises(UsageError, match="exists and is no earlier download"):
        get(server, tmp_path / "ts")


@pytest.mark.parametrize("pages", [True, False])
def test_long_listings_come_in_pages_or_all_at_once(monkeypatch, pages):
    monkeypatch.setattr(dataverse, "PAGE_FILES", 2)
    with Dataverse(stored(), pages=pages) as server:
        listing = list_files(DOI, server.url, patience=FAST)
        assert len(server.listing_requests) == 1 + (3 if pages else 1)
    assert [file.path for file in listing.files] == [
        "2dot/0.jpg",
        "2dot/1.jpg",
        "2dot/labels.csv",
        "big.bin",
        "empty.txt",
    ]


HOSTILE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a\\..\\x",
    "C:x",
    "a//b",
    ".",
    "..",
    ".partial/100.part",
    "con",
    "a.",
    "b ",
]
HOSTILE += ["x\x00y", "x\ny", "x\u202ey", "é" * 121, "/".join("abcdefghijklmnopq"), "a" * 241, "\ud800"]
HOSTILE += ["CON .txt", "COM¹.txt", "DataVerse.json"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_before_the_first_byte(tmp_path, name):
    with Dataverse([Stored("a.jpg", b"a")]) as server:
        for entry in ({"directoryLabel": name}, {"label": name}, {"dataFile": {"originalFileName": name}}):
            server.files[0].entry = entry
            if name == "/etc/passwd" and "directoryLabel" in entry:
                assert list_files(DOI, server.url, patience=FAST).files[0].path == "etc/passwd/a.jpg"
                continue
            with pytest.raises(DataError, match="not a path to trust"):
                get(server, tmp_path / "ts")
        assert server.files[0].requests == []
    assert not (tmp_path / "ts").exists()


def test_good_names_are_kept():
    assert safe_path("a b/c-d", "é (1).csv") == "a b/c-d/é (1).csv"
    assert safe_path("", "e\u0301") == "\u00e9"


@pytest.mark.parametrize(
    ("names", "told"), [(["a.jpg", "A.JPG"], "some systems take for one file"), (["a", "a/b.jpg"], "as a file and")]
)
def test_names_that_collide_are_refused(names, told):
    with Dataverse([Stored(name, b"x") for name in names]) as server, pytest.raises(DataError, match=told):
        list_files(DOI, server.url, patience=FAST)


@pytest.mark.parametrize(
    "answer", ["<html>", "[" * 100_000, "[]", '{"data": 3}', '{"data": {"versionNumber": -1}}', '{"data": {}}', "NaN"]
)
def test_answers_that_are_no_listing_are_refused(answer):
    with Dataverse(stored()) as server:
        server.listing_faults = [answer]
        with pytest.raises(DataError):
            list_files(DOI, server.url, patience=FAST)


def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr("tsgen.common.fetch.MAX_JSON_BYTES", 50)
    with Dataverse(stored()) as server, pytest.raises(DataError, match="larger than"):
        get_json(server.url + "/api/datasets/:persistentId/versions/1.1/files?persistentId=" + DOI, FAST)


def test_addresses():
    assert check_url("https://dataverse.harvard.edu/") == "https://dataverse.harvard.edu"
    assert check_url("http://127.0.0.1:80") == "http://127.0.0.1:80"
    for url in (
        "http://dataverse.harvard.edu",
        "file:///etc/passwd",
        "ftp://x",
        "dataverse.harvard.edu",
        "https://u@x",
        "https://[bad",
        "https://host:99999",
        "https://host:x",
    ):
        with pytest.raises(UsageError, match="https://HOST"):
            check_url(url)
    for doi in ("10.7910/DVN/EDVAIY", "doi:10.7910/a b", "doi:10.7910/a&x=1"):
        with pytest.raises(UsageError, match="not a DOI"):
            list_files(doi)
    with pytest.raises(UsageError, match="version"):
        list_files(DOI, version="1.0/../..")


@pytest.mark.parametrize("target", ["http://example.org/x", "file:///etc/passwd", "ftp://example.org/x"])
def test_redirects_to_anything_but_https_are_refused(tmp_path, target):
    with Dataverse([Stored("a.jpg", b"a")]) as server:
        server.redirect_to = target
        with pytest.raises(DataError, match=r"a\.jpg: .*(no https address|HTTP 303)"):
            get(server, tmp_path / "ts")
    assert not (tmp_path / "ts" / "a.jpg").exists()


def test_a_redirect_within_this_machine_is_followed_to_the_bytes(tmp_path):
    with Dataverse([Stored("a.jpg", b"a")]) as store, Dataverse([Stored("a.jpg", b"a")]) as server:
        server.redirect_to = f"{store.url}/api/access/datafile/100"
        get(server, tmp_path / "ts")
    assert (tmp_path / "ts" / "a.jpg").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"name": "CC BY 4.0"}, "CC BY 4.0"),
        ("CC0", "CC0"),
        ("NONE", "Ask\x1b[31m the authors."),
        (None, "none stated"),
    ],
)
def test_licences_are_told_as_stated_and_without_control_characters(stated, told):
    with Dataverse(stored()) as server:
        server.licence, server.terms = stated, told if stated == "NONE" else ""
        assert list_files(DOI, server.url, patience=FAST).licence == told.replace("\x1b", "")


def test_links_in_the_folder_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with Dataverse(stored()) as server:
        get(server, tmp_path / "ts", wanted=lambda file: file.path == "big.bin")
        (tmp_path / "ts" / "2dot").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DataError, match="a link in the folder leads elsewhere"):
            get(server, tmp_path / "ts")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_records_from_outside_are_checked(tmp_path):
    with Dataverse(stored()) as server:
        get(server, tmp_path / "ts")
    path = tmp_path / "ts" / "dataverse.json"
    good = json.loads(path.read_text())
    for change in (
        {"files": {"../x": {"sha256": "", "bytes": 1}}},
        {"files": []},
        {"schema_version": 1},
        {"doi": 1},
        {"listed": "5"},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError):
            read_record(tmp_path / "ts")


def test_checksums_of_every_kind_are_used():
    with Dataverse([Stored("a.jpg", b"a")]) as server:
        for algorithm, value in (("SHA-256", "A" * 64), ("SHA-1", "b" * 40), ("SHA-512", "c" * 128)):
            server.files[0].entry = {"dataFile": {"checksum": {"type": algorithm, "value": value}}}
            listed = list_files(DOI, server.url, patience=FAST).files[0].checksum
            assert listed == Checksum(algorithm, value.lower())
        server.files[0].entry = {"dataFile": {"checksum": {"type": "CRC", "value": "1"}}}
        assert list_files(DOI, server.url, patience=FAST).files[0].checksum is None


SLOW_CLIENT = """
import sys, pathlib
from tsgen.common.cli import run_command
from tsgen.common.dataverse import list_files
from tsgen.common.mirror import download
import click
@click.command()
def go():
    download(list_files(sys.argv[1], sys.argv[2]), pathlib.Path(sys.argv[3]), quiet=True)
sys.argv, argv = sys.argv[:1], sys.argv
sys.argv[1:] = []
real = argv
def go_again():
    download(list_files(real[1], real[2]), pathlib.Path(real[3]), quiet=True)
go.callback = go_again
run_command(go)
"""


def test_an_interrupted_download_ends_at_once_and_goes_on_where_it_was(tmp_path):
    with Dataverse(stored()) as server:
        server.file("big.bin").faults = ["cut", *["500"] * 4]
        command = [sys.executable, "-c", SLOW_CLIENT, DOI, server.url, str(tmp_path / "ts")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
        part = tmp_path / "ts" / ".partial" / "103.part"
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size == len(BIG) // 2) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
        server.file("big.bin").faults = []
        server.file("big.bin").requests.clear()
        get(server, tmp_path / "ts")
        assert server.file("big.bin").requests == [f"bytes={len(BIG) // 2}-"]
    assert contents(tmp_path / "ts")["big.bin"] == BIG
    assert not (tmp_path / "ts" / ".partial").exists()
