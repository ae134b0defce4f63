"""predict on engines and in shards, and merge: the submission is that of one process, to the byte, or there is none."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
from click.testing import CliRunner

from benchmark.merge_commands import merge
from benchmark.run import run
from benchmark.submission.parts import Part, merge_parts
from benchmark.submission_commands import predict
from tsgen.common.errors import DataError, RacError

TINY = ["--n-val", "15", "--n-target", "15", "--digits", "embedded", "--device", "cpu", "--threads", "1"]
SHARDS = 3
FILE = "predictions/seed0/2dot.h5"
"""Of the first shard."""


@pytest.fixture(scope="module")
def checkpoints(tiny, data_dir, tmp_path_factory):
    """Of two seeds: eight pairs."""
    out = tmp_path_factory.mktemp("run") / "run"
    config = dataclasses.replace(tiny, seeds=(0, 61), max_epochs=1)
    run(config, out, digits="embedded", data_dir=data_dir, device="cpu", threads=1, quiet=True)
    return [part for seed in (0, 61) for part in ("--checkpoint", out / f"seed{seed}" / "checkpoint.safetensors")]


def call(command, *arguments, code=0):
    done = CliRunner().invoke(command, list(map(str, arguments)))
    found = getattr(done.exception, "exit_code", None) or done.exit_code
    assert found == code, done.output + repr(done.exception)
    return SimpleNamespace(
        stdout=done.stdout, problem=str(done.exception) if isinstance(done.exception, RacError) else ""
    )


@pytest.fixture(scope="module")
def predicted(checkpoints, data_dir, tmp_path_factory):
    """A folder with the submission ``whole`` and the parts of ``mine``."""
    folder = tmp_path_factory.mktemp("predicted")
    common = [*checkpoints, *TINY, "--data-dir", data_dir]
    call(predict, *common, "--out", folder / "whole")
    for shard in range(SHARDS):
        call(predict, *common, "--out", folder / "mine", "--shard", f"{shard}/{SHARDS}")
    return folder


@pytest.fixture
def parts(predicted, tmp_path):
    """Copies, to be damaged."""
    return [Path(shutil.copytree(part, tmp_path / part.name)) for part in sorted(predicted.glob("mine-*"))]


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_joined_in_any_order_are_the_submission_of_one_process(predicted, parts, tmp_path):
    assert [part.name for part in parts] == [f"mine-{shard:05d}-of-00003" for shard in range(SHARDS)]
    assert [len(list(part.rglob("*.h5"))) for part in parts] == [2, 3, 3]
    done = call(merge, *reversed(parts), "--out", tmp_path / "merged")
    assert "submission.json and 8 files of answers" in done.stdout
    assert files_of(tmp_path / "merged") == files_of(predicted / "whole")


def test_processes_answer_the_same_bytes(predicted, checkpoints, data_dir, tmp_path):
    options = ["--engine", "processes", "--workers", "2", "--data-dir", data_dir]
    call(predict, *checkpoints, *TINY, *options, "--out", tmp_path / "own")
    assert files_of(tmp_path / "own") == files_of(predicted / "whole")


def test_a_finished_part_is_left_alone_and_no_other_takes_its_place(predicted, checkpoints, data_dir):
    part = predicted / "mine-00001-of-00003"
    before = {path: path.stat().st_mtime_ns for path in part.rglob("*")}
    common = [*TINY, "--data-dir", data_dir, "--out", predicted / "mine", "--shard", "1/3"]
    assert "holds shard 1/3" in call(predict, *checkpoints, *common).stdout
    for other in (["--title", "Another", *checkpoints], [*checkpoints[2:], *checkpoints[:2]]):
        assert "holds answers of another model" in call(predict, *other, *common, code=2).problem
    assert {path: path.stat().st_mtime_ns for path in part.rglob("*")} == before


def test_a_part_that_was_damaged_is_not_taken_for_finished(checkpoints, data_dir, parts):
    _with_another_label(parts[0])
    options = [*TINY, "--data-dir", data_dir, "--out", parts[0].with_name("mine"), "--shard", "0/3"]
    assert "remove" in call(predict, *checkpoints, *options, code=3).problem


def test_other_weights_of_the_same_names_are_another_model(predicted, checkpoints, data_dir, tmp_path):
    """The first seed's file under a plain name: all that rac-bench notes of it is the same, its bytes are not."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(checkpoints[1], framework="pt") as file:
        tensors, facts = {name: file.get_tensor(name) + 1 for name in file.keys()}, file.metadata()  # noqa: SIM118
    folder = Path(shutil.copytree(checkpoints[1].parent.parent, tmp_path / "run"))
    save_file(tensors, folder / "seed0" / "checkpoint.safetensors", facts)
    other = [checkpoints[0], folder / "seed0" / "checkpoint.safetensors", *checkpoints[2:]]
    common = [*TINY, "--data-dir", data_dir, "--shard", "0/3"]
    assert "another model" in call(predict, *other, *common, "--out", predicted / "mine", code=2).problem
    call(predict, *other, *common, "--out", tmp_path / "mine")
    paths = [tmp_path / "mine-00000-of-00003", *sorted(predicted.glob("mine-*"))[1:]]
    with pytest.raises(DataError, match=r"is not of one prediction with .*: other weights"):
        merge_parts(paths, tmp_path / "out")


