"""Data folders with other target domains than the paper's, and records of runs with the fields that came later."""

import dataclasses
import json
import shutil

import pytest
import torch

from benchmark.config import LATER, VIDEO_TARGETS, RunConfig, make_config
from benchmark.data_folder import data_folder
from benchmark.engine.fit import fit
from benchmark.engine.member import Training
from benchmark.run import run
from benchmark.video_data import open_folder, plan_videos, settings_of, store_paths, targets_of
from tests.benchmark.colour_samples import CONFIG, source
from tests.benchmark.frame_stores import ids_of, write_store
from tsgen.common.errors import DataError, UsageError

TRAINED = {"max_epochs": 5, "batch_size": 6, "learning_rate": 0.02, "seeds": (1,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two test lists of a manifest, one domain of another split, one with other masks."""
    place = tmp_path_factory.mktemp("videos")
    for name, n in (("train", 36), ("val", 12)):
        write_store(place / f"{name}.h5", ids_of(name, n))
    write_store(place / "test" / "ucf.h5", ids_of("u", 6))
    write_store(place / "test" / "hmdb.h5", ids_of("h", 12), textured=True)
    write_store(place / "test" / "O.h5", ids_of("o", 6))
    write_store(place / "shift" / "O.h5", ids_of("s", 6))
    write_store(place / "predicted" / "S1.h5", ids_of("o", 6))
    return place


def config_of(folder, **more):
    return make_config("d48", model="3dcnn-4l", hidden=4, **settings_of(open_folder(folder)), **TRAINED, **more)


def test_targets_are_the_stores_of_the_folder(folder):
    stores = open_folder(folder)
    assert targets_of(stores) == ("O", "O-shift", "S1-predicted", "hmdb", "ucf")
    assert len(stores["hmdb"]) == 12 and len(stores["O-shift"]) == 6
    config = config_of(folder)
    assert config.targets == targets_of(stores) and config.n_target == 6
    plan = plan_videos(config, folder)
    assert [(file.domain, file.n, file.path.name) for file in plan.targets][:3] == [
        ("O", 6, "O.h5"), ("O-shift", 6, "O.h5"), ("S1-predicted", 6, "S1.h5"),
    ]  # fmt: skip


def test_a_run_answers_all_of_them(folder, tmp_path):
    done = run(config_of(folder), tmp_path / "run", digits=None, data_dir=folder, device="cpu", quiet=True)
    rows = {row.domain: row for row in done.scorecard().rows}
    assert list(rows) == ["V", "O", "O-shift", "S1-predicted", "hmdb", "ucf"]
    assert rows["hmdb"].n == 12 and rows["ucf"].n == 6
    assert rows["ucf"].accuracy.value > rows["hmdb"].accuracy.value, "hmdb's clips show no class"
    assert done.read_config().target_domains == config_of(folder).targets


def test_stores_in_shards(folder, tmp_path):
    """As two calls of d48dom build with --shard leave them; training stores too."""
    for name, ids in (("train", ids_of("train", 36)), ("val", ids_of("val", 12)), ("test/O", ids_of("o", 6))):
        whole = tmp_path / f"{name}.h5"
        for number, part in enumerate((ids[: len(ids) // 3], ids[len(ids) // 3 :])):
            write_store(whole, part)
            whole.rename(whole.with_name(f"{whole.stem}-{number:05d}-of-00002.h5"))
    shutil.copy(folder / "test" / "hmdb.h5", tmp_path / "test")
    assert store_paths(tmp_path)["O"] == tmp_path / "test" / "O.h5"
    stores = open_folder(tmp_path)
    assert targets_of(stores) == ("O", "hmdb") and [len(stores[name]) for name in stores] == [36, 12, 6, 12]
    config = dataclasses.replace(config_of(tmp_path), max_epochs=1)
    done = run(config, tmp_path / "run", digits=None, data_dir=tmp_path, device="cpu", quiet=True)
    assert [(row.domain, row.n) for row in done.scorecard().rows] == [("V", 12), ("O", 6), ("hmdb", 12)]
    (tmp_path / "test" / "O-00001-of-00002.h5").unlink()
    with pytest.raises(DataError, match="of 2 shards 1 are missing"):
        open_folder(tmp_path)


def test_two_stores_of_one_target(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    shutil.copy(tmp_path / "data" / "shift" / "O.h5", tmp_path / "data" / "test" / "O-shift.h5")
    with pytest.raises(DataError, match=r"shift/O\.h5 and .*test/O-shift\.h5 would both be the target O-shift"):
        open_folder(tmp_path / "data")


def test_a_finished_run_is_not_taken_for_one_on_other_data(folder, tmp_path):
    config, said = dataclasses.replace(config_of(folder), max_epochs=1), []

    def ask(data):
        return run(config, tmp_path / "run", digits=None, data_dir=data, device="cpu", quiet=True, resume=True,
                   say=said.append)  # fmt: skip

    ask(folder)
    shutil.copytree(folder, tmp_path / "moved")
    ask(tmp_path / "moved")
    assert said[-1].endswith("is finished: nothing to do.")
    (tmp_path / "moved" / "test" / "ucf.h5").unlink()
    write_store(tmp_path / "moved" / "test" / "ucf.h5", ids_of("u", 6), textured=True)
    with pytest.raises(UsageError, match="is about other clips of ucf/test than there are here"):
        ask(tmp_path / "moved")
    with pytest.raises(UsageError, match="is not a folder"):
        ask(tmp_path / "gone")


def test_a_training_goes_on_where_targets_were_added(tmp_path):
    """They play no part in it."""
    state = tmp_path / "state.safetensors"
    config = dataclasses.replace(CONFIG, target_domains=("ucf",))
    first = fit([Training(config, 3, source(), state)], torch.device("cpu"))[0]
    more = dataclasses.replace(config, target_domains=("ucf", "hmdb"))
    again = fit([Training(more, 3, source(), state)], torch.device("cpu"))[0]
    assert again.history == first.history, "not trained again: seconds are those of the state"


def test_a_run_configured_for_a_domain_that_is_not_there(folder, tmp_path):
    config = dataclasses.replace(config_of(folder), target_domains=("O", "T"))
    with pytest.raises(UsageError, match="does not hold T, which the run was configured for; it holds O, O-shift"):
        plan_videos(config, folder)


def test_clips_have_one_role(folder, tmp_path):
    write_store(tmp_path / "train.h5", ids_of("x", 6))
    write_store(tmp_path / "val.h5", ids_of("v", 6))
    write_store(tmp_path / "test" / "one.h5", [*ids_of("x", 2), *ids_of("v", 3)])
    with pytest.raises(DataError) as problem:
        open_folder(tmp_path)
    assert "2 clips are in train and in the test domains, like x000" in str(problem.value)
    assert "3 clips are in val and in the test domains, like v000" in str(problem.value)


def test_domains_of_one_list_show_the_same_clips(tmp_path):
    for name in ("train", "val"):
        write_store(tmp_path / f"{name}.h5", ids_of(name, 6))
    for name, ids in (("O", "o"), ("S1", "o"), ("T", "other")):
        write_store(tmp_path / "test" / f"{name}.h5", ids_of(ids, 6))
    write_store(tmp_path / "shift" / "O.h5", ids_of("shift", 6))  # of another list: its own clips
    with pytest.raises(DataError, match="T has other clips than O") as problem:
        open_folder(tmp_path)
    assert "shift" not in str(problem.value)


def test_a_store_that_was_renamed(tmp_path):
    for name in ("train", "val"):
        write_store(tmp_path / f"{name}.h5", ids_of(name, 6))
    write_store(tmp_path / "test" / "T.h5", ids_of("o", 6))
    (tmp_path / "test" / "T.h5").rename(tmp_path / "test" / "S1.h5")
    with pytest.raises(DataError, match=r"S1\.h5 says it is 'T'"):
        open_folder(tmp_path)


def test_fields_that_came_later_are_written_only_when_they_say_something():
    plain = RunConfig()
    assert not set(LATER) & set(plain.to_json())
    assert RunConfig.from_json(plain.to_json(), "here") == plain
    videos = make_config("d48", optimizer="adam", target_domains=("ucf", "hmdb"))
    stored = json.loads(json.dumps(videos.to_json()))
    assert stored["optimizer"] == "adam" and stored["target_domains"] == ["ucf", "hmdb"]
    assert RunConfig.from_json(stored, "here") == videos
    assert "optimizer: sgd -> adam" in make_config("d48").differences(videos)
    usual = make_config("d48", target_domains=VIDEO_TARGETS)
    assert usual == make_config("d48") and "target_domains" not in usual.to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": "adamw"}, "unknown optimizer 'adamw'. Did you mean 'adam'"),
        ({"target_domains": ("O",)}, "the targets of 2dot are"),
        ({"source": "V", "target_domains": ("../O",)}, "domain '../O' is not possible"),
        ({"source": "V", "target_domains": ("V",)}, "domain 'V' is not possible"),
        ({"source": "V", "target_domains": ("O", "O")}, "given twice"),
    ],
)
def test_what_a_config_refuses(change, words):
    with pytest.raises(UsageError) as problem:
        RunConfig(**change)
    assert words in str(problem.value)
    damaged = {**RunConfig().to_json(), **{name: list(v) if isinstance(v, tuple) else v for name, v in change.items()}}
    with pytest.raises(DataError, match="here"):
        RunConfig.from_json(damaged, "here")


@pytest.mark.parametrize("value", [{"target_domains": [1]}, {"target_domains": "O"}, {"optimizer": None}])
def test_damaged_fields_that_came_later(value):
    with pytest.raises(DataError):
        RunConfig.from_json({**make_config("d48").to_json(), **value}, "here")


def test_data_that_is_a_folder_is_itself(tmp_path):
    assert data_folder(str(tmp_path)) == tmp_path
    with pytest.raises(UsageError, match=r"unknown key of mini: 'roh'\. Did you mean 'rho'"):
        data_folder("mini:roh=0.5")
