"""Slices of a clip file: made anywhere, joined to the bytes that one make writes, or refused with every reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash
from click.testing import CliRunner
from clip_values import content_hash, values_of

import tsgen
from tsgen.clipfile import CLIPS, LEAVES, PackedHash
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard
from tsgen.merge import check_slices, merge
from tsgen.merge_commands import merge as merge_command
from tsgen.recipe import MAX_CLIPS, Recipe, make_recipe
from tsgen.slices import make_slice
from tsgen.verify import verify_file

N = 2500


def slices_of(folder: Path, count: int, n: int = N, domain: str = "5dot", **options) -> list[Path]:
    return [make_slice(domain, n, folder / "ts.h5", Shard(i, count), quiet=True, **options).path for i in range(count)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """``ts.h5`` and its three slices, ``parts/ts-0000?-of-00003.h5``."""
    folder = tmp_path_factory.mktemp("made")
    tsgen.make("5dot", N, folder / "ts.h5", quiet=True)
    (folder / "parts").mkdir()
    slices_of(folder / "parts", 3)
    return folder


@pytest.fixture
def parts(made, tmp_path) -> list[Path]:
    return sorted(Path(shutil.copytree(made / "parts", tmp_path / "parts")).iterdir())


# --- a slice ---------------------------------------------------------------------------------------------------------


def test_a_recipe_from_the_beginning_is_written_as_ever():
    recipe, _ = make_recipe("2dot", 10)
    assert "first" not in recipe.to_json()
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.part(Shard(0, 1)) == recipe


def test_parts_of_a_recipe_are_recipes():
    recipe, _ = make_recipe("2dot", 10)
    parts = [recipe.part(Shard(index, 3)) for index in range(3)]
    assert [(part.first, part.n) for part in parts] == [(0, 3), (3, 3), (6, 4)]
    assert [Recipe.from_json(part.to_json()) for part in parts] == parts
    assert len({part.digest for part in parts}) == 3
    assert parts[2].part(Shard(1, 2)) == replace(recipe, first=8, n=2)


@pytest.mark.parametrize("first", [-1, MAX_CLIPS - 9, 2**70])
def test_places_outside_the_stream_are_refused(first):
    recipe, _ = make_recipe("2dot", 10)
    with pytest.raises(UsageError, match="are not possible; allowed"):
        replace(recipe, first=first)
    with pytest.raises(DataError, match="damaged"):
        Recipe.from_json({**recipe.to_json(), "first": first})
    with pytest.raises(DataError, match="damaged"):
        Recipe.from_json({**recipe.to_json(), "first": "x"})


def test_a_slice_holds_the_clips_of_its_place(made, parts):
    with tsgen.open_clips(made / "ts.h5") as whole, tsgen.open_clips(parts[1]) as part:
        assert (part.shard, whole.shard) == (Shard(1, 3), Shard())
        assert part.clip_id.tolist() == list(range(833, 1666))
        assert (part.clips() == whole.clips(833, 1666)).all()
        assert (part.labels == whole.labels[833:1666]).all()


def test_a_slice_is_verified_at_its_place(parts):
    assert verify_file(parts[2]).is_identical
    with h5py.File(parts[2], "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        file.attrs["recipe"] = json.dumps({**recipe, "first": recipe["first"] + 5})  # whole runs of the classes
    outcome = verify_file(parts[2])
    assert outcome.clips["clip_id"] == outcome.n
    assert not outcome.content_hash


def test_digits_and_noise_have_slices(tmp_path):
    options = {"split": "val", "seed": 3, "digits": "embedded"}
    tsgen.make("mnist-bg", 40, tmp_path / "ts.h5", quiet=True, **options)
    _, told = merge(slices_of(tmp_path, 3, 40, "mnist-bg", **options), tmp_path / "merged.h5", quiet=True)
    # Not the bytes: igzip packs all of noise, and now and then a byte longer (docs/release.md, "Building").
    assert told == content_hash(tmp_path / "merged.h5") == content_hash(tmp_path / "ts.h5")
    assert verify_file(tmp_path / "merged.h5").is_identical
    assert verify_file(tmp_path / "ts-00001-of-00003.h5").is_identical


def test_a_finished_slice_is_left_alone(parts):
    before = parts[1].stat().st_mtime_ns, parts[1].stat().st_ino
    again = make_slice("5dot", N, parts[1].parent / "ts.h5", Shard(1, 3), quiet=True)
    assert (again.path, again.made) == (parts[1], False)
    assert (parts[1].stat().st_mtime_ns, parts[1].stat().st_ino) == before


@pytest.mark.parametrize("options", [{"seed": 1}, {"split": "val"}, {"n": N + 3}])
def test_another_file_of_the_name_is_refused_or_replaced(parts, options):
    out, before = parts[1].parent / "ts.h5", parts[1].read_bytes()
    arguments = {"n": N, "quiet": True, **options}
    with pytest.raises(UsageError, match=r"is not slice 1/3 of this recipe.* add --force to replace it"):
        make_slice("5dot", out=out, shard=Shard(1, 3), **arguments)
    assert parts[1].read_bytes() == before
    assert make_slice("5dot", out=out, shard=Shard(1, 3), force=True, **arguments).made
    assert parts[1].read_bytes() != before


def test_a_damaged_slice_is_not_taken_for_a_finished_one(parts):
    with h5py.File(parts[1], "r+") as file:
        file["labels"][3] = (file["labels"][3] + 1) % 5
    with pytest.raises(UsageError, match="was changed or damaged"):
        make_slice("5dot", N, parts[1].parent / "ts.h5", Shard(1, 3), quiet=True)
    assert make_slice("5dot", N, parts[1].parent / "ts.h5", Shard(1, 3), force=True, quiet=True).made
    check_slices(parts)


def test_more_slices_than_clips_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"5 clips cannot be cut into 8 slices; allowed: 1\.\.5"):
        make_slice("5dot", 5, tmp_path / "ts.h5", Shard(2, 8), quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["3/3", "x", "\x1b[2J", "1/99999999"])
def test_a_shard_of_a_forged_file_is_a_data_error(parts, text):
    with h5py.File(parts[1], "r+") as file:
        file.attrs["shard"] = text
    with pytest.raises(DataError, match="'shard' is damaged") as problem:
        tsgen.open_clips(parts[1])
    assert str(problem.value).isprintable()


# --- joining ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "n"), [(1, 3), (2, 2048), (3, N), (7, 1025), (5, 5), (12, 3001)])
def test_the_merged_file_is_that_of_make_to_the_byte(tmp_path, count, n):
    # igzip packs a chunk a byte longer now and then (docs/release.md): one try without that is enough.
    assert any(is_that_of_make(tmp_path / str(attempt), count, n) for attempt in range(3))


def is_that_of_make(folder: Path, count: int, n: int) -> bool:
    """Whether the bytes are; the values have to be."""
    folder.mkdir()
    whole, merged = folder / "whole.h5", folder / "merged.h5"
    tsgen.make("2dot", n, whole, quiet=True)
    paths = slices_of(folder, count, n, "2dot")
    if count == 1:
        assert paths == [folder / "ts.h5"]
        merged = paths[0]
    else:
        slices, told = merge(reversed(paths), merged, quiet=True)
        assert told == content_hash(whole)
        assert (slices.recipe.n, slices.recipe.first) == (n, 0)
        assert all(path.exists() for path in paths)
    assert values_of(merged) == values_of(whole)
    return merged.read_bytes() == whole.read_bytes()


def test_slices_are_removed_when_asked_for_and_joined(parts, tmp_path):
    of_a_lost_machine = parts[1].with_name(f".{parts[1].name}.partial-0-0-1")
    of_another_command = parts[1].with_name(".other.h5.partial-0-0-1")
    for path in (of_a_lost_machine, of_another_command):
        path.touch()
    with pytest.raises(DataError):
        merge(parts[:2], tmp_path / "ts.h5", remove=True, quiet=True)
    assert all(path.exists() for path in parts)
    merge(parts, tmp_path / "ts.h5", remove=True, quiet=True)
    assert list(parts[0].parent.iterdir()) == [of_another_command]
    tsgen.open_clips(tmp_path / "ts.h5").close()


def test_a_merge_killed_while_it_removes_is_finished_by_the_same_command(parts, tmp_path):
    out = tmp_path / "ts.h5"
    merge(parts, out, quiet=True)
    parts[1].unlink()
    before, stale = out.stat().st_mtime_ns, parts[1].with_name(f".{parts[1].name}.partial-0-0-1")
    stale.touch()
    with pytest.raises(UsageError, match="exists; give another name or add --force"):
        merge(parts, out, quiet=True)
    told = CliRunner().invoke(merge_command, [*map(str, parts), "--out", str(out), "--remove"])
    assert told.exit_code == 0
    assert f"{out} is whole already and left alone; 2 slices beside it were removed: {N} clips of 5dot" in told.output
    assert out.stat().st_mtime_ns == before
    assert list(parts[0].parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["damaged", "seed", "version", "part"])
def test_slices_beside_what_is_not_their_whole_are_kept(parts, tmp_path, kind):
    out, left = tmp_path / "ts.h5", [parts[0], parts[2]]
    if kind == "part":
        shutil.copy(parts[1], out)
    elif kind == "seed":
        tsgen.make("5dot", N, out, seed=1, quiet=True)
    else:
        merge(parts, out, quiet=True)
    if kind == "damaged":
        damage(out, "column")
    elif kind == "version":
        set_version(out, "9.9.9")
    with pytest.raises(UsageError, match="exists; give another name or add --force"):
        merge(left, out, remove=True, quiet=True)
    with pytest.raises(DataError, match="slice 1/3 is missing"):
        merge(left, out, remove=True, force=True, quiet=True)
    assert all(path.exists() for path in parts)


def set_version(path: Path, version: str) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["generator_version"] = version


def test_a_slice_of_another_version_is_not_merged_and_not_finished(parts, tmp_path):
    set_version(parts[1], "9.9.9")
    text = refused(parts, tmp_path / "merged.h5")
    assert f"{parts[1]} is of another run: generator_version 9.9.9 instead of {tsgen.__version__}." in text
    with pytest.raises(UsageError, match=r"was made by tsgen 9\.9\.9; this is .* add --force to replace it"):
        make_slice("5dot", N, parts[1].parent / "ts.h5", Shard(1, 3), quiet=True)
    assert make_slice("5dot", N, parts[1].parent / "ts.h5", Shard(1, 3), force=True, quiet=True).made


def test_the_whole_names_the_version_that_made_its_slices(parts, tmp_path):
    for path in parts:
        set_version(path, "0.0.1")
    merge(parts, tmp_path / "merged.h5", quiet=True)
    with tsgen.open_clips(tmp_path / "merged.h5") as whole:
        assert whole.generator_version == "0.0.1"


def refused(paths, out: Path) -> str:
    with pytest.raises(DataError, match="nothing was merged") as problem:
        merge(paths, out, quiet=True)
    assert not out.exists()
    assert not list(out.parent.glob(".*"))
    return str(problem.value)


def test_what_is_missing_or_there_twice_is_named(parts, tmp_path):
    out = tmp_path / "merged.h5"
    copy = Path(shutil.copy(parts[0], tmp_path / "copy.h5"))
    text = refused([parts[0], copy], out)
    assert "slices 1/3, 2/3 are missing: made with the same command and --shard, like --shard 1/3." in text
    assert f"{parts[0]} and {copy} are both slice 0/3." in text
    assert "slice 2/3 is missing" in refused(parts[:2], out)


def test_slices_of_other_runs_are_named_with_what_differs(parts, tmp_path, made):
    others = tmp_path / "others"
    others.mkdir()
    seed = slices_of(others, 3, seed=7)[0]
    domain = make_slice("2dot", N, others / "dot.h5", Shard(1, 3), quiet=True).path
    four = make_slice("5dot", N, others / "four.h5", Shard(1, 4), quiet=True).path
    text = refused([*parts, seed, domain, four, made / "ts.h5", tmp_path / "absent.h5"], tmp_path / "merged.h5")
    assert f"{seed} is of another run: seed 7 instead of 0." in text
    assert f"{domain} is of another run: domain 2dot instead of 5dot, " in text
    assert f"{four} is of another run: slices 4 instead of 3." in text
    assert f"{made / 'ts.h5'} is no slice: it was made without --shard." in text
    assert f"{tmp_path / 'absent.h5'}: no such file." in text
    assert "missing" not in text


def test_slices_of_different_numbers_of_clips_are_named(parts, tmp_path):
    other = make_slice("5dot", N + 30, tmp_path / "ts.h5", Shard(1, 3), quiet=True).path
    text = refused([parts[0], other, parts[2]], tmp_path / "merged.h5")
    assert f"{other} holds clips 843..1685; slice 1/3 of 2500 clips is 833..1665." in text


def damage(path: Path, kind: str) -> None:
    with h5py.File(path, "r+") as file:
        clips, row = file[CLIPS], (5, 0, 0, 0)
        if kind == "value":
            clips[5, 0, 0, 0] ^= 1
        elif kind == "column":
            file["speed"][5] += 1
        elif kind == "leaf":
            file[LEAVES][5, 0] ^= 1
        elif kind == "stream":
            clips.id.write_direct_chunk(row, b"\x78\x01" + bytes(100))
        elif kind == "behind the stream":
            clips.id.write_direct_chunk(row, clips.id.read_direct_chunk(row)[1] + b"secret")
        elif kind == "filter":
            clips.id.write_direct_chunk(row, bytes(clips[5].nbytes), filter_mask=1)


@pytest.mark.parametrize("kind", ["value", "column", "leaf", "stream", "behind the stream", "filter"])
def test_every_damaged_slice_is_named(parts, tmp_path, kind):
    damage(parts[0], kind)
    damage(parts[2], "column")
    text = refused(parts, tmp_path / "merged.h5")
    assert str(parts[0]) in text
    assert f"{parts[2]} was changed or damaged after it was made" in text
    assert str(parts[1]) not in text


def test_slices_alone_are_sealed(made, parts):
    with h5py.File(made / "ts.h5") as file:
        assert LEAVES not in file
        assert "packed_hash" not in file.attrs
    with tsgen.open_clips(parts[1]) as part:
        assert part.leaves(0, 9) == [xxhash.xxh3_128_digest(clip.tobytes()) for clip in part.clips(0, 9)]
        stored = xxhash.xxh3_128()
        for stream in part.packed(0, len(part)):
            stored.update(len(stream).to_bytes(8, "little") + stream)
        assert part.packed_hash == stored.hexdigest()


def test_nothing_is_inflated_to_join_slices_or_find_them_finished(made, parts, tmp_path, monkeypatch):
    monkeypatch.delattr("tsgen.clipset.ClipSet._inflated")
    merge(parts, tmp_path / "merged.h5", quiet=True)
    assert values_of(tmp_path / "merged.h5") == values_of(made / "ts.h5")
    assert not make_slice("5dot", N, parts[1].parent / "ts.h5", Shard(1, 3), quiet=True).made


@pytest.mark.parametrize("kind", ["none", "rows", "type", "chunks", "group", "packed_hash"])
def test_a_slice_without_its_seal_is_refused(parts, tmp_path, kind):
    with h5py.File(parts[0], "r+") as file:
        if kind == "packed_hash":
            del file.attrs["packed_hash"]
        else:
            del file[LEAVES]
        if kind == "rows":
            file[LEAVES] = np.zeros((833, 15), np.uint8)
        elif kind == "type":
            file[LEAVES] = np.zeros((833, 16), np.int8)
        elif kind == "chunks":
            file.create_dataset(LEAVES, (833, 16), "u1", chunks=(833, 16), compression="gzip")[:] = 1
        elif kind == "group":
            file.create_group(LEAVES)
    text = refused(parts, tmp_path / "merged.h5")
    assert f"{parts[0]}" in text
    assert "make it again" in text or "'packed_hash' is missing" in text
    with pytest.raises(UsageError, match="add --force"):
        make_slice("5dot", N, parts[0].parent / "ts.h5", Shard(0, 3), quiet=True)


def test_a_forged_seal_does_not_prove_the_values(parts, tmp_path):
    with h5py.File(parts[0], "r+") as file:
        file[CLIPS][5, 0, 0, 0] ^= 1
    with tsgen.open_clips(parts[0]) as part:
        forged = PackedHash()
        forged.update(part.packed(0, len(part)))
    with h5py.File(parts[0], "r+") as file:
        file.attrs["packed_hash"] = forged.hexdigest()
    merge(parts, tmp_path / "merged.h5", quiet=True)
    with tsgen.open_clips(tmp_path / "merged.h5") as clip_set, pytest.raises(DataError, match="changed or damaged"):
        clip_set.check_content()


def test_a_slice_that_is_not_what_its_recipe_says_is_refused(parts, tmp_path):
    with h5py.File(parts[0], "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        file.attrs["recipe"] = json.dumps({**recipe, "n": 7})
    with h5py.File(parts[1], "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        file.attrs["recipe"] = json.dumps({**recipe, "more": 1})
    text = refused(parts, tmp_path / "merged.h5")
    assert f"{parts[0]} holds 833 clips" in text
    assert f"{parts[1]}: its recipe is not as this tsgen writes it." in text


def test_what_is_there_is_kept(parts, tmp_path):
    (tmp_path / "merged.h5").write_text("precious")
    with pytest.raises(UsageError, match="exists; give another name or add --force"):
        merge(parts, tmp_path / "merged.h5", quiet=True)
    with pytest.raises(UsageError, match="is one of the slices"):
        merge(parts, parts[1], force=True, quiet=True)
    with pytest.raises(DataError):
        merge(parts[:1], tmp_path / "merged.h5", force=True, quiet=True)
    assert (tmp_path / "merged.h5").read_text() == "precious"
    merge(parts, tmp_path / "merged.h5", force=True, quiet=True)
    assert content_hash(tmp_path / "merged.h5")


def test_a_disk_that_fills_up_is_one_error_and_no_file(parts, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsgen.clipfile.ClipWriter.write", fail)
    with pytest.raises(DataError, match="Is the disk full"):
        merge(parts, tmp_path / "merged.h5", remove=True, quiet=True)
    assert all(path.exists() for path in parts)
    assert not (tmp_path / "merged.h5").exists()
