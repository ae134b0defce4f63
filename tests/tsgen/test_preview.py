"""Pictures: their sizes, what their pixels show, their files, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tsgen
from tsgen.canvas import TIME_RAMP, time_colour
from tsgen.common.errors import UsageError
from tsgen.preview import KINDS, Look, animation, choose_shots, contact_sheet, film_strip, kind_for, path_picture


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shown")
    for name in ("2dot", "5dot"):
        tsgen.make(name, 10, folder / f"{name}.h5", quiet=True)
    return {name: folder / f"{name}.h5" for name in ("2dot", "5dot")}


@pytest.fixture
def reel(files):
    with tsgen.open_clips(files["5dot"]) as clip_set:
        return choose_shots(clip_set)


def holds(image: Image.Image, frame: np.ndarray, scale: int) -> bool:
    """Whether the enlarged frame stands somewhere in the picture, pixel by pixel."""
    page = np.asarray(image.convert("L"))
    wanted = np.kron(frame, np.ones((scale, scale), dtype=np.uint8))
    windows = np.lib.stride_tricks.sliding_window_view(page, wanted.shape)[:, :, 0, :]
    rows, columns = np.nonzero((windows == wanted[0]).all(axis=2))
    return any(
        (page[y : y + len(wanted), x : x + wanted.shape[1]] == wanted).all() for y, x in zip(rows, columns, strict=True)
    )


def test_the_first_clip_of_each_class_is_chosen(files, reel):
    assert [shot.class_name for shot in reel.shots] == ["circle", "spiral", "line", "rectangle", "arc"]
    with tsgen.open_clips(files["5dot"]) as clip_set:
        assert [shot.row for shot in choose_shots(clip_set, clips=[7, 3]).shots] == [7, 3]
        assert [shot.class_name for shot in choose_shots(clip_set, classes=["arc"], per_class=2).shots] == ["arc"] * 2
        with pytest.raises(UsageError, match=r"has no clip 10; allowed: 0\.\.9"):
            choose_shots(clip_set, clips=[10])
        with pytest.raises(UsageError, match=r"unknown class 'arcs'\. Did you mean 'arc'"):
            choose_shots(clip_set, classes=["arcs"])


@pytest.mark.parametrize("scale", [1, 3])
def test_frames_are_enlarged_without_smoothing(reel, scale):
    shot = reel.shots[2]
    for draw in (contact_sheet, film_strip):
        (image,) = draw([reel], Look(every=4, scale=scale))
        assert holds(image, shot.frames[8], scale)
    (sheet,) = contact_sheet([reel], Look(every=4, scale=scale))
    assert holds(sheet, shot.frames.max(axis=0), scale), "the time-max image"


def test_an_animation_plays_every_frame(reel):
    images = animation([reel], Look(every=1, scale=2))
    assert len(images) == 20
    for t in (0, 11, 19):
        assert holds(images[t], reel.shots[4].frames[t], 2)
    alone = animation([type(reel)("5dot", reel.shots[:1])], Look(every=3, scale=4))
    assert [image.size for image in alone] == [(256, 256)] * 7


def test_the_path_lies_on_the_positions(reel):
    scale = 8
    only = type(reel)("5dot", (reel.shots[3],))
    (image,) = path_picture([only], Look(every=1, scale=scale))
    page = np.asarray(image).astype(int)
    coloured = np.ptp(page, axis=2) > 60
    dimmed = only.shots[0].frames.max(axis=0) > 0
    inside = np.asarray(Image.fromarray(dimmed.astype(np.uint8)).resize((64 * scale,) * 2, Image.Resampling.NEAREST))
    top, left = next((y, x) for y in range(9, 60) for x in (8,) if (page[y, x] == 0).all())
    cell = coloured[top : top + 64 * scale, left : left + 64 * scale]
    for t, (x, y) in enumerate(only.shots[0].positions[1:-1], 1):
        assert cell[int(y * scale), int(x * scale)], f"no colour at frame {t}"
    start_x, start_y = (only.shots[0].positions[0] * scale).astype(int)
    np.testing.assert_array_equal(page[top + start_y, left + start_x], time_colour(0.0))
    off = cell & ~inside.astype(bool)
    assert off.sum() < 0.2 * cell.sum(), "only the marker and the arrow may lie beside what was drawn"


def test_colours_of_time_grow_lighter_and_bluer_to_yellower():
    ramp = np.array([time_colour(share) for share in np.linspace(0, 1, 20)]) / 255
    luminance = ramp @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert (np.diff(ramp[:, 2] - ramp[:, 0]) < 0).all(), "the blue-yellow axis, which hardly anyone lacks"
    assert time_colour(0) == TIME_RAMP[0][1]


@pytest.mark.parametrize(
    ("arguments", "name", "frames"),
    [
        (("5dot.h5",), "ts.png", 1),
        (("5dot.h5", "--kind", "strip", "--clip", 3, "--every", 2), "strip.png", 1),
        (("2dot.h5", "5dot.h5", "--kind", "path"), "paths.PNG", 1),
        (("2dot.h5", "5dot.h5"), "compare.png", 1),
        (("2dot.h5", "5dot.h5", "--class", "line", "--class", "arc"), "two.gif", 20),
        (("5dot.h5", "--clip", 0, "--fps", 5, "--every", 2), "one.gif", 10),
        (("5dot.h5", "--scale", 1), "all.webp", 20),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_show_writes_pictures(run_cli, files, arguments, name, frames):
    folder = files["2dot"].parent
    arguments = [folder / word if str(word).endswith(".h5") else word for word in arguments]
    result = run_cli("tsgen", "show", *arguments, "--out", folder / name)
    assert result.returncode == 0, result.stderr
    with Image.open(folder / name) as image:
        assert getattr(image, "n_frames", 1) == frames
        assert f"{image.width}x{image.height} px" in result.stdout


def test_gif_and_webp_keep_the_grey_levels(run_cli, tmp_path):
    tsgen.make("mnist-bg", 1, tmp_path / "bg.h5", digits="embedded", quiet=True)
    with tsgen.open_clips(tmp_path / "bg.h5") as clip_set:
        clip = clip_set.clips()[0]
    for name in ("clip.gif", "clip.webp"):
        run_cli("tsgen", "show", "bg.h5", "--clip", 0, "--scale", 1, "--out", name)
        with Image.open(tmp_path / name) as image:
            for t in range(20):
                image.seek(t)
                np.testing.assert_array_equal(np.asarray(image.convert("L")), clip[t])


BAD = [
    (("--out", "x.jpg"), 2, "--out ends in '.jpg'; allowed: .gif, .png, .webp"),
    (("--out", "x.png", "--kind", "animation"), 2, "kind 'animation' is written as .gif, .webp"),
    (("--out", "x.png", "--kind", "strips"), 2, "unknown kind 'strips'. Did you mean 'strip'?"),
    (("--out", "x.gif", "--fps", "0"), 2, "--fps 0 is not possible; allowed: 1..50"),
    (("--out", "x.png", "--every", "0"), 2, "--every 0 is not possible"),
    (("--out", "x.png", "--clip", "-1"), 2, "has no clip -1"),
    (("--out", "x.png", "--scale", "5000"), 2, "is too large"),
    (("--out", "2dot.h5"), 2, "--out ends in '.h5'"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), BAD, ids=str)
def test_bad_requests(run_cli, files, tmp_path, arguments, code, message):
    result = run_cli("tsgen", "show", files["2dot"], *arguments)
    assert message in result.stderr
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused(run_cli, files, tmp_path):
    data = files["2dot"].read_bytes()
    (tmp_path / "half.h5").write_bytes(data[: len(data) // 2])
    for suffix in ("png", "gif"):
        result = run_cli("tsgen", "show", "half.h5", "--out", f"x.{suffix}")
        assert result.returncode == 3
        assert "damaged or truncated" in result.stderr


def test_frames_of_different_size_do_not_go_together(files, tmp_path):
    from tsgen.domains import DOMAINS

    tsgen.make(DOMAINS["2dot"].with_dials(size_px=80), 5, tmp_path / "large.h5", quiet=True)
    reels = []
    for path in (files["2dot"], tmp_path / "large.h5"):
        with tsgen.open_clips(path) as clip_set:
            reels.append(choose_shots(clip_set))
    for kind in KINDS.values():
        with pytest.raises(UsageError, match="64x64, 80x80 px do not fit"):
            kind.draw(reels, kind.look)


def test_every_suffix_has_a_default_kind():
    assert {suffix: kind_for(None, suffix).draw for suffix in (".png", ".gif", ".webp")} == {
        ".png": contact_sheet,
        ".gif": animation,
        ".webp": animation,
    }
