"""``tsgen audit`` and ``tsgen states`` as a user meets them."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner
from PIL import Image

import tsgen
from tsgen.audit_commands import audit, states
from tsgen.common.errors import DataError, UsageError

pytest.importorskip("sklearn")


def run(command: click.Command, *arguments: object) -> tuple[int, str]:
    """Exit code and output; errors of ours come out as they are."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.setattr("tsgen.audit.reach.TREES", 25)
    path = tmp_path / "ts.h5"
    tsgen.make("5dot", 300, path, quiet=True)
    return path


def test_text_picture_and_exit_codes(clips, tmp_path):
    picture = tmp_path / "ts.png"
    code, output = run(audit, clips, "--out", picture)
    assert code == 0, "leaks are told, not punished"
    assert "set of places" in output
    assert f"wrote {picture}" in output
    with Image.open(picture) as image:
        assert image.width > 800
        assert len(image.getcolors(1 << 20)) > 50
    assert run(audit, clips, "--fail-on", "any")[0] == 1
    assert run(audit, clips, "--fail-on", "promises")[0] == 0, "the profile paper makes none"
    with pytest.raises(UsageError, match="--force"):
        run(audit, clips, "--out", picture)


def test_json(clips):
    code, output = run(audit, clips, "--json", "--no-reach")
    told = json.loads(output)
    assert code == 0
    assert told["files"][0]["reach"] == "not asked for"
    assert [row["clips"] for row in told["files"][0]["classes"]] == [60] * 5


def test_refusals(clips, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="Did you mean 'static'"):
        run(audit, clips, "--fail-on", "statc")
    with pytest.raises(UsageError, match="needs the classifiers"):
        run(audit, clips, "--fail-on", "any", "--no-reach")
    with pytest.raises(UsageError, match="0 clips to fit on"):
        run(audit, clips, "--clips", 0)
    with pytest.raises(DataError, match="no such file"):
        run(audit, tmp_path / "absent.h5")
    text = tmp_path / "text.h5"
    text.write_text("just text")
    with pytest.raises(DataError, match="not an HDF5 file"):
        run(audit, clips, text, "--no-reach")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"recur-attend-convolve\[audit\]"):
        run(audit, clips)


def test_states_of_small_classes(monkeypatch):
    from tsgen.trajectories import TRAJECTORIES

    for name in ("line", "arc"):  # their enumeration takes seconds
        monkeypatch.delitem(TRAJECTORIES, name)
    code, output = run(states, "--domain", "2dot", "--sizes", 2400, 600)
    assert code == 0
    assert "31,360" in output
    assert "7,200" in output
    told = json.loads(run(states, "--domain", "2dot", "--sizes", 2400, 600, "--json")[1])
    assert round(told["classes"][1]["shared_linear"]) == 22
    with pytest.raises(UsageError, match="Did you mean '2dot'"):
        run(states, "--domain", "2dt")
