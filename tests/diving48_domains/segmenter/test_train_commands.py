"""``d48dom train`` and ``d48dom evaluate`` as a user calls them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from diving48_domains.segmenter.session import LabelSource, train_segmenter
from diving48_domains.segmenter.train import make_options
from diving48_domains.train_commands import evaluate, train
from tsgen.common.errors import UsageError

QUICK = ("--arch", "tiny", "--epochs", "4", "--batch-size", "2", "--device", "cpu", "--threads", "1")


def call(command, *arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(labels, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "segmenter"
    result = call(train, "--labels", labels, "--out", out, "--split", "source", "--val-share", "0.25", *QUICK)
    assert result.exit_code == 0, result.output
    return out, result


def test_train_leaves_a_whole_segmenter_and_nothing_else(trained):
    out, result = trained
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "segmenter.json"}
    card = json.loads((out / "segmenter.json").read_text())
    assert card["frames"]["train"] == 9 and card["frames"]["val"] == 3 and card["frames"]["split"] == "source"
    assert card["options"]["epochs"] == len(card["history"]) == 4
    assert "diver mask iou" in result.output and "9 labelled frames to train on, 3 to validate" in result.output


def test_a_finished_segmenter_is_not_trained_again(trained, labels):
    out, _ = trained
    before = (out / "segmenter.json").read_bytes()
    with pytest.raises(UsageError, match="holds a segmenter"):
        call(train, "--labels", labels, "--out", out, *QUICK)
    resumed = ("--labels", labels, "--out", out, "--resume", *QUICK, "--split", "source", "--val-share", "0.25")
    result = call(train, *resumed)
    assert "nothing to do" in result.output
    for other, message in (
        (("--epochs", "9"), r"other options \(epochs 4, not 9\)"),
        (("--seed", "1", "--learning-rate", "0.5"), r"\(seed 0, not 1; learning rate 0.001, not 0.5\)"),
        (("--val-share", "0.5"), "other labelled frames"),
    ):
        with pytest.raises(UsageError, match=message):
            call(train, *resumed, *other)
    assert (out / "segmenter.json").read_bytes() == before


def test_resume_after_an_interruption_gives_the_same_files(trained, labels, tmp_path):
    """The first two epochs in one process, the others by the command, against four in one go."""

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    out = tmp_path / "segmenter"
    source = LabelSource(labels, split="source", val_share=0.25)
    options = make_options("tiny", epochs=4, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(source, out, options, device="cpu", quiet=True, watch=stop)
    assert [path.name for path in out.iterdir()] == ["state.safetensors"]
    split = ("--split", "source", "--val-share", "0.25")
    with pytest.raises(UsageError, match="add --resume"):
        call(train, "--labels", labels, "--out", out, *split, *QUICK)
    with pytest.raises(UsageError, match="other labelled frames"):
        call(train, "--labels", labels, "--out", out, "--resume", *QUICK)
    call(train, "--labels", labels, "--out", out, "--resume", *split, *QUICK)
    for name in ("model.safetensors", "segmenter.json"):
        assert (out / name).read_bytes() == (trained[0] / name).read_bytes()
    assert not (out / "state.safetensors").exists()


def test_how_to_divide_is_checked_even_where_labels_are_divided_already(labels, tmp_path):
    for name in ("train", "val"):
        shutil.copytree(labels, tmp_path / "labels" / name)
    for wrong, message in (
        (("--split", "foo"), "unknown split 'foo'"),
        (("--val-share", "nan"), "0 < share < 1, got nan"),
    ):
        with pytest.raises(UsageError, match=message):
            call(train, "--labels", tmp_path / "labels", "--out", tmp_path / "out", *wrong, *QUICK)
    assert not (tmp_path / "out").exists()


def test_other_files_are_not_trained_over(labels, tmp_path):
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(UsageError, match="exists; add --resume"):
        call(train, "--labels", labels, "--out", tmp_path, *QUICK)


def test_evaluate_prints_and_draws(trained, labels, tmp_path):
    out, _ = trained
    arguments = ("--labels", labels, "--segmenter", out, "--device", "cpu", "--threads", "1")
    found = json.loads(call(evaluate, *arguments, "--score-threshold", "0.05", "--json").output)
    assert found["frames"] == found["divers"] == 12
    assert 0 <= found["best_tenth_box_iou"] <= 1 and found["score_threshold"] == 0.05
    worst = tmp_path / "worst.png"
    result = call(evaluate, *arguments, "--worst", worst, "--worst-count", "6")
    assert "false keeps per frame" in result.output
    picture = np.asarray(Image.open(worst))
    assert picture.shape[1] == 4 * 320
    assert (picture == (64, 255, 64)).all(axis=2).sum() > 500  # the labelled outlines
    with pytest.raises(UsageError, match="--force"):
        call(evaluate, *arguments, "--worst", worst)
    with pytest.raises(UsageError, match=r"ends in \.png"):
        call(evaluate, *arguments, "--worst", tmp_path / "worst.jpg")
    with pytest.raises(UsageError, match="--part val does not go with"):
        call(evaluate, *arguments, "--part", "val")
