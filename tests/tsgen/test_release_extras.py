"""What a release could carry beside its values is found, whoever wrote the sums anew; what is the user's is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest
from forgery import rewrite_texts

from tsgen.common.errors import DataError, UsageError
from tsgen.common.sums import write_sums
from tsgen.common.tables import BATCH_ROWS, table_problems
from tsgen.release import build
from tsgen.release.build import build_release
from tsgen.release.plan import Plan, domain_of
from tsgen.release.verify import verify_release

pq = pytest.importorskip("pyarrow.parquet")
import pyarrow as pa  # noqa: E402

TINY = Plan(("2dot-order",), {"train": 4, "val": 2, "test": 2})


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "release"
    build_release(out, TINY, digits="embedded", quiet=True)
    return out


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def problems(folder: Path, *, rewrite: bool = False) -> str:
    """With sums that fit, and with ``rewrite`` card and Croissant, too."""
    if rewrite:
        rewrite_texts(folder)
    write_sums(folder)
    report = verify_release(folder, rebuild=False, quiet=True)
    assert report.is_proven == (not report.problems)
    return "\n".join(report.problems)


def edit(folder: Path, **changes) -> None:
    manifest = json.loads((folder / "release.json").read_text())
    (folder / "release.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize("dials", [{"width_px": 9, "contrast": 0.3}, {"size_px": 512, "num_frames": 1000}], ids=str)
def test_a_configuration_that_is_drawn_otherwise_is_refused_before_it_is_read(copy, tmp_path, monkeypatch, dials):
    if "size_px" in dials:  # one that nobody would build: the manifest alone
        manifest = json.loads((copy / "release.json").read_text())
        manifest["configs"]["2dot-order"]["recipe"] |= dials
        edit(copy, configs=manifest["configs"])
        write_sums(copy)
        forged = copy
        monkeypatch.setattr("tsgen.release.verify.open_clips", lambda path: pytest.fail("was read"))
    else:
        forged = tmp_path / "forged"
        monkeypatch.setattr(build, "domain_of", lambda config: domain_of(config).with_dials(**dials))
        build_release(forged, TINY, digits="embedded", quiet=True)
    with pytest.raises(DataError, match=r"the recipe of 2dot-order is not that of this version: .* instead of"):
        verify_release(forged, quiet=True)


def test_a_file_that_no_release_has_is_a_problem(copy):
    (copy / "temporal_shape.py").write_text("import os\n")
    assert problems(copy) == "temporal_shape.py: no release has such a file."


@pytest.mark.parametrize("name", ["ATTRIBUTION.md", "croissant.json", "index/2dot-order/val.parquet"])
def test_a_file_that_is_neither_there_nor_listed_is_a_problem(copy, name):
    (copy / name).unlink()
    assert f"{name}: not listed in SHA256SUMS; this release has it." in problems(copy)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "license: apache-2.0", "license: cc0-1.0"),
        ("README.md", "8 clips", "9 clips"),
        ("croissant.json", '"contentUrl": "data/', '"contentUrl": "https://example.org/'),
        ("LICENSE", "Apache License", "All rights reserved"),
        ("ATTRIBUTION.md", "No config", "A config"),
    ],
)
def test_a_changed_text_is_found(copy, name, old, new):
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    assert problems(copy).splitlines()[0] == f"{name}: is not the one that this manifest gives."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licenses": {"clips": "CC0", "digits": None}}, "licenses is \"{'clips': 'CC0'"),
        ({"about": {}}, "about is '{}'"),
        ({"made_with": {"numpy": "<b>"}}, "made_with is"),
        ({"version": "7.0.0"}, "is of version '7.0.0' by generator '"),
        ({"generator_version": "99"}, "is of version '1.0.0' by generator '99'; this tsgen"),
    ],
)
def test_a_changed_statement_of_the_manifest_is_found(copy, changes, message):
    edit(copy, **changes)
    found = problems(copy, rewrite="version" not in changes)
    assert f"release.json: {message}" in found
    assert ("was not shown" in found) == ("version" in message)


def test_attributes_and_bytes_that_no_reader_looks_at_are_found(copy):
    path = copy / "data/2dot-order/val.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["payload"] = "word"
        file["labels"].attrs["meaning"] = "something else"
        file.attrs["generator_version"] = "99"
    with (copy / "data/2dot-order/test.h5").open("ab") as handle:
        handle.write(b"PK" * 1000)
    with h5py.File(copy / "preview/2dot-order/val.h5", "r+") as file:
        file["strip"].attrs["payload"] = "word"
    sizes = json.loads((copy / "release.json").read_text())["configs"]
    for split, part in sizes["2dot-order"]["splits"].items():
        part["bytes"] = (copy / f"data/2dot-order/{split}.h5").stat().st_size
    edit(copy, configs=sizes)
    found = problems(copy, rewrite=True).splitlines()
    assert [problem.partition(": ")[2][:40] for problem in found] == [
        "attribute 'generator_version' of / is '9",
        "attribute 'payload' of / is 'word'; expe",
        "attribute 'meaning' of labels is 'someth",
        "attribute 'payload' of strip is 'word'; ",
        f"has {sizes['2dot-order']['splits']['test']['bytes']} bytes; by its own account it ends"[:40],
    ]


def test_a_small_table_that_unpacks_to_much_is_not_read(copy, monkeypatch):
    path = copy / "index/2dot-order/train.parquet"
    expected = pq.read_table(path)
    field = expected.schema.field("class_name")
    bomb = expected.set_column(2, field, pa.array(["a" * (8 << 20)] * 4))
    pq.write_table(bomb, path, compression="zstd")
    assert path.stat().st_size < 20_000
    assert "train.parquet: unpacks to " in problems(copy, rewrite=True)
    for way in ("read", "iter_batches"):
        monkeypatch.setattr(pq.ParquetFile, way, lambda *_, **__: pytest.fail("was read"))
    assert "not read" in table_problems(path, expected)[0]


def test_a_word_of_many_rows_is_held_once(tmp_path):
    rows = 3 * BATCH_ROWS
    expected = pa.table({"clip_id": pa.array(range(rows)), "word": pa.array(["circle"] * rows)})
    pq.write_table(expected.set_column(1, "word", pa.array(["a" * 1000] * rows)), tmp_path / "table.parquet")
    seen: list[str] = []
    told = table_problems(tmp_path / "table.parquet", expected, {"word": lambda mine, _: bool(seen.append(mine))})
    assert told == [f"word differs in {rows} of {rows} rows, first in row 0."]
    assert len({id(word) for word in seen}) <= rows / BATCH_ROWS


def test_a_build_does_not_keep_a_clip_file_with_more_in_it(copy):
    with h5py.File(copy / "data/2dot-order/val.h5", "r+") as file:
        file.attrs["payload"] = "word"
    said: list[str] = []
    summary = build_release(copy, TINY, digits="embedded", quiet=True, say=said.append)
    assert (summary.made, summary.kept) == (1, 2)
    assert "attribute 'payload'" in said[0] and "made again" in said[0]
    assert problems(copy) == ""


def test_only_leftovers_of_this_release_are_removed(copy):
    (copy / "data/2dot-order/.val.h5.partial-0-0-1").write_bytes(b"half")
    (copy / ".git/x").mkdir(parents=True)
    mine = [".git/x/.note.partial-draft", ".git/.README.md.partial-1"]
    for name in mine:
        (copy / name).write_text("mine")
    build_release(copy, TINY, digits="embedded", quiet=True)
    assert not (copy / "data/2dot-order/.val.h5.partial-0-0-1").exists()
    assert all((copy / name).read_text() == "mine" for name in mine)


@pytest.mark.parametrize("name", [".my.partial-notes", "data/2dot-order/.other.h5.partial-1", ".LICENSE.partial-dir/"])
def test_what_only_looks_like_a_leftover_is_the_users(copy, name):
    path = copy / name
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_text("mine")
    with pytest.raises(UsageError, match="holds 1 thing that no release has"):
        build_release(copy, TINY, digits="embedded", quiet=True, force=True)
    assert path.exists()
