"""The published frames: fetched from a Dataverse on loopback, told apart, compared; a quirk that is gone is seen."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from dataverse_server import Dataverse, Stored

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.domains import Domain, get_domain
from tsgen.export_forms import ExportOptions
from tsgen.exporter import export_clips
from tsgen.generate import Generator
from tsgen.originals import compare_original, download_original, find_sets, named_domain
from tsgen.originals.compare import PROFILES as COMPARED
from tsgen.originals.compare import compare_clips, through_jpeg
from tsgen.originals.measures import MEASURES, difference, look_at, nearest_classes
from tsgen.originals_commands import compare_original as command
from tsgen.originals_commands import report_text
from tsgen.profiles import PROFILES
from tsgen.recipe import make_recipe

SET_2DOT = "classification_2dot__bg0_5classes_5000seqs_20_per_seq"


def clips_of(domain: Domain, n: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    recipe, digits = make_recipe(domain, n, seed=seed, digits="embedded")
    bitmaps = None if digits is None else digits.bitmaps
    frames, columns = Generator(recipe, bitmaps, None if digits is None else digits.labels).clips(np.arange(n))
    return frames, columns["labels"].astype(np.int64)


def differing(clips: np.ndarray, labels: np.ndarray, domain: str = "2dot", profile: str = "dataverse", **options):
    rows, _ = compare_clips(clips, labels, domain, "train", digits="embedded", **options)
    return {(row.what, row.of) for row in rows if row.against[profile].differs}


def published(folder: Path, n: int, quality: int = 75, **dials) -> Path:
    """Frames as the authors published them, in a folder of this name."""
    domain = get_domain("2dot", "dataverse").with_dials(**dials)
    folder.parent.mkdir(parents=True, exist_ok=True)
    clips = folder.with_suffix(".h5")
    tsgen.make(domain, n, clips, seed=11, quiet=True)
    export_clips(clips, folder, "jpeg", ExportOptions(quality=quality), quiet=True)
    clips.unlink()
    (folder / "_export.json").unlink()
    return folder


def zipped(folder: Path) -> bytes:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        (f"data/{SET_2DOT}/labels.csv", "2dot"),
        ("classification_5dot__bg0_5classes_500seqs_20_per_seq", "5dot"),
        ("classification_14mnist_test_bg0_5classes_500seqs_20_per_seq", "mnist"),
        ("classification_14mnist_train_bg1_perlintens0.5_5classes_5000seqs_20_per_seq.zip/1.jpg", "mnist-bg"),
        ("all domains 2dot 5dot mnist/MNIST-bg/labels.tab", "mnist-bg"),
        ("MNIST_bg0/0.jpg", "mnist"),
        ("12dot/labels.csv", None),
        ("readme.txt", None),
    ],
)
def test_domains_are_told_from_names(path, domain):
    assert named_domain(path) == domain


def test_sets_are_found_in_folders_and_archives(tmp_path):
    published(tmp_path / SET_2DOT, 2)
    target = published(tmp_path / "other" / "classification_5dot__bg0_5classes_500seqs_20_per_seq", 2)
    zipped(target)
    (tmp_path / "readme.csv").write_text("a,b\n1,2\n")
    found = find_sets(tmp_path)
    told = [(one.name, one.domain, one.split, one.table) for one in found]
    assert found[0].source == tmp_path / SET_2DOT
    assert told == [
        (SET_2DOT, "2dot", "train", "labels.csv"),
        (f"other/{target.name}", "5dot", "test", "labels.csv"),
        (f"other/{target.name}.zip", "5dot", "test", "labels.csv"),
    ]


def test_a_folder_without_sets_says_what_it_holds(tmp_path):
    (tmp_path / "frames.tar.gz").touch()
    with pytest.raises(DataError, match=r"holds frames\.tar\.gz\. Unpack frames\.tar\.gz there first"):
        find_sets(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        compare_original(tmp_path / "absent")


def test_chosen_domains_are_fetched_with_what_names_none(tmp_path):
    files = [Stored(f"{name}/0.jpg", b"x") for name in ("2dot", "5dot", "mnist-bg")] + [Stored("readme.txt", b"r")]
    with Dataverse(files) as server:
        summary = download_original(tmp_path / "ts", domains=("5dot",), say=print, server=server.url, quiet=True)
        assert sorted(str(path.relative_to(tmp_path / "ts")) for path in (tmp_path / "ts").rglob("*.[jt]*")) == [
            "5dot/0.jpg",
            "dataverse.json",
            "readme.txt",
        ]
        assert summary.files == 2
        server.version = (1, 1)
        assert download_original(tmp_path / "ts", say=print, server=server.url, quiet=True).files == 4
    with pytest.raises(UsageError, match="Did you mean 'mnist-bg'"):
        download_original(tmp_path / "ts", domains=("mnist_bg",), say=print)


def test_from_the_archive_to_the_report(tmp_path):
    """Downloaded, verified, imported: our own profile `dataverse` in published form differs in nothing from itself."""
    archive = zipped(published(tmp_path / "made" / SET_2DOT, 120, quality=90))
    small = published(tmp_path / "made" / "classification_2dot__bg0_5classes_500seqs", 12)
    files = [Stored(f"target_2dot/{path.name}", path.read_bytes()) for path in sorted(small.glob("*.jpg"))]
    files.append(Stored("target_2dot/labels.tab", (small / "labels.csv").read_bytes(), original="labels.csv"))
    files.append(Stored(f"source/{SET_2DOT}.zip", archive))
    files.append(Stored("mnist.txt", b"not asked for"))
    with Dataverse(files) as server:
        download_original(tmp_path / "ts", domains=("2dot",), say=print, server=server.url, quiet=True)
    result = compare_original(tmp_path / "ts", keep=tmp_path / "keep", quiet=True)
    source, target = result.sets
    assert (source.clips, source.domain, source.split, target.clips, target.split) == (120, "2dot", "train", 12, "test")
    assert (source.frames, target.frames) == ("JPEG grey quality 90", "JPEG grey quality 75")
    assert source.differing("dataverse") == []
    assert target.differing("dataverse") == []
    assert {"entity width", "way from start to end, x"} <= {row.what for row in source.differing("paper")}
    assert result.notes == (f"{len(files) - 1} of the {len(files)} files of the data set are here",)
    kept = sorted(path.name for path in (tmp_path / "keep").iterdir())
    assert kept == ["0-2dot-train.h5", "1-2dot-test.h5"]

    text = report_text(result)
    assert "profile dataverse: 0 of" in text
    assert "120 clips of 2dot (train)" in text
    assert "still frames" not in text and "still frames" in report_text(result, all_rows=True)
    arguments = [str(tmp_path / "ts"), "--json", "--clips", "12"]
    printed = json.loads(CliRunner().invoke(command, arguments).stdout)
    assert [one["compared"] for one in printed["sets"]] == [12, 12]
    assert printed["sets"][1] == json.loads(json.dumps(result.to_json()))["sets"][1]

    damaged = tmp_path / "ts" / "target_2dot" / "7.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"target_2dot/7\.jpg has changed"):
        compare_original(tmp_path / "ts", quiet=True)


QUIRKS = {
    "dots vanish": ({"dots_vanish": False}, ("clips with a blank frame", "all")),
    "dots are transposed": ({"dots_are_transposed": False}, ("way from start to end, x", "spiral")),
    "labels are drawn one by one": ({"balanced_classes": True}, ("clips a class", "all")),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_quirk_that_is_gone_is_seen(monkeypatch, quirk):
    change, row = QUIRKS[quirk]
    monkeypatch.setitem(PROFILES, "less", dataclasses.replace(PROFILES["dataverse"], **change))
    clips, labels = clips_of(get_domain("2dot", "dataverse").with_dials(profile="less"))
    assert row in differing(clips, labels)


@pytest.mark.parametrize(
    ("domain", "dials", "row"),
    [
        ("2dot", {"width_px": 2}, "entity width"),
        ("2dot", {"speed_factor": 0.9}, "mean speed"),
        ("2dot", {"spiral_reach": 6}, "way from start to end, x"),
        ("2dot", {"num_frames": 19}, "frames x height x width"),
        ("mnist-bg", {"sigma_high": 6}, "background slope a pixel"),
        ("mnist-bg", {"intensity": 0.4}, "background level"),
        ("mnist-bg", {"background": "static"}, "background change a frame"),
    ],
)
def test_another_dial_is_seen(domain, dials, row):
    clips, labels = clips_of(get_domain(domain, "dataverse").with_dials(**dials), n=200)
    assert row in {what for what, _ in differing(clips, labels, domain)}


def test_exchanged_labels_are_seen_by_how_the_classes_move():
    clips, labels = clips_of(get_domain("2dot", "dataverse"), n=300)
    exchanged = np.choose(labels, [0, 2, 1, 3, 4])
    assert {("moves most like our", "spiral"), ("moves most like our", "line")} <= differing(clips, exchanged)
    sights = look_at(clips, exchanged), look_at(clips, labels)
    assert nearest_classes(*sights, 5) == [0, 2, 1, 3, 4]
    assert nearest_classes(sights[0], look_at(clips[labels != 1], labels[labels != 1]), 5)[2] != 1


@pytest.mark.parametrize("seed", [21, 22])
@pytest.mark.parametrize("domain", ["2dot", "mnist-bg"])
def test_nothing_is_seen_where_nothing_is(domain, seed):
    clips, labels = clips_of(get_domain(domain, "dataverse"), n=200, seed=seed)
    assert differing(clips, labels, domain) == set()


def test_more_compression_than_ours_is_seen():
    clips, labels = clips_of(get_domain("2dot", "dataverse"), n=60)
    assert ("different grey levels", "all") not in differing(through_jpeg(clips, 60), labels, quality=60)
    assert ("different grey levels", "all") in differing(through_jpeg(through_jpeg(clips, 60), 20), labels, quality=60)


def test_measures_of_clips_without_light_are_absent():
    sight = look_at(np.zeros((3, 20, 64, 64), np.uint8), np.array([0, 1, 2]))
    for name, measure in MEASURES.items():
        values = measure.of(sight)
        assert values.shape == (3,), name
        assert np.isnan(values).all() == (measure.unit.startswith("px") and not measure.share), name
        assert difference(measure, values, values)[1] == 1.0, name


def test_differences_of_nothing_and_something():
    measure = MEASURES["entity width"]
    assert difference(measure, np.array([np.nan]), np.array([1.0, 2.0])) == (1.0, 0.0)
    assert difference(measure, np.zeros(50), np.ones(50))[0] == 1.0
    assert difference(measure, np.zeros(2), np.ones(2))[1] > 0.1
    assert COMPARED == ("paper", "dataverse")


def test_names_from_an_archive_are_told_without_control_characters(tmp_path):
    (tmp_path / "in").mkdir()
    frames = published(tmp_path / SET_2DOT, 10)
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        for file in sorted(frames.iterdir()):
            archive.write(file, f"2dot\x07\x1b[2J/{file.name}")
    said: list[str] = []
    result = compare_original(tmp_path / "in", digits="embedded", say=said.append, quiet=True)
    assert "import a.zip/2dot??[2J as 2dot" in said
    assert all(line.isprintable() for line in (*said, result.sets[0].name, result.sets[0].frames))


def test_an_interrupted_comparison_leaves_no_folder_that_the_next_run_refuses(tmp_path, monkeypatch):
    published(tmp_path / "in" / SET_2DOT, 10)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tsgen.originals.compare._compare_set", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compare_original(tmp_path / "in", keep=tmp_path / "kept", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    said: list[str] = []
    compare_original(tmp_path / "in", keep=tmp_path / "kept", say=said.append, quiet=True)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["0-2dot-train.h5"]
    assert said[0].endswith(f": {tmp_path / 'kept' / '0-2dot-train.h5'}")


def test_wrong_requests(tmp_path):
    published(tmp_path / "unnamed" / "set", 2)
    with pytest.raises(DataError, match="say --domain NAME"):
        compare_original(tmp_path / "unnamed", quiet=True)
    with pytest.raises(UsageError, match="too few"):
        compare_original(tmp_path, clips=3)
    with pytest.raises(UsageError, match="Did you mean '2dot'"):
        compare_original(tmp_path, domain="2dots")
    with pytest.raises(UsageError, match="name of a new folder"):
        compare_original(tmp_path, keep=tmp_path / "unnamed")
