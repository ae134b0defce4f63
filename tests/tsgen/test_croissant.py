"""The Croissant file of a release is valid, and its records load and are those of the clip files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tsgen
from tsgen.common.errors import DataError
from tsgen.release.croissant import CITE_AS, PUBLISHED, croissant_of
from tsgen.release.plan import RELEASE_VERSION, Plan

pytest.importorskip("pyarrow")
mlc = pytest.importorskip("mlcroissant")
pytestmark = [  # of mlcroissant's own use of its libraries
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame"),
]
ROOT = Path(__file__).parents[2]
RESPONSIBLE = ("dataLimitations", "dataBiases", "personalSensitiveInformation", "dataUseCases", "dataSocialImpact")


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    from tsgen.release.build import build_release

    out = tmp_path_factory.mktemp("made") / "release"
    build_release(out, Plan(("2dot", "mnist-bg"), {"train": 20, "val": 10, "test": 10}), digits="embedded", quiet=True)
    return out


@pytest.fixture
def described(release) -> dict:
    return json.loads((release / "croissant.json").read_text(encoding="utf-8"))


@pytest.fixture
def manifest(release) -> dict:
    return json.loads((release / "release.json").read_text(encoding="utf-8"))


def records(dataset, name: str) -> list[dict]:
    """Rows of a record set, by column."""
    return [{key.rpartition("/")[2]: value for key, value in row.items()} for row in dataset.records(name)]


def test_it_is_valid_and_says_what_the_card_says(release):
    dataset = mlc.Dataset(release / "croissant.json")
    assert dataset.metadata.ctx.issues.report() == ""
    metadata = dataset.metadata
    assert metadata.ctx.is_v1_1()
    assert (metadata.version, metadata.date_published.date().isoformat()) == (RELEASE_VERSION, PUBLISHED["1.0.0"])
    assert metadata.license == [
        "https://www.apache.org/licenses/LICENSE-2.0",
        "https://creativecommons.org/licenses/by/4.0/",
    ]
    assert metadata.cite_as == CITE_AS
    # The reader knows them by its own names: their addresses are those of the vocabulary.
    told = (metadata.data_limitations, metadata.data_biases, metadata.personal_sensitive_information)
    assert all(told) and metadata.data_use_cases and metadata.data_social_impact


@pytest.mark.parametrize("config, split", [("2dot", "train"), ("mnist-bg", "test")])
def test_index_records_are_the_clips(release, config, split):
    dataset = mlc.Dataset(release / "croissant.json")
    rows = records(dataset, f"index/{config}/{split}")
    with tsgen.open_clips(release / "data" / config / f"{split}.h5") as clips:
        assert [row["clip_id"] for row in rows] == clips.clip_id.tolist()
        assert [row["label"] for row in rows] == clips.labels.tolist()
        names = [clips.class_names[label] for label in clips.labels]
        assert [row["class_name"] for row in rows] == [name.encode() for name in names]
        heading = np.array([np.nan if row["heading"] is None else row["heading"] for row in rows], np.float32)
        np.testing.assert_array_equal(heading, clips.column("heading"))
        assert [row["digit_label"] for row in rows] == clips.column("digit_label").tolist()


def test_preview_records_are_pictures(release, manifest):
    rows = records(mlc.Dataset(release / "croissant.json"), "preview/mnist-bg/val")
    assert len(rows) == manifest["configs"]["mnist-bg"]["splits"]["val"]["preview_rows"]
    assert {row["strip"].format for row in rows} == {"PNG"}
    assert all(np.asarray(row["strip"]).std() > 0 for row in rows)


def test_a_changed_file_is_refused(release, tmp_path):
    shutil.copytree(release, tmp_path / "release")
    path = tmp_path / "release" / "index" / "2dot" / "val.parquet"
    shutil.copy(release / "index" / "2dot" / "test.parquet", path)
    with pytest.raises(mlc.GenerationError, match=r"Download\(index/2dot/val.parquet\)") as told:
        list(mlc.Dataset(tmp_path / "release" / "croissant.json").records("index/2dot/val"))
    assert "Hash of downloaded file" in str(told.value.__cause__)


def test_every_file_of_data_is_listed_as_it_is(release, described):
    listed = {entry["contentUrl"]: (entry["sha256"], entry["contentSize"]) for entry in described["distribution"]}
    there = {
        path.relative_to(release).as_posix(): path.read_bytes() for path in release.rglob("*/*/*") if path.is_file()
    }
    assert listed == {name: (hashlib.sha256(data).hexdigest(), f"{len(data)} B") for name, data in there.items()}
    assert all(f"rai:{name}" in described for name in RESPONSIBLE)
    assert described["rai:hasSyntheticData"] is True
    assert described["prov:wasDerivedFrom"] == "https://doi.org/10.24432/C50P49"


def test_equal_releases_are_described_equally(manifest, described):
    files = {entry["@id"]: (entry["sha256"], int(entry["contentSize"][:-2])) for entry in described["distribution"]}
    assert json.dumps(croissant_of(manifest, files)) == json.dumps(described)


def test_files_and_versions_that_are_not_there_are_told(manifest):
    with pytest.raises(DataError, match=r"24 files of the manifest are not there, the first is data/2dot/train.h5"):
        croissant_of(manifest, {})
    with pytest.raises(DataError, match=r"version '1.0.7' has no day of publication; known: 1.0.0"):
        croissant_of({**manifest, "version": "1.0.7"}, {})


def test_contested_digits_stand_among_the_licences(manifest, described):
    files = {entry["@id"]: (entry["sha256"], 1) for entry in described["distribution"]}
    licences = croissant_of({**manifest, "digits_source": "mnist"}, files)["license"]
    assert any("contested" in licence for licence in licences)


def test_a_build_that_departs_says_so(manifest, described):
    assert "This build departs from release 1.0.0: only the configurations 2dot, mnist-bg" in described["description"]
    files = {entry["@id"]: (entry["sha256"], 1) for entry in described["distribution"]}
    assert "departs" not in croissant_of({**manifest, "departures": []}, files)["description"]


def test_the_current_version_has_a_day():
    assert RELEASE_VERSION in PUBLISHED