def _edited(part, change):
    record = json.loads((part / "part.json").read_text())
    change(record)
    (part / "part.json").write_text(json.dumps(record))


def _with_another_label(part):
    with h5py.File(part / FILE, "r+") as file:
        file["label"][0] = (file["label"][0] + 1) % 5


def _linked(part):
    moved = (part / FILE).rename(part.parent / "elsewhere.h5")
    (part / FILE).symlink_to(moved)


DAMAGED = {
    "another version": (lambda p: _edited(p, lambda r: r.update(schema_version=2)), "is not of schema version 1"),
    "no part": (lambda p: _edited(p, lambda r: r.update(format="x")), "is no part of a prediction"),
    "no shard": (lambda p: _edited(p, lambda r: r.update(shard="3/3")), "is damaged: shard 3/3"),
    "no digest": (lambda p: _edited(p, lambda r: r["weights"].update({"0": "x"})), "its weights must be"),
    "a seed less": (lambda p: _edited(p, lambda r: r["weights"].pop("0")), "its weights are not those of its seeds"),
    "no record": (lambda p: _edited(p, lambda r: r["submission"].pop("title")), "is damaged: .*title"),
    "another title": (lambda p: _edited(p, lambda r: r["submission"].update(title="x")), "other title"),
    "a changed file": (
        _with_another_label,
        "not what its shard wrote; remove .*mine-00000-of-00003 and do that shard again",
    ),
    "a lost file": (lambda p: (p / FILE).unlink(), "not what its shard wrote"),
    "a name that leads elsewhere": (
        lambda p: _edited(p, lambda r: r["files"].update({"../../x.h5": "0" * 64})),
        "'?../../x.h5'? does not belong to this part",
    ),
    "a file too many": (lambda p: (p / "weights.pt").touch(), "weights.pt does not belong to this part"),
    "a link": (_linked, "is a link"),
    "a pair less": (
        lambda p: (_edited(p, lambda r: r["files"].pop(FILE)), (p / FILE).unlink()),
        "no part answers seed 0 on 2dot",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_parts_are_refused_and_nothing_is_written(name, parts, tmp_path):
    damage, message = DAMAGED[name]
    damage(parts[0])
    with pytest.raises(DataError, match=message):
        merge_parts(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_that_are_missing_or_twice_are_named(parts, tmp_path):
    with pytest.raises(DataError, match="2 of 3 shards are missing: 0/3, 2/3"):
        merge_parts(parts[1:2], tmp_path / "out")
    again = Path(shutil.copytree(parts[1], tmp_path / "again"))
    with pytest.raises(DataError, match="are both shard 1/3; give each once"):
        merge_parts([*parts, again], tmp_path / "out")
    _edited(again, lambda record: record.update(shard="1/4"))
    with pytest.raises(DataError, match="other number of shards"):
        merge_parts([*parts, again], tmp_path / "out")


def test_a_pair_in_two_shards_is_refused(parts, tmp_path):
    (parts[1] / FILE).parent.mkdir(exist_ok=True)
    shutil.copy(parts[0] / FILE, parts[1] / FILE)
    digest = Part.read(parts[0]).files[FILE]
    _edited(parts[1], lambda record: record["files"].update({FILE: digest}))
    with pytest.raises(DataError, match="answers seed 0 on 2dot, as another part does"):
        merge_parts(parts, tmp_path / "out")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--shard", "9/9"], "shards are counted from 0, so n of them are 0/n to n-1/n"),
        (["--shard", "0/3", "--out", "."], "ends in no name, to which that of shard 0/3 would be added"),
        (["--shard", "0/9"], "there are 8 pairs of a seed and a domain; give at most 8 shards"),
        (["--engine", "pool"], "unknown engine 'pool'. Allowed: serial, processes, ray."),
    ],
)
def test_shards_and_engines_that_are_not(checkpoints, data_dir, tmp_path, options, message):
    out = ["--data-dir", data_dir, "--out", tmp_path / "mine"]
    assert message in call(predict, *checkpoints, *TINY, *out, *options, code=2).problem
    assert not list(tmp_path.iterdir())


def test_a_cluster_has_no_auto_device(checkpoints, data_dir, tmp_path):
    options = ["--engine", "ray", "--device", "auto", "--data-dir", data_dir, "--out", tmp_path / "mine"]
    assert "say --device cpu or cuda" in call(predict, *checkpoints, *TINY, *options, code=2).problem


LOOSE = """
import torch
from torch import nn

class Loose(nn.Module):
    def __init__(self, breaks):
        super().__init__()
        self.linear, self.breaks = nn.Linear(1, 5), breaks
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, clips):
        self.calls += 1
        if self.breaks and len(clips) > 1:
            raise ZeroDivisionError("of mine")
        return self.linear(clips.mean((1, 3, 4)))

def changing(num_classes):
    return Loose(False)

def breaking(num_classes):
    return Loose(True)
"""


@pytest.mark.parametrize(
    "name, code, message",
    [
        ("breaking", 4, "seed 0, 2dot: ZeroDivisionError: of mine"),
        ("changing", 3, "py:loose:changing does not keep its weights from one answer to the next"),
    ],
)
def test_what_a_model_of_ones_own_may_do(data_dir, tmp_path, monkeypatch, name, code, message):
    (tmp_path / "loose.py").write_text(LOOSE)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--source", "2dot", "--seeds", "0", "--protocol", "none", "--selection", "none", "--no-pretraining"]
    options = ["--model", f"py:loose:{name}", *TINY, *words, "--data-dir", data_dir, "--out", tmp_path / "out"]
    assert call(predict, *options, code=code).problem.startswith(message)
    assert not (tmp_path / "out").exists()


def test_the_model_and_the_clips_do_not_stay(checkpoints, data_dir, tmp_path):
    from benchmark.submission import evaluating

    call(predict, *checkpoints[:2], *TINY, "--data-dir", data_dir, "--out", tmp_path / "out")
    assert not evaluating._mine


def test_finished_runs_are_copied_in_one_piece(tmp_path):
    problem = call(predict, "--run", tmp_path, "--shard", "0/2", "--out", tmp_path / "x", code=2).problem
    assert "--run copies what a run predicted; leave out --shard" in problem


def test_what_cannot_be_merged_is_named(parts, tmp_path):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    out = ("--out", tmp_path / "out")
    assert "neither a part of a prediction, with part.json, nor a sweep" in call(merge, sweep, *out, code=3).problem
    (sweep / "sweep.json").touch()
    assert "merge one kind at a time" in call(merge, parts[0], sweep, *out, code=2).problem
    assert "is no folder" in call(merge, tmp_path / "absent", *out, code=2).problem


def test_merging_imports_no_torch(parts, tmp_path):
    code = (
        "import sys; from benchmark.merge_commands import merge; merge(sys.argv[1:], standalone_mode=False); "
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, parts), "--out", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
