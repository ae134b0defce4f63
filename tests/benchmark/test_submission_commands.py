"""predict, validate and score as a stranger meets them, and where the truth comes from."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import tsgen
from benchmark.cli import cli
from benchmark.config import RunConfig
from benchmark.models import build_model
from benchmark.run import run
from benchmark.submission.check import check
from benchmark.submission.evaluating import Checkpoint, load
from benchmark.submission.from_model import Wanted, resolve
from benchmark.submission.truth import AnswerKeys
from benchmark.submission.write import Words, submit_runs
from tsgen.common.errors import DataError, RacError, UsageError

ROOT = Path(__file__).parents[2]
TINY = ["--n-val", "15", "--n-target", "15", "--digits", "embedded", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def runs(tiny, data_dir, tmp_path_factory):
    """Two finished runs that differ in their seed alone, as in a sweep."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 61):
        config = dataclasses.replace(tiny, seeds=(seed,), max_epochs=1)
        run(config, folder / f"{seed}", digits="embedded", data_dir=data_dir, device="cpu", threads=1, quiet=True)
    return [folder / "0", folder / "61"]


@pytest.fixture(scope="module")
def submitted(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("submissions") / "both"
    submit_runs(runs, out, Words(title="Both seeds", authors=("A. B.",)))
    return out


@pytest.fixture
def rac_bench(tmp_path, data_dir, monkeypatch):
    """In this process, which has torch already; test_cli.py runs the command in one of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # a py: model adds this folder
    monkeypatch.setenv("RAC_DATA_DIR", str(data_dir))

    def call(*arguments, code=0):
        done = CliRunner().invoke(cli, list(map(str, arguments)))
        found = getattr(done.exception, "exit_code", None) or done.exit_code
        said = done.stderr + str(done.exception if isinstance(done.exception, RacError) else "")
        assert found == code, done.output + repr(done.exception)
        return SimpleNamespace(stdout=done.stdout, stderr=said)

    return call


def checkpoint(run_dir):
    return next(run_dir.glob("seed*/checkpoint.safetensors"))


def same_files(one, other):
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file())
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def test_a_submission_scores_like_its_run(runs, rac_bench, tmp_path):
    rac_bench("predict", "--run", runs[0], "--out", "new")
    before = same_files(tmp_path / "new", tmp_path / "new")
    of_run = rac_bench("score", runs[0]).stdout
    assert rac_bench("score", "new", "--allow-custom").stdout == of_run
    record = json.loads((tmp_path / "new" / "submission.json").read_text())
    assert record["model"] == {"name": "3dcnn", "family": "convolution", "parameters": 1573, "pretraining": False}
    value = json.loads(rac_bench("score", "new", "--allow-custom", "--json").stdout)
    assert value.pop("submission") == record
    assert value == json.loads(rac_bench("score", runs[0], "--json").stdout)
    assert before == []
    for path in (tmp_path / "new").rglob("*.h5"):
        with h5py.File(path) as file:
            assert set(file) == {"clip_id", "logits"}  # no labels


def test_an_evaluated_checkpoint_gives_the_bytes_of_its_run(runs, rac_bench, tmp_path):
    files = [part for one in runs for part in ("--checkpoint", checkpoint(one))]
    rac_bench("predict", "--run", runs[0], "--run", runs[1], "--out", "copied")
    rac_bench("predict", *files, *TINY, "--out", "evaluated")
    assert same_files(tmp_path / "copied", tmp_path / "evaluated") == []
    assert json.loads((tmp_path / "copied" / "submission.json").read_text())["seeds"] == [0, 61]
    refused = rac_bench("predict", "--run", runs[0], "--out", "copied", code=2)
    assert "copied exists" in refused.stderr


def test_validate_lists_all_and_says_what_is_fine(submitted, rac_bench, tmp_path):
    done = rac_bench("validate", submitted, "--allow-custom")
    assert "admissible. Both seeds; seeds 0, 61; 2dot val (15 clips), 5dot test (15 clips)" in done.stdout
    bad = Path(shutil.copytree(submitted, tmp_path / "bad"))
    (bad / "predictions/seed0/mnist.h5").unlink()
    (bad / "weights.pt").touch()
    done = rac_bench("validate", bad, "--allow-custom", code=3)
    assert done.stdout.splitlines() == [
        "predictions/seed0/mnist.h5: is missing; add the answers of seed 0 on mnist.",
        "weights.pt: belongs to no seed and domain of the record; remove it.",
        f"{bad}: not admissible, 2 problems.",
    ]
    value = json.loads(rac_bench("validate", bad, "--allow-custom", "--json", code=3).stdout)
    assert (value["admissible"], len(value["problems"])) == (False, 2)
    assert "weights.pt: belongs to no seed" in rac_bench("score", bad, "--allow-custom", code=3).stderr


def test_scoring_a_submission_imports_no_torch(submitted):
    code = (
        "import sys; from benchmark.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "score", submitted, "--allow-custom"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_score_of_a_sweep_points_to_its_summary(rac_bench, tmp_path):
    (tmp_path / "sweep.json").touch()
    assert "--summary prints its table" in rac_bench("score", tmp_path, code=3).stderr


def test_own_training_with_plain_weights(runs, rac_bench, tmp_path):
    """Route (b): weights without our notes, of a factory of one's own."""
    (tmp_path / "my_trained_model.py").write_text(
        "from benchmark.models import build_model\n"
        "def build(num_classes): return build_model('3dcnn', 2, num_classes)\n"
        "def trained(num_classes):\n"
        "    import safetensors.torch as s\n"
        "    model = build(num_classes)\n"
        "    model.load_state_dict(s.load_file('plain.safetensors'))\n"
        "    return model\n"
    )
    save_file(load_file(checkpoint(runs[0])), tmp_path / "plain.safetensors")
    words = ["--protocol", "trained at home", "--selection", "the last epoch", "--no-pretraining", "--seeds", "0"]
    common = ["--source", "2dot", *TINY, *words]
    rac_bench(
        "predict", "--model", "py:my_trained_model:build", "--checkpoint", "plain.safetensors", *common, "--out", "a"
    )
    rac_bench("predict", "--model", "py:my_trained_model:trained", *common, "--family", "convolution", "--out", "b")
    assert same_files(tmp_path / "a", tmp_path / "b") == ["submission.json"]
    rac_bench("predict", "--run", runs[0], "--out", "c")
    assert same_files(tmp_path / "a", tmp_path / "c") == ["submission.json"]
    assert "as the submission says: the last epoch" in rac_bench("score", "a", "--allow-custom").stdout


WANTED = Wanted(None, None, None, None, 15, 15, 0)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"model": "convlstm"}, "is of another model: 3dcnn, not convlstm"),
        ({"hidden": 4}, "is of another hidden: 2, not 4"),
        ({"source": "mnist-bg"}, "is of another source: 2dot, not mnist-bg"),
        ({"seeds": (61,)}, "is of seed 0, not 61"),
        ({"seeds": (0, 61)}, "--seeds names 2 seeds for 1 models"),
    ],
)
def test_checkpoints_of_something_else_are_refused(runs, asked, message):
    with pytest.raises((DataError, UsageError), match=message):
        resolve(dataclasses.replace(WANTED, **asked), [Checkpoint.read(checkpoint(runs[0]))])


