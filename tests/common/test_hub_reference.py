"""What names a release, which file names are refused, and which cards."""

import pytest

from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub import is_reference, parse_reference
from tsgen.common.hub.card import check_card
from tsgen.common.hub.reference import check_repo, newest, tag_of
from tsgen.common.names import check_names

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("revision", ["v1.0.0", "v12.3.40", COMMIT])
def test_a_reference_is_repo_and_revision_and_reads_as_it_is_written(revision):
    text = f"hf:user/temporal-shape@{revision}"
    reference = parse_reference(text)
    assert (reference.repo, reference.revision, str(reference)) == ("user/temporal-shape", revision, text)
    assert is_reference(text) and not is_reference("data/hf:x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf:user/name", "names no version; write hf:user/name@v1.0.0"),
        ("hf:user/name@main", "'main' is no release; allowed: a tag as v1.0.0"),
        ("hf:user/name@v1", "'v1' is no release"),
        ("hf:name@v1.0.0", "'name' is no repo of the Hub; write USER/NAME"),
        ("hf:../name@v1.0.0", "is no repo"),
        ("hf:user/a--b@v1.0.0", "no '--'"),
        ("data.h5", "is no release on the Hub"),
    ],
)
def test_what_is_no_reference_is_refused_with_what_would_be_one(text, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        parse_reference(text)


@pytest.mark.parametrize("repo", ["a/b/c", "user/", "/name", "user/x.git", "us er/x", "user/" + "x" * 96, "u\n/x"])
def test_repo_ids_the_hub_would_not_take_are_refused(repo):
    with pytest.raises(UsageError):
        check_repo(repo)


def test_the_newest_version_is_by_number_and_other_tags_do_not_count():
    assert newest(["v1.9.0", "v1.10.0", "nightly", "v2", "v1.2.99"]) == "v1.10.0"
    assert newest(["main"]) is None
    assert tag_of("1.0.0") == "v1.0.0"
    with pytest.raises(UsageError, match=r"MAJOR\.MINOR\.PATCH"):
        tag_of("1.0")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/../x",
        "/etc/x",
        "a\\b",
        "c:x",
        "a//b",
        "./a",
        "nul",
        "data/CON.h5",
        "a./b",
        ".git/x",
        "a\nb",
        "e\u0301",
        "a\x00b",
        "x<y",
        "aux.txt",
        "COM¹.txt",
        "con .txt",
        "CONIN$",
        "あ" * 81,
        "/".join("abcdefghijklmnopq"),
        "/".join(["x" * 230] * 5),
        "\ud800",
    ],
)
def test_names_that_could_leave_their_folder_on_some_system_are_refused(name):
    with pytest.raises(DataError, match="lists the file name"):
        check_names(["README.md", name], "the test")


def test_names_that_cannot_lie_side_by_side_are_refused():
    with pytest.raises(DataError, match="take for one file"):
        check_names(["Data/x", "data/X"], "the test")
    with pytest.raises(DataError, match="as a file and"):
        check_names(["data", "data/x"], "the test")
    with pytest.raises(DataError, match="take for one file"):
        check_names(["x", "x"], "the test")
    check_names(["あ" * 80, "console.txt", "/".join("abcdefghijklmnop")], "the test")
    check_names(["SHA256SUMS", ".gitattributes", "data/2dot/train.h5", "data/2dot-strict/train.h5"], "the test")


CARD = """---
license: cc-by-4.0
configs:
- config_name: a
  data_files:
  - {split: train, path: data/a.h5}
dataset_info:
- config_name: a
  features: [{name: labels, dtype: int64}]
---
"""


def test_a_card_with_aliases_is_refused_at_once():
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 20)}]" for i in range(1, 9))]
    bomb = CARD.replace("license:", "\n".join([*lines, "tags: *a8", "license:"]))
    assert check_card(bomb, ["data/a.h5"]) == [
        "the YAML of README.md uses aliases (*name); write out what they stand for"
    ]


def test_versions_are_of_ascii_digits():
    with pytest.raises(UsageError):
        tag_of("1.0.\u0663")


def test_a_good_card_has_no_problems():
    assert check_card(CARD, ["data/a.h5"]) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("---\nlicense", "license", "does not begin with YAML"),
        ("cc-by-4.0", "CC BY 4.0", "license 'CC BY 4.0' is not one the Hub knows"),
        ("cc-by-4.0", "other", "needs license_name"),
        ("license: cc-by-4.0\n", "", "license None"),
        ("configs:", "configs: []\nconfigs:", "'configs' twice"),
        ("  data_files:", "  config_name: b\n  data_files:", "'config_name' twice"),
        ("path: data/a.h5", "path: data/b.h5", "no file of the folder matches 'data/b.h5'"),
        ("configs:", "size_categories: [huge]\nconfigs:", "size_categories"),
        ("configs:", "language: english\nconfigs:", "language is no list"),
        ("- config_name: a\n  features", "- config_name: c\n  features", "dataset_info of 'c': no such config"),
        ("license:", "license: [", "cannot be read"),
        ("license: cc-by-4.0", "license: [[mit]]", "license ['mit'] is not one"),
        ("license:", "day: 2020-13-01\nlicense:", "cannot be read"),
        ("license:", "deep: " + "[" * 5000 + "]" * 5000 + "\nlicense:", "cannot be read"),
        ("- config_name: a\n  data_files", "- config_name: [a]\n  data_files", "config_name ['a'] is no name"),
        ("configs:", "configs: 3\nother:", "configs is no list of mappings"),
        ("name: labels, ", "", "features is no list of named mappings"),
    ],
)
def test_what_the_hub_would_refuse_is_found_before(old, new, problem):
    assert old in CARD
    found = check_card(CARD.replace(old, new, 1), ["data/a.h5"])
    assert any(problem in line for line in found), found
