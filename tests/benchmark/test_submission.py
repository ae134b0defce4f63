"""Whatever is wrong with a submission is named, with its file, together with all else; nothing but clean errors."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tsgen
from benchmark.predictions import Predictions
from benchmark.submission.check import check
from benchmark.submission.layout import MAX_FILES
from benchmark.submission.record import EvaluatedOn, Model, Submission
from benchmark.submission.truth import AnswerKeys
from benchmark.submission.write import write_submission
from tsgen.common.errors import DataError

N = 15
SEEDS = (42, 61)
SPLITS = {"2dot": "val", "5dot": "test", "mnist": "test", "mnist-bg": "test"}
ONE = "predictions/seed61/mnist.h5"
RECORD = "submission.json"


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory):
    """A folder with the clip file of each domain, named after it."""
    folder = tmp_path_factory.mktemp("clips")
    for domain, split in SPLITS.items():
        tsgen.make(domain, N, folder / f"{domain}.h5", split=split, digits="embedded", threads=1, quiet=True)
    return folder


@pytest.fixture(scope="module")
def intact(tmp_path_factory, clip_files):
    """A submission with random logits on a few clips of every domain."""
    rng = np.random.default_rng(0)
    domains, predictions = {}, []
    for domain in SPLITS:
        with tsgen.open_clips(clip_files / f"{domain}.h5") as file:
            domains[domain] = EvaluatedOn(file.split, len(file), file.content_hash, file.recipe)
            predictions += [
                Predictions(
                    domain, file.split, seed, file.class_names, file.content_hash, file.digits_source,
                    file.digits_sha256, file.clip_id, file.labels, rng.normal(size=(N, 5)).astype(np.float32),
                )
                for seed in SEEDS
            ]  # fmt: skip
    model = Model("mine", "other", 1234, False)
    one = Submission("mine", model, "in words", "the last", "2dot", tuple(SPLITS)[1:], SEEDS, domains, ("A. B.",))
    out = tmp_path_factory.mktemp("submissions") / "intact"
    write_submission(out, one, predictions)
    return out


@pytest.fixture(scope="module")
def keys(clip_files):
    return AnswerKeys([clip_files], allow_custom=True)


@pytest.fixture
def copy(intact, tmp_path):
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def problems(path, keys):
    return [str(problem) for problem in check(path, keys).problems]


def record(change):
    """A change of the parsed record."""

    def apply(root):
        value = json.loads((root / RECORD).read_text())
        change(value)
        (root / RECORD).write_text(json.dumps(value))

    return apply


def put(*path_and_value):
    *path, name, value = path_and_value

    def change(item):
        for key in path:
            item = item[key]
        item[name] = value

    return record(change)


def raw(data):
    return lambda root: (root / RECORD).write_bytes(data)


def hdf5(change, name=ONE):
    def apply(root):
        with h5py.File(root / name, "a") as file:
            change(file)

    return apply


def dataset(name, values):
    def change(file):
        if name in file:
            del file[name]
        file[name] = values

    return hdf5(change)


def ranking(values):
    def change(file):
        del file["logits"]
        file["top5"] = values

    return hdf5(change)


def with_row(value):
    def change(file):
        file["logits"][3, 1] = value

    return hdf5(change)


def with_id(row, value):
    def change(file):
        file["clip_id"][row] = value

    return hdf5(change)


ZEROS = {"clip_id": zlib.compress(bytes(8 << 17), 9), "logits": zlib.compress(bytes(20 << 17), 9)}
BOMB = b'{"a":' * 5000 + b"1" + b"}" * 5000
WRONG = {
    "no record": (lambda root: (root / RECORD).unlink(), RECORD, "is missing; every submission has one"),
    "not JSON": (raw(b"title: mine"), RECORD, "is not JSON"),
    "not UTF-8": (raw(b'{"a": "\xff"}'), RECORD, "is not UTF-8 text"),
    "NaN in JSON": (raw(b'{"a": NaN}'), RECORD, "NaN is no number in JSON"),
    "repeated name": (raw(b'{"a": 1, "a": 2}'), RECORD, "a name occurs twice"),
    "deep JSON": (raw(BOMB), RECORD, "is nested deeper than 32"),
    "deep JSON in disguise": (raw(b'["\\"", ' * 5000 + b"]" * 5000), RECORD, "is nested deeper than 32"),
    "huge JSON": (raw(b" " * (1 << 20) + b"{}"), RECORD, "has 1048578 bytes; allowed are 1048576"),
    "huge number": (raw(b"9" * 5000), RECORD, "is not JSON"),
    "a list": (raw(b"[]"), RECORD, 'must hold "format": "rac-bench-submission"'),
    "another version": (put("schema_version", 2), RECORD, "has schema version 2; this rac-bench reads 1"),
    "no version": (record(lambda v: v.pop("schema_version")), RECORD, "has schema version None"),
    "no title": (record(lambda v: v.pop("title")), RECORD, "title is missing; it must be one line"),
    "title of control characters": (put("title", "a\x1b[2J"), RECORD, "title is 'a\\x1b[2J'; it must be one line"),
    "authors": (put("authors", "A. B."), RECORD, "authors is A. B.; it must be a list"),
    "unknown field": (put("acuracy", 1.0), RECORD, "acuracy is no field of schema version 1; remove it"),
    "family": (put("model", "family", "cnn"), RECORD, "model.family is cnn; it must be one of recurrence, attention"),
    "pretraining": (put("model", "pretraining", "no"), RECORD, "model.pretraining is no; it must be true or false"),
    "parameters": (put("model", "parameters", 1.5), RECORD, "model.parameters is 1.5; it must be a whole number"),
    "seeds twice": (put("seeds", [42, 42]), RECORD, "seeds is [42, 42]; it must be a list"),
    "seed is a truth": (put("seeds", [True]), RECORD, "seeds is [True]; it must be"),
    "hostile domain": (put("targets", ["../../etc"]), RECORD, "targets is ['../../etc']; it must be"),
    "too few targets": (put("targets", []), RECORD, "targets is []; it must be a list"),
    "source is target": (put("targets", ["2dot", "5dot", "mnist", "mnist-bg"]), RECORD, "2dot is source and target"),
    "no facts": (record(lambda v: v["domains"].pop("mnist")), RECORD, "domains has no entry for mnist; add it"),
    "facts of nothing": (put("domains", "T", {}), RECORD, "domains has an entry for T, which is neither"),
    "facts are text": (put("domains", "mnist", "x"), RECORD, "domains.mnist is x; it must be an object"),
    "split": (put("domains", "mnist", "split", "val"), RECORD, "domains.mnist.split is val: targets are scored on"),
    "n": (put("domains", "mnist", "n", 16), RECORD, "mnist: n is 16, but these clips are 15"),
    "hash is no hash": (put("domains", "mnist", "content_hash", "abc"), RECORD, "mnist.content_hash is abc; it must"),
    "another hash": (
        put("domains", "5dot", "content_hash", "ab" * 32),
        RECORD,
        "another version of the data: 5dot test: expected content hash",
    ),
    "missing file": (lambda root: (root / ONE).unlink(), ONE, "is missing; add the answers of seed 61 on mnist"),
    "extra file": (lambda root: (root / "model.py").touch(), "model.py", "belongs to no seed and domain"),
    "link": (lambda root: (root / "a").symlink_to("/etc/passwd"), "a", "is a link; only plain files are read"),
    "link in place": (
        lambda root: ((root / ONE).unlink(), (root / ONE).symlink_to(root / "predictions/seed42/mnist.h5")),
        ONE,
        "is a link; only plain files are read",
    ),
    "deep folder": (lambda root: (root / "predictions/seed42/a").mkdir(), "predictions/seed42/a", "too deep"),
    "huge file": (
        lambda root: os.truncate(root / ONE, (64 << 20) + 1),
        ONE,
        "has 67108865 bytes; allowed are 67108864",
    ),
    "no HDF5": (lambda root: (root / ONE).write_text("1,2"), ONE, "is not an HDF5 file"),
    "truncated": (lambda root: os.truncate(root / ONE, 900), ONE, "damaged or truncated"),
    "external link": (
        hdf5(lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/"))),
        ONE,
        "'x' is an external link",
    ),
    "no attribute": (hdf5(lambda file: file.attrs.pop("format")), ONE, "has no attribute format; set it to rac-bench"),
    "version of file": (hdf5(lambda file: file.attrs.modify("schema_version", 2)), ONE, "says schema_version 2"),
    "another seed": (hdf5(lambda file: file.attrs.modify("seed", 42)), ONE, "says seed 42; expected 61"),
    "seed as text": (hdf5(lambda file: file.attrs.__setitem__("seed", "61")), ONE, "says seed 61; expected 61"),
    "another domain": (hdf5(lambda file: file.attrs.__setitem__("domain", "5dot")), ONE, "says domain 5dot; expected"),
    "labels": (dataset("label", np.zeros(N)), ONE, "holds label; remove it. Labels have no place"),
    "no ids": (hdf5(lambda file: file.pop("clip_id")), ONE, "has no dataset clip_id"),
    "ids are floats": (dataset("clip_id", np.arange(N) + 0.5), ONE, "clip_id is float64 (15,); expected int64 (N,)"),
    "no answers": (hdf5(lambda file: file.pop("logits")), ONE, "has no answers; give exactly one of logits and top5"),
    "both answers": (dataset("top5", np.zeros((N, 5), int)), ONE, "has logits and top5; give exactly one"),
    "float64": (dataset("logits", np.zeros((N, 5))), ONE, "logits is float64; write float32"),
    "six classes": (dataset("logits", np.zeros((N, 6), "f4")), ONE, "logits is (15, 6); expected (15, 5), of 5"),
    "transposed": (dataset("logits", np.zeros((5, N), "f4")), ONE, "looks transposed: the clips come first"),
    "NaN": (with_row(np.nan), ONE, "logits are NaN or infinite in row 3"),
    "infinity": (with_row(-np.inf), ONE, "logits are NaN or infinite in row 3"),
    "clip twice": (with_id(3, 4), ONE, "answers clip_id 4 more than once"),
    "missing clip": (with_id(3, 4), ONE, "misses clip_id 3 of mnist test"),
    "unknown clip": (with_id(3, -7), ONE, "answers clip_id -7 unknown to mnist test"),
    "too many clips": (dataset("clip_id", np.arange(31)), ONE, "has 31 clips; there are 15"),
    "top5 repeats": (ranking(np.zeros((N, 5), int)), ONE, "a row of top5 repeats a class"),
    "top5 of floats": (ranking(np.zeros((N, 5))), ONE, "top5 is float64; write int64"),
    "top5 of unknown classes": (ranking(np.tile(np.arange(1, 6), (N, 1))), ONE, "different ids from 0 to 4"),
    "three answers": (ranking(np.tile(np.arange(3), (N, 1))), ONE, "top5 is (15, 3); expected (15, 5)"),
}  # fmt: skip


def test_the_intact_one_is_admissible(intact, keys):
    checked = check(intact, keys)
    assert checked.problems == ()
    assert sorted(checked.predictions) == sorted((seed, domain) for seed in SEEDS for domain in SPLITS)
    assert checked.scorecard().rows[1].n == N


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_file(copy, keys, name):
    change, file, message = WRONG[name]
    change(copy)
    found = problems(copy, keys)
    assert any(line.startswith(f"{file}: ") and message in line for line in found), found
    assert all("\n" not in line and "\x1b" not in line and str(copy) not in line for line in found)
    with pytest.raises(DataError, match="not admissible"):
        check(copy, keys).scorecard()


def test_every_problem_is_listed_at_once(copy, keys):
    names = ("no title", "family", "another hash", "extra file", "another seed", "NaN", "clip twice", "labels")
    for name in names:
        WRONG[name][0](copy)
    (copy / "predictions/seed42/5dot.h5").unlink()
    found = problems(copy, keys)
    for file, message in [*(WRONG[name][1:] for name in names), ("predictions/seed42/5dot.h5", "is missing")]:
        assert sum(line.startswith(f"{file}: ") and message in line for line in found) == 1, (message, found)
    assert len(found) == len(names) + 2  # "clip twice" is also a clip that is missing


def test_one_training_is_not_two_seeds(copy, keys):
    for domain in SPLITS:
        assert problems(copy, keys) == []  # until the last domain is the same too
        one, other = (copy / f"predictions/seed{seed}/{domain}.h5" for seed in SEEDS)
        with h5py.File(one) as given, h5py.File(other, "a") as changed:
            changed["logits"][...] = given["logits"][...]
    (line,) = problems(copy, keys)
    assert line.startswith(f"{RECORD}: seeds 42 and 61 have the same answers on every domain")


def test_the_order_of_clips_and_the_way_of_other_languages_do_not_matter(intact, copy, keys):
    rng = np.random.default_rng(1)
    order = rng.permutation(N)
    with h5py.File(copy / ONE, "a") as file:
        for name in ("clip_id", "logits"):
            file[name][...] = file[name][...][order]
        file.attrs["seed"] = np.array([61.0])  # as R and MATLAB write it
        logits = file["logits"][...].astype(">f4")
        del file["logits"]
        file["logits"] = logits
        file.attrs["domain"] = np.array([b"mnist"])
    mine, theirs = check(copy, keys).predictions[61, "mnist"], check(intact, keys).predictions[61, "mnist"]
    np.testing.assert_array_equal(mine.logits, theirs.logits)
    np.testing.assert_array_equal(mine.label, theirs.label)


def test_rankings_score_like_the_logits_they_come_from(intact, copy, keys):
    for path in copy.rglob("*.h5"):
        with h5py.File(path, "a") as file:
            ranked = np.argsort(-file["logits"][...], axis=1, kind="stable")
            del file["logits"]
            file["top5"] = ranked.astype(np.int16)
    assert check(copy, keys).scorecard() == check(intact, keys).scorecard()


def test_a_small_file_that_claims_much_is_not_read(copy, keys):
    """Also where no key tells how many clips there must be."""
    put("domains", "mnist", "content_hash", "ab" * 32)(copy)

    def change(file):
        for name in ("clip_id", "logits"):
            del file[name]
        file.create_dataset("clip_id", (1 << 26,), "i8", chunks=(1 << 17,), compression="gzip", fillvalue=0)
        file.create_dataset("logits", (1 << 26, 5), "f4", chunks=(1 << 17, 5), compression="gzip", fillvalue=0)
        for start in range(0, 1 << 26, 1 << 17):
            for name in ("clip_id", "logits"):
                file[name].id.write_direct_chunk((start, 0)[: file[name].ndim], ZEROS[name])

    hdf5(change)(copy)
    assert (copy / ONE).stat().st_size < 8 << 20
    found = [line for line in problems(copy, keys) if line.startswith(ONE)]
    assert [line.split(": ")[1] for line in found] == [
        "clip_id has 536870912 bytes; allowed are 67108864.",
        "logits has 1342177280 bytes; allowed are 67108864.",
    ]


def test_too_many_files_are_not_even_listed(copy, keys):
    for number in range(MAX_FILES):
        (copy / f"{number}").touch()
    with pytest.raises(DataError, match="holds more than 4096 files"):
        check(copy, keys)


def keys_of(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from keys_of(item, (*path, key))


ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)  # fmt: skip


def mutate(data, root):
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    kind = data.draw(st.sampled_from(["retype", "drop", "flip", "flip", "truncate", "swap"]))
    try:
        value = json.loads((root / RECORD).read_text())
    except ValueError:  # flipped before
        value = {}
    places = [place for place in keys_of(value) if place]
    if kind in ("retype", "drop") and places:
        *path, last = data.draw(st.sampled_from(places))
        item = value
        for key in path:
            item = item[key]
        if kind == "drop":
            del item[last]
        else:
            item[last] = data.draw(ODD_VALUES)
        (root / RECORD).write_text(json.dumps(value))
        return
    path = root / data.draw(st.sampled_from([*names, *[RECORD] * (len(names) // 2)]))
    content = bytearray(path.read_bytes())
    if kind == "swap":
        other = root / data.draw(st.sampled_from(names))
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif kind == "truncate":
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    else:
        for _ in range(data.draw(st.integers(1, 8)) if content else 0):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_submissions_end_in_clean_errors(intact, keys, data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(intact, Path(folder) / "copy"))
        for _ in range(data.draw(st.integers(1, 2))):
            mutate(data, root)
        try:
            checked = check(root, keys)
            checked.scorecard()
        except DataError:
            return
        assert checked.is_admissible
