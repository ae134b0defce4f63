"""Tensors: the same clips in the same order from a file, without one, and with any number of workers."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

import tsgen  # noqa: E402
from tsgen.common.errors import DataError, UsageError  # noqa: E402
from tsgen.torch_data import StreamingTemporalShapes, TemporalShapes  # noqa: E402

N = 30
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python >= 3.12 on every fork
MANY = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "ts.h5"
    tsgen.make("mnist-bg", N, path, seed=5, split="val", digits="embedded", quiet=True)
    return path


@pytest.fixture(scope="module")
def content(made):
    with tsgen.open_clips(made) as clip_set:
        return clip_set.clips(), clip_set.labels, clip_set.clip_id, clip_set.column("boxes")


def both(made, **options):
    return [
        TemporalShapes(made, **options),
        TemporalShapes("mnist-bg", N, split="val", seed=5, digits="embedded", **options),
    ]


def test_items_are_the_rows_of_the_file(made, content):
    for data in both(made):
        assert len(data) == N
        clip, label, clip_id = data[7]
        assert clip.shape == (20, 1, 64, 64) and clip.dtype == torch.uint8
        np.testing.assert_array_equal(clip[:, 0], content[0][7])
        assert (type(label), label, clip_id) == (int, content[1][7], content[2][7])
        assert data[-1][2] == N - 1
        np.testing.assert_array_equal(data.labels, content[1])
        assert data.class_names == ("circle", "spiral", "line", "rectangle", "arc")
        for row in (N, -N - 1):
            with pytest.raises(IndexError, match=r"0\.\.29"):
                data[row]


def test_iterating_ends(made):
    assert sum(1 for _ in itertools.islice(iter(both(made)[1]), N + 5)) == N


def test_float_is_scaled_to_one(made, content):
    for data in both(made, dtype=torch.float32):
        clip = data[3][0]
        assert clip.dtype == torch.float32
        np.testing.assert_allclose(clip[:, 0].numpy() * 255, content[0][3], atol=1e-4)
        assert clip.max() == 1


@FORKS
@pytest.mark.parametrize(("workers", "context"), [(0, None), (1, "fork"), (2, "fork")])
def test_workers_change_nothing(made, content, workers, context):
    for data in both(made, columns=["boxes"]):
        data[0]  # an open file must not cross into the workers
        loader = DataLoader(data, batch_size=8, num_workers=workers, multiprocessing_context=context)
        batches = list(loader)
        assert [len(batch[1]) for batch in batches] == [8, 8, 8, 6]
        np.testing.assert_array_equal(torch.cat([batch[0] for batch in batches])[:, :, 0], content[0])
        np.testing.assert_array_equal(torch.cat([batch[1] for batch in batches]), content[1])
        np.testing.assert_array_equal(torch.cat([batch[2] for batch in batches]), content[2])
        np.testing.assert_array_equal(torch.cat([batch[3]["boxes"] for batch in batches]), content[3])


def test_spawned_workers_open_their_own_file(made, content):
    data = torch.utils.data.ConcatDataset(both(made))
    data[0]
    loader = DataLoader(data, batch_size=N, num_workers=1, multiprocessing_context="spawn")
    for clips, labels, clip_ids in loader:
        np.testing.assert_array_equal(clips[:, :, 0], content[0])
        np.testing.assert_array_equal(labels, content[1])
        np.testing.assert_array_equal(clip_ids, content[2])


def test_shuffling_keeps_clips_and_labels_together(made, content):
    loader = DataLoader(TemporalShapes(made), batch_size=7, shuffle=True, generator=torch.Generator().manual_seed(0))
    seen = []
    for clips, labels, clip_ids in loader:
        np.testing.assert_array_equal(clips[:, :, 0], content[0][clip_ids])
        np.testing.assert_array_equal(labels, content[1][clip_ids])
        seen += clip_ids.tolist()
    assert seen != sorted(seen) and sorted(seen) == list(range(N))


def test_data_sets_are_pickled_without_handles(made, content):
    for data in both(made):
        data[0]
        copy = pickle.loads(pickle.dumps(data))
        np.testing.assert_array_equal(copy[4][0][:, 0], content[0][4])


def stream_batches(workers, batches=5, start=0, context=None, **options):
    stream = StreamingTemporalShapes("2dot", 6, seed=3, start=start, **options)
    loader = DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=context)
    return list(itertools.islice(loader, batches))


@FORKS
@MANY
@pytest.mark.parametrize(("workers", "context"), [(0, None), (1, "fork"), (2, "fork"), (3, "fork"), (1, "spawn")])
def test_the_stream_is_the_same_for_every_number_of_workers(tmp_path, workers, context):
    tsgen.make("2dot", 30, tmp_path / "ts.h5", seed=3, quiet=True)
    batches = stream_batches(workers, context=context)
    assert [batch[0].shape for batch in batches] == [(6, 20, 1, 64, 64)] * 5
    assert [batch[2].tolist() for batch in batches] == np.arange(30).reshape(5, 6).tolist()
    with tsgen.open_clips(tmp_path / "ts.h5") as clip_set:
        np.testing.assert_array_equal(torch.cat([batch[0] for batch in batches])[:, :, 0], clip_set.clips())
        np.testing.assert_array_equal(torch.cat([batch[1] for batch in batches]), clip_set.labels)


@FORKS
def test_the_stream_resumes():
    whole = stream_batches(0, batches=5)
    rest = stream_batches(2, batches=3, start=12)
    for one, other in zip(whole[2:], rest, strict=True):
        for left, right in zip(one, other, strict=True):
            assert torch.equal(left, right)


@FORKS
def test_ranks_share_the_stream():
    whole = [batch[2].tolist() for batch in stream_batches(0, batches=6)]
    for rank in range(2):
        part = [batch[2].tolist() for batch in stream_batches(2, batches=3, rank=rank, world_size=2)]
        assert part == whole[rank::2]


def test_the_stream_goes_far():
    (batch,) = stream_batches(0, batches=1, start=10**12)
    assert batch[2].tolist() == list(range(10**12, 10**12 + 6))


def test_imported_clips_are_data_too(tmp_path):
    from tsgen.exporter import export_clips
    from tsgen.importer import import_published

    tsgen.make("5dot", 5, tmp_path / "ts.h5", quiet=True)
    export_clips(tmp_path / "ts.h5", tmp_path / "frames", "png", quiet=True)
    import_published(tmp_path / "frames", tmp_path / "back.h5", domain="5dot", quiet=True)
    for one, other in zip(TemporalShapes(tmp_path / "ts.h5"), TemporalShapes(tmp_path / "back.h5"), strict=False):
        assert torch.equal(one[0], other[0]) and one[1:] == other[1:]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: TemporalShapes("2dot"), "say how many clips with n"),
        (lambda path: TemporalShapes("2dot", 0), "n = 0 clips is not possible"),
        (lambda path: TemporalShapes("2dot", 5, split="tset"), "unknown split 'tset'"),
        (lambda path: TemporalShapes("2dot", 5, dtype=torch.float64), "dtype torch.float64 is not possible"),
        (lambda path: TemporalShapes("2dot", 5, columns=["box"]), "unknown column 'box'. Did you mean 'boxes'?"),
        (lambda path: TemporalShapes(path, N + 1), f"n = {N + 1} clips are not possible"),
        (lambda path: TemporalShapes(path, split="train"), "has split 'val', not 'train'"),
        (lambda path: TemporalShapes(path, seed=0), "has seed 5, not 0"),
        (lambda path: TemporalShapes(path, digits="auto"), "has no effect on the clip file"),
        (lambda path: StreamingTemporalShapes("2dto"), "unknown domain '2dto'"),
        (lambda path: StreamingTemporalShapes("2dot", 0), "batch_size 0 is not possible"),
        (lambda path: StreamingTemporalShapes("2dot", start=-1), "start -1 is not possible"),
        (lambda path: StreamingTemporalShapes("2dot", rank=2, world_size=2), "rank 2 is not possible; allowed: 0..1"),
    ],
)
def test_bad_requests(made, make, message):
    with pytest.raises(UsageError) as caught:
        make(made)
    assert message in str(caught.value)


def test_damaged_files_are_refused(made, tmp_path):
    (tmp_path / "half.h5").write_bytes(made.read_bytes()[:5000])
    for path in (tmp_path / "half.h5", tmp_path / "none.h5", "5dto"):
        with pytest.raises(DataError, match=r"damaged or truncated|no such file"):
            TemporalShapes(path)


def test_torch_is_named_where_it_is_missing():
    code = "import sys; sys.modules['torch'] = None; import tsgen; tsgen.open_clips; tsgen.TemporalShapes"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "tsgen.torch_data needs PyTorch: pip install 'recur-attend-convolve[train]'" in result.stderr
