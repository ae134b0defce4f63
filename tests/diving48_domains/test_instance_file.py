"""The instances file: what goes in comes out, equal content gives equal bytes, nothing hostile gets through."""

from __future__ import annotations

import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diving48_domains.instance_file import (
    MOST,
    TABLES,
    InstanceFile,
    check_clip_id,
    decode_clip,
    encode_clip,
    write_instances,
)
from diving48_domains.instances import ClipInstances, Instance
from tsgen.common.errors import DataError

FACTS = {"source": "test", "parameters": {"score_threshold": 0.05}}


def random_clip(number, frames=5, most=3):
    rng = np.random.default_rng(number)

    def one():
        if rng.random() < 0.5:
            return Instance.of_pixels(rng.random((48, 64)) < 0.002) or one()
        x0, y0 = rng.uniform(0, 30, 2)
        box = np.array([x0, y0, x0 + rng.uniform(1, 18), y0 + rng.uniform(1, 18)])
        return Instance(box, float(rng.random()), rng.integers(0, 256, (28, 28)).astype(np.uint8))

    rows = tuple(tuple(one() for _ in range(rng.integers(0, most + 1))) for _ in range(frames))
    indices = np.cumsum(rng.integers(1, 9, frames)) - 1
    return ClipInstances(f"clip_{number:05d}", 48, 64, indices, rows, "ab" * 32 if number % 2 else "")


CLIPS = [random_clip(number) for number in range(6)]


@pytest.fixture
def written(tmp_path):
    write_instances(tmp_path / "i.h5", CLIPS, FACTS)
    return tmp_path / "i.h5"


def test_clips_come_back_as_they_were(written):
    with InstanceFile(written) as file:
        assert file.clip_ids == tuple(clip.clip_id for clip in CLIPS)
        assert file.facts == FACTS
        assert len(file) == len(CLIPS)
        assert "clip_00003" in file
        assert [encode_clip(clip) for clip in file] == [encode_clip(clip) for clip in CLIPS]
        back = file.read("clip_00003")
    assert back.frame_indices.tolist() == CLIPS[3].frame_indices.tolist()
    assert back.source_sha256 == "ab" * 32
    for mine, theirs in zip(CLIPS[3].frames, back.frames, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.box.tolist() == b.box.tolist()
            assert a.score == b.score
            assert np.array_equal(a.mask, b.mask)


def test_equal_content_gives_equal_bytes_and_one_hash_in_any_order(written, tmp_path):
    again, turned = tmp_path / "again.h5", tmp_path / "turned.h5"
    time.sleep(1.1)  # HDF5 would like to note the time, in seconds
    first = write_instances(again, CLIPS, FACTS)
    assert again.read_bytes() == written.read_bytes()
    assert write_instances(turned, CLIPS[::-1], {"other": 1}) == first
    with InstanceFile(turned) as file:
        assert file.content_hash == first
    assert write_instances(again, CLIPS[:-1], FACTS) != first


def test_the_hash_is_that_of_the_content_not_of_its_layout(written, tmp_path):
    plain = tmp_path / "plain.h5"  # the same tables without chunks and compression
    with h5py.File(written) as old, h5py.File(plain, "w") as new:
        for name in table_names(old):
            new[name] = old[name][...]
        new.attrs.update(old.attrs)
    with InstanceFile(written) as a, InstanceFile(plain) as b:
        assert a.content_hash == b.content_hash
        assert [encode_clip(clip) for clip in a] == [encode_clip(clip) for clip in b]


@pytest.mark.parametrize("clips", [[], [ClipInstances("x", 4, 4, np.arange(0), ())], [random_clip(0, most=0)]])
def test_emptiness_is_no_problem(tmp_path, clips):
    write_instances(tmp_path / "i.h5", clips, {})
    with InstanceFile(tmp_path / "i.h5") as file:
        assert [encode_clip(clip) for clip in file] == [encode_clip(clip) for clip in clips]


def test_a_clip_twice_or_an_id_that_is_a_path_is_refused_and_no_file_is_left(tmp_path):
    with pytest.raises(DataError, match="comes twice"):
        write_instances(tmp_path / "i.h5", [CLIPS[0], CLIPS[0]], {})
    for strange in ("../x", "", "..", "a\nb", "x" * 256, "a\\b", "a\0"):
        with pytest.raises(DataError, match="not usable"):
            check_clip_id(strange)
    with pytest.raises(DataError, match="not usable"):
        write_instances(tmp_path / "i.h5", [ClipInstances("a/b", 4, 4, np.arange(0), ())], {})
    assert not list(tmp_path.iterdir())


def test_an_unknown_clip_is_named(written):
    with InstanceFile(written) as file, pytest.raises(DataError, match="no clip 'clip_9'; it holds 6 clips"):
        file.read("clip_9")


def table_names(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def read_all(path):
    with InstanceFile(path) as file:
        return list(file)


def change(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)


def replace(name, values):
    def edit(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.attrs.update(format="other"), "no instances file"),
        (lambda f: f.attrs.update(schema_version=2), "schema version"),
        (lambda f: f.attrs.update(content_hash="0" * 64), "content hash"),
        (lambda f: f.__delitem__("masks"), "masks is missing"),
        (replace("masks", np.zeros(3, np.uint8)), "does not fit"),
        (replace("masks", np.zeros(3, np.float32)), "expected uint8"),
        (replace("clips/frames_start", np.array([0, 1 << 62, -(1 << 62), 5, 5, 5, 30])), "does not fit"),
        (replace("clips/masks_start", np.arange(7) * (MOST["masks"] + 1)), "does not fit"),
        (replace("clips/id", np.array([b"a"] * 6)), "names a clip twice"),
        (replace("clips/id", np.array([f"../{i}".encode() for i in range(6)])), "not usable"),
        (replace("clips/id", np.array([b"\xff%d" % i for i in range(6)])), "damaged"),
        (replace("facts", np.frombuffer(b"[" * 100_000, np.uint8)), "facts are damaged"),
        (replace("facts", np.frombuffer(b"[1]", np.uint8)), "expected an object"),
        (lambda f: f["instances/score"].__setitem__(0, 0.125), "not what was written"),
        (lambda f: f["instances/score"].__setitem__(0, np.nan), "0..1, got nan"),
        (lambda f: f["instances/box"].__setitem__(0, np.array([0, 0, 1e9, 9])), "leaves the frame"),
        (lambda f: f["instances/mask_size"].__setitem__(0, np.array([1 << 30, 1 << 30])), "px a side"),
        (lambda f: f["frames/num_instances"].__setitem__(0, -1), "0 or more"),
        (lambda f: f["frames/index"].__setitem__(0, -5), "count from 0"),
    ],
)
def test_what_is_wrong_is_told(written, edit, message):
    change(written, edit)
    with pytest.raises(DataError, match=message):
        read_all(written)


