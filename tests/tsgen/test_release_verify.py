"""Verifying a release: every kind of damage is found, also by someone who wrote the sums anew; and the commands."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from digit_files import write_partition
from forgery import rewrite_texts
from PIL import Image

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.common.sums import SUMS_FILE, write_sums
from tsgen.common.tables import write_table
from tsgen.release.build import build_release
from tsgen.release.plan import Plan
from tsgen.release.strips import DARKEST, VIEWER_COLUMNS, draw_strip, strips_of
from tsgen.release.tables import INDEX_COLUMNS
from tsgen.release.verify import verify_release
from tsgen.release_commands import release

pq = pytest.importorskip("pyarrow.parquet")
import pyarrow as pa  # noqa: E402

SMALL = Plan(("2dot", "mnist"), {"train": 10, "val": 6, "test": 5})


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "release"
    build_release(out, SMALL, digits="embedded", quiet=True)
    return out


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def verify(folder: Path, **options):
    return verify_release(folder, quiet=True, **options)


def forged(folder: Path) -> Path:
    """With card, Croissant and sums that fit what was changed, as a careful forger would write them."""
    rewrite_texts(folder)
    write_sums(folder)
    return folder


@pytest.mark.parametrize("options", [{"quick": True}, {"rebuild": False}, {}, {"workers": 1}], ids=str)
def test_an_intact_release_is_proven(built, options):
    report = verify(built, **options)
    assert report.is_proven
    assert report.problems == ()
    assert "problems" not in report.to_text()


def test_every_problem_of_the_sums_is_listed(copy):
    (copy / "LICENSE").write_text("none")
    (copy / "data/2dot/val.h5").unlink()
    (copy / "extra").touch()
    for options in ({"quick": True}, {}):
        problems = verify(copy, **options).problems
        assert [problem.split(":")[0] for problem in problems[:3]] == ["data/2dot/val.h5", "extra", "LICENSE"]


@pytest.mark.parametrize("name", ["labels", "clips", "boxes"])
def test_a_forged_value_is_found_by_making_it_again(copy, name):
    path = copy / "data/mnist/train.h5"
    with h5py.File(path, "r+") as file:
        value = np.array(file[name][7])
        value.flat[0] = (value.flat[0] + 1) % 5
        file[name][7] = value
    with tsgen.open_clips(path) as clip_set:
        found = clip_set.computed_hash()
    assert any("was changed or damaged" in problem for problem in verify(forged(copy), rebuild=False).problems)
    with h5py.File(path, "r+") as file:
        file.attrs["content_hash"] = found
    manifest = json.loads((copy / "release.json").read_text())
    manifest["configs"]["mnist"]["splits"]["train"]["content_hash"] = found
    (copy / "release.json").write_text(json.dumps(manifest))
    problems = verify(forged(copy)).problems
    assert any(f"{name}: differs in 1 of 10 clips, first in row 7" in problem for problem in problems)


def test_foreign_content_in_a_clip_file_is_found(copy):
    with h5py.File(copy / "data/2dot/test.h5", "r+") as file:
        file["payload"] = np.zeros(5)
    assert any("holds what no clip file has: 'payload'" in problem for problem in verify(forged(copy)).problems)
    with h5py.File(copy / "data/2dot/test.h5", "r+") as file:
        del file["payload"]
        file["payload"] = h5py.ExternalLink("/etc/passwd", "/")
    assert any("external link" in problem for problem in verify(forged(copy)).problems)


def change(table, column: str, row: int, value):
    values = table[column].to_pylist()
    values[row] = value
    array = pa.array(values, type=table.schema.field(column).type)
    return table.set_column(table.schema.get_field_index(column), table.schema.field(column), array)


@pytest.mark.parametrize("column", INDEX_COLUMNS)
def test_a_changed_index_is_found(copy, column):
    path = copy / "index/2dot/train.parquet"
    table = pq.read_table(path)
    value = table[column].to_pylist()[4]
    write_table(change(table, column, 4, "arc " if column == "class_name" else (value or 0) + 1), path)
    expected = f"index/2dot/train.parquet: {column} differs in 1 of 10 rows, first in row 4."
    assert verify(forged(copy), rebuild=False).problems == (expected,)


def test_a_changed_strip_is_found_and_another_packing_is_not(copy):
    path = copy / "preview/mnist/val.parquet"
    table = pq.read_table(path)
    strip = table["strip"].to_pylist()[1]
    with Image.open(io.BytesIO(strip["bytes"])) as picture:
        pixels = np.array(picture)

    def as_png(values) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "PNG", compress_level=0)
        return buffer.getvalue()

    write_table(change(table, "strip", 1, {**strip, "bytes": as_png(pixels)}), path)
    assert verify(forged(copy), rebuild=False).problems == ()
    pixels[50, 50] ^= 1
    for wrong in (as_png(pixels), as_png(pixels[:, :-1]), b"", b"GIF89a", None, as_png(np.stack([pixels] * 3, -1))):
        write_table(change(table, "strip", 1, {**strip, "bytes": wrong}), path)
        assert "strip differs in 1 of 6 rows, first in row 1" in verify(forged(copy), rebuild=False).problems[0]


@pytest.mark.parametrize("column", VIEWER_COLUMNS)
def test_a_changed_strip_file_is_found(copy, column):
    with h5py.File(copy / "preview/mnist/val.h5", "r+") as file:
        value = file[column][3]
        file[column][3] = value + 1 if column == "clip_id" else value[:-1] + b"~"
    expected = f"preview/mnist/val.h5: {column} differs in 1 of 6 rows, first in row 3."
    assert verify(forged(copy), rebuild=False).problems == (expected,)


def test_strip_files_of_another_shape_are_problems(copy):
    path = copy / "preview/2dot/val.h5"

    def damage(how) -> str:
        with h5py.File(path, "r+") as file:
            how(file)
        return "; ".join(verify(forged(copy), rebuild=False).problems)

    assert "has the columns 'class_name', 'clip_id', 'config', 'more', 'strip'" in damage(
        lambda f: f.create_group("more")
    )
    assert "expected config, class_name, clip_id, strip" in damage(lambda f: f.move("strip", "more/strip"))
    assert "strip is None None; expected |S" in damage(lambda f: f.move("more", "strip"))
    path.write_bytes(b"")
    assert "val.h5 is not an HDF5 file" in "; ".join(verify(forged(copy), rebuild=False).problems)


def test_pictures_of_the_strip_file_are_the_strips_with_black_one_level_up(built):
    with (
        tsgen.open_clips(built / "data/mnist/train.h5") as clip_set,
        h5py.File(built / "preview/mnist/train.h5") as file,
    ):
        strips = strips_of(clip_set)
        assert file["clip_id"][:].tolist() == [clip_set.clip_id[strip.row] for strip in strips]
        assert file["class_name"][:].tolist() == [strip.class_name.encode() for strip in strips]
        for strip, picture in zip(strips, file["strip"][:], strict=True):
            assert b"\0" not in picture
            pixels = np.asarray(Image.open(io.BytesIO(picture), formats=["PPM"]))
            np.testing.assert_array_equal(pixels, np.maximum(np.asarray(strip.image), DARKEST))


@pytest.mark.parametrize("wrong", [b"", b"PAR1" * 10, b"text"])
def test_broken_tables_are_problems(copy, wrong):
    (copy / "index/2dot/val.parquet").write_bytes(wrong)
    assert "index/2dot/val.parquet: cannot be read" in verify(forged(copy), rebuild=False).problems[0]


def test_tables_of_another_shape_are_problems(copy):
    path = copy / "index/2dot/val.parquet"
    table = pq.read_table(path)
    for other, message in (
        (table.slice(1), "has 5 rows, there are 6"),
        (table.drop_columns(["sigma"]), "has other columns"),
        (table.replace_schema_metadata({}), "says other things"),
    ):
        write_table(other, path)
        assert message in verify(forged(copy), rebuild=False).problems[0]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("configs", "2dot", "splits", "val", "n_of_class", "arc"), 3),
        (("configs", "2dot", "splits", "val", "bytes"), 1),
        (("configs", "2dot", "splits", "val", "recipe_digest"), "0" * 64),
        (("configs", "2dot", "class_names"), ["a", "b", "c", "d", "e"]),
        (("audit", "mnist", "shared_paths", "val in train"), 99),
        (("departures",), []),
        (("unknown \x1b[2J",), "word"),
    ],
)
def test_a_manifest_that_contradicts_the_files_is_found(copy, where, value):
    manifest = json.loads((copy / "release.json").read_text())
    record = manifest
    for key in where[:-1]:
        record = record[key]
    record[where[-1]] = value
    (copy / "release.json").write_text(json.dumps(manifest))
    problems = verify(forged(copy), rebuild=False).problems
    assert len(problems) == 1
    assert problems[0].startswith(f"release.json: {'.'.join(where)} is ")
    assert "\x1b" not in verify(copy, rebuild=False).to_text()


def test_another_seed_in_the_manifest_is_found(copy):
    manifest = json.loads((copy / "release.json").read_text())
    (copy / "release.json").write_text(json.dumps({**manifest, "seed": 3}))
    assert "was made from another recipe" in verify(forged(copy), rebuild=False).problems[0]


def test_without_the_digits_the_rest_is_proven_and_the_user_told(copy, mnist_dir, tmp_path):
    (tmp_path / "none").mkdir()
    for digits, why in ((str(tmp_path / "none"), "no train digits in"), (str(mnist_dir), "no train digits in")):
        report = verify(copy, digits=digits)
        assert list(report.not_rebuilt) == ["mnist"]
        assert why in report.not_rebuilt["mnist"]
        assert report.problems == ()
        assert not report.is_proven
        assert "not made again: mnist: no train digits" in report.to_text()
        assert "--without-rebuild" in report.to_text()
    with pytest.raises(UsageError, match=r"Did you mean 'embedded'\?"):
        verify(copy, digits="embeded")


def test_the_builders_own_digits(tmp_path, monkeypatch):
    monkeypatch.delenv("TSGEN_MNIST_DIR", raising=False)
    own = tmp_path / "own"
    own.mkdir()
    write_partition(own)
    for path in list(own.iterdir()):
        shutil.copy(path, own / path.name.replace("t10k", "train"))
    build_release(tmp_path / "out", SMALL, digits=str(own), quiet=True)
    assert verify(tmp_path / "out", digits=str(own)).is_proven
    assert verify(tmp_path / "out").not_rebuilt.keys() == {"mnist"}  # and no download of MNIST is tried
    assert "found are 'embedded-uci-8x8'" in verify(tmp_path / "out", digits="embedded").not_rebuilt["mnist"]


def test_no_release_is_an_error(tmp_path, copy):
    with pytest.raises(UsageError, match="no such folder"):
        verify(tmp_path / "none")
    (copy / SUMS_FILE).unlink()
    with pytest.raises(DataError, match="unfinished, or is no release"):
        verify(copy)


def test_the_index_is_the_clip_file_without_pixels(built):
    table = pq.read_table(built / "index/mnist/train.parquet")
    with tsgen.open_clips(built / "data/mnist/train.h5") as clip_set:
        assert table["label"].to_pylist() == clip_set.labels.tolist()
        assert table["class_name"].to_pylist() == [clip_set.class_names[label] for label in clip_set.labels]
        heading = clip_set.column("heading")
        told = np.array([np.nan if value is None else value for value in table["heading"].to_pylist()], np.float32)
        np.testing.assert_array_equal(told, heading)
        assert table["heading"].null_count == np.isnan(heading).sum() > 0
        assert table["start_y"].to_pylist() == clip_set.column("start")[:, 1].tolist()


def test_a_strip_shows_the_frames_in_reading_order():
    frames = np.zeros((20, 64, 64), np.uint8)
    frames[13] = 77
    pixels = np.asarray(draw_strip(frames))
    rows, columns = np.nonzero(pixels == 77)
    assert (len(rows), np.ptp(rows), np.ptp(columns)) == (128 * 128, 127, 127)
    height, width = pixels.shape
    assert rows.min() > height / 2
    assert 3 * width / 10 < columns.mean() < 4 * width / 10


# --- the commands ----------------------------------------------------------------------------------------------------


def test_commands(tmp_path):
    out = tmp_path / "out"
    options = ["--sizes", "5,5,5", "--configs", "2dot-order", "--json", "--quiet"]
    made = CliRunner().invoke(release, ["--out", str(out), *options])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["clips"] == 15
    good = CliRunner().invoke(release, ["--verify", str(out), "--json", "--quiet"])
    assert (good.exit_code, json.loads(good.stdout)["proven"]) == (0, True)
    (out / "LICENSE").write_text("none")
    bad = CliRunner().invoke(release, ["--verify", str(out), "--quick"])
    assert bad.exit_code == 3
    assert "LICENSE: changed" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --out DIR"),
        (["--out", "a", "--verify", "b"], "give either --out DIR"),
        (["--out", "a", "--quick"], "--quick goes with --verify DIR only"),
        (["--verify", "a", "--force"], "--force goes with --out DIR only"),
        (["--verify", "a", "--quick", "--without-rebuild"], "give one of them"),
        (["--out", "a", "--sizes", "1,2"], "are not three whole numbers"),
        (["--out", "a", "--configs", "2dto"], "Did you mean '2dot'?"),
        (["--out", "a", "--workers", "0"], "--workers 0 is not possible"),
    ],
)
def test_bad_requests(arguments, message):
    result = CliRunner().invoke(release, arguments)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
