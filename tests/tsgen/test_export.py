"""Every form holds the same clips as the file it came from; nothing half-written stays; nothing foreign is replaced."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import tsgen
from tsgen.clipfile import COLUMNS
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import _host
from tsgen.export_forms import ExportOptions
from tsgen.exporter import FACTS_FILE, FORMS, export_clips
from tsgen.importer import import_published

N = 23
SHARDS = ExportOptions(shard_clips=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("made") / "ts.h5"
    tsgen.make("mnist-bg", N, path, seed=7, split="test", digits="embedded", quiet=True)
    return path


@pytest.fixture(scope="module")
def content(made):
    with tsgen.open_clips(made) as clip_set:
        return clip_set.clips(), {name: clip_set.column(name) for name in COLUMNS}, clip_set.content_hash


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    done: dict[str, Path] = {}

    def get(form: str) -> Path:
        if form not in done:
            if form in ("parquet", "mp4"):
                pytest.importorskip({"parquet": "pyarrow", "mp4": "av"}[form])
            export_clips(made, folder / form, form, SHARDS, quiet=True)
            done[form] = folder / form
        return done[form]

    return get


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("form", FORMS)
def test_the_facts_lie_beside_the_data(exported, content, form):
    facts = json.loads((exported(form) / FACTS_FILE).read_text())
    assert facts["form"] == form
    assert facts["content_hash"] == content[2]
    assert (facts["domain"], facts["split"], facts["seed"], facts["clips"]) == ("mnist-bg", "test", 7, N)


@pytest.mark.parametrize("form", FORMS)
def test_bytes_do_not_depend_on_the_time(exported, made, tmp_path, form):
    first = contents(exported(form))
    export_clips(made, tmp_path / "again", form, SHARDS, quiet=True)
    assert contents(tmp_path / "again") == first


def test_parquet_round_trip(exported, content):
    pa = pytest.importorskip("pyarrow.parquet")
    folder = exported("parquet")
    names = [f"test-{shard:05d}-of-00003.parquet" for shard in range(3)]
    assert sorted(path.name for path in folder.glob("*.parquet")) == names
    assert [pa.read_metadata(folder / name).num_rows for name in names] == [10, 10, 3]
    table = pa.read_table(folder)
    raw = b"".join(value.as_py() for value in table["clips"])
    np.testing.assert_array_equal(np.frombuffer(raw, np.uint8).reshape(N, 20, 64, 64), content[0])
    for name, values in content[1].items():
        np.testing.assert_array_equal(np.array(table[name].to_pylist(), dtype=values.dtype), values)
    facts = json.loads(pa.read_schema(folder / names[0]).metadata[b"tsgen"])
    assert facts["content_hash"] == content[2]


def test_datasets_reads_the_parquet(exported, content, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = {"test": str(exported("parquet") / "*.parquet")}
    table = datasets.load_dataset("parquet", data_files=files, split="test", cache_dir=str(tmp_path / "cache"))
    assert table["labels"][:] == content[1]["labels"].tolist()
    np.testing.assert_array_equal(np.frombuffer(table[11]["clips"], np.uint8).reshape(20, 64, 64), content[0][11])


def test_webdataset_is_plain_tar(exported, content):
    shards = sorted(exported("webdataset").glob("*.tar"))
    assert [path.name for path in shards] == [f"test-{shard:05d}-of-00003.tar" for shard in range(3)]
    row = 0
    for shard in shards:
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
            for array, label, values in zip(members[0::3], members[1::3], members[2::3], strict=True):
                assert array.name == f"{row:08d}.npy"
                np.testing.assert_array_equal(np.load(io.BytesIO(tar.extractfile(array).read())), content[0][row])
                assert int(tar.extractfile(label).read()) == content[1]["labels"][row]
                told = json.loads(tar.extractfile(values).read())
                np.testing.assert_array_equal(np.float32(told["boxes"]), content[1]["boxes"][row])
                heading = content[1]["heading"][row]
                assert told["heading"] is None if np.isnan(heading) else told["heading"] == heading
                row += 1
    assert row == N


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_it(exported, content):
    wds = pytest.importorskip("webdataset")
    shards = sorted(map(str, exported("webdataset").glob("*.tar")))
    rows = list(wds.WebDataset(shards, shardshuffle=False).decode().to_tuple("npy", "cls", "json"))
    np.testing.assert_array_equal(np.stack([clip for clip, _, _ in rows]), content[0])
    assert [label for _, label, _ in rows] == content[1]["labels"].tolist()


def test_videos_are_lossless(exported, content):
    av = pytest.importorskip("av")
    folder = exported("mp4")
    for row in (0, 11, N - 1):
        with av.open(str(folder / f"{row:08d}.mp4")) as container:
            frames = list(container.decode(video=0))
            for pixel_format in ("gray", "rgb24"):
                decoded = np.stack([frame.to_ndarray(format=pixel_format) for frame in frames])
                grey = decoded if pixel_format == "gray" else decoded[..., 1]
                np.testing.assert_array_equal(grey, content[0][row])


def test_gifs_keep_the_grey_levels(exported, content):
    folder = exported("gif")
    for row in (0, N - 1):
        with Image.open(folder / f"{row:08d}.gif") as image:
            for t in range(20):
                image.seek(t)
                np.testing.assert_array_equal(np.asarray(image.convert("L")), content[0][row, t])


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_a_table_says_what_each_video_shows(exported, content, form):
    with (exported(form) / "labels.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["label"]) for row in rows] == content[1]["labels"].tolist()
    assert [int(row["clip_id"]) for row in rows] == content[1]["clip_id"].tolist()
    assert all((exported(form) / row["file"]).exists() for row in rows)


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_the_published_form_is_imported_again(exported, content, tmp_path, form):
    import_published(exported(form), tmp_path / "back.h5", domain="mnist-bg", split="test", quiet=True)
    with tsgen.open_clips(tmp_path / "back.h5") as back:
        assert back.labels.tolist() == content[1]["labels"].tolist()
        difference = np.abs(back.clips().astype(int) - content[0])
        assert difference.max() == 0 if form == "png" else 0 < difference.mean() < 3
    export_clips(tmp_path / "back.h5", tmp_path / "again", form, quiet=True)


def test_the_published_form_looks_as_published(exported):
    lines = (exported("jpeg") / "labels.csv").read_text().splitlines()
    assert lines[0] == ",class"
    assert lines[1].startswith("0,")
    names = {path.name for path in exported("jpeg").glob("*.jpg")}
    assert names == {f"{number}.jpg" for number in range(N * 20)}


@pytest.mark.parametrize("shard_clips", [1, 7, N, 1000])
def test_shards_of_any_size_hold_all_clips(made, content, tmp_path, shard_clips):
    export_clips(made, tmp_path / "out", "webdataset", ExportOptions(shard_clips=shard_clips), quiet=True)
    counts, labels = [], []
    for shard in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(shard) as tar:
            shown = [int(tar.extractfile(member).read()) for member in tar if member.name.endswith(".cls")]
            counts.append(len(shown))
            labels += shown
    assert labels == content[1]["labels"].tolist()
    assert counts[:-1] == [shard_clips] * (len(counts) - 1)


# --- what must not happen --------------------------------------------------------------------------------------------


def test_an_existing_folder_is_kept(made, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists; give another name or add --force"):
        export_clips(made, out, "gif", quiet=True)
    with pytest.raises(UsageError, match="is not an earlier export of tsgen, so it is not replaced"):
        export_clips(made, out, "gif", force=True, quiet=True)
    assert (out / "precious.txt").read_text() == "mine"


def test_force_replaces_an_earlier_export(made, tmp_path):
    export_clips(made, tmp_path / "out", "gif", quiet=True)
    export_clips(made, tmp_path / "out", "webdataset", force=True, quiet=True)
    assert not list((tmp_path / "out").glob("*.gif"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_what_was_there(made, tmp_path, monkeypatch):
    export_clips(made, tmp_path / "out", "gif", quiet=True)
    before = contents(tmp_path / "out")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsgen.export_forms.np.save", full)
    with pytest.raises(DataError, match="Is the disk full"):
        export_clips(made, tmp_path / "out", "webdataset", force=True, quiet=True)
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers_of_a_killed_process_are_cleared(made, tmp_path):
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    stale = tmp_path / f".out.partial-0-{_host()}-{finished.pid}"
    stale.mkdir()
    (stale / "0.jpg").write_bytes(b"half")
    running = tmp_path / f".out.partial-0-{_host()}-{os.getppid()}"
    running.mkdir()
    export_clips(made, tmp_path / "out", "gif", quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out", running.name}


def test_changed_files_are_refused(made, tmp_path):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(made.read_bytes())
    with h5py.File(copy, "r+") as file:
        file["labels"][3] = (file["labels"][3] + 1) % 5
    for form in FORMS:
        with pytest.raises(DataError, match="changed or damaged"):
            export_clips(copy, tmp_path / "out", form, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.h5"]


@pytest.mark.parametrize(("form", "module"), [("parquet", "pyarrow"), ("mp4", "av")])
def test_a_missing_extra_is_named(made, tmp_path, monkeypatch, form, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'recur-attend-convolve\[export\]'"):
        export_clips(made, tmp_path / "out", form, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ts.h5", "--to", "parquette"), 2, "unknown form 'parquette'. Did you mean 'parquet'?"),
        (("text.h5", "--to", "gif"), 3, "is not an HDF5 file"),
        (("none.h5", "--to", "gif"), 3, "no such file"),
        (("ts.h5", "--to", "gif", "--fps", "0"), 2, "--fps 0 is not possible; allowed: 1..50"),
        (("ts.h5", "--to", "jpeg", "--quality", "100"), 2, "--quality 100 is not possible; allowed: 1..95"),
        (("ts.h5", "--to", "webdataset", "--shard-clips", "0"), 2, "--shard-clips 0 is not possible"),
    ],
)
def test_bad_requests(run_cli, made, tmp_path, arguments, code, message):
    (tmp_path / "ts.h5").write_bytes(made.read_bytes())
    (tmp_path / "text.h5").write_text("text")
    result = run_cli("tsgen", "export", *arguments, "--out", "out")
    assert message in result.stderr
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote(run_cli, made, tmp_path):
    result = run_cli("tsgen", "export", made, "--to", "webdataset", "--out", "out", "--shard-clips", 5)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert f"wrote out: {N} clips as webdataset, 6 files," in result.stdout
