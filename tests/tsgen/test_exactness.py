"""The same bytes everywhere: against a committed manifest, on another instruction set, with other threads and blocks;
and ``tsgen verify``, which finds a single changed value."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from content_hashes import MANIFEST, all_hashes, cases

import tsgen
from tsgen.clipfile import COLUMNS, ContentHash
from tsgen.common.errors import DataError
from tsgen.verify import verify_file

ORACLES = Path(__file__).parents[1] / "oracles"


def differences(found: dict[str, str]) -> list[str]:
    recorded = json.loads(MANIFEST.read_text())
    assert set(recorded) == set(cases())
    return [name for name in recorded if found[name] != recorded[name]]


@pytest.mark.parametrize("options", [{}, {"threads": 1, "block_clips": 7}, {"threads": 4, "block_clips": 1}], ids=str)
def test_regenerated_files_have_the_recorded_hashes(options):
    assert differences(all_hashes(**options)) == []


def test_the_instruction_set_changes_nothing(tmp_path):
    """Kernels compiled for the oldest x86-64 or Arm machine: no fused multiply-add, no wide vectors."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); import content_hashes; "
    code += "print(json.dumps(content_hashes.all_hashes()))"
    output = subprocess.check_output([sys.executable, "-c", code, str(ORACLES)], env=environment, text=True)
    assert differences(json.loads(output)) == []


@pytest.fixture(params=["5dot", "mnist-bg"])
def made(request, tmp_path) -> Path:
    path = tmp_path / "ts.h5"
    tsgen.make(request.param, 30, path, seed=2, split="test", digits="embedded")
    return path


def rehash(path: Path) -> None:
    """Make the recorded hash fit the changed content, as a careful forger would."""
    with tsgen.open_clips(path) as clip_set:
        found = clip_set.computed_hash()
    with h5py.File(path, "r+") as file:
        file.attrs["content_hash"] = found


def test_an_intact_file_is_identical(made):
    outcome = verify_file(made)
    assert outcome.is_identical
    assert "identical" in outcome.to_text()


@pytest.mark.parametrize("name", ["clips", *COLUMNS])
def test_one_changed_value_is_found_even_when_the_hash_was_recomputed(made, name):
    with h5py.File(made, "r+") as file:
        value = np.atleast_1d(file[name][17]).copy()
        value.flat[-1] = 1 if value.flat[-1] != 1 else 0
        file[name][17] = value.reshape(file[name].shape[1:])
    rehash(made)
    outcome = verify_file(made)
    assert not outcome.is_identical
    assert outcome.clips == {name: 1}
    assert outcome.first == {name: 17}
    assert not outcome.content_hash


def test_a_changed_recipe_or_attribute_is_found(made):
    with h5py.File(made, "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        file.attrs["recipe"] = json.dumps({**recipe, "seed": 3})
    rehash(made)
    outcome = verify_file(made)
    assert outcome.clips["clips"] > 20
    assert "seed" in outcome.facts


@pytest.mark.parametrize(
    "change",
    [
        {"imported": {}},
        {"n": float("inf")},
        {"n": 31},
        {"stream_version": 99},
        {"domain": {"name": "x"}},
        {"seed": "zwei"},
    ],
)
def test_an_impossible_recipe_is_a_data_error(made, change):
    with h5py.File(made, "r+") as file:
        file.attrs["recipe"] = json.dumps({**json.loads(file.attrs["recipe"]), **change})
    with pytest.raises(DataError):
        verify_file(made)


def test_other_digits_are_refused_by_name(tmp_path, mnist_dir):
    tsgen.make("mnist", 5, tmp_path / "a.h5", split="test", digits=str(mnist_dir))
    assert verify_file(tmp_path / "a.h5", str(mnist_dir)).is_identical
    with pytest.raises(DataError, match=r"'mnist'.*'embedded-uci-8x8'"):
        verify_file(tmp_path / "a.h5", "embedded")


def test_command(run_cli, made):
    good = run_cli("tsgen", "verify", made)
    assert (good.returncode, "identical" in good.stdout) == (0, True)
    with h5py.File(made, "r+") as file:
        file["labels"][3] = (file["labels"][3] + 1) % 5
    bad = run_cli("tsgen", "verify", made, "--json")
    assert bad.returncode == 3
    assert json.loads(bad.stdout)["clips"] == {"labels": 1}


def test_leaves_depend_on_every_byte():
    clip = np.zeros((20, 64, 64), dtype=np.uint8)
    leaf = ContentHash.leaf(clip)
    for where in (0, 40_000, clip.size - 1):
        changed = clip.copy()
        changed.flat[where] = 1
        assert ContentHash.leaf(changed) != leaf
