"""What is handed out: one version everywhere, distributions with the right files, the same words on how to cite."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
import yaml

from tsgen.common import VERSION
from tsgen.common.cards import CARDS
from tsgen.release.croissant import CITE_AS

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CITING = (ROOT / "CITING.txt").read_text(encoding="utf-8")
ACCENTS = {r"{\'e}": "é", r"{\"o}": "ö", "{O}": "O"}
NOT_SOURCE = shutil.ignore_patterns(".*cache", ".venv", ".git", "__pycache__", "dist", "build", "runs", ".hypothesis")


# --- one version -----------------------------------------------------------------------------------------------------


def test_the_version_is_the_same_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert CITATION["version"] == VERSION
    assert re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)[1] == VERSION
    assert f"version {VERSION}, {CITATION['date-released'].year}" in CITING
    assert f"version   = {{{VERSION}}}" in CITING


# --- how to cite -----------------------------------------------------------------------------------------------------


def bibtex(text: str, kind: str) -> dict[str, str]:
    """The fields of the first entry of a kind, in plain letters."""
    entry = re.search(rf"@{kind}\{{.*?(?:\n\s*\}}|\}}\}}$)", text, flags=re.DOTALL | re.MULTILINE)[0]
    for written, letter in ACCENTS.items():
        entry = entry.replace(written, letter)
    return {
        name: " ".join(value.split()) for name, value in re.findall(r"(\w+)\s*= \{(.*?)\}(?=,|\s*\})", entry, re.DOTALL)
    }


@pytest.mark.parametrize(
    "text",
    [CITING, CITE_AS, (ROOT / "data_cards" / "temporal_shape.md").read_text(encoding="utf-8")],
    ids=["CITING.txt", "croissant", "card"],
)
def test_the_paper_is_cited_as_in_the_citation_file(text):
    paper = CITATION["preferred-citation"]
    authors = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert bibtex(text, "inproceedings") == {
        "title": paper["title"],
        "author": " and ".join(authors),
        "booktitle": paper["collection-title"],
        "year": str(paper["year"]),
    }


def test_the_plain_text_says_the_same():
    paper, told = CITATION["preferred-citation"], " ".join(CITING.split())
    names = ", ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
    assert f"{names}: {paper['title']}. {paper['collection-title']}, {paper['year']}." in told
    software = bibtex(CITING, "software")
    assert software["title"] == CITATION["title"]
    assert software["license"] == CITATION["license"]
    assert software["author"].strip("{}") == CITATION["authors"][0]["name"]
    assert software["year"] == str(CITATION["date-released"].year)


def test_the_citation_file_has_what_its_format_asks_for():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert CITATION["type"] == "software"


# --- the distributions -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """sdist, and the wheel built from it, of a copy of this tree."""
    pytest.importorskip("build")
    place = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, place / "copy", ignore=NOT_SOURCE)
    command = [sys.executable, "-m", "build", "--outdir", str(place / "dist"), str(place / "copy")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if result.returncode and re.search(r"No matching distribution found for hatchling|ConnectionError", result.stdout):
        pytest.skip("the build backend cannot be fetched")
    assert result.returncode == 0, result.stdout + result.stderr
    return place / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> dict[str, bytes]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built) -> set[str]:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    return message_from_string(wheel[f"recur_attend_convolve-{VERSION}.dist-info/METADATA"].decode())


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    packages = ("tsgen", "diving48_domains", "benchmark")
    sources = {p.relative_to(ROOT).as_posix() for name in packages for p in (ROOT / name).rglob("*.py")}
    assert {name for name in wheel if name.endswith(".py")} == sources
    assert {f"tsgen/release/cards/{name}.md" for name in CARDS} <= set(wheel)
    digits = {f"tsgen/data/uci_digits/{path.name}" for path in (ROOT / "tsgen" / "data" / "uci_digits").iterdir()}
    assert len(digits) == 4
    assert digits <= set(wheel)
    info = f"recur_attend_convolve-{VERSION}.dist-info"
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/tsgen/data/ATTRIBUTION.md"} <= set(wheel)
    assert {name.partition("/")[0] for name in wheel} == {*packages, info}
    assert not [name for name in wheel if re.search(r"__pycache__|\.(pyc|nbi|nbc|h5)$|reference_results", name)]


def test_the_wheel_reads_its_cards_without_a_checkout(built, tmp_path):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import json, tsgen; from tsgen.common.cards import CARDS, read_card; "
        "print(json.dumps([tsgen.__file__, {name: read_card(name) for name in CARDS}]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    where, cards = json.loads(result.stdout)
    assert where.startswith(str(tmp_path))
    assert cards == {name: (ROOT / "data_cards" / f"{name}.md").read_text(encoding="utf-8") for name in CARDS}


def test_the_sdist_can_be_built_tested_and_read(sdist):
    tops = {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CITING.txt",
        "Makefile",
        "constraints.txt",
        "PKG-INFO",
    }
    assert tops | {"pyproject.toml", ".ci/run", "tests/conftest.py", "perf/measure.py"} <= sdist
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "data_cards").glob("*.md")} <= sdist
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {target for target in re.findall(r"\]\(([^)#]+)", readme) if not target.startswith("http")}
    assert not [one for one in linked if one not in sdist and not any(name.startswith(f"{one}/") for name in sdist)]
    assert not [name for name in sdist if re.search(r"__pycache__|\.(pyc|nbi|nbc)$|^\.(git|venv)/", name)]


def test_the_index_will_accept_the_metadata(metadata):
    assert metadata["Name"] == "recur-attend-convolve"
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == CITATION["license"]
    assert metadata.get_all("License-File") == ["LICENSE", "tsgen/data/ATTRIBUTION.md"]
    # A licence classifier beside an expression is refused (PEP 639), as is a summary of more than a line.
    assert not [each for each in metadata.get_all("Classifier") if each.startswith("License ::")]
    assert 0 < len(metadata["Summary"]) <= 512
    assert "\n" not in metadata["Summary"]
    assert metadata["Requires-Python"].startswith(">=3.11")
    assert "train" in metadata.get_all("Provides-Extra")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_requirement_names_an_address(metadata):
    """The index refuses packages that require files by URL."""
    assert not [each for each in metadata.get_all("Requires-Dist") if "@" in each]


# --- the workflow ----------------------------------------------------------------------------------------------------


def test_the_workflow_publishes_what_it_built_and_holds_no_secret():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert workflow["permissions"] == {}
    assert build["permissions"] == {"contents": "read"}
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "build"
    assert not [step for step in publish["steps"] if "run" in step]
    assert "secrets." not in text
    # Names of tags come from outside: never into a script, only through its environment.
    assert not [step for job in workflow["jobs"].values() for step in job["steps"] if "${{" in step.get("run", "")]
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+){0,2}|[0-9a-f]{40})", name) for name in used)


def test_the_workflow_finds_the_version_where_it_is():
    line = f'VERSION = "{VERSION}"'
    assert line in (ROOT / "tsgen" / "common" / "__init__.py").read_text(encoding="utf-8").splitlines()
