"""Checkpoints at levels of accuracy in a sweep: kept by every job, and not to be changed once a job has begun."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.sweep.grid import Grid, protocol_of
from benchmark.sweep.run import Means, run_sweep
from benchmark.sweep.store import SweepDirectory
from tsgen.common.errors import UsageError

SIZES = {"n_train": 32, "n_val": 20, "n_target": 20, "max_epochs": 2, "batch_size": 16}
LEVELS = (0.05, 1.0)


def jobs_of(seeds):
    return Grid(models=("3dcnn",), hidden=(2,), sources=("2dot",), seeds=seeds).jobs("quick", **SIZES)


@pytest.fixture(scope="module")
def swept(tmp_path_factory, data_dir):
    directory = SweepDirectory(tmp_path_factory.mktemp("levels") / "sweep")
    sweep(directory, (0,), data_dir, LEVELS)
    return directory


def sweep(directory, seeds, data_dir, levels):
    options = {"digits": "embedded", "data_dir": data_dir, "retry_failed": False, "say": lambda line: None}
    protocol = protocol_of("quick", **SIZES)
    run_sweep(directory, jobs_of(seeds), protocol, Means("cpu", 1), levels=levels, **options)


def test_every_job_keeps_its_levels(swept):
    (job,) = jobs_of((0,))
    run = swept.run_directory(job)
    assert swept.state(job) == "done"
    assert json.loads((run.path / "levels.json").read_text()) == list(LEVELS)
    assert run.seed_path(0, "level-0.05.safetensors").is_file()
    assert not run.seed_path(0, "level-1.0.safetensors").exists()  # nothing learns that much in two epochs


@pytest.mark.parametrize("levels", [(), (0.05,), (0.05, 0.5, 1.0)])
def test_other_levels_are_refused_before_anything_is_done(swept, data_dir, levels):
    before = sorted(str(path) for path in swept.path.rglob("*"))
    with pytest.raises(UsageError, match=r"was begun with --levels 0\.05,1, not") as refused:
        sweep(swept, (0, 61), data_dir, levels)
    assert "--resume" not in str(refused.value), "a sweep has no such option"
    assert sorted(str(path) for path in swept.path.rglob("*")) == before


def test_levels_of_the_command_line(tmp_path):
    out = ["--out", str(tmp_path / "sweep")]
    for text, message in (("0.5,0.3", "do not rise"), ("x", "are not numbers"), ("1.5", "is not possible")):
        done = CliRunner().invoke(cli, ["sweep", *out, "--levels", text])
        assert isinstance(done.exception, UsageError) and message in str(done.exception)
    assert not (tmp_path / "sweep").exists()
