"""Contract 1: what is written is read back, by everybody; what is damaged or hostile is refused with a clear word."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import tsgen
from tsgen.clipfile import COLUMNS
from tsgen.common.errors import DataError
from tsgen.common.h5guard import open_guarded
from tsgen.domains import DOMAINS
from tsgen.generate import Generator
from tsgen.recipe import make_recipe

N = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("made") / "ts.h5"
    tsgen.make("mnist-bg", N, path, seed=7, split="test", digits="embedded")
    return path


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copy(made, tmp_path / "copy.h5"))


def test_what_was_made_is_read_back(made):
    recipe, digits = make_recipe("mnist-bg", N, seed=7, split="test", digits="embedded")
    frames, columns = Generator(recipe, digits.bitmaps, digits.labels).clips(np.arange(N))
    with tsgen.open_clips(made) as clip_set:
        np.testing.assert_array_equal(clip_set.clips(), frames)
        np.testing.assert_array_equal(clip_set.clips(3, 9), frames[3:9])
        for name in COLUMNS:
            np.testing.assert_array_equal(clip_set.column(name), columns[name])
        assert clip_set.recipe == recipe.to_json()
        assert (clip_set.domain, clip_set.profile, clip_set.split, clip_set.seed) == (
            "mnist-bg",
            "paper",
            "test",
            7,
        )
        assert clip_set.class_names == ("circle", "spiral", "line", "rectangle", "arc")
        assert clip_set.digits_source == "embedded-uci-8x8"
        assert clip_set.digits_sha256 == digits.sha256
        clip_set.check_content()


def test_plain_h5py_reads_the_same(made):
    with h5py.File(made) as file, tsgen.open_clips(made) as clip_set:
        np.testing.assert_array_equal(file["clips"][...], clip_set.clips())
        assert file["clips"].chunks == (1, 20, 64, 64)
        assert file["clips"].compression == "gzip"
        assert {len(dataset) for dataset in file.values()} == {N}


def test_datasets_reads_the_same(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    table = datasets.load_dataset("hdf5", data_files=str(made), split="train", cache_dir=str(tmp_path / "cache"))
    with tsgen.open_clips(made) as clip_set:
        assert table.num_rows == N
        assert set(table.column_names) == {"clips", *COLUMNS}
        assert table["labels"][:] == clip_set.labels.tolist()
        row = table.with_format("numpy", dtype=np.uint8)[5]
        np.testing.assert_array_equal(row["clips"], clip_set.clips(5, 6)[0])
        boxes = np.asarray(table.with_format("numpy")[5]["boxes"])
        np.testing.assert_array_equal(boxes, clip_set.column("boxes")[5])


def test_positions_and_boxes_lie_on_the_entity(tmp_path):
    path = tmp_path / "dots.h5"
    tsgen.make("5dot", 200, path)
    with tsgen.open_clips(path) as clip_set:
        clips, boxes, positions = clip_set.clips(), clip_set.column("boxes"), clip_set.column("positions")
    n, t, y, x = np.nonzero(clips)
    assert (x >= boxes[n, t, 0]).all() and (x < boxes[n, t, 2]).all()
    assert (y >= boxes[n, t, 1]).all() and (y < boxes[n, t, 3]).all()
    assert len(n) == 200 * 20 * 25
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert (np.floor(positions - 2.5) == centres - 2.5).all()


def test_content_hash_ignores_storage_and_nothing_else(made, tmp_path):
    with h5py.File(made) as source, h5py.File(tmp_path / "other.h5", "w") as target:
        for name, dataset in source.items():
            options = {
                "chunks": (7, *dataset.shape[1:]),
                "compression": "gzip",
                "compression_opts": 9,
                "shuffle": True,
            }
            target.create_dataset(name, data=dataset[...], **options)
        target.attrs.update(source.attrs)
    with tsgen.open_clips(tmp_path / "other.h5") as other, tsgen.open_clips(made) as clip_set:
        other.check_content()
        np.testing.assert_array_equal(other.clips(), clip_set.clips())


@pytest.mark.parametrize("name", ["clips", *COLUMNS])
def test_one_changed_value_is_found(copy, name):
    with h5py.File(copy, "r+") as file:
        value = file[name][3]
        flat = np.atleast_1d(value).ravel()
        flat[-1] = 1 if flat[-1] != 1 else 0
        file[name][3] = flat.reshape(np.shape(value))
    with tsgen.open_clips(copy) as clip_set, pytest.raises(DataError, match="changed or damaged"):
        clip_set.check_content()


# --- hostile and damaged files ---------------------------------------------------------------------------------------


def replace_clips(file: h5py.File, make_new) -> None:
    del file["clips"]
    make_new(file)


def external_storage(file, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(N * 20 * 64 * 64))
    replace_clips(
        file,
        lambda f: f.create_dataset(
            "clips", (N, 20, 64, 64), "u1", external=[(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        ),
    )


def external_link(file, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["clips"] = np.zeros((N, 20, 64, 64), np.uint8)
    replace_clips(file, lambda f: f.__setitem__("clips", h5py.ExternalLink(str(tmp_path / "secret.h5"), "/clips")))


def soft_link(file, tmp_path):
    file["alias"] = h5py.SoftLink("/labels")


def second_name(file, tmp_path):
    file["alias"] = file["labels"]


def virtual(file, tmp_path):
    layout = h5py.VirtualLayout((N, 20, 64, 64), "u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "elsewhere.h5"), "clips", (N, 20, 64, 64))
    replace_clips(file, lambda f: f.create_virtual_dataset("clips", layout))


def giant_claim(file, tmp_path):
    replace_clips(
        file,
        lambda f: f.create_dataset("clips", (183_000, 20, 64, 64), "u1", chunks=(1, 20, 64, 64), compression="gzip"),
    )


def giant_chunk(file, tmp_path):
    def new(f):
        options = {"chunks": (N, 500, 64, 64), "maxshape": (None,) * 4, "compression": "gzip"}
        f.create_dataset("clips", (N, 20, 64, 64), "u1", **options)[0] = 1

    replace_clips(file, new)


def strange_filter(file, tmp_path):
    replace_clips(file, lambda f: f.create_dataset("clips", (N, 20, 64, 64), "u1", chunks=True, compression="lzf"))


def pickled_objects(file, tmp_path):
    file["payload"] = np.array([("a", 1)], dtype=[("name", "S4"), ("value", "i4")])


def deep_groups(file, tmp_path):
    file.create_group("/".join("abcdefgh"))


def wrong_shape(file, tmp_path):
    replace_clips(file, lambda f: f.create_dataset("clips", data=np.zeros((N, 20, 64), np.uint8)))


def wrong_type(file, tmp_path):
    replace_clips(file, lambda f: f.create_dataset("clips", data=np.zeros((N, 1, 16, 16), np.float32)))


def unequal_length(file, tmp_path):
    labels = file["labels"][:-1]
    del file["labels"]
    file["labels"] = labels


def missing_dataset(file, tmp_path):
    del file["boxes"]


def other_version(file, tmp_path):
    file.attrs["format_version"] = 2


def other_format(file, tmp_path):
    file.attrs["format"] = "something else"


def no_hash(file, tmp_path):
    del file.attrs["content_hash"]


def broken_recipe(file, tmp_path):
    file.attrs["recipe"] = "{not json"


def split_that_is_a_path(file, tmp_path):
    file.attrs["split"] = "../../escaped"


def name_that_drives_the_terminal(file, tmp_path):
    file.attrs["domain"] = "\x1b[2J2dot"


def equal_class_names(file, tmp_path):
    file.attrs["class_names"] = ["line"] * 5


def many_texts(file, tmp_path):
    file.attrs["class_names"] = [str(number) for number in range(65)]


def recipe_of_another_kind(file, tmp_path):
    file.attrs["recipe"] = "[]"


HOSTILE = {
    split_that_is_a_path: "split '../../escaped' is none of",
    name_that_drives_the_terminal: "is not a printable name",
    equal_class_names: "not distinct",
    many_texts: "more than 64 texts",
    recipe_of_another_kind: "no JSON object",
    external_storage: "external storage",
    external_link: "an external link",
    soft_link: "a soft link",
    second_name: "second name",
    virtual: "virtual",
    giant_claim: "claims 14991360000 bytes",
    giant_chunk: "chunks of",
    strange_filter: "uses filters",
    pickled_objects: "only integers, floats and text",
    deep_groups: "nested deeper",
    wrong_shape: r"expected uint8 \(N, T, H, W\)",
    wrong_type: r"expected uint8 \(N, T, H, W\)",
    unequal_length: "labels is int64",
    missing_dataset: "datasets missing: boxes",
    other_version: "has clip file version 2, this tsgen reads version 1",
    other_format: "is not a clip file",
    no_hash: "'content_hash' is missing",
    broken_recipe: "damaged or truncated",
}


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_hostile_files_are_refused(copy, tmp_path, attack):
    with h5py.File(copy, "r+") as file:
        attack(file, tmp_path)
    with pytest.raises(DataError, match=HOSTILE[attack]) as caught:
        tsgen.open_clips(copy)
    assert "copy.h5" in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(copy, share):
    data = copy.read_bytes()
    copy.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"damaged or truncated|not an HDF5 file"):
        tsgen.open_clips(copy)


def test_large_clips_come_in_small_blocks(tmp_path):
    tsgen.make(DOMAINS["5dot"].with_dials(size_px=512, num_frames=120), 5, tmp_path / "large.h5")
    with tsgen.open_clips(tmp_path / "large.h5") as clip_set:
        blocks = [(start, len(block)) for start, block in clip_set.blocks()]
        assert blocks == [(0, 2), (2, 2), (4, 1)]
        clip_set.check_content()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        tsgen.open_clips(tmp_path / "nothing.h5")


def test_damaged_chunks_are_found_and_bombs_stop_early(copy):
    import zlib

    bombs = {
        2: zlib.compress(bytes(10**7)),
        3: b"not deflate at all",
        4: zlib.compress(bytes(20 * 64 * 64))[:-7],
    }
    with h5py.File(copy, "r+") as file:
        for row, chunk in bombs.items():
            file["clips"].id.write_direct_chunk((row, 0, 0, 0), chunk)
    with tsgen.open_clips(copy) as clip_set:
        clip_set.clips(0, 2)
        for row in bombs:
            with pytest.raises(DataError, match=f"clip {row} "):
                clip_set.clips(row, row + 1)


def test_random_damage_never_escapes_as_another_error(made, tmp_path):
    """Bytes flipped all over the file: it reads as before, or there is a DataError; nothing else."""
    rng = np.random.default_rng(0)
    original = np.frombuffer(made.read_bytes(), dtype=np.uint8)
    refused = 0
    for trial in range(60):
        damaged = original.copy()
        where = rng.integers(0, len(damaged) if trial % 2 else 4096, 8)
        damaged[where] ^= rng.integers(1, 256, 8).astype(np.uint8)
        path = tmp_path / "damaged.h5"
        path.write_bytes(damaged.tobytes())
        try:
            with tsgen.open_clips(path) as clip_set:
                clip_set.check_content()
        except DataError:
            refused += 1
    assert refused > 50


def test_the_guard_lets_a_plain_file_pass(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a/b"] = np.arange(5)
        file.create_dataset("text", data=["x", "y"], dtype=h5py.string_dtype())
        file.create_dataset("zeros", (10**6,), "u1", chunks=(10**5,), compression="gzip")[...] = 0
    with open_guarded(tmp_path / "plain.h5") as file:
        assert file["a/b"][3] == 3
