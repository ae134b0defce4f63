"""Experiments on a data folder of videos: made here with d48dom's own writer, three classes told by colours."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmark.config import VIDEO_TARGETS, make_config
from benchmark.data import plan_data
from benchmark.experiments import DIVING48_EXPERIMENTS, LEAST_SIDE_PX
from benchmark.models import FAMILIES, VIDEO_MODELS, build_model
from benchmark.models.convlstm import head_inputs
from benchmark.models.specs import ClipShape
from benchmark.run import run
from benchmark.study import run_study
from benchmark.study_record import SHOWN, StudyConfig, read_study
from benchmark.study_table import render_study
from benchmark.submission.write import FAMILY_OF
from benchmark.video_data import class_names, open_folder, settings_of
from diving48_domains.framestore import StorePlan, open_store
from diving48_domains.manifest import ClipRecord
from diving48_domains.storewriter import StoreWriter, write_clip
from tsgen.common.errors import DataError, UsageError

T, SIDE, CLASSES = 16, 32, 3
COUNTS = {"train": 36, "val": 12, "test": 9}
OVERRIDES = {"max_epochs": 3, "batch_size": 6, "learning_rate": 0.02, "seeds": (1, 2)}


def frames_of(label: int, number: int, *, textured: bool) -> np.ndarray:
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 60, (T, SIDE, SIDE, 3), dtype=np.uint8)
    if not textured:
        frames[..., label] += 150
    return frames


def write_store(folder, names, split, *, ids=None, size=SIDE, damage=False, settings=None):
    n = COUNTS[split]
    labels = tuple(row % CLASSES for row in range(n))
    ids = ids or tuple(f"{split}video{row:02d}_{row:05d}" for row in range(n))
    said = {"class_names": ["a", "b", "c"], "resize_rule": "none", **(settings or {})}
    plan = StorePlan(ids, labels, ids, T, size, size, said)
    (folder / "test").mkdir(exist_ok=True)
    paths = {name: (folder if name in ("train", "val") else folder / "test") / f"{name}.h5" for name in names}
    with StoreWriter(paths, plan, folder / f"{split}-{names[-1]}.journal") as writer:
        for row, clip_id in enumerate(ids):
            outputs = {
                name: write_clip(
                    writer.slots[name],
                    row,
                    frames_of(labels[row], row + 1000 * len(split), textured=name == "T")[:, :size, :size],
                )
                for name in names
            }
            indices = tuple(range(T))
            writer.record(
                ClipRecord(
                    clip_id, labels[row], clip_id, "written", row=row, num_frames=T, frame_indices=indices,
                    status=("detected",) * T, outputs=outputs,
                )
            )  # fmt: skip
        writer.finish()
        writer.done()
    if damage:
        path = paths[names[0]]
        store = open_store(path)
        offset = path.read_bytes().find(store.clip(0).tobytes())
        with path.open("rb+") as file:
            file.seek(offset + 5)
            file.write(b"\xff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    write_store(place, ["train"], "train")
    write_store(place, ["val"], "val")
    write_store(place, list(VIDEO_TARGETS), "test")
    return place


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "d48-a"
    study = StudyConfig("d48-a", shrink=64, level=0.5)
    rows = run_study(study, folder, out, overrides=OVERRIDES, device="cpu", quiet=True)
    return study, out, rows


def test_a_study_trains_every_family_and_compares_at_the_level(finished):
    rows = finished[2]
    assert [row.title for row in rows] == list(DIVING48_EXPERIMENTS["a"].models)
    learned = next(row for row in rows if row.title == "3D CNN")
    assert learned.card is not None and learned.card.rows[0].accuracy.value >= 0.5
    assert [row.domain for row in learned.card.rows] == ["V", *VIDEO_TARGETS]
    assert learned.card.selection == "the first epoch with V of at least 0.5"
    S1, T_over_V = learned.ratios["S1", "V"], learned.ratios["T", "V"]
    assert S1.value > T_over_V.value, "the classes are told by colours that T does not have"
    of = {row.domain: row.accuracy.value for row in learned.card.rows}
    assert learned.ratios["T", "S1"].value == pytest.approx(of["T"] / of["S1"])
    product = np.prod([learned.ratios[pair].value for pair in (("O", "V"), ("C", "O"), ("T", "C"))])
    assert product == pytest.approx(of["T"] / of["V"])
    assert set(learned.ratios) == set(SHOWN)


def test_the_table_and_the_record_say_the_same(finished):
    study, out, rows = finished
    text = render_study(study, rows)
    assert "compared at V = 50 %, hidden units divided by 64" in text
    stored = json.loads((out / "result.json").read_text())
    assert [row["family"] for row in stored["rows"]] == [row.title for row in rows]
    assert stored["rows"][0]["ratios"]["T/S1"]["value"] == rows[0].ratios["T", "S1"].value
    paper = stored["rows"][0]["paper"]
    assert (paper["source"], paper["ratios"]["T/S1"]["value"]) == ("main paper, Table 2", 1.01)
    assert "1.01 [0.81, " in text and "which are other data" in text
    assert json.loads(json.dumps(read_study(out).to_json())) == stored


def test_a_finished_study_is_not_trained_again(finished, folder):
    study, out, rows = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    again = run_study(study, folder, out, overrides=OVERRIDES, device="cpu", quiet=True, resume=True)
    assert [row.to_json() for row in again] == [row.to_json() for row in rows]
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    with pytest.raises(UsageError, match="holds another experiment"):
        run_study(dataclasses.replace(study, level=0.6), folder, out, overrides=OVERRIDES, device="cpu")


def test_a_level_that_no_seed_reaches(folder, tmp_path):
    study = StudyConfig("d48-d", shrink=64, level=1.0)
    rows = run_study(
        study, folder, tmp_path / "out", overrides={**OVERRIDES, "max_epochs": 1}, device="cpu", quiet=True
    )
    assert any(row.card is None for row in rows)
    assert "the level was not reached: best V" in render_study(study, rows)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("d48-z",), "unknown experiment 'd48-z'"),
        (("a",), "unknown experiment 'a'"),
        (("d48-a", 0), "shrink 0 is not possible"),
        (("d48-a", 1, 1.5), "level 1.5 is not possible"),
    ],
)
def test_studies_that_cannot_be(arguments, words):
    with pytest.raises(UsageError, match=words):
        StudyConfig(*arguments)


@pytest.mark.parametrize("letter", DIVING48_EXPERIMENTS)
def test_the_contenders_are_the_paper_s(letter):
    study = StudyConfig(f"d48-{letter}")
    assert {title: VIDEO_MODELS[one.model].spec_of(one.hidden) for title, one in study.contenders.items()} == (
        DIVING48_EXPERIMENTS[letter].models
    )


def test_submissions_know_every_family():
    assert set(FAMILY_OF) == set(FAMILIES)


@pytest.mark.parametrize("model", VIDEO_MODELS)
def test_small_ones_of_every_family_take_clips_in_colour(model):
    side = 192 if model in LEAST_SIDE_PX else 64
    shape = ClipShape(32, 3, side, side)
    answer = build_model(model, 2, 48, shape)(torch.zeros(2, 32, 3, side, side))
    assert answer.shape == (2, 48)


def test_the_least_side_of_the_strided_convlstm():
    spec = VIDEO_MODELS["convlstm-4l"].spec_of(2)
    least = LEAST_SIDE_PX["convlstm-4l"]
    assert head_inputs(spec, ClipShape(32, 3, least, least)) == 32 * 2
    assert head_inputs(spec, ClipShape(32, 3, least - 1, least - 1)) == 0
    assert [one.model for one in StudyConfig("d48-g").contenders_for(64).values()] == ["3dcnn-6l", "convlstm-4l-small"]
    assert [one.model for one in StudyConfig("d48-g").contenders_for(224).values()] == ["3dcnn-6l", "convlstm-4l"]


def test_the_clips_are_those_of_the_store_and_not_copied(folder):
    config = make_config("d48", **settings_of(open_folder(folder)), batch_size=6)
    plan = plan_data(config, None, folder)
    clips = plan.targets[2].load(lambda line: None)
    store = open_store(folder / "test" / "S1.h5")
    assert np.array_equal(clips.clips, store.gather(range(len(store))))
    assert np.shares_memory(clips.clips, clips.clips[:1]) and not clips.clips.flags.writeable
    assert clips.class_names == ("a", "b", "c") and clips.facts.content_hash == store.content_hash


def test_what_a_folder_lacks_is_listed_at_once(folder, tmp_path):
    write_store(tmp_path, ["train"], "train")
    with pytest.raises(DataError) as problem:
        open_folder(tmp_path)
    assert "val.h5: no such file" in str(problem.value)
    assert f"{tmp_path / 'test'}: no target domain" in str(problem.value)
    with pytest.raises(UsageError, match="is not a folder"):
        open_folder(tmp_path / "nowhere")


def test_stores_that_do_not_belong_together(folder, tmp_path):
    write_store(tmp_path, ["train"], "train")
    write_store(tmp_path, ["val"], "val", settings={"resize_rule": "another"})
    write_store(tmp_path, list(VIDEO_TARGETS[:-1]), "test", ids=tuple(f"trainvideo{n:02d}_{n:05d}" for n in range(9)))
    write_store(tmp_path, [VIDEO_TARGETS[-1]], "test", size=16)
    with pytest.raises(DataError) as problem:
        open_folder(tmp_path)
    text = str(problem.value)
    assert "resize_rule of val is 'another', of train 'none'" in text
    assert "B holds clips of (16, 16, 16, 3), train of (16, 32, 32, 3)" in text
    assert "B has other clips than O" in text
    assert "9 clips are in train and in the test domains" in text


def test_damaged_frames_are_refused(tmp_path):
    write_store(tmp_path, ["train"], "train", damage=True)
    write_store(tmp_path, ["val"], "val")
    write_store(tmp_path, list(VIDEO_TARGETS), "test")
    config = make_config("d48", model="3dcnn-4l", hidden=2, **settings_of(open_folder(tmp_path)), **OVERRIDES)
    with pytest.raises(DataError, match="1 of 36 clips are damaged, the first is trainvideo00_00000"):
        run(config, tmp_path / "out", digits=None, data_dir=tmp_path, device="cpu", quiet=True)


def test_sizes_are_the_folder_s(folder, tmp_path):
    config = make_config("d48", model="3dcnn-4l", hidden=2, batch_size=6)
    with pytest.raises(UsageError, match="holds 36 training, 12 validation and 9 test clips"):
        run(config, tmp_path / "out", digits=None, data_dir=folder, device="cpu", quiet=True)


def test_class_names_of_a_store():
    assert len(class_names({})) == 48 and class_names({})[34] == "Inward_25som_NoTwis_TUCK"
    with pytest.raises(DataError, match="a list of two or more texts"):
        class_names({"class_names": "abc"})


QUICK = ("--seeds", "1", "--epochs", "1", "--batch-size", "6", "--device", "cpu", "--threads", "1")


def test_the_command(folder, tmp_path, run_cli):
    asked = ("--experiment", "d48-g", "--shrink", "64", "--level", "0.1", "--data", str(folder))
    shown = run_cli("rac-bench", "run", *asked, "--out", str(tmp_path / "g"), *QUICK)
    assert shown.returncode == 0, shown.stderr
    assert "experiment g: matched by number of parameters" in shown.stdout and "T/S1" in shown.stdout
    again = run_cli("rac-bench", "run", *asked, "--out", str(tmp_path / "g"), *QUICK, "--resume", "--json")
    assert [row["family"] for row in json.loads(again.stdout)["rows"]] == ["3D CNN", "ConvLSTM"]
    score = run_cli("rac-bench", "score", str(tmp_path / "g" / "3dcnn-6l" / "level-0.1"))
    assert score.returncode == 0 and "the first epoch with V of at least 0.1" in score.stdout


def test_one_model_on_videos_and_what_does_not_go_together(folder, tmp_path, run_cli):
    ran = run_cli("rac-bench", "run", "--model", "3dcnn-4l", "--hidden", "2", "--data", str(folder),
                  "--out", str(tmp_path / "one"), *QUICK)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "3D CNN, 4 layers, 2 hidden units a layer, trained on V" in ran.stdout
    for arguments, words in (
        (("--experiment", "d48-a"), "--experiment needs --data"),
        (("--experiment", "d48-a", "--data", str(folder), "--model", "3dcnn"), "leave out --model"),
        (("--source", "V"), "training on videos needs --data"),
        (("--data", str(folder), "--source", "2dot"), "--source 2dot is not in --data"),
        (("--data", str(folder), "--n-train", "5"), "leave out --n-train: their number is that of --data"),
        (("--level", "0.3"), "--shrink and --level belong to --experiment"),
    ):
        refused = run_cli("rac-bench", "run", *arguments)
        assert refused.returncode == 2 and words in refused.stderr, refused.stderr


def test_under_torchrun(folder, tmp_path, run_cli):
    """The launcher itself, two processes: the record is that of one, but for the last digits."""
    one, two = tmp_path / "one", tmp_path / "two"
    asked = ("run", "--model", "3dcnn-4l", "--hidden", "2", "--data", str(folder), *QUICK, "--out")
    assert run_cli("rac-bench", *asked, str(one)).returncode == 0
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr",
        "127.0.0.1",
        "--nproc-per-node",
        "2",
    ]
    script = "import sys; from benchmark.cli import main; sys.argv[0] = 'rac-bench'; main()"
    (tmp_path / "start.py").write_text(script)
    done = subprocess.run([*launcher, tmp_path / "start.py", *asked, two], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained on V") == 1
    V = [json.loads((out / "result.json").read_text())["seeds"][0]["domains"]["V"]["accuracy"] for out in (one, two)]
    assert V[0] == pytest.approx(V[1], abs=1 / 12 + 1e-9)  # one clip at most


def test_a_level_is_a_run_that_everything_reads(finished, tmp_path, run_cli):
    rows = finished[2]
    level = finished[1] / rows[0].model / "level-0.5"
    other = finished[1] / rows[-1].model / "level-0.5"
    assert "first epoch with V of at least 0.5" in (level / "report.md").read_text()
    assert run_cli("rac-bench", "report", level, "--out", tmp_path / "page.html").returncode == 0
    whole = run_cli("rac-bench", "report", finished[1])
    assert whole.returncode == 0 and "### Experiment a: matched by layer structure" in whole.stdout, whole.stderr
    done = run_cli("rac-bench", "predict", "--run", level, "--out", tmp_path / "submission")
    assert done.returncode == 0, done.stderr
    if (other / "result.json").exists():
        compared = run_cli("rac-bench", "compare", level, other)
        assert compared.returncode == 0, compared.stderr


def test_other_data_and_typos_do_not_touch_a_study(finished, folder, tmp_path):
    study, out, _ = finished
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "test" / "S1.h5").unlink()
    write_store(other, ["S1"], "test", settings={"note": "another"})
    with pytest.raises(UsageError, match="another experiment, or one on other data"):
        run_study(study, other, out, overrides=OVERRIDES, device="cpu", quiet=True, resume=True)
    for changes, where in (({"max_epochs": 0}, "cpu"), ({}, "tpu")):
        with pytest.raises(UsageError):
            run_study(study, folder, tmp_path / "new", overrides={**OVERRIDES, **changes}, device=where, quiet=True)
        assert not (tmp_path / "new").exists()


def test_families_that_cannot_take_the_clips_are_told_before_the_first_is_trained(tmp_path):
    """28 px: the 3D CNN and the small ConvLSTM can be built, the TimeSformer cannot be."""
    for names, split in ((["train"], "train"), (["val"], "val"), (list(VIDEO_TARGETS), "test")):
        write_store(tmp_path, names, split, size=28)
    study, out = StudyConfig("d48-a", shrink=64, level=0.5), tmp_path / "out"
    with pytest.raises(UsageError, match=r"timesf-4l cannot be trained on these clips: .*cannot be cut into patches"):
        run_study(study, tmp_path, out, overrides=OVERRIDES, device="cpu", quiet=True)
    assert not out.exists()
    one = make_config("d48", model="timesf-4l", hidden=2, **settings_of(open_folder(tmp_path)), **OVERRIDES)
    with pytest.raises(UsageError, match="timesf-4l cannot be trained on these clips"):
        run(one, out, digits=None, data_dir=tmp_path, device="cpu", quiet=True)
    assert not out.exists()


def test_a_store_must_be_what_its_name_says(folder, tmp_path):
    place = tmp_path / "data"
    shutil.copytree(folder, place)
    shutil.copy(place / "test" / "S1.h5", place / "test" / "T.h5")
    with pytest.raises(DataError, match=r"T\.h5 says it is 'S1'"):
        open_folder(place)
    write_store(tmp_path, ["train"], "train")
    same = tuple(f"testvideo{n:02d}_{n:05d}" for n in range(12))
    write_store(tmp_path, ["val"], "val", ids=same)
    write_store(tmp_path, list(VIDEO_TARGETS), "test")
    with pytest.raises(DataError, match="9 clips are in val and in the test domains"):
        open_folder(tmp_path)


def test_what_videos_have_no_use_for_is_refused(finished, folder, run_cli):
    data = ("--data", folder)
    for arguments, words in (
        (("--experiment", "d48-a", *data, "--shrink", "0"), "shrink 0 is not possible"),
        (("--experiment", "d48-a", *data, "--data-seed", "4"), "leave out --data-seed"),
        ((*data, "--digits", "embedded"), "leave out --digits"),
        ((*data, "--data-dir", "x"), "leave out --data-dir"),
        ((*data, "--model", "convlstm-4l", "--hidden", "2"), "take convlstm-4l-small"),
    ):
        refused = run_cli("rac-bench", "run", *arguments)
        assert refused.returncode == 2 and words in refused.stderr, refused.stderr
    refused = run_cli("rac-bench", "probe", finished[1] / "3dcnn-4l")
    assert refused.returncode == 2 and "was trained on videos" in refused.stderr