def test_a_checkpoint_without_its_source_is_known_by_its_run(runs, tmp_path):
    copy = Path(shutil.copytree(runs[0], tmp_path / "run"))
    file = Checkpoint.read(checkpoint(copy))
    file.facts.pop("source")
    with pytest.raises(DataError, match="was trained on 2dot, not on mnist-bg"):
        resolve(dataclasses.replace(WANTED, source="mnist-bg"), [file])
    assert resolve(WANTED, [file]).source == "2dot"


def test_weights_of_another_shape_are_named(runs):
    file = Checkpoint.read(checkpoint(runs[0]))
    with pytest.raises(DataError, match=r"does not fit 3dcnn with hidden 4: .* is \(2,\) there and \(4,\) here.* more"):
        load(build_model("3dcnn", 4), file, RunConfig(hidden=4))
    with pytest.raises(DataError, match=r"does not fit convlstm with hidden 2: .* is missing"):
        load(build_model("convlstm", 2), file, RunConfig(model="convlstm", hidden=2))


def test_a_checkpoint_given_twice_is_refused(runs, rac_bench):
    twice = ["--checkpoint", checkpoint(runs[0]), "--checkpoint", runs[0] / "seed0" / ".." / "seed0" / "checkpoint"]
    twice[-1] = twice[-1].with_suffix(".safetensors")
    done = rac_bench("predict", *twice, "--seeds", "0,1", *TINY, "--out", "new", code=2)
    assert "is one file; give the weights of each training once" in done.stderr


