"""``rac-bench run --ranks``: the command begun again by torchrun, its exit code, and no process left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.commands import run
from benchmark.launch import _followed, arguments_of, blamed, end_rank
from tsgen.common.engine.place import enter
from tsgen.common.errors import UsageError

COMMAND = [sys.executable, "-W", "error", "-P", "-c", "from benchmark.cli import main; main()", "run"]
TINY = ["--preset", "quick", "--hidden", "2", "--n-train", "32", "--n-val", "20", "--n-target", "20"]
TINY += ["--batch-size", "16", "--digits", "embedded", "--device", "cpu", "--threads", "1"]
PATIENCE_S = 100


def test_the_command_is_begun_again_without_the_options_that_led_to_it():
    given = ["--model", "convlstm", "--resume", "--json", "--out", "-odd", "--learning-rate", "0.1", "--seeds", "1,2"]
    context = run.make_context("run", [*given, "--ranks", "8", "--engine", "ray", "--address", "auto"])
    arguments = arguments_of(context, "--resume")
    assert set(arguments[1:-1]) == {"--model=convlstm", "--json", "--out=-odd", "--learning-rate=0.1", "--seeds=1,2"}
    assert (arguments[0], arguments[-1]) == ("run", "--resume")
    again = run.make_context("run", list(arguments[1:])).params
    assert again == {**context.params, "ranks": 1, "engine": "serial", "address": None}


@pytest.mark.parametrize(
    "options, message",
    [
        ("--ranks 0", "--ranks 0 is not possible"),
        ("--ranks 3", "a batch of 16 clips cannot be shared by 3 processes"),
        ("--engine processes", "give --ranks for several processes"),
        ("--engine rai", "unknown engine 'rai'. Did you mean 'ray'?"),
        ("--address auto", "add --engine ray"),
        ("--engine ray --device auto", "say --device cpu or cuda"),
        ("--ranks 2 --model nothing", "unknown model 'nothing'"),
    ],
)
def test_what_cannot_be_launched_is_said_at_once(tmp_path, options, message):
    done = CliRunner().invoke(cli, ["run", *TINY, "--out", str(tmp_path / "new"), *options.split()])
    assert isinstance(done.exception, UsageError) and message in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_there_needs_resume(tmp_path):
    (tmp_path / "config.json").touch()
    done = CliRunner().invoke(cli, ["run", *TINY, "--out", str(tmp_path), "--ranks", "2"])
    assert isinstance(done.exception, UsageError) and "add --resume to continue it" in str(done.exception)


def test_ranks_under_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    done = CliRunner().invoke(cli, ["run", *TINY, "--ranks", "2"])
    assert isinstance(done.exception, UsageError) and "torchrun has begun this process already" in str(done.exception)


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"absent is not there on .*: the machines of a cluster work on common files"):
        enter(tmp_path / "absent")
    (tmp_path / "seen").mkdir()
    enter(tmp_path / "seen", [Path()])
    assert Path.cwd() == tmp_path / "seen"


def test_messages_are_passed_on_while_they_come(tmp_path, capfd):
    log = tmp_path / "runs" / "one.log"
    with _followed(log):
        log.write_text("epoch 1\n")
    with _followed(log), log.open("a") as file:
        file.write("epoch 2\n")
    assert capfd.readouterr().err == "epoch 1\nepoch 2\n"


def launched(out, *options, **environment):
    return subprocess.Popen(
        [*COMMAND, *TINY, "--out", str(out), "--ranks", "2", *options],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_both_ranks_run_the_command_and_its_exit_code_comes_back(tmp_path):
    """Digits that do not exist are noticed in the ranks, both of them; it is said once."""
    process = launched(tmp_path / "run", "--digits", "/nowhere")
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == UsageError.exit_code, said
    assert said.startswith("error: unknown source of digits '/nowhere'")
    assert said.count("\n") == 1


def failed(exit_code, message="", said_at=0, tmp_path=None):
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    file = Path("/nowhere") if tmp_path is None else tmp_path / "error.json"
    if tmp_path is not None:
        file.write_text(json.dumps({"message": message, "timestamp": said_at, "code": 3}))
    return ProcessFailure(0, 1, exit_code, str(file))


def test_the_rank_to_blame(tmp_path):
    lost_the_others, killed, knew = failed(1), failed(-9), failed(-15, "no clips", 9**9, tmp_path)
    assert blamed({0: lost_the_others, 1: killed, 2: knew}) == (3, "no clips")
    code, said = blamed({0: lost_the_others, 1: killed})
    assert code == 137 and said.startswith("rank 1 was ended by SIGKILL (out of memory?); with --resume")
    assert blamed({1: lost_the_others}) == (1, "rank 1 failed; see its messages above.")


def test_only_ranks_of_a_launch_are_silent(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    end_rank(3, "no clips")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("benchmark.launch._rank_of_ours", [True])
    with pytest.raises(SystemExit, match="3"):
        end_rank(3, "no clips")
    assert json.loads((tmp_path / "error.json").read_text())["message"] == "no clips"


def in_session_of(process):
    """Processes of the session that the launcher began."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            line = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if str(process) in line and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_two_ranks_train_one_model_and_end_with_the_launcher(tmp_path, data_dir):
    out = tmp_path / "run"
    process = launched(out, "--epochs", "100000", "--patience", "100000", RAC_DATA_DIR=str(data_dir))
    until = time.monotonic() + PATIENCE_S
    while not list(out.glob("seed*/state.safetensors")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    assert len(in_session_of(out)) == 4  # this one, torchrun, two ranks
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while in_session_of(out):
        assert time.monotonic() < until
        time.sleep(0.1)
    process = launched(out.with_name("short"), "--epochs", "2", RAC_DATA_DIR=str(data_dir))
    printed, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert "trained on 2dot; seed 42" in printed
    assert said.count("training on 32 2dot clips") == 1  # one of the ranks talks
