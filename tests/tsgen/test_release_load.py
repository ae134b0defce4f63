"""``datasets`` loads a release by its card: right counts, class names, values; in memory and streamed."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tsgen
from tsgen.release.build import build_release
from tsgen.release.plan import Plan
from tsgen.release.strips import DARKEST, strips_of

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


def drawn(built: Path, split: str) -> list[tuple[str, str, int, np.ndarray]]:
    """Of the strips that the config `preview` ought to show: config, class, clip, pixels."""
    found = []
    for config in ("5dot", "mnist", "5dot-order"):
        with tsgen.open_clips(built / f"data/{config}/{split}.h5") as clip_set:
            for strip in strips_of(clip_set):
                pixels = np.maximum(np.asarray(strip.image), DARKEST)
                found.append((config, strip.class_name, int(clip_set.clip_id[strip.row]), pixels))
    return found


@pytest.mark.parametrize("streaming", [False, True])
def test_the_default_config_shows_pictures_of_all(datasets, built, tmp_path, streaming):
    shown = datasets.load_dataset(str(built), cache_dir=str(tmp_path), streaming=streaming)
    assert list(shown) == list(SIZES)
    for split, part in shown.items():
        assert part.features["strip"] == datasets.Image()
        rows, expected = list(part), drawn(built, split)
        assert [(row["config"], row["class_name"], row["clip_id"]) for row in rows] == [each[:3] for each in expected]
        for row, (*_, pixels) in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(row["strip"]), pixels)


def test_pictures_survive_what_the_hub_s_viewer_does_with_them(datasets, built, tmp_path):
    """As in its source: the config is converted to Parquet, a row's bytes are opened by Pillow and saved as JPEG."""
    import pyarrow.parquet as pq
    from PIL import Image

    shown = datasets.load_dataset(str(built), "preview", split="val", cache_dir=str(tmp_path))
    shown.to_parquet(tmp_path / "converted.parquet")
    again = pq.read_table(tmp_path / "converted.parquet")["strip"].to_pylist()
    for value, (*_, pixels) in zip(again, drawn(built, "val"), strict=True):
        Image.open(io.BytesIO(value["bytes"])).save(tmp_path / "image.jpg")
        with Image.open(tmp_path / "image.jpg") as picture:
            assert np.abs(np.asarray(picture).astype(int) - pixels).mean() < 2


PREVIEW = """
import hashlib, sys
import datasets
for streaming in (False, True):
    for row in datasets.load_dataset(sys.argv[1], split="val", streaming=streaming, revision="v1.0.0"):
        print(row["config"], hashlib.sha256(row["strip"].tobytes()).hexdigest())
"""


def test_pictures_come_over_http_streamed_too(datasets, built, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    import hub_server
    from huggingface_hub import constants

    from tsgen.common.hub.publish import publish_folder

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with hub_server.running() as hub:
        options = {"token": hub_server.TOKEN, "endpoint": hub.url, "allow_departures": True}
        publish_folder(built, "user/shapes", **options, say=lambda line: None)
        client = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "HF_DATASETS_OFFLINE": "0",
        }
        done = subprocess.run(
            [sys.executable, "-c", PREVIEW, "user/shapes"],
            env={**os.environ, **client},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    expected = [(config, hashlib.sha256(pixels.tobytes()).hexdigest()) for config, _, _, pixels in drawn(built, "val")]
    assert [tuple(line.split()) for line in done.stdout.splitlines()] == expected * 2


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
