"""The commands build and preview, and what their pictures show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from d48_scenes import CLIPS, HEIGHT, WIDTH, write_folder
from PIL import Image

from diving48_domains.build_commands import build, options_from
from diving48_domains.build_options import PRESETS
from diving48_domains.preview import STATUS_RGB, Cell, sheet
from diving48_domains.preview_commands import preview
from tsgen.common.errors import UsageError

GAP = "videoBBBBBB_00003"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


def run(command, folder, *arguments):
    given = [*arguments, "--data", str(folder.root)]
    return CliRunner().invoke(command, given, catch_exceptions=False)


def test_preview_shows_each_domain_and_the_status_of_each_frame(folder, tmp_path):
    out, moving = tmp_path / "a.png", tmp_path / "a.gif"
    found = ("--instances", str(folder.root / "found.h5"), "--blur-sigma", "3")
    told = run(preview, folder, GAP, *found, "--out", str(out), "--animation", str(moving), "--width", "64")
    assert told.exit_code == 0
    assert "7 rows" in told.output
    with Image.open(out) as page:
        image = np.asarray(page.convert("RGB"))
    colours = {name for name, rgb in STATUS_RGB.items() if (image == rgb).all(axis=2).sum() > 500}
    assert colours == {"detected", "leaked"}
    with Image.open(moving) as pages:
        assert pages.n_frames == 32
    for options, message in (
        ((), "exists"),
        (("--force", "--out", str(tmp_path / "b.jpg")), "PNG"),
        (("--force", "--columns", "0"), "columns"),
        (("--force", "--animation", str(tmp_path / "b.mp4")), "allowed are"),
    ):
        with pytest.raises(UsageError, match=message):
            run(preview, folder, GAP, *found, *(("--out", str(out)) if "--out" not in options else ()), *options)
    with pytest.raises(UsageError, match=r"no list of .* names the clip 'nobody'"):
        run(preview, folder, "nobody", *found, "--out", str(tmp_path / "c.png"))


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_lossless_animations_hold_every_frame(folder, tmp_path, suffix):
    moving = tmp_path / f"moving{suffix}"
    found = ("--instances", str(folder.root / "found.h5"), "--domains", "T", "--frames", "6")
    run(preview, folder, GAP, *found, "--out", str(tmp_path / "a.png"), "--animation", str(moving), "--width", "64")
    with Image.open(moving) as pages:
        assert pages.n_frames == 6


def test_cells_are_placed_unchanged_at_their_own_size():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    rows = [("row", [Cell(frame, "empty") for frame in line]) for line in frames]
    page = np.asarray(sheet(rows, ["a", "b", "c"], WIDTH))
    rim = (page == STATUS_RGB["empty"]).all(axis=2)
    y, x = np.argwhere(rim)[0]
    np.testing.assert_array_equal(page[y + 3 : y + 3 + HEIGHT, x + 3 : x + 3 + WIDTH], frames[0, 0])
    with pytest.raises(UsageError, match="too large"):
        sheet(rows, ["a", "b", "c"], 100_000)


def test_build_writes_tells_and_ends_with_a_contact_sheet(folder, tmp_path):
    arguments = ("--instances", "truth", "--threshold", "0.4", "--out", str(tmp_path), "--size", "32x24")
    told = run(build, folder, *arguments, "--workers", "0", "--quiet", "--domains", "S1,T")
    assert told.exit_code == 0
    assert "clips: 5 written, 0 dropped, 0 failed" in told.output
    assert "frames: 160 detected, 0 interpolated, 0 empty, 0 leaked" in told.output
    with Image.open(tmp_path / "test" / "contact_sheet.png") as image:
        assert image.width > 300
    again = run(build, folder, *arguments, "--workers", "0", "--quiet", "--domains", "S1,T")
    assert "was there already" in again.output
    (answer,) = json.loads(run(build, folder, *arguments, "--domains", "S1,T", "--json").output)
    assert answer["clips written"] == len(CLIPS)
    assert set(answer["outputs"]) == {"S1", "T"}


def test_videos_have_a_contact_sheet_too(folder, tmp_path):
    arguments = ("--instances", "truth", "--out", str(tmp_path), "--size", "native", "--form", "mpeg4")
    run(build, folder, *arguments, "--workers", "0", "--quiet", "--domains", "O,T", "--limit", "2")
    assert (tmp_path / "test" / "contact_sheet.png").is_file()
    assert sorted(path.suffix for path in (tmp_path / "test").glob("*/*")) == [".mkv", ".mkv", ".mp4", ".mp4"]


def test_options_take_the_presets_place_only_where_given():
    assert options_from() == PRESETS["default"]
    assert options_from(preset="faithful") == PRESETS["faithful"]
    changed = options_from(preset="faithful", threshold=0.0, score_threshold=0.3, size="64x48", frames="16")
    assert changed.composition.mask_threshold == 0
    assert changed.composition.box_shape == "mask"
    assert changed.size == (48, 64)
    assert changed.num_frames == 16
    assert changed.shown.score_threshold == changed.filled.score_threshold == 0.3
    assert changed.filled.max_divers is None
    assert options_from(blur_sigma=30.0).composition.blur_size_px == 109
    assert options_from(fill="1, 2,3").composition.fill_rgb == (1, 2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": 1.0}, r"\[0, 1\)"),
        ({"preset": "paper"}, "unknown preset"),
        ({"domains": "S1,S9"}, "unknown domain 'S9'"),
        ({"size": "224"}, "--size '224'"),
        ({"fill": "1,2"}, "--fill"),
        ({"frames": "many"}, "--frames"),
        ({"frames": "all"}, "videos only"),
    ],
)
def test_wrong_options_are_named(given, message):
    with pytest.raises(UsageError, match=message):
        options_from(**given)


def test_build_needs_data_and_instances_that_exist(folder, tmp_path):
    with pytest.raises(UsageError, match=r"--instances .*none.h5: no such file"):
        run(build, folder, "--instances", str(tmp_path / "none.h5"), "--out", str(tmp_path))
    with pytest.raises(UsageError, match="--shard"):
        run(build, folder, "--instances", "truth", "--shard", "two", "--out", str(tmp_path))
