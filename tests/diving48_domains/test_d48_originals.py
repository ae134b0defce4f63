"""What the authors published of Diving48: fetched from a Dataverse on loopback, verified, looked over, trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from dataverse_server import Dataverse, Stored

from diving48_domains.labels import write_label
from diving48_domains.originals import ORIGINALS, download_original, survey
from diving48_domains.originals_commands import download
from tsgen.common.errors import DataError, UsageError

LABELLED = ORIGINALS["labelled"].doi
DOMAINS = ORIGINALS["domains"].doi


@pytest.fixture
def labelled(tmp_path: Path) -> list[Stored]:
    """Three frames of two dives with one or two divers each, as ``write_label`` writes them, and a checkpoint."""
    source = tmp_path / "source"
    rng = np.random.default_rng(0)
    for stem, divers in (("abcdefghijk_00001_7", 1), ("abcdefghijk_00001_9", 2), ("lmnopqrstuv_00002_3", 1)):
        masks = np.zeros((divers, 48, 64), dtype=bool)
        for diver in range(divers):
            masks[diver, 5:25, 10 + 20 * diver : 20 + 20 * diver] = True
        write_label(source, stem, rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), masks)
    files = [Stored(str(path.relative_to(source)), path.read_bytes()) for path in sorted(source.rglob("*.*"))]
    return [*files, Stored("checkpoint.pt", b"\x80\x04pickle")]


def call(*arguments: object):
    result = CliRunner().invoke(download, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_labelled_frames_come_and_can_be_read(labelled, tmp_path):
    with Dataverse(labelled, doi=LABELLED) as server:
        result = call("--set", "labelled", "--out", tmp_path / "out", "--server", server.url)
    assert "labelled frames in .: 3, 4 divers" in result.stdout
    assert "not loaded here: checkpoint.pt" in result.stdout
    assert "d48dom train --labels" in result.stdout
    assert "licence as stated there: CC0 1.0" in result.stdout
    checked = call("--check", "--out", tmp_path / "out", "--json")
    assert json.loads(checked.stdout)["survey"]["labelled"] == [[".", 3, 4]]


def test_damage_is_seen_without_a_network_and_mended_with_one(labelled, tmp_path):
    with Dataverse(labelled, doi=LABELLED) as server:
        download_original("labelled", tmp_path / "out", server=server.url, quiet=True)
        mask = next((tmp_path / "out" / "masks").iterdir())
        mask.write_bytes(mask.read_bytes()[:-20])
        with pytest.raises(DataError, match=f"{mask.name} has changed"):
            call("--check", "--out", tmp_path / "out")
        assert download_original("labelled", tmp_path / "out", server=server.url, quiet=True).fetched == 1
    assert survey(tmp_path / "out").problems == ()


def test_an_image_without_its_mask_is_told(labelled, tmp_path):
    with Dataverse([file for file in labelled if "masks/lmn" not in file.path], doi=LABELLED) as server:
        download_original("labelled", tmp_path / "out", server=server.url, quiet=True)
    assert "without a partner" in survey(tmp_path / "out").problems[0]


def test_rendered_domains_are_counted_by_domain_and_source_video(tmp_path):
    names = [
        "S1/abcdefghijk_00001.mp4",
        "S2/abcdefghijk_00001.mp4",
        "T/abcdefghijk_00001.mp4",
        "lmnopqrstuv_00002_T.mp4",
    ]
    files = [Stored(name, name.encode()) for name in [*names, "more/other_1.mp4", "rest.zip", "readme.txt"]]
    with Dataverse(files, doi=DOMAINS) as server:
        listed = call("--set", "domains", "--server", server.url, "--list")
        summary = download_original("domains", tmp_path / "out", only="*T*", server=server.url, quiet=True)
        assert summary.files == 2
        checked = call("--check", "--out", tmp_path / "out").stdout
        assert checked.startswith("2 of the 7 files of the data set\n")
        download_original("domains", tmp_path / "out", server=server.url, quiet=True)
    assert [line.rpartition("  ")[2] for line in listed.stdout.splitlines()[1:]] == sorted(file.path for file in files)
    found = survey(tmp_path / "out")
    assert found.videos == {"?": 1, "S1": 1, "S2": 1, "T": 2}
    assert found.source_videos == 3
    assert found.packed == ("rest.zip",)
    assert "of the data set" not in call("--check", "--out", tmp_path / "out").stdout


def test_without_a_set_it_says_where_the_videos_come_from():
    told = call().stdout
    assert LABELLED in told and DOMAINS in told
    assert "never downloads, ships or passes on its frames" in told
    assert "svcl.ucsd.edu" in json.loads(call("--json").stdout)["videos"]


def test_wrong_requests(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'labelled'"):
        call("--set", "labeled", "--out", tmp_path / "x")
    with pytest.raises(UsageError, match="--out FOLDER"):
        call("--set", "labelled")
    with pytest.raises(DataError, match=r"no dataverse\.json"):
        call("--check", "--out", tmp_path)
    with (
        Dataverse([Stored("a.txt", b"a")], doi=LABELLED) as server,
        pytest.raises(UsageError, match=r"holds nothing.*a\.txt"),
    ):
        call("--set", "labelled", "--out", tmp_path / "x", "--only", "*.png", "--server", server.url)
