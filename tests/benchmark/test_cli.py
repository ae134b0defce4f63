"""The command as a stranger meets it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import pytest

COMMAND = [sys.executable, "-W", "error", "-c", "from benchmark.cli import main; main()"]
TINY = [
    "run",
    "--preset",
    "quick",
    "--hidden",
    "2",
    "--n-train",
    "20",
    "--n-val",
    "15",
    "--n-target",
    "15",
    "--epochs",
    "3",
    "--batch-size",
    "10",
    "--digits",
    "embedded",
    "--device",
    "cpu",
    "--threads",
    "1",
]
DOMAINS = ("2dot", "5dot", "mnist", "mnist-bg")


@pytest.fixture
def rac_bench(tmp_path, data_dir):
    def call(*arguments, ok=True, **environment):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "RAC_DATA_DIR": str(data_dir), **environment},
            capture_output=True,
            text=True,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir):
    """A finished run of two seeds, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = subprocess.run(
        [*COMMAND, *TINY, "--seeds", "0,61", "--out", str(out)],
        env={**os.environ, "RAC_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def bytes_that_must_agree(out):
    names = ["result.json", "report.md", "config.json", "data.json"]
    names += [f"seed{seed}/checkpoint.safetensors" for seed in (0, 61)]
    names += [f"predictions/seed{seed}/{domain}.h5" for seed in (0, 61) for domain in DOMAINS]
    return {name: (out / name).read_bytes() for name in names}


def test_run_leaves_a_complete_directory(finished):
    out, printed = finished
    result = json.loads((out / "result.json").read_text())
    assert result["parameters"] == 1573
    assert [each["seed"] for each in result["seeds"]] == [0, 61]
    assert [facts["domain"] for facts in result["data"]] == ["2dot", *DOMAINS]
    assert result["data"][3]["digits_source"] == "embedded-uci-8x8"
    assert str(out.parent) not in (out / "result.json").read_text()
    epochs = [json.loads(line) for line in (out / "seed0" / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    best = result["seeds"][0]
    assert best["domains"]["2dot"]["accuracy"] == max(epoch["val_accuracy"] for epoch in epochs)
    assert epochs[best["best_epoch"] - 1]["val_accuracy"] == best["domains"]["2dot"]["accuracy"]
    table = printed.partition("\nWritten to")[0].strip()
    assert table in (out / "report.md").read_text()


def test_score_prints_the_same_table_without_torch_and_writes_nothing(finished, rac_bench):
    out, printed = finished
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    assert rac_bench("score", out).stdout.strip() == printed.partition("\nWritten to")[0].strip()
    assert (
        json.loads(rac_bench("score", out, "--json").stdout)
        == json.loads((out / "result.json").read_text())["scorecard"]
    )
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments, forbidden",
    [("--help", "torch numba numpy scipy h5py"), ("run --help", "torch numba numpy"), ("score RUN", "torch numba")],
)
def test_quick_commands_import_nothing_heavy(finished, arguments, forbidden):
    words = [str(finished[0]) if word == "RUN" else word for word in arguments.split()]
    code = (
        "import sys; from benchmark.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        f"found = set({forbidden.split()}) & set(sys.modules); sys.exit(f'imported {{found}}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_run_resumes_to_the_same_bytes(finished, rac_bench, tmp_path, data_dir, kill):
    out = tmp_path / "broken"
    arguments = [*TINY, "--seeds", "0,61", "--out", str(out)]
    # Held after the first epoch, so that the signal arrives in the middle however fast the machine is.
    held = (
        "import benchmark.run as r, time; w = r._write_metrics; r._write_metrics = lambda *a: (w(*a), time.sleep(60)); "
    )
    process = subprocess.Popen(
        [sys.executable, "-c", held + "from benchmark.cli import main; main()", *arguments],
        env={**os.environ, "RAC_DATA_DIR": str(data_dir)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not (out / "seed0" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(kill)
    stderr = process.communicate()[1]
    if kill == signal.SIGINT:
        assert process.returncode == 130, stderr
        assert "--resume continues" in stderr
    assert len((out / "seed0" / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (out / "result.json").exists()
    refused = rac_bench(*arguments, ok=False)
    assert refused.returncode == 2
    assert "add --resume" in refused.stderr
    resumed = rac_bench(*arguments, "--resume", "--json")
    assert bytes_that_must_agree(out) == bytes_that_must_agree(finished[0])
    assert resumed.stdout.strip() == (finished[0] / "result.json").read_text().strip()
    again = rac_bench(*arguments, "--resume")
    assert "finished: nothing to do" in again.stderr
    assert again.stdout.partition("\nWritten")[0] == finished[1].partition("\nWritten")[0]


@pytest.mark.parametrize(
    "options, message",
    [
        ("--model 3dcn", "unknown model '3dcn'. Did you mean '3dcnn'? Allowed: 3dcnn, convlstm"),
        ("--source 2dots", "unknown source '2dots'. Did you mean '2dot'? Allowed: 2dot, mnist-bg, V."),
        ("--source 5dot", "unknown source '5dot'."),
        ("--preset quik", "unknown preset 'quik'. Did you mean 'quick'?"),
        ("--hidden 0", "hidden 0 is not possible; allowed: 1..4096"),
        ("--hidden -1", "hidden -1 is not possible"),
        ("--model timesf-1 --hidden 3", "hidden 3 is not possible for timesf-1: rotary embeddings turn pairs"),
        ("--model torchvison:r3d_18", "unknown kind of model 'torchvison'. Did you mean 'torchvision'?"),
        ("--model py: --hidden 2", "model 'py:' has no name after the colon"),
        ("--model torchvision:r3d_18 --hidden 2", "torchvision:r3d_18 has its own layers; leave --hidden out."),
        ("--precision fp16", "unknown precision 'fp16'."),
        ("--pack few", "pack 'few' is not possible"),
        ("--seeds 42,42", "seeds given twice: 42"),
        ("--seeds 42,x", "seeds '42,x' are not whole numbers separated by commas"),
        ("--seeds -1", "seed -1 is not possible"),
        ("--epochs 0", "max_epochs 0 is not possible"),
        ("--n-train 5", "n_train 5 is less than one batch of 10"),
        ("--learning-rate nan", "learning_rate nan is not possible"),
        ("--device gpu", "unknown device 'gpu'."),
        ("--threads 0", "threads 0 is not possible"),
        ("--digits no/such/place", "no/such/place"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(rac_bench, tmp_path, options, message):
    out = tmp_path / "new"
    done = rac_bench(*TINY, "--out", out, *options.split(), ok=False)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_cuda_without_cuda(rac_bench, tmp_path):
    done = rac_bench(*TINY, "--out", tmp_path / "new", "--device", "cuda", ok=False, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "finds no CUDA device" in done.stderr


def test_resume_with_another_config_or_data_names_the_difference(finished, rac_bench):
    out = finished[0]
    done = rac_bench(*TINY, "--seeds", "0,61", "--hidden", "3", "--epochs", "4", "--out", out, "--resume", ok=False)
    assert done.returncode == 2
    assert "hidden: 2 -> 3; max_epochs: 3 -> 4" in done.stderr


def test_directory_of_something_else_is_left_alone(rac_bench, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    done = rac_bench(*TINY, "--out", tmp_path / "mine", "--resume", ok=False)
    assert done.returncode == 2
    assert "is not empty and holds no run" in done.stderr


def test_score_of_no_run_and_of_a_half_run(finished, rac_bench, tmp_path):
    done = rac_bench("score", tmp_path, ok=False)
    assert (done.returncode, "is not a run directory" in done.stderr) == (3, True)
    (tmp_path / "config.json").write_bytes((finished[0] / "config.json").read_bytes())
    done = rac_bench("score", tmp_path, ok=False)
    assert (done.returncode, "no predictions of seed 0 on 2dot" in done.stderr) == (3, True)
    (tmp_path / "config.json").write_text('{"hidden": []}')
    done = rac_bench("score", tmp_path, ok=False)
    assert (done.returncode, "does not hold the fields of a run" in done.stderr) == (3, True)


def test_params(rac_bench):
    printed = rac_bench("params", "--hidden", "2,16", "--json").stdout
    assert json.loads(printed) == {
        "3dcnn": {"2": 1573, "16": 24645},
        "convlstm": {"2": 1497, "16": 52261},
        "timesf-8": {"2": 20421, "16": 1023493},
        "timesf-1": {"2": 877, "16": 20421},
    }
    table = rac_bench("params").stdout
    assert {"156869", "433253", "8968709", "153413"} <= set(table.split())
    assert "8968709" not in rac_bench("params", "--model", "3dcnn").stdout


def test_params_of_the_diving48_experiments(rac_bench):
    counts = json.loads(rac_bench("params", "--diving48", "--json").stdout)
    assert counts["a"] == counts["c"] == {"3D CNN": 10_651_824, "ConvLSTM": 14_367_280, "TimeSformer": 84_795_440}
    assert counts["d"] == {"3D CNN": 39_888_816, "ConvLSTM": 14_367_280}
    assert counts["e"] == {"3D CNN": 14_613_424, "ConvLSTM": 14_367_280, "TimeSformer": 14_675_760}
    assert counts["h"] == {"3D CNN": 14_613_424, "ConvLSTM": 14_367_280}
    assert "50.07" in rac_bench("params", "--diving48").stdout


@pytest.mark.parametrize(
    "arguments, says",
    [
        ("--hidden 0", "hidden 0 is not possible"),
        ("--hidden 2,x", "not whole numbers separated by commas"),
        ("--model 4dcnn", "unknown model '4dcnn'"),
        ("--model torchvision:r3d_18", "params counts our own families"),
        ("--diving48 --hidden 2", "leave --model and --hidden out"),
    ],
)
def test_params_refuses(rac_bench, arguments, says):
    done = rac_bench("params", *arguments.split(), ok=False)
    assert done.returncode == 2
    assert says in done.stderr


def test_damaged_cached_clips_are_made_anew(plan, tiny):
    intact = plan.val.load(lambda line: None)
    with h5py.File(plan.val.path, "a") as file:
        file["labels"][0] = (file["labels"][0] + 1) % 5
    messages = []
    again = plan.val.load(messages.append)
    assert "cached clips are not usable" in messages[0]
    assert again.facts == intact.facts
    assert (again.labels == intact.labels).all()
