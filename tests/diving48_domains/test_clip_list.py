"""The manifest of other videos: two forms, one content; every problem with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.config import VIDEO_TARGETS
from diving48_domains import clip_list
from diving48_domains.clip_list import read_clip_list
from diving48_domains.domains import DOMAINS
from tsgen.common.errors import DataError, UsageError

HEADER = "id,path,label,split"
ROWS = """a1,videos/a1.avi,walk,train
a2,videos/a2.avi,run,train
a3,videos/a3.avi,run,val
b1,/elsewhere/b1.avi,walk,hmdb
b2,../b2.avi,"run, fast",ucf"""


def written(tmp_path, text, name="clips.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(tmp_path, text, name="clips.csv", classes=None):
    with pytest.raises(DataError) as caught:
        read_clip_list(written(tmp_path, text, name), classes)
    head, *lines = str(caught.value).split("\n  ")
    assert head == f"{tmp_path / name} cannot be used:"
    return lines


def test_rows_become_splits(tmp_path):
    found = read_clip_list(written(tmp_path, f"{HEADER}\n{ROWS}\n"))
    assert found.class_names == ("run", "run, fast", "walk")
    assert list(found.splits) == ["train", "val", "hmdb", "ucf"] and found.targets == ("hmdb", "ucf")
    assert [clip.clip_id for clip in found.splits["train"]] == ["a1", "a2"]
    assert found.splits["train"][0].path == tmp_path / "videos" / "a1.avi"
    assert found.splits["train"][0].origin == "videos/a1.avi"
    assert (str(found.splits["hmdb"][0].path), found.splits["hmdb"][0].origin) == ("/elsewhere/b1.avi", "b1.avi")
    assert found.splits["ucf"][0].path == tmp_path.parent / "b2.avi"
    assert not found.has_sources


def test_both_forms_say_the_same(tmp_path):
    table = read_clip_list(
        written(tmp_path, "\ufeffsplit, label ,path,id,source\r\ntrain, a ,x,1,s\r\n\r\nt,b,y,2,s\r\n")
    )
    rows = [
        {"id": "1", "path": "x", "label": "a", "split": "train", "source": "s"},
        {"id": "2", "path": "y", "label": "b", "split": "t", "source": "s"},
    ]
    lines = read_clip_list(written(tmp_path, "\ufeff" + "\n\n".join(map(json.dumps, rows)), "clips.jsonl"))
    for name in ("train", "t"):
        one, two = (found.splits[name][0] for found in (table, lines))
        assert (one.clip_id, one.label, one.path, one.source) == (two.clip_id, two.label, two.path, two.source)
    assert table.has_sources and lines.has_sources
    assert table.class_names == lines.class_names == ("a", "b")
    assert table.rows_sha256("t") == lines.rows_sha256("t") != table.rows_sha256("train")


def test_classes_can_be_given(tmp_path):
    text = f"{HEADER}\na,x,walk,train\nb,y,run,t\n"
    assert read_clip_list(written(tmp_path, text), ["walk", "run", "jump"]).class_names == ("walk", "run", "jump")
    assert problems(tmp_path, text, classes=["walking", "run"]) == [
        "line 2: label 'walk' is not among the classes given; did you mean 'walking'?"
    ]
    for classes, words in ((["walk"], "two or more"), (["a", "a"], "names a twice"), (["a", ""], "two or more")):
        with pytest.raises(UsageError, match=words):
            read_clip_list(written(tmp_path, text), classes)


GOOD = "a,x,walk,train\nb,y,run,t\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,path,class,split\n", "line 1: no field 'label'; unknown field 'class'; allowed: id, path, label, split"),
        ("id;path;label;split\n", "line 1: no field 'id', 'path', 'label', 'split'; unknown field 'id;path;label"),
        ("id,id,path,label,split\n", "line 1: a field is named twice"),
        ("", "no clip"),
        (f"{HEADER}\n", "no clip"),
        (f"{HEADER}\n{GOOD}c,z,walk\n", "line 4: 3 fields, the header has 4"),
        (f"{HEADER}\n{GOOD}c,z, ,t\n", "line 4: label is empty"),
        (f"{HEADER}\n{GOOD}c,z\x07,run,t\n", "line 4: path 'z\\x07' holds characters that cannot be printed"),
        (f"{HEADER}\n{GOOD}{'c' * 129},z,run,t\n", "line 4: id has more than 128 bytes"),
        (f"{HEADER}\n{GOOD}../c,z,run,t\n", "line 4: id '../c': an id is a name"),
        (f"{HEADER}\n{GOOD}.c,z,run,t\n", "line 4: id '.c': an id is a name"),
        (f"{HEADER}\n{GOOD}b,z,run,t\n", "line 4: the id of line 3 again"),
        (f"{HEADER}\n{GOOD}c,./q/../y,run,t\n", "line 4: the path of line 3 again"),
        (f"{HEADER}\n{GOOD}c,x,run,t\n", "line 4: the path of line 2, from train into t: a leak"),
        (f"{HEADER}\n{GOOD}a,z,run,val\n", "line 4: the id of line 2, from train into val: a leak"),
        (f"{HEADER}\n{GOOD}c,z,run,V\n", "line 4: split 'V': a name has letters"),
        (f"{HEADER}\n{GOOD}c,z,run,Train\n", "line 4: split 'Train' beside 'train': they differ in case only"),
        (f"{HEADER}\n{GOOD}c,z,run,T\n", "line 4: split 'T' beside 't'"),
        (f"{HEADER}\n{GOOD}c,z,run,../t\n", "line 4: split '../t': a name has letters"),
        (f"{HEADER}\n{GOOD}c,z,run,t-00000-of-00002\n", "nor that of a shard"),
        (f"{HEADER}\n{GOOD}c,z,Run,t\n", "line 4: label 'Run' beside 'run': they differ in case only"),
        (f"{HEADER}\nb,y,run,t\na,x,walk,val\n", "no clip of split 'train'"),
        (f"{HEADER}\na,x,walk,train\nb,y,run,val\n", "no split beside 'train' and 'val'"),
        (f"{HEADER}\na,x,run,train\nb,y,run,t\n", "one class, 'run'; two or more are needed"),
        (f'{HEADER}\n{GOOD}"c"d,z,run,t\n', "line 4: ',' expected after '\"'"),
    ],
)
def test_a_problem_is_told_with_its_line(tmp_path, text, said):
    told = problems(tmp_path, text)
    assert len(told) == 1 and said in told[0], told


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "c", "path": "z", "label": 3, "split": "t"}', "line 3: label is 3, not a text"),
        ('{"id": "c", "path": "z", "label": "run"}', "line 3: no field 'split'"),
        ('["c", "z", "run", "t"]', "line 3: not an object"),
        ('{"id": "c", "path": "z", "label": "run", "label": "walk", "split": "t"}', "line 3: a field is named twice"),
        ('{"id": {"a": "c"}, "path": "z", "label": "run", "split": "t"}', "line 3: id is (('a', 'c'),), not a text"),
        ('{"id": "c"', "line 3: not JSON"),
        ("[" * 100_000, "line 3: not JSON"),
        ('{"id": "c", "path": "\\ud800", "label": "run", "split": "t"}', "line 3: path '\\ud800' holds characters"),
        ('{"id": "c", "path": "z", "label": "run", "split": "t", "source": "s"}', "1 of 3 clips have a source"),
    ],
)
def test_a_problem_of_json_lines(tmp_path, line, said):
    good = [json.dumps(dict(zip(HEADER.split(","), row.split(","), strict=True))) for row in GOOD.splitlines()]
    told = problems(tmp_path, "\n".join([*good, line]), "clips.jsonl")
    assert len(told) == 1 and said in told[0], told


def test_all_problems_are_told_but_not_without_end(tmp_path, monkeypatch):
    bad = "".join(f"c{number},,,t\n" for number in range(40))
    told = problems(tmp_path, f"{HEADER}\n{GOOD}{bad}")
    assert len(told) == clip_list.SHOWN + 1 and told[-1] == "and 30 more"
    assert told[:2] == ["line 4: path is empty", "line 4: label is empty"]
    monkeypatch.setattr(clip_list, "MAX_CLIPS", 2)
    assert problems(tmp_path, f"{HEADER}\n{GOOD}c,z,run,t\n") == ["line 4: more than 2 clips"]
    monkeypatch.setattr(clip_list, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="a manifest has at most 10"):
        read_clip_list(written(tmp_path, f"{HEADER}\n{GOOD}"))


def test_targets_may_share_clips(tmp_path):
    found = read_clip_list(written(tmp_path, f"{HEADER}\n{GOOD}b,y,run,hard\n"))
    assert found.splits["t"][0].path == found.splits["hard"][0].path


def test_the_paper_s_domains_are_versions_of_one_list(tmp_path):
    """rac-bench sets them against each other clip by clip, and would refuse the stores after hours of packing."""
    assert clip_list.ONE_LIST == tuple(DOMAINS) == VIDEO_TARGETS
    trained = f"{HEADER}\na,x,walk,train\nb,y,run,O\nc,z,walk,O\n"
    versions = read_clip_list(written(tmp_path, trained + "b,Cy,run,C\nc,Cz,walk,C\nd,w,run,other\n"))
    assert versions.targets == ("O", "C", "other")
    for rows in ("d,w,run,C\n", "b,Cy,run,C\n", "c,Cz,walk,C\nb,Cy,run,C\n"):
        (told,) = problems(tmp_path, trained + rows)
        assert told.startswith("line 5: split 'C' has other ids than 'O', or in another order: O, C, S1, S2, T")
        assert "name targets of other clips in another way, like C_clips" in told


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(UsageError, match=r"unknown form of a manifest '\.cvs'. Did you mean '\.csv'"):
        read_clip_list(tmp_path / "clips.cvs")
    with pytest.raises(UsageError, match="no such file"):
        read_clip_list(tmp_path / "clips.csv")
    with pytest.raises(DataError, match="line 3: not UTF-8"):
        read_clip_list(written(tmp_path, f"{HEADER}\na,x,walk,train\n".encode() + "b,ü,run,t".encode("latin-1")))


def test_the_example_of_the_docs_can_be_read(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "other_videos.md").read_text()
    found = read_clip_list(written(tmp_path, page.partition("```csv\n")[2].partition("```")[0]))
    assert found.targets == ("ucf", "hmdb") and found.has_sources
    assert found.class_names == ("golf", "ride bike")
    assert {name: len(clips) for name, clips in found.splits.items()} == dict.fromkeys(found.splits, 2)
