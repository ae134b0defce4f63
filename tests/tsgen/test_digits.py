"""Where digits come from: the shipped ones, directories, and what "auto" chooses. No network."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from digit_files import GOOD_IMAGES, GOOD_LABELS, IMAGES, LABELS, SCANS, images_bytes, write_partition
from PIL import Image

from tsgen import digits, mnist_cache
from tsgen.common.errors import DataError, UsageError
from tsgen.digits import load_digits, resolve_source

SHARED_MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(
    not (SHARED_MNIST / "t10k-images-idx3-ubyte.gz").exists(), reason=f"no MNIST test files in {SHARED_MNIST}"
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, no cache and no mirror of the machine the tests run on."""
    monkeypatch.delenv(digits.MNIST_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(mnist_cache, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(mnist_cache, "MIRRORS", ("http://127.0.0.1:1/",))  # refuses at once
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize(
    ("split", "partition", "count"), [("train", "train", 1200), ("val", "train", 1200), ("test", "test", 597)]
)
def test_embedded_partitions(split: str, partition: str, count: int) -> None:
    loaded = load_digits("embedded", split)
    assert (loaded.source, loaded.partition) == ("embedded-uci-8x8", partition)
    assert loaded.bitmaps.shape == (count, 14, 14)
    assert loaded.bitmaps.dtype == np.uint8
    assert loaded.bitmaps.flags.c_contiguous
    assert loaded.labels.dtype == np.int64
    per_digit = np.bincount(loaded.labels, minlength=10)
    assert per_digit.min() > 0.9 * count / 10, "no digit is rare"


def test_embedded_train_and_test_share_no_digit() -> None:
    train, test = (load_digits("embedded", split).bitmaps for split in ("train", "test"))
    assert not {scan.tobytes() for scan in train} & {scan.tobytes() for scan in test}


def test_embedded_equals_scikit_learns_digits() -> None:
    sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not a dependency")
    original = sklearn_datasets.load_digits()
    labels = np.concatenate([load_digits("embedded", split).labels for split in ("train", "test")])
    np.testing.assert_array_equal(labels, original.target)
    first = np.round(original.images[0] * 255 / 16).astype(np.uint8)
    expected = np.zeros((14, 14), np.uint8)
    expected[2:12, 2:12] = np.asarray(Image.fromarray(first).resize((10, 10), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(load_digits("embedded", "train").bitmaps[0], expected)


@pytest.mark.parametrize(("width_px", "ink_px"), [(7, 5), (14, 10), (20, 14), (64, 46), (1, 1)])
def test_embedded_ink_is_five_sevenths_of_any_width(width_px: int, ink_px: int) -> None:
    bitmaps = load_digits("embedded", "test", width_px).bitmaps
    assert bitmaps.shape[1:] == (width_px, width_px)
    assert bitmaps.any(axis=(0, 2)).sum() == ink_px


def test_embedded_files_are_small_and_attributed() -> None:
    data = Path(digits.__file__).parent / "data"
    assert sum(file.stat().st_size for file in (data / "uci_digits").iterdir()) < 60_000
    attribution = (data / "ATTRIBUTION.md").read_text()
    for fact in ("10.24432/C50P49", "CC BY 4.0", "Alpaydin", "contested"):
        assert fact in attribution


@needs_mnist
def test_mnist_is_recognised_and_resized_as_pillow_does() -> None:
    loaded = load_digits(str(SHARED_MNIST), "test")
    assert (loaded.source, loaded.partition, loaded.bitmaps.shape) == ("mnist", "test", (10_000, 14, 14))
    np.testing.assert_array_equal(loaded.labels[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    raw_images = gzip.decompress((SHARED_MNIST / f"{IMAGES}.gz").read_bytes())
    raw_labels = gzip.decompress((SHARED_MNIST / f"{LABELS}.gz").read_bytes())
    assert loaded.sha256 == hashlib.sha256(raw_images + raw_labels).hexdigest()
    scans = np.frombuffer(raw_images, np.uint8, offset=16).reshape(10_000, 28, 28)
    expected = [np.asarray(Image.fromarray(s).resize((14, 14), Image.Resampling.LANCZOS)) for s in scans]
    np.testing.assert_array_equal(loaded.bitmaps, expected)


@needs_mnist
def test_mnists_test_digits_under_train_names_are_refused(tmp_path: Path) -> None:
    for name in (IMAGES, LABELS):
        (tmp_path / f"{name.replace('t10k', 'train')}.gz").symlink_to(SHARED_MNIST / f"{name}.gz")
    with pytest.raises(DataError, match="holds the test digits of mnist, not the train ones"):
        load_digits(str(tmp_path), "train")


@pytest.mark.parametrize("pack", ["raw", "gzip", "dotted", "dotted gzip", "gzip without suffix"])
def test_every_spelling_and_packing_gives_the_same_digits(tmp_path: Path, pack: str) -> None:
    for name, content in ((IMAGES, GOOD_IMAGES), (LABELS, GOOD_LABELS)):
        spelled = name.replace("-idx", ".idx") if "dotted" in pack else name
        suffix = ".gz" if pack.endswith("gzip") else ""
        packed = gzip.compress(content) if "gzip" in pack else content
        (tmp_path / (spelled + suffix)).write_bytes(packed)
    loaded = load_digits(str(tmp_path), "test")
    assert (loaded.source, loaded.sha256) == ("custom", hashlib.sha256(GOOD_IMAGES + GOOD_LABELS).hexdigest())
    assert loaded.labels.tolist() == [3, 1, 4, 1, 9]


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ((), f"missing {IMAGES} and {LABELS} "),
        ((IMAGES,), f"missing {LABELS} "),
        ((LABELS,), f"missing {IMAGES} "),
    ],
)
@pytest.mark.parametrize("by_variable", [True, False])
def test_missing_files_are_named_with_place_and_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...], missing: str, by_variable: bool
) -> None:
    for name in present:
        (tmp_path / name).write_bytes(GOOD_IMAGES)
    if by_variable:
        monkeypatch.setenv(digits.MNIST_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_digits(None if by_variable else str(tmp_path), "test")
    for part in (f"no test digits in {tmp_path}: {missing}", "--digits embedded", digits.MNIST_DIR_VARIABLE):
        assert part in str(caught.value)


def test_a_source_that_is_no_word_and_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Did you mean 'embedded'"):
        load_digits("embeded", "test")
    monkeypatch.setenv(digits.MNIST_DIR_VARIABLE, "/nowhere/at/all")
    with pytest.raises(UsageError, match="TSGEN_MNIST_DIR=/nowhere/at/all is no directory"):
        load_digits(None, "test")


@pytest.mark.parametrize(
    ("split", "width_px", "message"),
    [("tset", 14, "mean 'test'"), ("test", 0, r"1\.\.64"), ("test", 65, "65 px")],
)
def test_other_wrong_requests(split: str, width_px: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_digits("embedded", split, width_px)


def test_a_digit_without_ink_is_refused(tmp_path: Path) -> None:
    scans = SCANS.copy()
    scans[1] = 0
    with pytest.raises(DataError, match="image 1 is all black at 14 px"):
        load_digits(write_partition(tmp_path, images_bytes(scans)), "test")


@pytest.mark.parametrize("source", [None, "mnist", "embedded", "some/path"])
def test_resolve_returns_any_other_source_unchanged(source: str | None) -> None:
    assert resolve_source(source) == source


def test_auto_without_mnist_is_embedded_and_loud(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_digits("auto", "test").source == "embedded-uci-8x8"
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("WARNING: NO MNIST; USING THE EMBEDDED UCI 8x8 DIGITS")
    assert streams.err.count("\n") == 1
    assert "127.0.0.1" in streams.err, "it says why"


def test_auto_takes_a_directory_only_with_every_partition_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(digits.MNIST_DIR_VARIABLE, write_partition(tmp_path))
    assert resolve_source("auto", ("test",)) == str(tmp_path)
    assert capsys.readouterr().err == ""
    assert resolve_source("auto") == "embedded"
    assert "missing train-images-idx3-ubyte" in capsys.readouterr().err


def test_auto_with_a_relative_directory_named_like_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embedded").mkdir()
    write_partition(tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(digits.MNIST_DIR_VARIABLE, "embedded")
    assert load_digits("auto", "test").source == "custom"
