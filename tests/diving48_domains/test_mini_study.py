"""Mini-Diving48 as the data folder of a study: what a recipe says, and what is made of it."""

import dataclasses
import json

import pytest

from diving48_domains import embedded
from diving48_domains.embedded import CACHE_VARIABLE, Embedded
from diving48_domains.framestore import open_store
from diving48_domains.mini.config import MiniConfig
from diving48_domains.mini_study import DONE_FILE, MiniStudy, make_mini_study, parse_mini_study
from tsgen.common.errors import UsageError

CLIPS = MiniConfig(train=6, val=3, test=4, shift=2, swap=3, width=64, height=48, labels_train=0, labels_val=0)
SMALL = MiniStudy(CLIPS, size=(24, 32), num_frames=6, blur_sigma_px=2.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(place))
        yield place


@pytest.fixture(scope="module")
def folder(cache):
    return make_mini_study(SMALL, workers=0, quiet=True)


def test_what_is_made(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.h5")}
    domains = {f"test/{name}.h5" for name in ("O", "C", "S1", "S2", "T", "T_union", "B")}
    assert found == {"train.h5", "val.h5", "shift/O.h5", "swap/O.h5"} | domains
    counts = {name: len(open_store(folder / name)) for name in ("train.h5", "val.h5", "test/T.h5", "swap/O.h5")}
    assert counts == {"train.h5": 6, "val.h5": 3, "test/T.h5": 4, "swap/O.h5": 3}
    assert open_store(folder / "train.h5").clip_shape == (6, 24, 32, 3)
    assert json.loads((folder / DONE_FILE).read_text())["clips"]["rho"] == 0.8


def test_it_is_made_once_and_another_time_from_the_same_clips(folder, cache):
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert make_mini_study(SMALL, workers=0, quiet=True) == folder
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    videos = {path: path.stat().st_mtime_ns for path in cache.rglob("*.mp4")}
    smaller = make_mini_study(dataclasses.replace(SMALL, size=(12, 16)), workers=0, quiet=True)
    assert smaller != folder and open_store(smaller / "val.h5").clip_shape == (6, 12, 16, 3)
    assert videos == {path: path.stat().st_mtime_ns for path in cache.rglob("*.mp4")}


def test_an_interrupted_one_is_finished(folder, cache):
    whole = {path.name: path.read_bytes() for path in folder.rglob("*.h5")}
    (folder / DONE_FILE).unlink()
    (folder / "test" / "manifest.jsonl").unlink()
    for path in (folder / "test").glob("*.h5"):
        path.unlink()
    make_mini_study(SMALL, workers=0, quiet=True)
    assert {path.name: path.read_bytes() for path in folder.rglob("*.h5")} == whole


def test_predicted_masks_stand_beside_the_true_ones(cache, folder, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    labelled = dataclasses.replace(CLIPS, train=12, labels_train=6, labels_val=2, labelled_share=1.0, seed=5)
    monkeypatch.setattr(embedded, "FULL", Embedded(labelled, epochs=1))
    both = make_mini_study(dataclasses.replace(SMALL, masks="predicted"), workers=0, quiet=True)
    assert sorted(path.stem for path in (both / "predicted").glob("*.h5")) == ["S1", "S2", "T"]
    true, predicted = (open_store(both / name / "S2.h5") for name in ("test", "predicted"))
    assert true.ids == predicted.ids and true.content_hash != predicted.content_hash
    assert not [path.name for path in both.parent.iterdir() if path.name.startswith(".") and path.is_dir()]


def test_recipes():
    said = parse_mini_study("mini:rho=0.5,train=640,size=48x32,frames=16,venue-by=takeoff,masks=predicted")
    assert said.clips == dataclasses.replace(MiniStudy().clips, rho=0.5, train=640, venue_by="takeoff")
    assert (said.size, said.num_frames, said.masks) == ((32, 48), 16, "predicted")
    assert parse_mini_study("mini:") == parse_mini_study("") == MiniStudy()
    assert len({parse_mini_study(text).name for text in ("", "rho=0.5", "size=64x64", "blur-sigma=4")}) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rho=x", "mini: rho=x is not possible; give a number."),
        ("train=1.5", "mini: train=1.5 is not possible; give a whole number."),
        ("rho", "mini: rho has no value; give it as in rho=0.5."),
        ("tarin=3", "unknown key of mini: 'tarin'. Did you mean 'train'?"),
        ("labels-train=3", "unknown key of mini: 'labels-train'."),
        ("train=1,train=2", "mini: train is given twice."),
        ("size=4", "mini: size=4 is not possible; give width x height in px, as in 64x64."),
        ("masks=no", "unknown kind of masks 'no'."),
        ("val=0", "mini: val=0 leaves a study without val clips; allowed: 1 or more."),
        ("rho=2", "rho = 2.0 is not possible"),
        ("frames=0", "1 to 4096 frames a clip can be stored, got 0."),
        ("blur-sigma=0", "the blur's sigma is a number of pixels above 0"),
    ],
)
def test_recipes_that_are_not_possible(text, words):
    with pytest.raises(UsageError) as problem:
        parse_mini_study(f"mini:{text}")
    assert words in str(problem.value)
