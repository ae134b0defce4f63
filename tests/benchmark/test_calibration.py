"""The measures of texture bias against a bias that is known."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from scipy.stats import linregress, t

from benchmark import calibration
from benchmark.calibration import MEASURES, CalibrationRow, calibrate, record, trends_of
from benchmark.calibration_config import CalibrationConfig
from benchmark.calibration_table import figure_of, markdown, render_calibration
from benchmark.config import VIDEO_TARGETS
from benchmark.statistics import Estimate
from tests.benchmark.frame_stores import ids_of, write_store
from tsgen.common.errors import UsageError

OVERRIDES = {"max_epochs": 4, "patience": 4, "batch_size": 6, "learning_rate": 0.02, "seeds": (1,)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """At rho 0 the classes are seen in every domain but T, at rho 1 in T as well."""
    made = {}
    for rho in (0.0, 1.0):
        place = tmp_path_factory.mktemp(f"rho{rho:g}")
        for name, n in (("train", 36), ("val", 12)):
            write_store(place / f"{name}.h5", ids_of(name, n))
        for name in VIDEO_TARGETS:
            write_store(place / "test" / f"{name}.h5", ids_of("o", 12), textured=name == "T" and rho == 0)
        for name in ("S1", "S2", "T"):
            textured = name == "T" and rho == 0
            write_store(place / "predicted" / f"{name}.h5", ids_of("o", 12), textured=textured)
        write_store(place / "swap" / "O.h5", ids_of("w", 12), textured=rho == 1)
        made[f"mini:train=36,rho={rho:g}"] = place
    return made


@pytest.fixture(scope="module")
def calibrated(folders, tmp_path_factory):
    config = CalibrationConfig((0.0, 1.0), "mini:train=36", shrink=32)
    out = tmp_path_factory.mktemp("out") / "calibration"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "data_folder", lambda data, say: folders[data])
        rows = calibrate(config, out, overrides=OVERRIDES, device="cpu", quiet=True)
        again = calibrate(config, out, overrides=OVERRIDES, device="cpu", quiet=True, resume=True)
        with pytest.raises(UsageError, match="continue the same with --resume"):
            calibrate(config, out, overrides=OVERRIDES, device="cpu", quiet=True)
        with pytest.raises(UsageError, match="holds a calibration"):
            calibrate(config, out, overrides={**OVERRIDES, "max_epochs": 5}, device="cpu", quiet=True, resume=True)
    assert [row.to_json() for row in again] == [row.to_json() for row in rows]
    return config, out, rows


def test_every_family_at_every_rho(calibrated):
    _, out, rows = calibrated
    assert [(row.title, row.rho) for row in rows] == [
        (title, rho) for title in ("3D CNN", "ConvLSTM", "TimeSformer") for rho in (0.0, 1.0)
    ]
    assert (out / "rho-0" / "3dcnn-4l" / "result.json").is_file()
    for row in rows:
        of = {domain: one.value for domain, one in row.accuracies.items()}
        for over, under in MEASURES:
            one = row.ratios[over, under]
            assert one is None if of[under] == 0 else one.value == pytest.approx(of[over] / of[under])


def test_the_table_and_the_record_say_the_same(calibrated):
    config, out, rows = calibrated
    found = record(config, OVERRIDES, rows, out)
    assert json.loads(json.dumps(found)) == json.loads((out / "result.json").read_text())
    again = [CalibrationRow.from_json(row) for row in found["rows"]]
    assert again == rows and trends_of(again) == trends_of(rows)
    text = render_calibration(rows, trends_of(rows))
    first = rows[0].accuracies["V"]
    assert f"3D CNN          0{first.value:>6.2f} [{first.low:.2f}, {first.high:.2f}]".split() == text.split("\n")[2].split()[:6]  # fmt: skip  # noqa: E501
    assert markdown(rows, trends_of(rows)).count("\n| 3D CNN |") == 2


def test_the_figure_has_a_drawing_for_each_measure(calibrated):
    figure = figure_of(calibrated[2])
    assert [drawing.title for drawing in figure.drawings] == list(MEASURES.values())
    assert [title for _, title in figure.legend] == ["3D CNN", "ConvLSTM", "TimeSformer"]


RHOS = (0.0, 0.25, 0.5, 0.75, 1.0)


def rows_of(ratios, rhos=RHOS):
    """One family whose every measure has these ratios, over an accuracy of a half."""
    known = [None if ratio is None else Estimate(ratio, ratio / 2, ratio * 2, "clips") for ratio in ratios]
    half = dict.fromkeys({domain for pair in MEASURES for domain in pair}, Estimate(0.5, 0.4, 0.6, "clips"))
    return [
        CalibrationRow("X", "m", 1, rho, (1,), half, dict.fromkeys(MEASURES, one))
        for rho, one in zip(rhos, known, strict=True)
    ]


@pytest.mark.parametrize(("slope", "verdict"), [(0.7, "rises"), (-0.7, "falls"), (0.05, "no trend seen")])
def test_trends(slope, verdict):
    ratios = [1 + slope * rho + off for rho, off in zip(RHOS, (0.05, -0.1, 0.02, 0.08, -0.05), strict=True)]
    expected = linregress(RHOS, ratios)
    trends = trends_of(rows_of(ratios))
    assert len(trends) == len(MEASURES)
    for trend in trends:
        assert trend.slope == pytest.approx(expected.slope) and trend.verdict == verdict
        assert trend.high - trend.slope == pytest.approx(t.ppf(0.975, 3) * expected.stderr)


@pytest.mark.parametrize("training", [0.0, 0.05, 0.1])
def test_a_trend_is_seldom_called_where_there_is_none(training):
    """Drawn outcomes whose true ratio is the same at every rho, also where trainings differ: about one in twenty."""
    rng = np.random.default_rng(0)
    called, repetitions = 0, 400
    for _ in range(repetitions):
        ratios = []
        for _ in RHOS:
            V, T = 0.6 + training * rng.normal(), 0.4 + training * rng.normal()
            ratios.append(max(rng.binomial(240, T), 1) / rng.binomial(240, V))
        called += trends_of(rows_of(ratios))[0].verdict != "no trend seen"
    assert 0.025 * repetitions <= called <= 0.085 * repetitions, called


def test_a_ratio_that_ends_at_nothing_falls():
    """All owed to the texture: the strongest bias there is must not be lost on the way."""
    trend = trends_of(rows_of([1.01, 0.94, 0.85, 0.61, 0.0]))[0]
    assert trend.points == 5 and trend.verdict == "falls"


def test_no_trend_of_two_points():
    assert not trends_of(rows_of([1.0, 2.0], rhos=(0.0, 1.0)))
    rows = rows_of([1.0, None, 2.0, None, None])
    assert not trends_of(rows) and "-" in render_calibration(with_accuracy(rows), [])
    assert "gains" not in render_calibration(with_accuracy(rows), [])
    assert "gained" not in markdown(with_accuracy(rows), [])


def test_the_figure_draws_values_where_they_are():
    figure = figure_of(with_accuracy(rows_of([1.0, 2.5, 5.0, 5.0, 5.0])))
    heights = re.findall(r'cy="([0-9.]+)"', figure.drawings[0].body)
    assert len(set(heights)) == 3, heights


def with_accuracy(rows):
    return [dataclasses.replace(row, accuracies={"V": Estimate(0.5, 0.4, 0.6, "clips")}) for row in rows]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rhos": (0.5,)}, "two or more, rising"),
        ({"rhos": (1.0, 0.0)}, "two or more, rising"),
        ({"recipe": "mini:rho=0.5"}, "leave rho out"),
        ({"recipe": "folder"}, "give mini: or shapes:"),
        ({"shrink": 0}, "shrink 0 is not possible"),
        ({"rhos": (0.0, 0.5, 2.0)}, "allowed: 0 to 1"),
        ({"rhos": (0.0, math.nan)}, "allowed: 0 to 1"),
        ({"rhos": (0.1234567, 0.1234568)}, "are not told apart by six digits"),
    ],
)
def test_what_cannot_be_asked(change, words):
    with pytest.raises(UsageError, match=words):
        CalibrationConfig(**change)


def test_the_command_says_what_is_wrong(run_cli, tmp_path):
    for arguments, words in ((("--rhos", "a,b"), "are not numbers"), (("--data", "mini:rho=1"), "leave rho out")):
        done = run_cli("rac-bench", "calibrate", *arguments, "--out", str(tmp_path / "out"))
        assert done.returncode == 2 and words in done.stderr and not (tmp_path / "out").exists()


def test_a_family_that_learned_nothing_takes_no_part():
    rows = rows_of([5.0, 1.0, 2.0, 3.0, 4.0])
    learned = [dataclasses.replace(row, valid=row.rho > 0) for row in rows]
    assert trends_of(learned)[0].points == 4
    assert trends_of(learned)[0].slope == pytest.approx(linregress(RHOS[1:], [1, 2, 3, 4]).slope)
    text = render_calibration(with_accuracy(learned), trends_of(learned))
    assert text.count("! 0.50 [0.40, 0.60]") == 1
    assert figure_of(learned).drawings[0].body.count("<circle") == figure_of(rows).drawings[0].body.count("<circle") - 1
