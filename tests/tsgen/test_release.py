"""Building a release: whole or unfinished, never between; the same bytes however it came about."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from clip_values import release_values, values_of

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.common.sums import SUMS_FILE, check_sums
from tsgen.recipe import make_recipe
from tsgen.release.build import build_release
from tsgen.release.contents import Content, duplicates
from tsgen.release.folder import MARKER_FILE
from tsgen.release.manifest import read_manifest, recipe_of
from tsgen.release.plan import CONFIGS, SIZES, Plan, domain_of

pytest.importorskip("pyarrow")
SMALL = Plan(("2dot", "mnist", "5dot-order"), {"train": 22, "val": 10, "test": 8})


def build(out: Path, plan: Plan = SMALL, **options):
    return build_release(out, plan, digits="embedded", quiet=True, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "release"
    build(out)
    return out


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_a_release_has_every_file(built):
    parts = {f"{config}/{split}" for config in SMALL.configs for split in SMALL.sizes}
    expected = {f"data/{part}.h5" for part in parts}
    expected |= {f"{kind}/{part}.parquet" for part in parts for kind in ("index", "preview")}
    expected |= {f"preview/{part}.h5" for part in parts}
    expected |= {"README.md", "croissant.json", "LICENSE", "ATTRIBUTION.md", "release.json", SUMS_FILE}
    assert set(contents(built)) == expected
    assert check_sums(built) == []


def test_clip_files_are_those_of_make(built, tmp_path):
    tsgen.make(domain_of("5dot-order"), 10, tmp_path / "ts.h5", split="val", quiet=True)
    assert values_of(tmp_path / "ts.h5") == values_of(built / "data/5dot-order/val.h5")


def test_the_manifest_says_how_to_make_it_again(built):
    manifest = read_manifest(built)
    for config, split in SMALL.parts:
        recipe, _ = make_recipe(domain_of(config), SMALL.sizes[split], split=split, digits="embedded")
        assert recipe_of(manifest, config, split) == recipe
        assert manifest["configs"][config]["splits"][split]["recipe_digest"] == recipe.digest
    assert manifest["digits_source"] == "embedded-uci-8x8"
    with tsgen.open_clips(built / "data/2dot/train.h5") as clip_set:
        counts = np.bincount(clip_set.labels).tolist()
        told = manifest["configs"]["2dot"]["splits"]["train"]["n_of_class"]
        assert told == dict(zip(clip_set.class_names, counts, strict=True))
    text = (built / "release.json").read_text()
    assert str(built.parent) not in text
    assert len(manifest["departures"]) == 3  # configurations, sizes, digits


def test_the_whole_plan_departs_from_nothing():
    assert Plan().departures("mnist") == []
    assert Plan(seed=1).departures("mnist") == ["seed 1 instead of 0"]
    assert {split: SIZES[split] for split in ("train", "val", "test")} == {"train": 4000, "val": 1000, "test": 500}
    assert {profile for _, profile in CONFIGS.values()} == {"paper", "strict", "order"}


@pytest.mark.parametrize("workers", [1, 3])
def test_bytes_do_not_depend_on_workers_or_time(built, tmp_path, workers):
    build(tmp_path / "again", workers=workers)
    assert release_values(tmp_path / "again") == release_values(built)


def test_duplicates_are_counted_by_hand():
    def content(frames: str, paths: str) -> Content:
        def digests(text):
            return np.frombuffer("".join(f"{c:>16}" for c in text).encode(), dtype="V16")

        return Content("", {}, digests(frames), digests(paths))

    found = duplicates({"train": content("aabc", "wxyz"), "val": content("cd", "zz"), "test": content("acc", "yqq")})
    assert found["repeated_in"] == {"train": 1, "val": 0, "test": 1}
    assert found["shared_frames"] == {"val in train": 1, "test in train": 3, "test in val": 2}
    assert found["shared_paths"] == {"val in train": 2, "test in train": 1, "test in val": 0}


def test_strict_splits_share_nothing_and_paper_splits_do(tmp_path):
    plan = Plan(("2dot", "2dot-strict"), {"train": 4000, "val": 1000, "test": 500})
    build(tmp_path / "out", plan)
    audit = read_manifest(tmp_path / "out")["audit"]
    assert set(audit["2dot-strict"]["shared_paths"].values()) == {0}
    assert audit["2dot"]["shared_frames"]["val in train"] > 0
    with tsgen.open_clips(tmp_path / "out/data/2dot/train.h5") as train:
        seen = {clip.tobytes() for clip in train.clips()}
    with tsgen.open_clips(tmp_path / "out/data/2dot/val.h5") as val:
        assert audit["2dot"]["shared_frames"]["val in train"] == sum(clip.tobytes() in seen for clip in val.clips())


# --- going on, replacing, refusing -----------------------------------------------------------------------------------


def test_a_whole_release_is_left_alone(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    summary = build(copy)
    assert (summary.made, summary.kept) == (0, 9)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_only_what_is_wrong_is_made_again(copy, built):
    with h5py.File(copy / "data/2dot/val.h5", "r+") as file:
        file["labels"][3] = (file["labels"][3] + 1) % 5
    (copy / "data/mnist/test.h5").unlink()
    (copy / "preview/mnist/val.parquet").write_bytes(b"half")
    (copy / "preview/mnist/test.h5").write_bytes(b"half")
    (copy / "data/mnist/.train.h5.partial-0-0-1").write_bytes(b"half")
    said: list[str] = []
    summary = build(copy, say=said.append)
    assert (summary.made, summary.kept) == (2, 7)
    assert "val.h5 was changed or damaged" in said[0]
    assert release_values(copy) == release_values(built)


def test_a_killed_build_goes_on(tmp_path, built):
    out = tmp_path / "out"
    code = (
        "import sys; from test_release import *; from tsgen.release import parts; whole = parts.write_clips\n"
        "hang = lambda path: time.sleep(600) if path.match('mnist/val.h5') else None\n"
        "parts.write_clips = lambda path, *more, **options: hang(path) or whole(path, *more, **options)\n"
        "build(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], env=environment)
    while not (out / "data/mnist/train.h5").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / SUMS_FILE).exists()
    assert (out / MARKER_FILE).exists()
    summary = build(out)
    assert summary.kept == 4
    assert release_values(out) == release_values(built)


def test_a_build_that_ends_before_the_sums_is_unfinished(tmp_path, built, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsgen.release.build.write_sums", full)
    with pytest.raises(DataError, match="Is the disk full"):
        build(tmp_path / "out")
    assert not (tmp_path / "out" / SUMS_FILE).exists()
    with pytest.raises(UsageError, match=r"holds another release: .* another recipe"):
        build(tmp_path / "out", Plan(SMALL.configs, SMALL.sizes, seed=1))
    monkeypatch.undo()
    assert build(tmp_path / "out").kept == 9
    assert release_values(tmp_path / "out") == release_values(built)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(SMALL.configs, {**SMALL.sizes, "val": 11}), r"3 of its files .* the first is data/2dot/val.h5"),
        (Plan(("2dot", "mnist"), SMALL.sizes), "it has 9 clip files instead of 6"),
    ],
)
def test_another_recipe_is_refused_and_force_replaces_it(copy, plan, message):
    before = contents(copy)
    with pytest.raises(UsageError, match=message):
        build(copy, plan)
    assert contents(copy) == before
    build(copy, plan, force=True)
    manifest = read_manifest(copy)
    assert tuple(manifest["configs"]) == plan.configs
    assert check_sums(copy) == []
    assert {path.name for path in (copy / "data").iterdir()} == set(plan.configs)


def test_what_is_not_of_a_release_is_never_touched(copy):
    (copy / "data" / "2dot" / "thesis.tex").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"holds 1 thing that no release has: data/2dot/thesis.tex"):
            build(copy, force=force)
    assert (copy / "data" / "2dot" / "thesis.tex").read_text() == "mine"
    assert (copy / SUMS_FILE).exists()


def test_links_in_the_folder_are_refused(copy, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (copy / "README.md").unlink()
    (copy / "README.md").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match=r"no release has: README.md"):
        build(copy, force=True)
    assert (tmp_path / "precious").read_text() == "mine"


def test_two_builds_do_not_meet(copy):
    from tsgen.common.files import locked

    with locked(copy), pytest.raises(UsageError, match="another process works on"):
        build(copy)


def test_bad_plans():
    with pytest.raises(UsageError, match=r"unknown configuration 'mnits'. Did you mean 'mnist'\?"):
        Plan(("mnits",))
    with pytest.raises(UsageError, match="given twice"):
        Plan(("2dot", "2dot"))
    with pytest.raises(UsageError, match="0 clips in val"):
        Plan(sizes={"train": 1, "val": 0, "test": 1})


def test_wrong_digits_leave_nothing_behind(tmp_path):
    with pytest.raises(UsageError, match=r"Did you mean 'embedded'\?"):
        build_release(tmp_path / "out", SMALL, digits="embeded", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_damaged_manifest_is_a_data_error(copy):
    manifest = json.loads((copy / "release.json").read_text())
    for change in (
        {"schema_version": 2},
        {"configs": {"x": manifest["configs"]["2dot"]}},
        {"configs": {"2dot": {**manifest["configs"]["2dot"], "splits": {}}}},
        {"configs": {"mnist": manifest["configs"]["2dot"]}},
        {"configs": json.loads(json.dumps({"2dot": manifest["configs"]["2dot"]}).replace("preview/2dot/val.h5", "x"))},
        {"seed": True},
        {"digits_sha256": None},
    ):
        (copy / "release.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DataError, match=r"release\.json"):
            read_manifest(copy)
    (copy / "release.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(copy)
