"""The data cards: numbers are those of the records, and a release's card says what its files hold."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import h5py
import pytest
import yaml
from card_records import BLOCKS, CARDS, RELEASE, filled

from diving48_domains.mini.config import SPLITS, MiniConfig
from tsgen.common.cards import block, block_names, fill_blocks, join_card, read_card, split_card
from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub import card as hub_card
from tsgen.common.hub.card import size_category
from tsgen.release.card import front_matter, render_card, splits_of
from tsgen.release.card_check import check_card, check_facts
from tsgen.release.plan import RELEASE_VERSION
from tsgen.release.terms import TERMS
from tsgen.release.texts import texts_of

SECTIONS = {
    "Motivation",
    "Composition",
    "Preprocessing",
    "Uses",
    "Distribution and licence",
    "Maintenance",
    "How to cite",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    pytest.importorskip("pyarrow")
    from tsgen.release.build import build_release
    from tsgen.release.plan import Plan

    plan = Plan(("2dot", "mnist-order"), {"train": 20, "val": 10, "test": 10})
    out = tmp_path_factory.mktemp("made") / "release"
    build_release(out, plan, digits="embedded", quiet=True)
    return out


@pytest.fixture
def manifest() -> dict:
    return json.loads(RELEASE.read_text(encoding="utf-8"))


# --- the committed cards ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
def test_numbers_of_the_card_are_those_of_the_records(name):
    assert (CARDS / f"{name}.md").read_text(encoding="utf-8") == filled(name), "run tests/tsgen/card_records.py"


@pytest.mark.parametrize("name", BLOCKS)
def test_card_has_the_sections_of_a_datasheet_and_says_who_is_shown(name):
    text = read_card(name)
    heads = set(re.findall(r"^## (.+)$", text, flags=re.MULTILINE))
    assert heads >= SECTIONS
    assert {head for head in heads if head.startswith("People")}
    assert {head for head in heads if "eneration" in head}
    assert {head for head in heads if head.startswith("Known l")}
    assert "Not meant for" in text


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - {"temporal_shape"}))
def test_front_matter_of_cards_without_configs(name):
    text = read_card(name)
    facts = yaml.safe_load(split_card(text)[0])
    assert hub_card.check_card(text, set()) == []
    assert check_facts(facts) == []
    rows = {"diving48_domains": 15_027 + 1_970, "diver_frames": MiniConfig().labels_train + MiniConfig().labels_val}
    rows["mini_diving48"] = sum(MiniConfig().count(split) for split in SPLITS)
    assert facts["size_categories"] == [size_category(rows[name])]


def test_size_categories():
    assert [size_category(n) for n in (0, 999, 1000, 9999, 10_000, 66_000, 10**13)] == [
        *("n<1K", "n<1K", "1K<n<10K", "1K<n<10K", "10K<n<100K", "10K<n<100K", "n>1T"),
    ]


def test_the_record_of_the_card_is_of_this_version(manifest):
    hashes = json.loads((CARDS.parent / "tests" / "oracles" / "release_hashes.json").read_text())
    assert manifest["version"] == RELEASE_VERSION
    assert {facts["file"]: facts["content_hash"] for _, _, facts in splits_of(manifest)} == hashes["real"][
        "content_hashes"
    ]


# --- the card of a release -------------------------------------------------------------------------------------------


def test_card_of_a_release_is_right(release):
    assert check_card(release) == []
    manifest = json.loads((release / "release.json").read_text())
    text = (release / "README.md").read_text(encoding="utf-8")
    assert text == render_card(manifest)
    assert "80 clips in 2 configs" in block(text, "release")
    assert "departs from release" in block(text, "release")
    assert "forward 10, reversed 10" in block(text, "classes")


def test_the_hub_s_client_reads_the_card(release):
    from huggingface_hub import DatasetCard

    facts = DatasetCard.load(release / "README.md").data.to_dict()
    assert facts["license"] == ["apache-2.0", "cc-by-4.0"]
    assert [config["config_name"] for config in facts["configs"]] == ["preview", "2dot", "mnist-order"]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_a_config_by_the_card(release, tmp_path, monkeypatch, streaming):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    arguments = {"cache_dir": str(tmp_path / "cache"), "streaming": streaming}
    made = datasets.load_dataset(str(release), "mnist-order", **arguments)
    assert list(made) == ["train", "val", "test"]
    assert made["val"].features["labels"].names == ["forward", "reversed"]
    dots = datasets.load_dataset(str(release), "2dot", split="test", **arguments)
    assert dots.features["labels"].names == ["circle", "spiral", "line", "rectangle", "arc"]
    rows = list(dots)
    with h5py.File(release / "data" / "2dot" / "test.h5") as file:
        assert [row["labels"] for row in rows] == file["labels"][:].tolist()
        assert rows[3]["clips"] == file["clips"][3].tolist()


def test_the_examples_of_the_card_run(release, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    text = (release / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    for written, here in (
        ('"USER/temporal-shape"', repr(str(release))),
        (', revision="v1.0.0"', ""),
        ("hf://datasets/USER/temporal-shape@v1.0.0", str(release)),
    ):
        assert written in code
        code = code.replace(written, here)
    found: dict = {}
    exec(code, found)
    assert found["clips"].features["labels"].names[4] == "arc"
    assert found["frames"][0]["clips"].shape == (20, 64, 64)
    assert found["frames"][0]["clips"].dtype == "uint8"
    assert found["index"].features["label"].names == ["forward", "reversed"]
    assert f"# {(found['preview'][0]['config'], found['preview'][0]['class_name'])}" in code


def test_the_card_of_one_config_names_no_other(manifest):
    manifest["configs"] = {"5dot-order": manifest["configs"]["5dot-order"]}
    manifest["audit"] = {"5dot-order": manifest["audit"]["5dot-order"]}
    text = render_card(manifest)
    named = set(re.findall(r'", "([^"]+)", split=|/index/([^/]+)/', text))
    assert named == {("5dot-order", ""), ("preview", ""), ("", "5dot-order")}
    assert "('5dot-order', 'forward')" in block(text, "preview-example")
    assert "circle" not in text and "five shapes" not in text
    assert "in motion `order`: forward, reversed." in block(text, "shown")


def test_licence_follows_the_digits(manifest):
    for source, terms in TERMS.items():
        facts = front_matter({**manifest, "digits_source": source})
        assert check_facts(facts) == []
        assert (facts["license"] == "other") == (source in ("mnist", "custom"))
        assert " ".join(terms.digits.split()) in " ".join(render_card({**manifest, "digits_source": source}).split())
    assert "contested" in TERMS["mnist"].digits
    with pytest.raises(DataError, match="digit source 'svhn'; known: None, embedded"):
        render_card({**manifest, "digits_source": "svhn"})


def test_attribution_and_licence_tell_of_the_digits_that_are_shown(manifest):
    def flat(source: str | None) -> dict[str, str]:
        return {name: " ".join(text.split()) for name, text in texts_of({**manifest, "digits_source": source}).items()}

    for source, terms in TERMS.items():
        attribution, licence = flat(source)["ATTRIBUTION.md"], flat(source)["LICENSE"]
        assert " ".join(terms.digits.split()) in attribution
        assert ("Alpaydin" in attribution) == (source == "embedded-uci-8x8")
        assert "not shipped" not in attribution
        assert "Apache License" in licence
        # "other" links to it on the Hub, so that it must say more than the licence of the rest
        assert licence.startswith(terms.digits) == (source in ("mnist", "custom"))


def test_a_release_without_departures_says_nothing_of_them(manifest):
    assert "departs" not in block(render_card({**manifest, "departures": []}), "release")


def test_unknown_domain_is_told(manifest):
    manifest["configs"]["2dot"]["domain"] = "3dot"
    with pytest.raises(DataError, match="config '2dot' of the manifest: unknown domain '3dot'"):
        render_card(manifest)


# --- that the checks can fail ----------------------------------------------------------------------------------------


def _set(value, *keys):
    def change(facts):
        for key in keys[:-1]:
            facts = facts[key]
        facts[keys[-1]] = value

    return change


DAMAGE = {
    "not one the Hub knows": _set("creative-commons", "license"),
    "license_name": _set("other", "license"),
    "pretty_name is missing": _set("", "pretty_name"),
    "task_categories has gait": _set(["gait"], "task_categories"),
    "122 rows are n<1K": _set(["1K<n<10K"], "size_categories"),
    "no file of the folder": _set("data/2dot/dev.h5", "configs", 1, "data_files", 1, "path"),
    "no plain path": _set("data/2dot/va*.h5", "configs", 1, "data_files", 1, "path"),
    "a file is in two splits": _set("data/2dot/test.h5", "configs", 1, "data_files", 0, "path"),
    "one reader for all": _set("index/2dot/val.parquet", "configs", 1, "data_files", 1, "path"),
    "other splits than configs": _set("dev", "configs", 1, "data_files", 1, "split"),
    "exactly one config": _set(False, "configs", 0, "default"),
    "no such config": _set("3dot", "dataset_info", 1, "config_name"),
    "20 rows; dataset_info has 30": _set(30, "dataset_info", 1, "splits", 0, "num_examples"),
    "its classes are not": _set("ring", "dataset_info", 1, "features", 1, "dtype", "class_label", "names", "0"),
    "uint8 (20, 64, 64); dataset_info has uint8 (20, 64, 32)": _set(
        [20, 64, 32], "dataset_info", 1, "features", 0, "dtype", "array3_d", "shape"
    ),
    "int64 (); dataset_info has int32": _set("int32", "dataset_info", 1, "features", 2, "dtype"),
    "config preview, split val: 14 rows; dataset_info has 9": _set(9, "dataset_info", 0, "splits", 1, "num_examples"),
    "preview/2dot/train.h5, strip: bytes (); dataset_info has float32": _set(
        "float32", "dataset_info", 0, "features", 3, "dtype"
    ),
    "has the columns": _set("id", "dataset_info", 1, "features", 2, "name"),
    "not shaped as": _set([{"name": "train"}], "dataset_info", 1, "splits"),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_wrong_cards_are_told(release, tmp_path, problem):
    shutil.copytree(release, tmp_path, dirs_exist_ok=True)
    yaml_text, body = split_card((release / "README.md").read_text(encoding="utf-8"))
    facts = copy.deepcopy(yaml.safe_load(yaml_text))
    DAMAGE[problem](facts)
    (tmp_path / "README.md").write_text(join_card(facts, body), encoding="utf-8")
    assert problem in "\n".join(check_card(tmp_path))


def test_a_file_that_is_no_hdf5_is_told(release, tmp_path):
    shutil.copytree(release, tmp_path / "release")
    (tmp_path / "release" / "data" / "2dot" / "val.h5").write_bytes(b"GIF89a")
    assert any("val.h5 is not an HDF5 file" in problem for problem in check_card(tmp_path / "release"))


def test_folders_without_a_card_are_told(tmp_path):
    assert "No such file" in check_card(tmp_path)[0]
    (tmp_path / "README.md").write_text("# No front matter\n")
    assert "does not begin with YAML" in check_card(tmp_path)[0]


# --- blocks ----------------------------------------------------------------------------------------------------------

TEXT = "a\n<!-- BEGIN one -->\n1\n<!-- END one -->\nb\n<!-- BEGIN two -->\n<!-- END two -->\n"


def test_blocks_are_filled_and_filled_again():
    once = fill_blocks(TEXT, {"one": "x\ny"})
    assert once == TEXT.replace("1\n", "x\ny\n")
    assert fill_blocks(once, {"one": "1\n"}) == TEXT
    assert block_names(TEXT) == ("one", "two")
    assert block(TEXT, "one") == "1\n"
    assert fill_blocks(TEXT, {"two": r"\1 and \g<0>"}).count(r"\1 and \g<0>") == 1


def test_blocks_that_are_not_there_are_told():
    with pytest.raises(DataError, match="no block three; it has: one, two"):
        fill_blocks(TEXT, {"three": ""})
    with pytest.raises(DataError, match="no block 'three'"):
        block(TEXT, "three")
    with pytest.raises(DataError, match="do not pair up"):
        block_names(TEXT.replace("END one", "END uno"))


def test_unknown_card_is_told():
    with pytest.raises(UsageError, match=r"unknown card 'mini'.*Allowed: temporal_shape"):
        read_card("mini")
