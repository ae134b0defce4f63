"""Contract 2: what is written is read back; damaged, foreign and inconsistent manifests are refused with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diving48_domains import manifest as manifest_module
from diving48_domains.manifest import ClipRecord, Journal, check_order, read_manifest, write_manifest
from tsgen.common.errors import DataError, UsageError


def a_record(number=0, **changes):
    values = {
        "clip_id": f"video_{number:05d}",
        "label": 3,
        "group": "video",
        "outcome": "written",
        "row": number,
        "source": "rgb/a.mp4",
        "source_sha256": "0" * 64,
        "num_frames": 4,
        "fps": 25.0,
        "frame_indices": (0, 1, 1, 3),
        "status": ("detected", "interpolated", "empty", "leaked"),
        "summary": {"mean_score": 0.9},
        "flags": ("short",),
        "outputs": {"T": "00" * 16},
    }
    return ClipRecord(**(values | changes))


LEFT_OUT = {"row": None, "frame_indices": (), "status": ()}


def test_what_is_written_is_read_back(tmp_path):
    clips = (a_record(0), a_record(1, outcome="failed", reason="absent", **LEFT_OUT))
    write_manifest(tmp_path / "m.jsonl", {"split": "test", "options": {"t": 0.4}}, clips)
    manifest = read_manifest(tmp_path / "m.jsonl")
    assert manifest.clips == clips
    assert manifest.header == {"split": "test", "options": {"t": 0.4}}
    assert manifest.written() == clips[:1]
    totals = manifest.totals()
    assert totals["clips written"] == totals["clips failed"] == totals["frames leaked"] == totals["frames empty"] == 1
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": "lost"}, "outcome 'lost'"),
        ({"status": ("detected",) * 3 + ("seen",)}, "seen"),
        ({"flags": ("odd",)}, "odd"),
        ({"status": ("empty",)}, "1 statuses for 4 frames"),
        ({"frame_indices": (0, 2, 1, 3)}, "must not fall"),
        ({"num_frames": 3}, r"leave 0\.\.2"),
        ({"row": None}, "has a row"),
        ({"outcome": "dropped"}, "has no row"),
        ({"label": -1}, "negative"),
    ],
)
def test_records_check_themselves(changes, message):
    with pytest.raises(DataError, match=message):
        a_record(**changes)


def change_line(path, number, change):
    lines = path.read_text().splitlines()
    value = json.loads(lines[number])
    change(value)
    lines[number] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (0, lambda line: line.update(format="x"), "no manifest"),
        (0, lambda line: line.update(version=7), "version 7"),
        (1, lambda line: line.pop("fps"), "line 2: a clip's line has the fields"),
        (1, lambda line: line.update(extra=1), "line 2: a clip's line has the fields"),
        (1, lambda line: line.update(label="3"), "line 2: .*'label' has a value of the wrong kind"),
        (1, lambda line: line.update(row=True), "'row' has a value of the wrong kind"),
        (1, lambda line: line.update(status="detected"), "'status' has a value of the wrong kind"),
        (2, lambda line: line.update(clip_id="video_00000"), "1 clips are listed twice"),
        (2, lambda line: line.update(outcome="lost"), "line 3: .*outcome"),
    ],
)
def test_changed_manifests_are_refused(tmp_path, number, change, message):
    path = tmp_path / "m.jsonl"
    write_manifest(path, {}, (a_record(0), a_record(1)))
    change_line(path, number, change)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "m.jsonl"
    with pytest.raises(DataError, match="no such file"):
        read_manifest(path)
    for text, message in (
        ("", "no manifest"),
        ("[1]\n", "no manifest"),
        ("{cut", "damaged"),
        ("x" * (5 << 20), "more"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_manifest(path)


def test_a_journal_remembers_what_was_flushed(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, {"t": 0.4})
    journal.add(a_record(0))
    journal.flush()
    journal.add(a_record(1))
    journal.close()
    again = Journal(path, {"t": 0.4})
    assert list(again.records) == ["video_00000"]
    assert again.records["video_00000"] == a_record(0)
    with pytest.raises(DataError, match="1 clips are unfinished, the first is video_00001"):
        check_order(again.records, ["video_00000", "video_00001"])
    again.close()


def test_a_torn_last_line_is_forgotten(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, {})
    journal.add(a_record(0))
    journal.flush()
    whole = path.read_bytes()
    journal.add(a_record(1))
    journal.flush()
    journal.close()
    path.write_bytes(path.read_bytes()[:-7])
    again = Journal(path, {})
    assert list(again.records) == ["video_00000"]
    again.close()
    assert path.read_bytes() == whole


def test_a_journal_of_other_settings_is_refused(tmp_path):
    Journal(tmp_path / "journal", {"t": 0.4}).close()
    with pytest.raises(UsageError, match="other settings"):
        Journal(tmp_path / "journal", {"t": 0.5})


def test_a_second_start_leaves_the_journal_of_the_running_one_alone(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    running = Journal(path, {})
    read = Path.read_bytes

    def while_it_writes(self):
        text = read(self)
        running.add(a_record(1))
        running.flush()
        return text

    running.add(a_record(0))
    running.flush()
    monkeypatch.setattr(Path, "read_bytes", while_it_writes)
    with pytest.raises(UsageError, match="another process works on"):
        Journal(path, {})
    monkeypatch.undo()
    running.add(a_record(2))
    running.flush()
    running.close()
    assert len(path.read_text().splitlines()) == 1 + len(running.records)


def test_a_journal_that_is_removed_before_it_is_locked(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    real = manifest_module.locked

    def after_the_other_has_ended(given):
        given.unlink()
        return real(given)

    monkeypatch.setattr(manifest_module, "locked", after_the_other_has_ended)
    with pytest.raises(UsageError, match=r"has just finished with .*run the command again"):
        Journal(path, {})
    assert not path.exists()


def test_a_journal_begun_anew_keeps_its_lock(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, {})
    journal.add(a_record(0))
    journal.flush()
    journal.begin_anew()
    with pytest.raises(UsageError, match="another process works on"):
        Journal(path, {})
    journal.add(a_record(1))
    journal.flush()
    journal.close()
    again = Journal(path, {})
    assert list(again.records) == ["video_00001"]
    again.close()
