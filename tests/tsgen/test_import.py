"""The published form: all its layouts are read alike; what is missing is named; hostile archives are refused."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.importer import import_published
from tsgen.published import parse_labels, plan_clips
from tsgen.vocabulary import CLASS_NAMES

N, T = 12, 20
IDS = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 2, 2]


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N, T, 8, 8), dtype=np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)  # one level a JPEG block, which quality 100 keeps


def save(path: Path, frame: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(frame)
    image.save(path, **({"quality": 100} if path.suffix != ".png" else {}), **options)


def consecutive(folder: Path, clips, first=0) -> None:
    for number, frame in enumerate(clips.reshape(-1, 64, 64), first):
        save(folder / f"{number}.jpg", frame)
    rows = "".join(f"{clip},{label}\n" for clip, label in enumerate(IDS))
    (folder / "labels.csv").write_text(",class\n" + rows)


def from_one(folder: Path, clips) -> None:
    consecutive(folder, clips, first=1)


def folders(folder: Path, clips) -> None:
    for clip, frames in enumerate(clips):
        for t, frame in enumerate(frames):
            save(folder / f"{clip:04d}" / f"frame_{t:02d}.jpeg", frame)
    rows = "".join(f"{clip}\t{CLASS_NAMES[label]}\n" for clip, label in enumerate(IDS))
    (folder / "labels.tab").write_text('"clip"\t"label"\n' + rows)


def deep_folders(folder: Path, clips) -> None:
    for clip, frames in enumerate(clips):
        for t, frame in enumerate(frames):
            save(folder / "data" / "frames" / f"clip{clip}" / f"{t + 1}.png", frame)
    rows = "".join(f"frames/clip{clip};{float(label)}\n" for clip, label in enumerate(IDS))
    (folder / "data" / "labels.csv").write_text("\ufeffpath;Class\n" + rows)


def flat(folder: Path, clips) -> None:
    for clip, frames in enumerate(clips):
        for t, frame in enumerate(frames):
            save(folder / "frames" / f"clip_{clip}_frame_{t}.jpg", frame)
    rows = "".join(f"0,clip_{clip},{label}\n" for clip, label in enumerate(IDS))
    (folder / "labels.csv").write_text("weight,video,label\n" + rows)


LAYOUTS = [consecutive, from_one, folders, deep_folders, flat]


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
        archive.writestr("__MACOSX/._labels.csv", b"junk")
        archive.writestr("ReadMe.txt", b"about this data")
    return folder.with_suffix(".zip")


def read(path: Path):
    with tsgen.open_clips(path) as clip_set:
        clip_set.check_content()
        return clip_set.clips(), clip_set.labels.tolist(), clip_set.clip_id.tolist(), clip_set.content_hash


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_layout_is_read(tmp_path, clips, layout):
    layout(tmp_path / "ts", clips)
    import_published(tmp_path / "ts", tmp_path / "a.h5", domain="5dot", split="test")
    import_published(zipped(tmp_path / "ts"), tmp_path / "b.h5", domain="5dot", split="test")
    frames, labels, clip_ids, content_hash = read(tmp_path / "a.h5")
    np.testing.assert_allclose(frames.astype(int), clips, atol=2)
    assert labels == IDS
    assert clip_ids == list(range(N))
    assert read(tmp_path / "b.h5")[3] == content_hash, "a folder and its zip are the same data"


def test_what_nobody_recorded_is_absent(tmp_path, clips):
    consecutive(tmp_path / "ts", clips)
    facts = import_published(tmp_path / "ts", tmp_path / "a.h5", domain="a name", split="val")
    with tsgen.open_clips(tmp_path / "a.h5") as clip_set:
        assert (clip_set.domain, clip_set.profile, clip_set.split, clip_set.seed) == ("a name", "imported", "val", -1)
        assert clip_set.recipe == facts.recipe
        for name in ("positions", "boxes", "speed", "heading"):
            assert np.isnan(clip_set.column(name)).all()
        for name in ("start", "rotation", "sigma", "digit_index", "digit_label"):
            assert (clip_set.column(name) == -1).all()
        assert (clip_set.column("direction") == 0).all()


def test_the_commands_take_imported_files(run_cli, tmp_path, clips):
    consecutive(tmp_path / "mnist_bg", clips)
    made = run_cli("tsgen", "import", "mnist_bg", "--out", "ts.h5")
    assert made.returncode == 0, made.stderr
    assert "12 clips of 20 frames, 64x64 px, domain mnist_bg (train), frames laid out as 'consecutive'" in made.stdout
    assert run_cli("tsgen", "info", "ts.h5").returncode == 0
    assert run_cli("tsgen", "show", "ts.h5", "--out", "ts.png").returncode == 0
    refused = run_cli("tsgen", "show", "ts.h5", "--kind", "path", "--out", "path.png")
    assert refused.returncode == 2 and "no recorded positions" in refused.stderr
    again = run_cli("tsgen", "import", "mnist_bg", "--out", "ts.h5")
    assert again.returncode == 2 and "--force" in again.stderr


def test_grey_levels_are_kept_as_decoded(tmp_path):
    rng = np.random.default_rng(1)
    clip = rng.integers(0, 256, (1, T, 64, 64), dtype=np.uint8)
    folder = tmp_path / "ts"
    for t, frame in enumerate(clip[0]):
        save(folder / f"{t}.jpg", frame)
    (folder / "labels.csv").write_text("clip,class\n0,4\n")
    import_published(folder, tmp_path / "a.h5", domain="x")
    decoded = [np.asarray(Image.open(folder / f"{t}.jpg")) for t in range(T)]
    np.testing.assert_array_equal(read(tmp_path / "a.h5")[0][0], decoded)


def test_grey_stored_as_colour_is_grey(tmp_path, clips):
    consecutive(tmp_path / "ts", clips)
    save(tmp_path / "ts" / "5.jpg", np.stack([clips[0, 5]] * 3, axis=-1))
    import_published(tmp_path / "ts", tmp_path / "a.h5", domain="x")
    np.testing.assert_allclose(read(tmp_path / "a.h5")[0].astype(int), clips, atol=2)


# --- what is missing or wrong ----------------------------------------------------------------------------------------


def remove(*names):
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def labels_text(text: str):
    return lambda folder: (folder / "labels.csv").write_text(text)


def last_label_missing(folder: Path) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(lines[:-1]))


def coloured(folder: Path) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[..., 0] = 200
    save(folder / "17.jpg", frame)


def cmyk(folder: Path) -> None:
    Image.new("CMYK", (64, 64)).save(folder / "17.jpg", "JPEG")


def small(folder: Path) -> None:
    save(folder / "17.jpg", np.zeros((32, 48), np.uint8))


def huge(folder: Path) -> None:
    Image.new("L", (9000, 9000)).save(folder / "0.jpg", "JPEG")


def truncated(folder: Path) -> None:
    data = (folder / "17.jpg").read_bytes()
    (folder / "17.jpg").write_bytes(data[: len(data) // 2])


def not_jpeg(folder: Path) -> None:
    (folder / "17.jpg").write_bytes(b"GIF89a nothing of the kind")


def large_file(folder: Path) -> None:
    (folder / "17.jpg").write_bytes(bytes(2 << 20))


def link(folder: Path) -> None:
    (folder / "17.jpg").unlink()
    (folder / "17.jpg").symlink_to("/etc/hostname")


def two_tables(folder: Path) -> None:
    shutil.copy(folder / "labels.csv", folder / "labels_old.csv")


def unnumbered(folder: Path) -> None:
    shutil.copy(folder / "0.jpg", folder / "cover.jpg")


def twice(folder: Path) -> None:
    shutil.copy(folder / "7.jpg", folder / "007.jpg")


def far_number(folder: Path) -> None:
    (folder / "7.jpg").rename(folder / "999999999.jpg")


WRONG = {
    "a frame": (remove("33.jpg"), "1 frames of 1 clips are missing: 33.jpg "),
    "many frames": (
        remove(*(f"{number}.jpg" for number in range(30, 50))),
        "20 frames of 2 clips are missing: 30.jpg, 31.jpg, 32.jpg, 33.jpg, 34.jpg and 15 more",
    ),
    "the last frame": (remove("239.jpg"), "1 frames of 1 clips are missing: 239.jpg"),
    "a label": (last_label_missing, "20 frames have no label: 220.jpg, 221.jpg, 222.jpg, 223.jpg, 224.jpg and 15 more"),
    "all frames": (remove(*(f"{number}.jpg" for number in range(240))), "no frames: no files ending in .jpg"),
    "the table": (remove("labels.csv"), "holds no table of labels"),
    "two tables": (two_tables, "holds 2 tables: labels.csv, labels_old.csv. Choose one with --labels"),
    "empty table": (labels_text(""), "holds no labels"),
    "no label column": (labels_text(",klass\n0,1\n"), "none of them a label"),
    "unknown labels": (labels_text(",class\n0,zigzag\n1,5\n2,-1\n"), "3 labels are none of (0 circle, 1 spiral"),
    "ragged table": (labels_text(",class\n0\n1,2\n"), "1 rows do not have 2 columns: lines 2"),
    "a clip twice": (labels_text(",class\n0,1\n0,2\n"), "1 clips are listed more than once: 0"),
    "not text": (lambda folder: (folder / "labels.csv").write_bytes(b"\xff\xfe\x00"), "is not UTF-8 text"),
    "clips by name": (labels_text("clip,class\nfirst,1\n"), "must name clips by number, but 'first' is none"),
    "coloured": (coloured, "17.jpg is coloured"),
    "cmyk": (cmyk, "17.jpg has colour mode CMYK"),
    "small": (small, "17.jpg is 48x32 px, the first frame 64x64; sizes must agree"),
    "huge": (huge, "0.jpg is 9000x9000 px; allowed: up to 1024"),
    "truncated": (truncated, "17.jpg is not a readable JPEG or PNG"),
    "not jpeg": (not_jpeg, "17.jpg is not a readable JPEG or PNG"),
    "large file": (large_file, "17.jpg is larger than 1048576 bytes"),
    "link": (link, "is a link or a special file"),
    "no number": (unnumbered, "1 images have no frame number at the end of their name: cover.jpg"),
    "twice": (twice, "1 frames are there twice"),
    "far number": (far_number, "7.jpg"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path, clips, name):
    damage, message = WRONG[name]
    consecutive(tmp_path / "ts", clips)
    damage(tmp_path / "ts")
    with pytest.raises((DataError, UsageError)) as caught:
        import_published(tmp_path / "ts", tmp_path / "a.h5", domain="x")
    assert message in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ts"], "nothing is left behind"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "0003"), "1 clips have a label but no frames: 3"),
        (lambda f: shutil.copytree(f / "0003", f / "0077"), "1 clips have frames but no label: 0077/frame_"),
        (remove("0003/frame_05.jpeg", "0004/frame_19.jpeg"), "2 frames are missing: 3: frame 5, 4: frame 19"),
        (
            lambda f: shutil.copy(f / "0003/frame_05.jpeg", f / "0003/frame_20.jpeg"),
            "1 frames lie outside 0..19, where most clips have theirs: 0003/frame_20.jpeg",
        ),
    ],
    ids=["frames of a clip", "label of a clip", "single frames", "surplus frame"],
)
def test_what_is_missing_from_folders_is_named(tmp_path, clips, change, message):
    folders(tmp_path / "ts", clips)
    change(tmp_path / "ts")
    with pytest.raises(DataError, match=message):
        import_published(tmp_path / "ts", tmp_path / "a.h5", domain="x")


def test_names_that_do_not_fit_together_are_shown():
    labels = parse_labels("clip,class\nalpha,1\nbeta,2\n", "labels.csv", CLASS_NAMES)
    images = [f"{clip}/{t}.jpg" for clip in ("gamma", "delta") for t in range(3)]
    with pytest.raises(DataError, match="the labels name clips alpha, beta, the frames belong to gamma, delta"):
        plan_clips(images, labels)


def test_a_million_frames_in_one_name_are_not_believed():
    labels = parse_labels("clip,class\n1,1\n2,2\n", "labels.csv", CLASS_NAMES)
    images = [f"{clip}/{t}.jpg" for clip in (1, 2) for t in (0, 999_999_999)]
    with pytest.raises(DataError, match=r"numbered 0\.\.999999999; allowed: up to 1000"):
        plan_clips(images, labels)


def test_columns_and_classes_can_be_named(tmp_path, clips):
    consecutive(tmp_path / "ts", clips)
    rows = "".join(f"{clip},{label % 2},x\n" for clip, label in enumerate(IDS))
    (tmp_path / "ts" / "labels.csv").write_text("number,kind,class\n" + rows)
    import_published(
        tmp_path / "ts", tmp_path / "a.h5", domain="x", class_names=("there", "back"), columns=("number", "kind")
    )
    with tsgen.open_clips(tmp_path / "a.h5") as clip_set:
        assert clip_set.class_names == ("there", "back")
        assert clip_set.labels.tolist() == [label % 2 for label in IDS]
    with pytest.raises(UsageError, match="has no column nothing"):
        import_published(tmp_path / "ts", tmp_path / "b.h5", domain="x", columns=("number", "nothing"))


# --- hostile archives ------------------------------------------------------------------------------------------------


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


def member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def traversal(archive):
    archive.writestr("../../evil.jpg", jpeg())


def absolute(archive):
    archive.writestr("/tmp/evil.jpg", jpeg())


def backslash(archive):
    info = member("x")
    info.filename = "..\\evil.jpg"
    archive.writestr(info, jpeg())


def symlink(archive):
    archive.writestr(member("19.jpg", stat.S_IFLNK | 0o777), b"/etc/passwd")


def device(archive):
    archive.writestr(member("19.jpg", stat.S_IFCHR | 0o777), b"")


def bomb(archive):
    archive.writestr("19.jpg", bytes(200 << 20), zipfile.ZIP_DEFLATED)


def table_bomb(archive):
    archive.writestr("labels.tab", b"0\t1\n" * (80 << 20), zipfile.ZIP_DEFLATED)


def lzma_member(archive):
    archive.writestr("19.jpg", jpeg(), zipfile.ZIP_LZMA)


HOSTILE = {
    traversal: "leads out of the archive",
    absolute: "leads out of the archive",
    backslash: "leads out of the archive",
    symlink: "is a link or a special file",
    device: "is a link or a special file",
    bomb: "larger than 1048576 bytes",
    lzma_member: "uses compression 14",
}


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_hostile_archives_are_refused(tmp_path, attack):
    with zipfile.ZipFile(tmp_path / "ts.zip", "w") as archive:
        archive.writestr("labels.csv", ",class\n0,1\n")
        for t in range(T - 1):
            archive.writestr(f"{t}.jpg", jpeg())
        attack(archive)
    with pytest.raises(DataError, match=HOSTILE[attack]):
        import_published(tmp_path / "ts.zip", tmp_path / "a.h5", domain="x")
    assert [path.name for path in tmp_path.iterdir()] == ["ts.zip"]


def test_a_table_that_unpacks_to_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "ts.zip", "w") as archive:
        table_bomb(archive)
    with pytest.raises(DataError, match="larger than 67108864 bytes"):
        import_published(tmp_path / "ts.zip", tmp_path / "a.h5", domain="x")


def test_doubled_names_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "ts.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("labels.csv", ",class\n0,1\n")
        archive.writestr("labels.csv", ",class\n0,2\n")
    with pytest.raises(DataError, match="two members are called"):
        import_published(tmp_path / "ts.zip", tmp_path / "a.h5", domain="x")


def test_encrypted_members_are_refused(tmp_path, clips):
    consecutive(tmp_path / "ts", clips[:1])
    (tmp_path / "ts" / "labels.csv").write_text(",class\n0,1\n")
    data = bytearray(zipped(tmp_path / "ts").read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(DataError, match="is encrypted"):
        import_published(tmp_path / "locked.zip", tmp_path / "a.h5", domain="x")


def test_random_damage_never_escapes_as_another_error(tmp_path, clips):
    """Bytes flipped all over a zip: it reads, or there is a clear error; nothing else."""
    consecutive(tmp_path / "ts", clips[:1])
    (tmp_path / "ts" / "labels.csv").write_text(",class\n0,1\n")
    original = np.frombuffer(zipped(tmp_path / "ts").read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(150):
        damaged = original.copy()
        where = rng.integers(0 if trial % 2 else len(damaged) - 1500, len(damaged), 4)
        damaged[where] ^= rng.integers(1, 256, 4).astype(np.uint8)
        (tmp_path / "bad.zip").write_bytes(damaged.tobytes())
        try:
            import_published(tmp_path / "bad.zip", tmp_path / "a.h5", domain="x", force=True)
        except (DataError, UsageError):
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nothing",), 3, "no such folder or file"),
        (("text.zip",), 3, "is neither a folder nor a readable zip file"),
        (("empty",), 3, "holds no table of labels"),
        (("empty", "--split", "tset"), 2, "unknown split 'tset'"),
        (("empty", "--classes", "a,a"), 2, "at least two different names"),
        (("empty", "--domain-name", " "), 2, "is not possible; allowed: 1 to 100 characters"),
        (("empty", "--labels", "x.csv"), 2, "holds no such file"),
        (("ts.h5",), 3, "is neither a folder nor a readable zip file"),
    ],
)
def test_bad_requests(run_cli, tmp_path, arguments, code, message):
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "empty").mkdir()
    tsgen.make("2dot", 5, tmp_path / "ts.h5", quiet=True)
    result = run_cli("tsgen", "import", *arguments, "--out", "out.h5")
    assert message in result.stderr
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.h5").exists()
