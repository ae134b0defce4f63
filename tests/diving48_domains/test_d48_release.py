"""``d48dom release``: what a release holds and must not hold, and that verification finds what was changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from diving48_domains.annotations import open_folder
from diving48_domains.build import build
from diving48_domains.build_options import BuildOptions
from diving48_domains.hub_commands import publish
from diving48_domains.instance_file import InstanceFile, write_instances
from diving48_domains.manifest import read_manifest
from diving48_domains.mini.config import MiniConfig
from diving48_domains.mini.dataset import write_mini
from diving48_domains.no_frames import frames_in, refuse_frames
from diving48_domains.release import frames, masks, mini
from diving48_domains.release.contents import refuse_paths, without_paths
from diving48_domains.release.kinds import KINDS
from diving48_domains.release_commands import KIND_HELP, NEEDED, release
from tsgen.common.cards import split_card
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.card import check_card
from tsgen.common.shards import Shard
from tsgen.common.sums import check_sums, write_sums

pq = pytest.importorskip("pyarrow.parquet")
RECIPE = MiniConfig(train=2, val=0, test=3, shift=0, swap=0, width=48, height=32, labels_train=3, labels_val=0)
OPTIONS = BuildOptions(domains=("O", "T"), size=(32, 48), num_frames=6)
HOW = {"engine": EngineOptions("serial"), "quiet": True}


def typed(*words: object) -> None:
    result = CliRunner().invoke(release, [*map(str, words), "--quiet"], standalone_mode=False)
    if result.exception is not None:
        raise result.exception


def verified(folder: Path, *words: object) -> dict:
    result = CliRunner().invoke(release, ["--verify", str(folder), "--json", *map(str, words)])
    assert result.exit_code in (0, 3), result.output + repr(result.exception)
    found = json.loads(result.stdout)
    assert found["proven"] == (result.exit_code == 0)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "mini"
    write_mini(out, RECIPE, workers=0, quiet=True)
    return out


@pytest.fixture(scope="module")
def built(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built")
    return build(open_folder(data), "test", data / "truth.h5", out, OPTIONS, **HOW).manifest_path


@pytest.fixture(scope="module")
def made(data, built, tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("made")
    for kind in ("mini", "frames"):
        typed("--kind", kind, "--data", data, "--out", place / kind)
    typed("--kind", "domains", "--build", built, "--instances", data / "truth.h5", "--out", place / "domains")
    return {kind: place / kind for kind in KINDS}


@pytest.fixture
def copy(made, tmp_path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(made[kind], tmp_path / kind))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_is_proven_and_its_card_is_taken(made, kind):
    found = verified(made[kind])
    assert found["proven"] and found["problems"] == [] and found["rows"] == {"mini": 5, "frames": 3, "domains": 3}[kind]
    text = (made[kind] / "README.md").read_text(encoding="utf-8")
    assert check_card(text, set(bytes_of(made[kind]))) == []
    assert "Release 1.0.0: " in text and "the card of no release" not in text
    facts = yaml.safe_load(split_card(text)[0])
    assert facts["configs"][0]["default"] and "viewer" not in facts
    assert json.loads((made[kind] / "release.json").read_text())["name"] == KINDS[kind].name


@pytest.mark.parametrize("kind", KINDS)
def test_equal_content_is_equal_bytes_without_paths_of_the_machine(made, data, built, tmp_path, kind):
    words = {"domains": ("--build", built, "--instances", data / "truth.h5")}.get(kind, ("--data", data))
    typed("--kind", kind, *words, "--out", tmp_path / "again")
    mine = bytes_of(tmp_path / "again")
    assert mine == bytes_of(made[kind])
    assert not [name for name, content in mine.items() if str(data.parent.parent).encode() in content]


def test_columns_are_those_of_the_tables(made):
    for module, name in ((masks, "domains"), (mini, "mini"), (frames, "frames")):
        for path in made[name].rglob("*.parquet"):
            assert pq.read_schema(path).names == list(module.COLUMNS)


def test_domains_hold_masks_and_no_frame(made, data, built):
    folder = made["domains"]
    names = {"README.md", "LICENSE", "SHA256SUMS", "release.json", "instances.h5"}
    assert set(bytes_of(folder)) == names | {"manifests/domains/test.jsonl", "index/domains/test.parquet"}
    refuse_frames(folder)
    assert (folder / "manifests/domains/test.jsonl").read_bytes() == built.read_bytes()
    with InstanceFile(folder / "instances.h5") as mine, InstanceFile(data / "truth.h5") as theirs:
        assert mine.content_hash == theirs.content_hash
    clips = read_manifest(built).clips
    rows = pq.read_table(folder / "index/domains/test.parquet").to_pylist()
    assert [row["clip_id"] for row in rows] == [clip.clip_id for clip in clips]
    for row, clip in zip(rows, clips, strict=True):
        assert (row["label"], row["outcome"], row["stored_frames"]) == (clip.label, "written", 6)
        assert row["frames_detected"] == clip.summary["frames_detected"]
        assert [name for name in clip.flags if not row[name]] == []
        assert row["divers_found"] == clip.summary["instances"]
    assert "not of real videos" in (folder / "README.md").read_text()


def test_a_mini_release_is_data_for_every_command(made, tmp_path):
    folder = made["mini"]
    report = build(open_folder(folder), "test", folder / "truth.h5", tmp_path, OPTIONS, **HOW)
    assert len(report.manifest.written()) == 3 and not (folder / "labels").exists()


def test_tables_load_in_one_line(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = {kind: datasets.load_dataset(str(made[kind]), cache_dir=str(tmp_path)) for kind in KINDS}
    assert loaded["domains"]["test"].features["label"].int2str(8) == "Back 25som NoTwis TUCK"
    assert list(loaded["mini"]) == ["train", "test"]
    row = loaded["frames"]["train"][0]
    place = made["frames"] / "labels" / "train"
    for column, kind in (("image", "images"), ("mask", "masks")):
        with Image.open(place / kind / f"{row['frame_id']}.png") as picture:
            assert np.array_equal(np.asarray(row[column]), np.asarray(picture))


def test_publish_takes_domains_and_asks_about_frames(made, monkeypatch):
    sent = []
    monkeypatch.setattr("diving48_domains.hub_commands.run_publish", lambda folder, repo, **_: sent.append(folder))

    def run(kind, *words):
        return CliRunner().invoke(publish, [str(made[kind]), "--repo", "a/b", *words], standalone_mode=False)

    assert run("domains").exception is None
    for kind in ("mini", "frames"):
        assert "may hold frames" in str(run(kind).exception)
        assert run(kind, "--with-frames").exception is None
    assert sent == [made["domains"], made["mini"], made["frames"]]


def test_versions_and_an_earlier_release(made, data, tmp_path):
    folder = tmp_path / "frames"
    typed("--kind", "frames", "--data", data, "--out", folder, "--version", "2.1.0")
    assert verified(folder)["version"] == "2.1.0"
    before = bytes_of(folder)
    with pytest.raises(UsageError, match="add --force to replace it"):
        typed("--kind", "frames", "--data", data, "--out", folder)
    with pytest.raises(UsageError, match=r"not MAJOR\.MINOR\.PATCH"):
        typed("--kind", "frames", "--data", data, "--out", folder, "--force", "--version", "two")
    assert bytes_of(folder) == before
    typed("--kind", "frames", "--data", data, "--out", folder, "--force")
    assert bytes_of(folder) == bytes_of(made["frames"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="what no release has"):
        typed("--kind", "frames", "--data", data, "--out", tmp_path / "mine", "--force")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_failure_leaves_nothing(data, built, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diving48_domains.release.build.write_sums", full)
    with pytest.raises(DataError, match=r"No space left.*Nothing of it was kept"):
        typed("--kind", "mini", "--data", data, "--out", tmp_path / "mini")
    assert not any(tmp_path.iterdir())


# --- what is refused -------------------------------------------------------------------------------------------------


def test_words_that_cannot_be(data, built, tmp_path):
    assert set(KIND_HELP) == set(KINDS) == set(NEEDED)
    out = ("--out", tmp_path / "out")
    for message, words in {
        "either --out DIR": (),
        "unknown kind 'minni'. Did you mean 'mini'": ("--kind", "minni", "--data", data, *out),
        "--kind says what to release": ("--data", data, *out),
        "takes --build and --instances; --instances is missing": ("--kind", "domains", "--build", built, *out),
        "takes --data; --instances is of no use": ("--kind", "mini", "--data", data, "--instances", built, *out),
        "--force goes with --out": ("--verify", data, "--force"),
        "--rebuild goes with --verify": ("--kind", "mini", "--data", data, "--rebuild", "all", *out),
        "give a number of clips, 1 or more, or `all`": ("--verify", data, "--rebuild", "0"),
        "no such folder": ("--kind", "mini", "--data", tmp_path / "absent", *out),
    }.items():
        with pytest.raises(UsageError, match=re.escape(message)):
            typed(*words)
    assert not (tmp_path / "out").exists()


def test_frames_of_real_videos_are_refused(data, tmp_path):
    real = tmp_path / "real"
    shutil.copytree(data / "labels", real / "labels")
    for kind in ("frames", "mini"):
        with pytest.raises(UsageError, match="show people and are not ours to release"):
            typed("--kind", kind, "--data", real, "--out", tmp_path / "out")


def test_frames_beside_a_recipe_that_are_not_its_own_are_refused(data, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    mask = next((other / "labels" / "train" / "masks").iterdir())
    with Image.open(mask) as picture:
        shifted = np.roll(np.asarray(picture), 3, axis=1)
    Image.fromarray(shifted).save(mask)
    with pytest.raises(DataError, match=r"its mask is not the one of truth\.h5"):
        typed("--kind", "frames", "--data", other, "--out", tmp_path / "out")
    for kind in ("images", "masks"):
        (other / "labels" / "train" / kind / mask.name).rename(
            other / "labels" / "train" / kind / "abcdefghijk_00001_000001.png"
        )
    with pytest.raises(DataError, match="holds other frames than its recipe labels"):
        typed("--kind", "frames", "--data", other, "--out", tmp_path / "out")


def test_masks_of_another_build_are_refused(data, built, tmp_path):
    with InstanceFile(data / "truth.h5") as truth:
        write_instances(tmp_path / "other.h5", (truth.read(name) for name in truth.clip_ids[1:]), {})
    with pytest.raises(DataError, match=r"^manifests/.*give the file of that build, or build again"):
        typed("--kind", "domains", "--build", built, "--instances", tmp_path / "other.h5", "--out", tmp_path / "out")
    with pytest.raises(UsageError, match=r"has this part of 'test' already.*--build NAME="):
        words = ("--build", built, "--build", built, "--instances", data / "truth.h5", "--out", tmp_path / "out")
        typed("--kind", "domains", *words)
    assert not (tmp_path / "out").exists()


def test_builds_of_a_split_under_names_of_their_own_and_all_shards(data, built, tmp_path):
    words = ["--kind", "domains", "--instances", data / "truth.h5", "--build", built]
    parts = [build(open_folder(data), "test", words[3], tmp_path, OPTIONS, shard=Shard(i, 2), **HOW) for i in (0, 1)]
    with pytest.raises(DataError, match=r"has the shards 1/2; give the manifests of all 2"):
        typed(*words, "--build", f"two={parts[1].manifest_path}", "--out", tmp_path / "out")
    for part in parts:
        words += ["--build", f"two={part.manifest_path}"]
    typed(*words, "--out", tmp_path / "out")
    assert verified(tmp_path / "out")["rows"] == 6
    one, two = (pq.read_table(tmp_path / "out" / "index" / name / "test.parquet") for name in ("domains", "two"))
    assert one.equals(two)


def test_paths_are_taken_out_of_texts():
    for text, left in {
        "cannot read /home/ann/d48/rgb/a_1.mp4: damaged": "cannot read a_1.mp4: damaged",
        "C:\\Users\\ann\\a_1.mp4 is absent": "a_1.mp4 is absent",
        "~/d48/a_1.mp4": "a_1.mp4",
        "12/30 frames/s, rgb/a_1.mp4, https://doi.org/10.1/x": "12/30 frames/s, rgb/a_1.mp4, https://doi.org/10.1/x",
    }.items():
        assert without_paths({"a": [text]}) == {"a": [left]}
    with pytest.raises(DataError, match="names a path of the machine"):
        refuse_paths({"a": ["/tmp/x/y"]}, "file")


def test_what_may_hold_frames_is_found_in_any_file(made, copy):
    folder = copy("domains")
    (folder / "clip.MP4").touch()
    shutil.copy(made["frames"] / "data" / "train.parquet", folder / "more.parquet")
    with h5py.File(folder / "instances.h5", "r+") as file:
        file["frames/pixels"] = np.zeros((2, 4, 4, 3), np.uint8)
    assert frames_in(folder) == ["clip.MP4", "instances.h5", "more.parquet"]


# --- verification can fail -------------------------------------------------------------------------------------------


def _edit_manifest(folder: Path, line: int = 1, **changes: object) -> None:
    path = folder / "manifests/domains/test.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = json.dumps({**json.loads(lines[line]), **changes})
    path.write_text("\n".join(lines) + "\n")


def _edit_release(folder: Path, **changes: object) -> None:
    path = folder / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _other_table(folder: Path, name: str) -> None:
    table = pq.read_table(folder / name)
    pq.write_table(
        table.take([1, 0, *range(2, table.num_rows)]).replace_schema_metadata(table.schema.metadata), folder / name
    )


def _flip_status(folder: Path) -> None:
    found = json.loads((folder / "manifests/domains/test.jsonl").read_text().splitlines()[1])["status"]
    _edit_manifest(folder, status=["empty" if one == "detected" else "detected" for one in found])


def _drop_frame(folder: Path) -> None:
    name = next((folder / "labels/train/images").iterdir()).name
    for kind in ("images", "masks"):
        (folder / "labels/train" / kind / name).unlink()


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "frames have another status than their masks give": ("domains", _flip_status),
    "its masks are of another video file": ("domains", lambda f: _edit_manifest(f, source_sha256="0" * 64)),
    "lists other domains than its options": ("domains", lambda f: _edit_manifest(f, 0, outputs={"<b>": {}})),
    "label 48 is no class": ("domains", lambda f: _edit_manifest(f, label=48)),
    "names a path of the machine": ("domains", lambda f: _edit_manifest(f, reason="see /home/ann/notes/a.txt")),
    "clip_id differs in 2 of 3 rows": ("domains", lambda f: _other_table(f, "index/domains/test.parquet")),
    "photo.png: may hold frames": ("domains", lambda f: (f / "photo.png").touch()),
    "notes.txt: belongs to no part": ("mini", lambda f: (f / "notes.txt").touch()),
    "name is 'imagenet', by the files": ("mini", lambda f: _edit_release(f, name="imagenet")),
    "is not the card of this release": ("mini", lambda f: (f / "README.md").write_text("---\nlicense: mit\n---\n")),
    "LICENSE: is another text": ("mini", lambda f: (f / "LICENSE").write_text("mine")),
    "its video is not the one": ("mini", lambda f: next((f / "rgb").iterdir()).write_bytes(b"x")),
    "lists other clips or labels": (
        "mini",
        lambda f: shutil.copy(f / "Diving48_V2_train.json", f / "Diving48_V2_test.json"),
    ),
    "frame_id differs in 2 of 3 rows": ("frames", lambda f: _other_table(f, "data/train.parquet")),
    "holds other frames than its recipe labels": ("frames", _drop_frame),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_what_is_wrong_is_told_even_when_the_sums_are_right(copy, problem):
    kind, damage = DAMAGE[problem]
    folder = copy(kind)
    damage(folder)
    assert not verified(folder)["proven"]
    write_sums(folder)
    assert check_sums(folder) == []
    assert problem in "\n".join(verified(folder)["problems"])


def test_a_manifest_of_no_release_is_refused(copy):
    folder = copy("mini")
    for changes in ({"kind": "movies"}, {"schema_version": 9}, {"version": "\x1b[2J"}, {"kind": ["mini"]}):
        _edit_release(folder, **{"kind": "mini", "schema_version": 1, "version": "1.0.0", **changes})
        with pytest.raises(DataError, match="describes no release of this d48dom"):
            typed("--verify", folder)


def test_clips_made_again_are_compared(copy, data):
    assert verified(copy("mini"), "--rebuild", 1, "--workers", 0)["rebuilt"] == 1
    assert verified(copy("domains"), "--rebuild", "all", "--data", data, "--workers", 0)["rebuilt"] == 3
    folder = copy("frames")
    image = next((folder / "labels/train/images").iterdir())
    Image.fromarray(np.full((32, 48, 3), 200, np.uint8)).save(image)
    assert frames.describe(folder).facts["configs"]["frames"]["train"]["n"] == 3, "names and masks are still right"
    found = KINDS["frames"].rebuild(folder, None, None, 0, True)
    assert found.encoded == (image.relative_to(folder).as_posix(),)


def test_a_forged_fingerprint_is_found_by_building_again(copy, data):
    folder = copy("domains")
    path = folder / "manifests/domains/test.jsonl"
    manifest = read_manifest(path)
    clip = json.loads(path.read_text().splitlines()[1])
    _edit_manifest(folder, outputs={**clip["outputs"], "T": "0" * 32})
    write_sums(folder)
    assert verified(folder)["proven"], "nothing else rests on a fingerprint"
    found = verified(folder, "--rebuild", "all", "--data", data, "--workers", 0)
    assert found["problems"] == [
        f"manifests/domains/test.jsonl: clip {manifest.clips[0].clip_id} comes out otherwise: outputs."
    ]
    with pytest.raises(UsageError, match="name the folder with yours, --data DIR"):
        typed("--verify", folder, "--rebuild", 1)


def test_forged_masks_are_found_by_rendering_again(copy):
    folder = copy("mini")
    with InstanceFile(folder / "truth.h5") as truth:
        clips, facts = list(truth), truth.facts
    frame = next(place for place, found in enumerate(clips[0].frames) if found)
    object.__setattr__(clips[0], "frames", (*clips[0].frames[:frame], (), *clips[0].frames[frame + 1 :]))
    write_instances(folder / "truth.h5", clips, facts)
    found = KINDS["mini"].rebuild(folder, None, None, 0, True)
    assert found.problems == (f"truth.h5: the recipe gives other masks for clip {clips[0].clip_id}.",)
