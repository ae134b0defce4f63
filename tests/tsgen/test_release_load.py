"""``datasets`` loads a release by its card: right counts, class names, values; in memory and streamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tsgen
from tsgen.release.build import build_release
from tsgen.release.plan import Plan

pytest.importorskip("pyarrow")
SIZES = {"train": 10, "val": 6, "test": 5}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "release"
    build_release(out, Plan(("5dot", "mnist", "5dot-order"), SIZES), digits="embedded", quiet=True)
    return out


@pytest.fixture
def datasets(monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    return pytest.importorskip("datasets")


@pytest.mark.parametrize("config", ["mnist", "5dot-order"])
def test_a_configuration_is_loaded_by_name(datasets, built, tmp_path, config):
    loaded = datasets.load_dataset(str(built), config, cache_dir=str(tmp_path))
    assert {split: len(part) for split, part in loaded.items()} == SIZES
    for split, part in loaded.items():
        with tsgen.open_clips(built / f"data/{config}/{split}.h5") as clip_set:
            assert part.features["labels"].names == list(clip_set.class_names)
            assert part["labels"][:] == clip_set.labels.tolist()
            clips = part.with_format("numpy", dtype=np.uint8)["clips"][:]
            np.testing.assert_array_equal(np.asarray(clips), clip_set.clips())


def test_streaming(datasets, built):
    rows = list(datasets.load_dataset(str(built), "mnist", split="val", streaming=True))
    with tsgen.open_clips(built / "data/mnist/val.h5") as clip_set:
        assert [row["labels"] for row in rows] == clip_set.labels.tolist()
        np.testing.assert_array_equal(np.array([row["clips"] for row in rows], dtype=np.uint8), clip_set.clips())


def test_tables_are_loaded_by_path(datasets, built, tmp_path):
    def load(kind: str):
        files = {"val": str(built / kind / "mnist" / "val.parquet")}
        return datasets.load_dataset("parquet", data_files=files, split="val", cache_dir=str(tmp_path))

    index, preview = load("index"), load("preview")
    assert len(index) == 6
    for table in (index, preview):
        assert [table.features["label"].int2str(row) for row in table["label"][:]] == table["class_name"][:]
    strip = preview[0]["strip"]  # an image, since the schema says so
    with tsgen.open_clips(built / "data/mnist/val.h5") as clip_set:
        first = clip_set.rows([preview[0]["clip_id"]])[0, 0]
    np.testing.assert_array_equal(np.asarray(strip)[8:136:2, 8:136:2], first)
