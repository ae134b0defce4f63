"""Clips of a release instead of the cache: the same digests, checked values, and clear refusals."""

import json
import shutil
from pathlib import Path

import pytest

from benchmark.config import make_config
from benchmark.data import data_directory, plan_data
from benchmark.data_folder import data_folder
from benchmark.release_data import is_release, plan_release, release_folder
from tsgen.common.errors import DataError, UsageError

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def release(tmp_path_factory, tiny):
    from tsgen.release.build import build_release
    from tsgen.release.plan import Plan

    folder = tmp_path_factory.mktemp("made") / "release"
    sizes = {"train": tiny.n_train, "val": tiny.n_val, "test": tiny.n_target}
    build_release(folder, Plan((tiny.source, *tiny.targets), sizes), digits="embedded", workers=1, quiet=True)
    return folder


@pytest.fixture
def copy(release, tmp_path):
    return shutil.copytree(release, tmp_path / "release")


def test_a_release_gives_the_clips_that_would_be_made_here(release, tiny, plan):
    released = plan_release(tiny, "auto", release)
    assert released.digests() == plan.digests()
    for here, there in zip(plan.files, released.files, strict=True):
        made, read = here.load(print), there.load(print)
        assert (made.clips == read.clips).all() and (made.labels == read.labels).all()
        assert made.facts == read.facts and here.digits == there.digits


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_train": 40}, "2dot train with n 20, asked for is 40; leave the release out"),
        ({"data_seed": 3}, "2dot train with seed 0, asked for is 3"),
        ({"source": "mnist-bg"}, None),
    ],
)
def test_other_clips_than_those_of_the_release_are_refused(release, tiny, changed, message):
    values = {**{name: getattr(tiny, name) for name in ("hidden", "n_train", "n_val", "n_target", "batch_size")}}
    config = make_config("quick", **{**values, **changed})
    if message is None:
        assert plan_release(config, None, release).train.domain == "mnist-bg"
        return
    with pytest.raises(UsageError, match=message):
        plan_release(config, None, release)


def test_other_digits_and_absent_domains_are_refused(release, tiny, tmp_path):
    with pytest.raises(UsageError, match="shows digits of embedded, not of mnist"):
        plan_release(tiny, "mnist", release)
    with pytest.raises(DataError, match="is no release"):
        plan_release(tiny, None, tmp_path)


def test_a_file_of_other_values_or_none_is_refused_when_it_is_loaded(copy, tiny):
    released = plan_release(tiny, None, copy)
    swapped = released.targets[0]
    swapped.path.write_bytes(released.val.path.read_bytes())
    with pytest.raises(DataError, match="another recipe"):
        swapped.load(print)
    swapped.path.unlink()
    with pytest.raises(DataError, match="not whole"):
        swapped.load(print)
    manifest = json.loads((copy / "release.json").read_text())
    manifest["configs"][tiny.source]["splits"]["train"]["content_hash"] = "0" * 64
    (copy / "release.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"other values than release\.json"):
        plan_release(tiny, None, copy).train.load(print)
    manifest["configs"][tiny.source]["splits"]["train"]["recipe_digest"] = "0" * 64
    (copy / "release.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="not that of its recipe"):
        plan_release(tiny, None, copy)


def test_what_is_a_release(release, data_dir, tiny, tmp_path, monkeypatch):
    assert is_release(release) and is_release(Path("hf:user/shapes@v1.0.0")) and not is_release(tmp_path)
    assert release_folder(release, print) == release
    asked = []
    monkeypatch.setattr("tsgen.common.hub.download.resolve", lambda text, **_: asked.append(text) or release)
    assert release_folder(Path("hf:user/shapes@v1.0.0"), print) == release
    assert asked == ["hf:user/shapes@v1.0.0"]
    assert data_directory(Path("hf:user/shapes@v1.0.0")) == data_directory(release) == release
    assert plan_data(tiny, "embedded", data_dir).digests() == plan_data(tiny, None, release).digests()
    assert data_folder("hf:user/mini@v1.0.0") == release and asked[-1] == "hf:user/mini@v1.0.0"
