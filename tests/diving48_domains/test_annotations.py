"""V2 lists in and out, and what a folder must hold."""

from __future__ import annotations

import json

import pytest

from diving48_domains.annotations import ClipEntry, open_folder, read_list, source_id, write_list, write_vocab
from tsgen.common.errors import DataError, UsageError

ENTRIES = (ClipEntry("-8Vxl6mhCU_00001", 0, 0, 110), ClipEntry("AB_12_xyz-9_00002", 47, 0, 25))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "diving48"
    (root / "rgb").mkdir(parents=True)
    write_list(root / "Diving48_V2_train.json", ENTRIES)
    (root / "rgb" / f"{ENTRIES[0].clip_id}.mp4").touch()
    return root


def test_round_trip_in_the_published_form(folder):
    path = folder / "Diving48_V2_train.json"
    assert read_list(path) == ENTRIES
    assert json.loads(path.read_text())[0] == {
        "vid_name": "-8Vxl6mhCU_00001",
        "label": 0,
        "start_frame": 0,
        "end_frame": 110,
    }


def test_the_group_is_the_source_video():
    assert [source_id(entry.clip_id) for entry in ENTRIES] == ["-8Vxl6mhCU", "AB_12_xyz-9"]
    assert source_id("plain") == "plain"


GOOD = {"vid_name": "a_1", "label": 3, "start_frame": 0, "end_frame": 9}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "non-empty JSON list of entries, got a list of 0"),
        ({"vid_name": "a"}, "got an object of 1"),
        ([3], "entry 0 is 3"),
        ([GOOD, {**GOOD, "vid_name": 5}], "entry 1: vid_name must be text, got 5"),
        ([{**GOOD, "label": 48}], r"entry 0: a_1: label 48 is outside 0\.\.47"),
        ([{**GOOD, "label": -1}], "label -1 is outside"),
        ([{**GOOD, "label": True}], "label must be a whole number, got True"),
        ([{**GOOD, "label": "3"}], "label must be a whole number, got '3'"),
        ([{**GOOD, "start_frame": 12}], "frames 12 to 9 are no range"),
        ([{**GOOD, "vid_name": "../../etc/passwd"}], "allowed are 1 to 128 letters"),
        ([{**GOOD, "vid_name": ""}], "allowed are 1 to 128 letters"),
        ([GOOD, {**GOOD, "vid_name": "b_1"}, GOOD], "entries 0 and 2 are both 'a_1'"),
    ],
)
def test_a_bad_list_is_refused_by_name(tmp_path, rows, message):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=message) as caught:
        read_list(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '[{"label": NaN'])
def test_what_is_no_json_is_refused(tmp_path, text):
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is not JSON"):
        read_list(path)


def test_missing_and_empty_lists(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_list(tmp_path / "no.json")
    with pytest.raises(UsageError, match="at least one entry"):
        write_list(tmp_path / "out.json", [])


def test_a_folder_finds_lists_and_videos(folder):
    write_list(folder / "mini_shift.json", ENTRIES[:1])
    write_vocab(folder / "Diving48_vocab.json")
    (folder / "rgb" / f"{ENTRIES[1].clip_id}.mkv").touch()
    found = open_folder(folder)
    assert found.splits == ("train", "shift")
    assert found.entries("train") == ENTRIES
    assert [found.video(entry.clip_id).suffix for entry in ENTRIES] == [".mp4", ".mkv"]
    with pytest.raises(UsageError, match=r"unknown split 'shfit'. Did you mean 'shift'\?"):
        found.entries("shfit")
    with pytest.raises(DataError, match=r"no video of gone_1 \(.mp4 .mkv .webm .avi\)"):
        found.video("gone_1")
    with pytest.raises(DataError, match="allowed are 1 to 128 letters"):
        found.video("../Diving48_V2_train")


def test_wrong_folders_say_what_they_are(folder, tmp_path):
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=r"lacks .*rgb/; it is empty"):
        open_folder(folder / "empty")
    with pytest.raises(UsageError, match=rf"did you mean {folder}\?"):
        open_folder(folder / "rgb")
    with pytest.raises(UsageError, match=rf"did you mean {folder}\?"):
        open_folder(tmp_path)
    labels = tmp_path / "labels"
    (labels / "images").mkdir(parents=True)
    (labels / "masks").mkdir()
    with pytest.raises(UsageError, match="d48dom train --labels"):
        open_folder(labels)
    with pytest.raises(UsageError, match="is not a directory"):
        open_folder(folder / "Diving48_V2_train.json")
    (folder / "rgb" / f"{ENTRIES[0].clip_id}.mp4").unlink()
    with pytest.raises(UsageError, match="holds no video"):
        open_folder(folder)


def test_another_vocabulary_is_refused(folder):
    write_vocab(folder / "Diving48_vocab.json")
    rows = json.loads((folder / "Diving48_vocab.json").read_text())
    rows[3], rows[4] = rows[4], rows[3]
    (folder / "Diving48_vocab.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"class 3 is \['Back', '15som', 'NoTwis', 'TUCK'\]"):
        open_folder(folder)
    (folder / "Diving48_vocab.json").write_text(json.dumps(rows[:40]))
    with pytest.raises(DataError, match="a list of 48 classes, got a list of 40"):
        open_folder(folder)
