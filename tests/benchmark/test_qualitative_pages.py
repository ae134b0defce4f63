"""The pictures, pages and the command of the qualitative tables."""

from __future__ import annotations

import base64
import html.parser
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmark.qualitative.answers import read_answered
from benchmark.qualitative.frames import ClipStores, evenly_spaced
from benchmark.qualitative.page import class_page
from benchmark.qualitative.picture import COLOURS, class_picture
from benchmark.qualitative.tables import class_tables
from benchmark.qualitative_commands import qualitative
from diving48_domains.framestore import open_store
from tests.benchmark.qualitative_samples import IDS, LABELS, NAMES, T, write_run, write_stores, write_study
from tsgen.common.errors import DataError, UsageError

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\x07\u202e"


class Page(html.parser.HTMLParser):
    """Elements that do not close in order, every element, and the text that is shown."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.found, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(tag)

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("pages")
    write_stores(place / "data")
    write_study(place / "study", stores=place / "data", seeds=(1,))
    return place


@pytest.fixture(scope="module")
def answered(place):
    return read_answered([place / "study"])


def call(*arguments, code=0):
    done = CliRunner().invoke(qualitative, [str(one) for one in arguments])
    if code:
        assert getattr(done.exception, "exit_code", None) == code, done.output
        return str(done.exception)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_frames_are_those_of_the_clips(place, answered):
    tables = class_tables(answered, 12)
    clips = ClipStores(place / "data", answered).read(tables.clip_ids, 4)
    assert [list(clip.frames) for clip in clips] == [["O", "S1", "S2", "T"]] * 5
    for clip in clips:
        row = IDS.index(clip.name)
        assert LABELS[row] == 12 and clip.indices == (4, 12, 20, 28)
        assert [int(frames[0, 1, 1, 0]) for frames in clip.frames.values()] == [row, 60 + row, 90 + row, 120 + row]
        assert all(frames[:, 0, 0, 0].tolist() == [201, 203, 205, 207] for frames in clip.frames.values())


@pytest.mark.parametrize("num_frames, count, expected", [(32, 4, [4, 12, 20, 28]), (8, 1, [4]), (3, 4, [0, 1, 2])])
def test_frames_are_evenly_spaced(num_frames, count, expected):
    assert evenly_spaced(num_frames, count).tolist() == expected


def test_stores_of_other_or_damaged_clips(place, answered, tmp_path):
    write_stores(tmp_path / "other", labels=(12, *LABELS[1:]))
    with pytest.raises(UsageError, match="holds other clips of O, S1, S2, T than the models answered"):
        ClipStores(tmp_path / "other", answered)
    with pytest.raises(UsageError, match="is not a folder"):
        ClipStores(tmp_path / "nowhere", answered)
    with pytest.raises(UsageError, match="holds no O, S1, S2, T"):
        ClipStores(tmp_path, answered)
    stores = ClipStores(place / "data", answered)
    with pytest.raises(DataError, match="clip 7 is missing in the stores of O, S1, S2, T"):
        stores.read([7])
    write_stores(tmp_path / "damaged")
    path = tmp_path / "damaged" / "test" / "S2.h5"
    offset = path.read_bytes().find(open_store(path).clip(0).tobytes())
    with path.open("rb+") as file:
        file.seek(offset + 5)
        file.write(b"\xff")
    first = class_tables(answered, 34, clips=9).clip_ids
    with pytest.raises(DataError, match=f"clip {IDS[0]} of S2 is damaged"):
        ClipStores(tmp_path / "damaged", answered).read(first)


def test_the_picture_shows_every_clip_and_answer(place, answered):
    tables = class_tables(answered, 34)
    clips = ClipStores(place / "data", answered).read(tables.clip_ids)
    image = class_picture(tables, clips)
    pixels = np.asarray(image)
    for clip in clips:
        row = IDS.index(clip.name)
        for grey in (row, 60 + row, 90 + row, 120 + row):
            flat = (pixels == grey).all(axis=-1).sum()
            assert flat >= 4 * 112 * 112 - 4 * 7 * 7, (
                clip.name,
                grey,
            )  # four frames, each 7 times as wide as the stored one, but for its corner
    for colour in COLOURS.values():
        assert (pixels == colour).all(axis=-1).any()
    fewer = class_picture(class_tables(answered, 34, clips=2), clips[:2])
    assert fewer.width == image.width and fewer.height < image.height


@pytest.mark.parametrize("shape", [(T, 224, 300, 3), (T, 30, 200, 3), (T, 9, 4, 3)])
def test_frames_of_any_shape(answered, shape):
    from benchmark.qualitative.frames import ClipFrames

    frames = {domain: np.zeros(shape, np.uint8)[:4] for domain in ("S1", "T")}
    clip = ClipFrames("a" * 500 + "\n", (0, 1, 2, 3), frames)
    image = class_picture(class_tables(answered, 34, clips=1), [clip])
    assert 900 < image.width < 1200


def test_the_command_writes_a_whole_page(place, tmp_path):
    out = tmp_path / "new" / "pages"
    shown = call(place / "study", "--class", 34, "--data", place / "data", "--out", out)
    assert "Class 34, Inward_25som_NoTwis_TUCK: 5 of 9 test clips, seed 0" in shown
    assert sorted(path.name for path in out.iterdir()) == ["class-34.html", "class-34.png"]
    text = (out / "class-34.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.problems == [] and page.open == []
    (image,) = [attrs for tag, attrs in page.found if tag == "img"]
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(data) == (out / "class-34.png").read_bytes()
    with Image.open(out / "class-34.png") as picture:
        assert picture.size[0] > 1000
    (policy,) = [attrs["content"] for _, attrs in page.found if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; style-src")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    words = " ".join(page.words)
    tables = class_tables(read_answered([place / "study"]), 34)
    for row in tables.rows:
        count = row.wrong.attributes
        assert f"{count.correct}/{count.total} = {count.share:.2f}" in words
        assert f"{count.correct}/{count.total} = {count.share:.2f}" in shown
    assert "the paper's own models of experiment c" in words
    assert "[34, 12, 34, 47, 20]" in words and "5/16" in words and "7/16 by the attributes" in words
    refused = call(place / "study", "--class", 34, "--out", out, code=2)
    assert "exists; give another name or add --force" in refused
    call(place / "study", "--class", 34, "--out", out, "--force")
    plain = (out / "class-34.html").read_text(encoding="utf-8")
    assert "<img" not in plain and "img-src" not in plain
    assert not (out / "class-34.png").exists(), "a picture of other clips would stay"


def test_all_classes_and_their_index(place, tmp_path):
    shown = call(place / "study", "--class", "all", "--out", tmp_path / "all", "--data", place / "data", "--json")
    assert [each["class"] for each in json.loads(shown)["classes"]] == [3, 12, 34, 45]
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert names == {"index.html"} | {f"class-{n}.{kind}" for n in (3, 12, 34, 45) for kind in ("html", "png")}
    for name in names:
        if name.endswith(".html"):
            page = Page((tmp_path / "all" / name).read_text(encoding="utf-8"))
            links = [attrs["href"] for tag, attrs in page.found if tag == "a" and not attrs["href"].startswith("#")]
            assert page.problems == [] and links and set(links) <= names
    assert "What the paper printed" not in (tmp_path / "all" / "class-3.html").read_text(encoding="utf-8")


def test_the_terminal_and_the_json_say_the_same(place):
    shown = call(place / "study", "--seed", 4)
    record = json.loads(call(place / "study", "--seed", 4, "--json"))
    (one,) = record["classes"]
    assert f"Class {one['class']}, {NAMES[one['class']]}" in shown
    for model in one["models"]:
        wrong = model["misclassifications"]
        assert f"{wrong['attributes']['correct']}/{wrong['attributes']['total']} = " in shown
        assert ", ".join(map(str, wrong["set"])) in shown
        low, high = (model["all_clips"]["T"]["top5"][name] for name in ("low", "high"))
        assert f"[{low:.2f}, {high:.2f}]" in shown
    assert [model["training_seed"] for model in record["models"]] == [1, 1, 1]
    assert "seed 1; V = " in shown


def test_classes_without_attributes_and_hostile_names(tmp_path):
    names, labels = (HOSTILE, "b", "c"), tuple(row % 3 for row in range(12))
    write_run(tmp_path / "run", names=names, labels=labels, ids=IDS[:12], seeds=(1,))
    shown = call(tmp_path / "run", "--class", 0, "--out", tmp_path / "out")
    assert not {"\x07", "\u202e"} & set(shown) and "not the dives of Diving48" in shown and "attr." not in shown
    assert "top-5" not in shown.partition("\n\n3D CNN: ")[0]
    text = (tmp_path / "out" / "class-0.html").read_text(encoding="utf-8")
    assert "<img" not in text and text.count("</script>") == 1
    page = Page(text)
    assert page.problems == [] and any("onerror" in word for word in page.words)
    tables = class_tables(read_answered([tmp_path / "run"]), 0)
    assert "correct attr." not in class_page(tables, read_answered([tmp_path / "run"]))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--class", "thirty"), "--class 'thirty' is not possible; give the number of a class, or all"),
        (("--class", "48"), "--class 48 is not possible; allowed: 0..47, or all"),
        (("--class", "30"), "class 30 has no test clips"),
        (("--clips", "0"), "--clips 0 is not possible; allowed: 1..50"),
        (("--run-seed", "9"), "has no seed 9; it has 1"),
        (("--data", "data"), "--data is for the pictures of pages; say where with --out"),
        (("--data", "nowhere", "--out", "x"), "--data nowhere is not a folder"),
    ],
)
def test_what_cannot_be(place, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in call(place / "study", *arguments, code=2)
    assert not list(tmp_path.iterdir())
