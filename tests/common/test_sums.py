"""SHA256SUMS: what sha256sum reads, every difference found, no name that leads out of the folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import unicodedata

import pytest

from tsgen.common.errors import DataError
from tsgen.common.sums import SUMS_FILE, check_name, check_sums, hash_folder, read_sums, write_sums

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing, as published


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ü 1.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "empty").touch()
    write_sums(tmp_path)
    return tmp_path


def test_the_format_is_that_of_sha256sum(folder):
    assert [line[66:] for line in (folder / SUMS_FILE).read_text().splitlines()] == ["b.txt", "b/ü 1.txt", "empty"]
    assert read_sums(folder / SUMS_FILE)["empty"] == EMPTY
    if tool := shutil.which("sha256sum"):
        subprocess.run([tool, "--check", "--strict", "--quiet", SUMS_FILE], cwd=folder, check=True)


def test_an_intact_folder_has_no_problems(folder):
    assert check_sums(folder) == []
    (folder / ".cache").mkdir()  # what the Hub's client leaves
    (folder / ".cache" / "x").touch()
    (folder / ".gitattributes").touch()
    assert check_sums(folder, workers=1) == []


def test_every_problem_is_listed(folder):
    (folder / "b.txt").write_text("TWO")
    (folder / "empty").unlink()
    (folder / "b" / "extra").touch()
    (folder / "b" / ".gitattributes").touch()
    said: list[str] = []
    problems = check_sums(folder, say=said.append)
    assert said == problems
    assert [problem.split(":")[0] for problem in problems] == ["empty", "b/.gitattributes", "b/extra", "b.txt"]
    words = ("missing", "not listed", "not listed", "changed")
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def test_links_to_files_must_have_the_content(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("blobs") / "blob"
    elsewhere.write_text("two")
    (folder / "b.txt").unlink()
    (folder / "b.txt").symlink_to(elsewhere)
    assert check_sums(folder) == []
    elsewhere.write_text("three")
    assert [problem.split(";")[0] for problem in check_sums(folder)] == ["b.txt: changed"]


def test_links_to_folders_are_problems(folder):
    (folder / "b").rename(folder.parent / f"{folder.name}-b")
    (folder / "b").symlink_to(folder.parent / f"{folder.name}-b")
    assert check_sums(folder) == ["b: is a link to a folder, or to nothing.", "b/ü 1.txt: missing."]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "a/",
        "a\\b",
        "C:x",
        "a\x1b[2J",
        "a\u202eb",
        unicodedata.normalize("NFD", "ü"),
        "dot.",
        "space /a",
        "x" * 2000,
        SUMS_FILE,
        "a\x00b",
        "aux.txt",
        "x<y",
        "あ" * 100,
        ".cache/y",
        ".gitattributes",
        ".GIT/hooks",
    ],
)
def test_hostile_names_are_refused(tmp_path, name):
    assert check_name(name)
    (tmp_path / SUMS_FILE).write_text(f"{EMPTY}  {name}\n")
    with pytest.raises(DataError, match=r"line 1"):
        check_sums(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word",
        f"{EMPTY} a\n",
        f"{EMPTY.upper()}  a\n",
        f"{EMPTY}  a\n{EMPTY}  a\n",
        f"{EMPTY}  a\n{EMPTY}  A\n",
        f"\\{EMPTY}  a\\nb\n",
        f"{EMPTY}  a\n\n{EMPTY}  b\n",
    ],
)
def test_malformed_files_are_refused(tmp_path, text):
    (tmp_path / SUMS_FILE).write_text(text)
    with pytest.raises(DataError, match=r"SHA256SUMS, line"):
        read_sums(tmp_path / SUMS_FILE)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="unfinished, or is no release"):
        read_sums(tmp_path / SUMS_FILE)
    os.mkfifo(tmp_path / SUMS_FILE)  # opening it would wait for ever
    with pytest.raises(DataError, match="no regular file"):
        check_sums(tmp_path)
    (tmp_path / SUMS_FILE).unlink()
    (tmp_path / SUMS_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_sums(tmp_path / SUMS_FILE)


def test_what_cannot_be_named_is_not_hashed(folder):
    (folder / "b" / "link").symlink_to("ü 1.txt")
    os.mkfifo(folder / "pipe")  # opening it would wait for ever
    with pytest.raises(DataError, match=r"pipe: is neither a file nor a folder.*b/link: is a link"):
        hash_folder(folder)
    assert "pipe: is neither a file nor a folder." in check_sums(folder)