def test_a_checkpoint_does_not_choose_which_code_runs(runs, tmp_path):
    path = tmp_path / "c.safetensors"
    noted = {"model": "py:os:getcwd", "hidden": 0, "seed": 0, "source": "2dot"}
    save_file(load_file(checkpoint(runs[0])), path, metadata={"rac-bench": json.dumps(noted)})
    with pytest.raises(UsageError, match="give that as --model"):
        resolve(WANTED, [Checkpoint.read(path)])


def test_pickles_and_untrained_models_are_refused(runs, tmp_path, rac_bench):
    torch.save({}, tmp_path / "c.pt")
    with pytest.raises(DataError, match=r"Pickles .* are never read"):
        Checkpoint.read(tmp_path / "c.pt")
    cases = {
        "--model 3dcnn --source 2dot --seeds 0": (2, "3dcnn without weights was never trained"),
        "--source 2dot": (2, "give --run DIR, --checkpoint FILE or"),
        f"--run {runs[0]} --model 3dcnn": (2, "leave out --model"),
        f"--run {tmp_path}": (3, "is not a run directory"),
    }
    for options, (code, message) in cases.items():
        assert message in rac_bench("predict", *options.split(), "--out", "new", code=code).stderr
    assert not (tmp_path / "new").exists()


def test_runs_of_different_experiments_are_not_joined(runs, tmp_path):
    other = Path(shutil.copytree(runs[1], tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "learning_rate": 0.5}))
    with pytest.raises(UsageError, match=r"learning_rate: 0.003 -> 0.5"):
        submit_runs([runs[0], other], tmp_path / "new", Words())
    with pytest.raises(UsageError, match="seeds given twice: 0"):
        submit_runs([runs[0], runs[0]], tmp_path / "new", Words())


def edited(root, domain, **changes):
    path = root / "submission.json"
    value = json.loads(path.read_text())
    value["domains"][domain].update(changes)
    path.write_text(json.dumps(value))


def lines(root, keys):
    return [problem.text for problem in check(root, keys).problems]


def test_only_the_benchmarks_own_clips_are_made_again(submitted):
    found = lines(submitted, AnswerKeys())
    assert len(found) == 4
    assert "2dot: not the clips of the benchmark (n is 15 instead of 1000). Evaluate on those" in found[0]


def test_clip_files_of_the_scorer_are_the_truth(submitted, data_dir, tmp_path):
    files = sorted(data_dir.glob("*-n15-*.h5"))
    assert check(submitted, AnswerKeys(files)).is_admissible
    copy = Path(shutil.copytree(submitted, tmp_path / "copy"))
    edited(copy, "5dot", recipe=None)
    assert check(copy, AnswerKeys([data_dir])).is_admissible
    assert lines(copy, AnswerKeys(allow_custom=True)) == [
        "5dot: no answer key for its test clips: they are not in --data, and the record has no recipe to make them "
        "from. Give the clip file, or an answer key (rac-bench key), with --data."
    ]
    tsgen.make("5dot", 15, tmp_path / "other.h5", seed=1, split="test", threads=1, quiet=True)
    (line,) = lines(copy, AnswerKeys([tmp_path / "other.h5"], allow_custom=True))
    assert "another version of the data: 5dot test: expected content hash" in line
    assert f"({tmp_path / 'other.h5'}), found in the record" in line