numbers = st.one_of(st.integers(-3, 70), st.sampled_from([1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 62, -(1 << 62)]))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_hostile_tables_give_data_errors_alone(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("hostile") / "i.h5"
    write_instances(path, CLIPS[:3], FACTS)
    before = [encode_clip(clip) for clip in read_all(path)]
    with h5py.File(path, "r+") as file:
        name = data.draw(st.sampled_from(table_names(file)))
        values = file[name][...]
        if data.draw(st.booleans()) and values.ndim and values.dtype.kind in "iuf":  # another shape
            rows = data.draw(st.integers(0, 2 * len(values)))
            values = np.resize(values, (rows, *values.shape[1:]))
            replace(name, values)(file)
        elif values.size and values.dtype.kind in "iu":
            place = data.draw(st.integers(0, values.size - 1))
            bounds = np.iinfo(values.dtype)
            values.reshape(-1)[place] = min(max(data.draw(numbers), bounds.min), bounds.max)
            file[name][...] = values
        elif values.size and values.dtype.kind == "f":
            place = data.draw(st.integers(0, values.size - 1))
            values.reshape(-1)[place] = data.draw(st.floats(width=32))
            file[name][...] = values
    try:
        after = [encode_clip(clip) for clip in read_all(path)]
    except DataError:
        return
    assert after == before, f"{name} was changed unnoticed"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=8), st.booleans())
def test_bytes_changed_or_cut_give_data_errors_or_the_same_clips(tmp_path_factory, place, patch, cut):
    path = tmp_path_factory.mktemp("bytes") / "i.h5"
    write_instances(path, CLIPS[:2], FACTS)
    raw = bytearray(path.read_bytes())
    place %= len(raw)
    raw = raw[:place] if cut else raw[:place] + patch + raw[place + len(patch) :]
    path.write_bytes(raw)
    try:
        after = [encode_clip(clip) for clip in read_all(path)]
    except DataError:
        return
    assert after == [encode_clip(clip) for clip in CLIPS[:2]]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=8), st.booleans())
def test_parts_survive_damage(place, patch, cut):
    part = encode_clip(CLIPS[1])
    place %= len(part)
    broken = part[:place] if cut else part[:place] + patch + part[place + len(patch) :]
    try:
        clip = decode_clip(broken)
    except DataError:
        return
    assert encode_clip(decode_clip(encode_clip(clip))) == encode_clip(clip)


def test_parts_come_back(written):
    for clip in CLIPS:
        assert encode_clip(decode_clip(encode_clip(clip))) == encode_clip(clip)
    with pytest.raises(DataError, match="no part"):
        decode_clip(written.read_bytes())


def test_memory_is_bounded_before_anything_is_read(tmp_path):
    # Tables of zeros, which compress a thousandfold, all claimed by one clip.
    write_instances(tmp_path / "i.h5", CLIPS[:1], FACTS)
    rows = MOST["instances"] + 1

    def edit(file):
        for name, (key, dtype, shape, chunk) in TABLES.items():
            if key == "instances":
                del file[name]
                table = np.zeros((rows, *shape), dtype)
                file.create_dataset(name, data=table, chunks=(chunk, *shape), compression="gzip")
        file["clips/instances_start"][...] = [0, rows]

    change(tmp_path / "i.h5", edit)
    with pytest.raises(DataError, match="does not fit"):
        InstanceFile(tmp_path / "i.h5")
