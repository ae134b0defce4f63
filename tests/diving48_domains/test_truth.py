"""Leaks and losses against hand-made truths, and against pixels counted the slow way."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from d48_scenes import CLIPS, HEIGHT, WIDTH, disc, instances_of, write_folder

from diving48_domains.build_options import BuildOptions
from diving48_domains.domains import DomainOptions, compose, shape_pixels
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.truth import count_clip, summarize
from diving48_domains.truth_commands import truth as truth_command
from diving48_domains.truth_plot import truth_svg
from tsgen.common.errors import DataError, UsageError

EXACT_BOXES = BuildOptions(composition=DomainOptions(box_expand=0))


def square(x0, y0, side=10, score=1.0):
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[y0 : y0 + side, x0 : x0 + side] = True
    return Instance.of_pixels(pixels, score)


def a_clip(*frames, name="a", indices=None):
    indices = np.arange(len(frames)) if indices is None else np.array(indices)
    return ClipInstances(name, HEIGHT, WIDTH, indices, frames)


def test_a_shifted_square_misses_and_leaks_what_the_shift_says():
    known = a_clip(*[(square(20, 20),)] * 5)
    found = a_clip(*[(square(23, 20),)] * 5)
    report = summarize([count_clip(known, found, EXACT_BOXES)], (0.0, 0.4))
    background = HEIGHT * WIDTH - 100
    for t in (0.0, 0.4):
        assert report.by_threshold[t]["S1 missing"].value == pytest.approx(0.3)
        assert report.by_threshold[t]["S1 background"].value == pytest.approx(0.3)
        assert report.by_threshold[t]["S1 background shown"].value == pytest.approx(30 / background)
    assert report.fixed["T leak"].value == report.fixed["S2 missing"].value == pytest.approx(0.3)
    assert report.fixed["T background lost"].value == pytest.approx(30 / background)
    assert report.num_frames == 5


def test_truth_against_itself_is_perfect():
    known = a_clip(*[(square(20, 20), square(40, 5))] * 4)
    report = summarize([count_clip(known, known, BuildOptions())], (0.4,))
    assert report.by_threshold[0.4]["S1 missing"].value == report.fixed["T leak"].value == 0
    assert report.by_threshold[0.4]["S1 background"].value == 0
    assert report.fixed["S2 background"].value > 0


def test_frames_without_a_detection_leak_wholly_and_are_told_apart():
    known = a_clip(*[(square(20, 20),)] * 20)
    found = a_clip(*[(square(20, 20, score=0.9),) if t < 10 else () for t in range(20)])
    report = summarize([count_clip(known, found, EXACT_BOXES)], (0.4,))
    assert report.fixed["T leak"].value == pytest.approx(0.5)
    assert report.by_status == {"detected": (0.5, 0.0), "interpolated": (0.0, 0.0), "empty": (0.5, 1.0)}
    assert report.fixed["T_union leak"].value == 0
    assert report.worst == (("a", 0.5),)
    filled = summarize([count_clip(known, found, BuildOptions(on_empty="fill"))], (0.4,))
    assert filled.fixed["T leak"].value == 0


def test_histograms_count_what_composing_shows():
    """For every t the shares are those of pixels composed and counted one by one."""
    clip_id = "videoCCCCCC_00005"
    known, found = instances_of(clip_id, True), instances_of(clip_id, False)
    thresholds = (0.0, 0.1, 0.4, 0.77)
    report = summarize([count_clip(known, found, BuildOptions())], thresholds)
    divers = np.stack([disc(t, 40) for t in range(40)])
    from diving48_domains.tracking import track

    tracked = track(found).divers
    for t in thresholds:
        shown = np.stack([shape_pixels(one, DomainOptions(mask_threshold=t), HEIGHT, WIDTH) for one in tracked])
        row = report.by_threshold[t]
        assert row["S1 missing"].value == pytest.approx((divers & ~shown).sum() / divers.sum())
        assert row["S1 background"].value == pytest.approx((shown & ~divers).sum() / shown.sum())
    white = np.full((40, HEIGHT, WIDTH, 3), 255, np.uint8)
    hidden = (compose(white, tracked, DomainOptions(), ["T"])["T"] != 255).all(axis=3)
    assert report.fixed["T leak"].value == pytest.approx((divers & ~hidden).sum() / divers.sum())
    missing = [report.by_threshold[t]["S1 missing"].value for t in thresholds]
    assert missing == sorted(missing)


def test_intervals_are_over_clips():
    known = a_clip(*[(square(20, 20),)] * 3)
    good, bad = a_clip(*[(square(20, 20),)] * 3), a_clip(*[(square(25, 20),)] * 3)
    alike = summarize([count_clip(known, good, EXACT_BOXES)] * 10, (0.4,)).fixed["T leak"]
    mixed = summarize([count_clip(known, one, EXACT_BOXES) for one in [good, bad] * 5], (0.4,)).fixed["T leak"]
    assert alike.low == alike.value == alike.high == 0
    assert mixed.value == pytest.approx(0.25)
    assert 0.05 < mixed.low < 0.15
    assert 0.35 < mixed.high < 0.45


def test_only_common_frames_are_counted():
    known = a_clip(*[(square(20, 20),)] * 6)
    found = a_clip(*[(square(20, 20),)] * 3, indices=(0, 2, 4))
    assert count_clip(known, found, EXACT_BOXES).num_frames == 3
    with pytest.raises(DataError, match="no frame in common"):
        count_clip(known, a_clip((square(20, 20),), indices=(9,)), EXACT_BOXES)
    other = ClipInstances("a", HEIGHT + 1, WIDTH, np.arange(1), ((square(20, 20),),))
    with pytest.raises(DataError, match="frames of 64x48 px, the instances of 64x49"):
        count_clip(known, other, EXACT_BOXES)
    with pytest.raises(DataError, match="no diver"):
        summarize([count_clip(a_clip(()), a_clip(()), EXACT_BOXES)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


def call(folder, *arguments):
    return CliRunner().invoke(truth_command, ["--data", str(folder.root), *arguments])


def test_the_command_prints_draws_and_gives_json(folder, tmp_path):
    found, plot = str(folder.root / "found.h5"), tmp_path / "leak.svg"
    told = call(folder, "--instances", found, "--plot", str(plot), "--quiet")
    assert told.exit_code == 0, told.output
    assert "T leak" in told.output
    assert "largest leaks into T: videoBBBBBB_00004 100.0%" in told.output
    drawing = ElementTree.parse(plot).getroot()
    assert len(drawing.findall(".//{*}circle")) == 4 * 12
    answer = json.loads(call(folder, "--instances", found, "--json", "--thresholds", "0,0.4").output)
    assert answer["clips"] == len(CLIPS)
    assert [row["t"] for row in answer["by_threshold"]] == [0, 0.4]
    assert answer["by_status"]["empty"]["leak"] == 1


def test_wrong_requests_are_named(folder, tmp_path):
    for arguments, message in (
        (("--instances", "truth", "--thresholds", "0.4,1"), r"\[0, 1\)"),
        (("--instances", "truth", "--thresholds", "a"), "give numbers"),
        (("--instances", "truth", "--preset", "best"), "unknown preset"),
        (("--instances", "truth", "--plot", str(tmp_path / "a.png")), "SVG"),
        (("--instances", str(tmp_path / "absent.h5")), "no such file"),
        ((), "--instances is needed"),
    ):
        with pytest.raises(UsageError, match=message):
            CliRunner().invoke(truth_command, ["--data", str(folder.root), *arguments], catch_exceptions=False)


def test_the_plots_scale_holds_the_curves(folder):
    known = a_clip(*[(square(20, 20),)] * 4)
    report = summarize([count_clip(known, a_clip(*[(square(22, 20),)] * 4), EXACT_BOXES)])
    drawing = ElementTree.fromstring(truth_svg(report, "a < b"))
    heights = [float(circle.get("cy")) for circle in drawing.findall(".//{*}circle")]
    assert min(heights) >= 40
    assert max(heights) <= 268.01