def test_a_clip_file_that_was_changed_is_no_truth(submitted, data_dir, tmp_path):
    path = next(data_dir.glob("5dot-test-n15-*.h5"))
    changed = Path(shutil.copy(path, tmp_path / "changed.h5"))
    with h5py.File(changed, "a") as file:
        file["labels"][0] = (file["labels"][0] + 1) % 5
    (line,) = lines(submitted, AnswerKeys([changed], allow_custom=True))
    assert "was changed or damaged after it was made" in line


@pytest.mark.parametrize(
    "domain, change, message",
    [
        ("5dot", {"seed": 1}, "another version of the data: 5dot test"),
        ("5dot", {"n": 10**8}, "100000000 clips are too many to make again"),
        ("5dot", {"stream_version": 9}, "stream version 9"),
        ("5dot", {"domain": {"name": "5dot\ud800"}}, "other than ASCII"),
        ("5dot", {"domain": {"name": "5dot"}}, "is damaged"),
        ("mnist", {"digits_sha256": "ab" * 32}, r"the clips show the digits embedded-uci-8x8 \(abababababab"),
    ],
)
def test_recipes_that_give_something_else(submitted, tmp_path, domain, change, message):
    copy = Path(shutil.copytree(submitted, tmp_path / "copy"))
    recipe = json.loads((copy / "submission.json").read_text())["domains"][domain]["recipe"]
    edited(copy, domain, recipe={**recipe, **change})
    (line,) = lines(copy, AnswerKeys(allow_custom=True))
    assert message.replace("\\", "") in line


def test_mnist_is_not_downloaded_unasked(submitted, tmp_path, monkeypatch):
    """Neither in the cache nor named: a clear error, and no attempt at the network."""
    monkeypatch.delenv("TSGEN_MNIST_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tsgen.mnist_cache.MIRRORS", ())
    copy = Path(shutil.copytree(submitted, tmp_path / "copy"))
    recipe = json.loads((copy / "submission.json").read_text())["domains"]["mnist"]["recipe"]
    for source in ("mnist", None):
        edited(copy, "mnist", recipe={**recipe, "digits_source": source})
        (line,) = lines(copy, AnswerKeys(allow_custom=True))
        assert "nothing is downloaded unasked" in line and "--digits mnist" in line and str(tmp_path) not in line
    assert not (tmp_path / "cache").exists()
    asked = lines(copy, AnswerKeys(digits="mnist", allow_custom=True))
    assert any("cannot be downloaded" in line for line in asked)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"targets": ["5dot", "mnist"]}, "targets lack mnist-bg; answer every target of 2dot"),
        ({"source": "5dot"}, "source 5dot is none of 2dot, mnist-bg, V"),
    ],
)
def test_targets_that_go_badly_cannot_be_left_out(submitted, data_dir, tmp_path, change, message):
    copy = Path(shutil.copytree(submitted, tmp_path / "copy"))
    value = json.loads((copy / "submission.json").read_text())
    (copy / "submission.json").write_text(json.dumps({**value, **change}))
    assert any(message in line for line in lines(copy, AnswerKeys([data_dir])))


def test_the_files_written_by_hand_in_the_docs_are_admissible(tmp_path, monkeypatch):
    """Route (c), on the benchmark's own clips: the truth is made again from the recipes."""
    monkeypatch.chdir(tmp_path)
    for domain in ("2dot", "5dot", "mnist", "mnist-bg"):
        n, split = (1000, "val") if domain == "2dot" else (500, "test")
        tsgen.make(domain, n, f"{domain}.h5", split=split, digits="embedded", threads=1, quiet=True)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "submissions.md").read_text(), flags=re.DOTALL)

    def answer(seed, clips):
        return np.random.default_rng(seed).normal(size=(len(clips), 5)).astype(np.float32)

    exec(code, {"answer": answer})
    checked = check(tmp_path / "mine", AnswerKeys())
    assert checked.problems == ()
    rows = checked.scorecard().rows
    assert [row.n for row in rows] == [1000, 500, 500, 500]
    assert all(abs(row.accuracy.value - 0.2) < 0.06 for row in rows)
