"""Answer keys: from lists, clip files and predictions; read as if they came from anywhere; the truth of Diving48."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import tsgen
from benchmark.cli import cli
from benchmark.predictions import predictions_path, write_predictions
from benchmark.submission import key_file
from benchmark.submission.check import check
from benchmark.submission.key_file import DIVE_NAMES, id_of_name, key_from, key_of_list, read_key, write_key
from benchmark.submission.truth import AnswerKeys
from diving48_domains import framestore
from tsgen.common.errors import DataError, RacError, UsageError

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("diving_samples.py"))))
runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("report_samples.py"))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("answer-keys") / "keys"


@pytest.fixture(scope="module")
def keys(folder):
    return samples.write_keys(folder)


@pytest.fixture(scope="module")
def submission(tmp_path_factory, keys):
    return samples.write(tmp_path_factory.mktemp("submissions") / "mine", keys)


def rac_bench(*arguments, code=0):
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    found = getattr(done.exception, "exit_code", None) or done.exit_code
    assert found == code, done.output + repr(done.exception)
    return done.stdout + str(done.exception if isinstance(done.exception, RacError) else "")


def same(one, other):
    assert (one.domain, one.split, one.content_hash) == (other.domain, other.split, other.content_hash)
    assert (one.class_names, one.clip_name) == (other.class_names, other.clip_name)
    assert one.clip_id.tolist() == other.clip_id.tolist() and one.label.tolist() == other.label.tolist()
    assert one.clip_id.dtype == one.label.dtype == np.int64
    return True


def test_a_key_of_a_list_is_read_as_it_was_written(folder, keys):
    key = keys["S1"]
    listed = json.loads((folder / "b_test.json").read_text())
    assert key.clip_name == tuple(each["vid_name"] for each in listed)
    assert key.label.tolist() == [each["label"] for each in listed]
    assert key.clip_id.tolist() == [id_of_name(name) for name in key.clip_name] and key.class_names == DIVE_NAMES
    assert key.clip_id.min() >= 0 and len(set(key.clip_id.tolist())) == 400
    assert same(read_key(folder / "S1.json"), key)
    assert key.clip_id.tolist() == keys["T"].clip_id.tolist()  # the same videos
    assert len({each.content_hash for each in keys.values()}) == 4


def test_the_hash_of_a_list_is_that_of_its_content(folder, keys, tmp_path):
    listed = json.loads((folder / "b_test.json").read_text())
    (tmp_path / "spaced.json").write_text(json.dumps(listed, indent=3))
    assert key_of_list(tmp_path / "spaced.json", "S1", "test").content_hash == keys["S1"].content_hash
    listed[7]["label"] = 47 - listed[7]["label"]
    (tmp_path / "other.json").write_text(json.dumps(listed))
    assert key_of_list(tmp_path / "other.json", "S1", "test").content_hash != keys["S1"].content_hash
    assert key_of_list(tmp_path / "other.json", "S1", "test", "ab" * 32).content_hash == "ab" * 32


def test_keys_of_clip_files_and_of_predictions(tmp_path, keys):
    tsgen.make("5dot", 12, tmp_path / "5dot.h5", split="test", threads=1, quiet=True)
    found = json.loads(rac_bench("key", tmp_path / "5dot.h5", "--out", tmp_path / "5dot.json", "--json"))
    with tsgen.open_clips(tmp_path / "5dot.h5") as clips:
        key = read_key(tmp_path / "5dot.json")
        assert found["content_hash"] == key.content_hash == clips.content_hash
        assert key.label.tolist() == clips.labels.tolist() and key.class_names == clips.class_names
    write_predictions(tmp_path / "p.h5", samples.answers(keys["S2"], 0.5, 1))
    assert key_from(tmp_path / "p.h5", None, None).label.tolist() == keys["S2"].label.tolist()
    assert "is of domain S2, not S1" in rac_bench("key", tmp_path / "p.h5", "--domain", "S1", code=2)
    assert "exists" in rac_bench("key", tmp_path / "p.h5", "--out", tmp_path / "5dot.json", code=2)


def test_a_list_needs_a_domain_and_a_split(folder):
    assert "say with --domain and --split" in rac_bench("key", folder / "b_test.json", code=2)
    assert "val or test" in rac_bench("key", folder / "b_test.json", "--domain", "T", "--split", "train", code=2)
    with pytest.raises(UsageError, match="must be a name"):
        key_of_list(folder / "b_test.json", "../T", "test")


def test_a_submission_is_scored_with_keys(folder, submission, keys):
    """Also its T/S1, whose clips are pairs by their ids."""
    printed = rac_bench("score", submission, "--data", folder)
    assert "T/S1 = " in printed and "chance" in printed
    one = [part for domain in keys for part in ("--data", folder / f"{domain}.json")]
    assert rac_bench("score", submission, *one) == printed
    assert "admissible. mine; seeds 1, 2; V val (300 clips), S1 test (400 clips)" in rac_bench(
        "validate", submission, "--data", folder
    )
    assert "no answer key for its test clips" in rac_bench("validate", submission, "--data", folder / "V.json", code=3)


def test_another_version_is_refused_by_name(folder, submission, tmp_path):
    other = samples.write_list(tmp_path / "list.json", 400, 3)
    (tmp_path / "keys").mkdir()
    write_key(tmp_path / "keys" / "T.json", key_of_list(other, "T", "test"))
    for domain in ("V", "S1", "S2"):
        shutil.copy(folder / f"{domain}.json", tmp_path / "keys")
    found = check(submission, AnswerKeys([tmp_path / "keys"])).problems
    assert len(found) == 1 and "another version of the data: T test: expected content hash" in found[0].text


def test_clips_may_be_named(folder, submission, keys, tmp_path):
    copy = Path(shutil.copytree(submission, tmp_path / "copy"))
    before = check(submission, AnswerKeys([folder])).scorecard().to_json()
    path = copy / "predictions" / "seed1" / "T.h5"
    names = np.array(keys["T"].clip_name, dtype="S")
    with h5py.File(path, "a") as file:
        order = np.random.default_rng(0).permutation(len(names))
        logits = file["logits"][:][order]
        del file["clip_id"], file["logits"]
        file["clip_id"], file["logits"] = names[order], logits
    assert check(copy, AnswerKeys([folder])).scorecard().to_json() == before
    with h5py.File(path, "a") as file:
        del file["clip_id"]
        file["clip_id"] = np.where(np.arange(400) == 3, b"nobody", names)
    assert "answers clip_id nobody unknown to T test" in check(copy, AnswerKeys([folder])).problems[0].text
    with h5py.File(path, "a") as file:
        del file["clip_id"]
        file["clip_id"] = [name.decode() for name in names]  # each as long as it likes
    assert "or text of fixed length" in check(copy, AnswerKeys([folder])).problems[0].text


def edited(tmp_path, **changes):
    value = json.loads((tmp_path / "good.json").read_text()) | changes
    path = tmp_path / "edited.json"
    path.write_text(json.dumps({name: each for name, each in value.items() if each != "-"}))
    return path


@pytest.fixture
def good(tmp_path, folder):
    listed = json.loads((folder / "b_test.json").read_text())[:6]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    write_key(tmp_path / "good.json", key_of_list(tmp_path / "list.json", "S1", "test"))
    return tmp_path


@pytest.mark.parametrize(
    "changes, messages",
    [
        ({"format": "x"}, ["is no answer key"]),
        ({"schema_version": True}, ["schema version True"]),
        ({"domain": "-", "split": "train"}, ["domain is missing", "split is 'train'", "2 problems"]),
        ({"content_hash": "AB" * 32}, ["content_hash is"]),
        ({"label": [0, 1, 2, 3, 4, 48]}, ["beyond 0..47: 48 at 5"]),
        ({"label": [0, 1, 2, 3, 4, -1]}, ["label is"]),
        ({"label": [0, 1, 2, 3, 4, 1.0]}, ["label is"]),
        ({"label": [0]}, ["label has 1 values for 6 clips"]),
        ({"clip_id": [0, 1, 2, 3, 4, 4], "clip_name": None}, ["clip_id repeats 4"]),
        ({"clip_id": [0, 1, 2, 3, 4, 2**63]}, ["clip_id is"]),
        ({"clip_id": []}, ["clip_id is []"]),
        ({"clip_name": ["a"] * 6}, ["clip_name repeats a"]),
        ({"class_names": ["a", "a"], "label": [0] * 6}, ["class_names repeats a"]),
        ({"more": 1}, ["more is no field"]),
    ],
)
def test_everything_wrong_with_a_key_is_named(good, changes, messages):
    with pytest.raises(DataError) as caught:
        read_key(edited(good, **changes))
    for message in messages:
        assert message.replace("'", "") in str(caught.value).replace("'", "")


def test_large_deep_and_broken_files_are_refused(good, monkeypatch):
    path = good / "edited.json"
    for text, message in (("[" * 100 + "]" * 100, "nested"), ("{", "is not JSON"), ('{"a": NaN}', "no number")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            AnswerKeys([path])
    monkeypatch.setattr(key_file, "MAX_KEY_BYTES", 100)
    with pytest.raises(DataError, match="may have 100"):
        read_key(good / "good.json")


def test_what_is_wrong_with_a_list_is_named(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"label": 1}, {"vid_name": "a", "label": 48}, *[{"vid_name": "b", "label": 1}] * 2]))
    said = rac_bench("key", path, "--domain", "T", "--split", "test", code=3)
    for message in ("3 problems", "entry 0 has vid_name None", "entry 1 (a) has label 48", "vid_name repeats b"):
        assert message in said
    path.write_text("{}")
    assert "is no list of" in rac_bench("key", path, "--domain", "T", "--split", "test", code=3)


def test_folders_hold_other_files_too_but_no_broken_key(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "notes.json").write_text("not even JSON")
    assert AnswerKeys([copy]) is not None
    (copy / "notes.json").write_text('{"format": "rac-bench-answer-key"')
    with pytest.raises(DataError, match="is not JSON"):
        AnswerKeys([copy])
    value = json.loads((copy / "T.json").read_text())
    (copy / "notes.json").write_text(json.dumps(value | {"label": value["label"][::-1]}))
    with pytest.raises(DataError, match="same content hash"):
        AnswerKeys([copy])


def write_store(path, names, labels, dropped, **settings):
    """A store of frames as d48dom writes it."""
    plan = framestore.StorePlan(tuple(names), tuple(labels), tuple(names), 2, 4, 4, settings)
    n = len(names)
    tables = {
        "labels": np.array(labels, dtype=np.int64),
        "clip_id": np.array(names, dtype="S"),
        "group": np.array(names, dtype="S"),
        "frame_indices": np.zeros((n, 2), np.int64),
        "status": np.zeros((n, 2), np.uint8),
        "present": np.array([name != dropped for name in names], dtype=np.uint8),
        "fingerprint": np.zeros((n, 16), np.uint8),
    }
    digest = framestore.content_hash(plan, settings, tables)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"format": framestore.FORMAT, "version": framestore.VERSION, "settings": json.dumps(settings)}
        )
        file["clips"] = np.zeros(plan.shape, np.uint8)
        for name, values in (tables | {"digest": np.frombuffer(bytes.fromhex(digest), np.uint8)}).items():
            file[name] = values
    return digest


def test_a_key_of_a_store_shares_its_ids_with_that_of_the_list(tmp_path, keys):
    """A clip that was dropped is not asked, and the others keep their ids."""
    listed = keys["T"]
    names, labels = listed.clip_name[:20], listed.label[:20].tolist()
    digest = write_store(tmp_path / "T.h5", names, labels, names[3], domain="T", split="test")
    key = key_from(tmp_path / "T.h5", None, None)
    assert (key.domain, key.split, key.content_hash, len(key)) == ("T", "test", digest, 19)
    assert key.clip_id.tolist() == np.delete(listed.clip_id[:20], 3).tolist()
    assert key.label.tolist() == np.delete(listed.label[:20], 3).tolist()
    write_store(tmp_path / "O.h5", names, labels, None, domain="O", split="train")
    assert "give --split, val or test" in rac_bench("key", tmp_path / "O.h5", code=2)
    plain = key_from(tmp_path / "O.h5", "V", "val")
    assert (plain.domain, plain.split, plain.class_names) == ("V", "val", DIVE_NAMES)


def test_a_run_on_videos_becomes_a_submission(tmp_path, keys):
    """Its truth is the key; its record has no recipe, and its score is that of the run."""
    config = runs.run_config(source="V", seeds=(1,), hidden=2)
    run, data = tmp_path / "run", []
    (tmp_path / "keys").mkdir()
    for domain in ("V", *config.targets):
        key = keys["V" if domain == "V" else "T"]
        digest = hashlib.sha256(domain.encode()).hexdigest()  # of its store
        key = dataclasses.replace(key, domain=domain, content_hash=digest)
        path = predictions_path(run, 1, domain)
        write_predictions(path, samples.answers(key, 0.5, 1))
        rac_bench("key", path, "--out", tmp_path / "keys" / f"{domain}.json")
        data.append({"domain": domain, "split": key.split, "profile": "", "n": len(key), "content_hash": digest})
    (run / "config.json").write_text(json.dumps(config.to_json()))
    (run / "result.json").write_text(json.dumps({"schema_version": 1, "parameters": 7, "data": data}))
    rac_bench("predict", "--run", run, "--out", tmp_path / "sent")
    record = json.loads((tmp_path / "sent" / "submission.json").read_text())
    assert {each["recipe"] for each in record["domains"].values()} == {None}
    scored = json.loads(rac_bench("score", tmp_path / "sent", "--data", tmp_path / "keys", "--json"))
    scored.pop("submission")
    assert scored == json.loads(rac_bench("score", run, "--json"))
