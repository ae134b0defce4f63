"""The command as a user meets it: in a process of its own, in an empty folder."""

from __future__ import annotations

import json

import pytest

HEAVY = ("numpy", "numba", "torch", "h5py", "scipy", "PIL")


@pytest.mark.parametrize("command", ["tsgen", "rac-bench", "d48dom"])
def test_help_is_light(run_cli, command, tmp_path):
    import subprocess
    import sys

    module = {"tsgen": "tsgen.cli", "rac-bench": "benchmark.cli", "d48dom": "diving48_domains.cli"}[command]
    code = f"import {module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    result = run_cli(command, "--help")
    assert result.returncode == 0
    assert "Commands:" in result.stdout


def test_make_imports_no_torch(tmp_path):
    import subprocess
    import sys

    code = "import sys, tsgen; tsgen.make('2dot', 5, 'x.h5'); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path).strip() == "False"


def test_make_info_show(run_cli, tmp_path):
    made = run_cli("tsgen", "make", "--domain", "5dot", "--n", 50, "--out", "ts.h5", "--seed", 0)
    assert made.returncode == 0, made.stderr
    assert made.stderr == "", "no progress bar when not a terminal"
    assert "wrote ts.h5: 50 clips of 5dot (paper, train, seed 0)" in made.stdout
    told = json.loads(run_cli("tsgen", "info", "ts.h5", "--json").stdout)
    assert told["clips"] == 50
    assert told["classes"] == {"circle": 10, "spiral": 10, "line": 10, "rectangle": 10, "arc": 10}
    assert told["content_hash"] in made.stdout
    assert told["content_hash"] in run_cli("tsgen", "info", "ts.h5").stdout
    shown = run_cli("tsgen", "show", "ts.h5", "--out", "ts.png")
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "ts.png").read_bytes().startswith(b"\x89PNG")


def test_make_json(run_cli):
    told = json.loads(
        run_cli(
            "tsgen", "make", "--domain", "mnist", "--n", 7, "--out", "a.h5", "--digits", "embedded", "--json"
        ).stdout
    )
    assert told["recipe"]["n"] == 7
    assert told["recipe"]["digits_source"] == "embedded-uci-8x8"


def test_real_digits_by_environment(run_cli, mnist_dir):
    arguments = ("make", "--domain", "mnist", "--n", 5, "--split", "test", "--out", "a.h5")
    made = run_cli("tsgen", *arguments, TSGEN_MNIST_DIR=str(mnist_dir))
    assert made.returncode == 0, made.stderr
    assert "digits: mnist, sha256" in made.stdout


def test_repeated_clips_are_counted(run_cli):
    run_cli("tsgen", "make", "--domain", "2dot", "--n", 20_000, "--out", "many.h5")
    assert json.loads(run_cli("tsgen", "info", "many.h5", "--json").stdout)["repeated_clips"] > 100


MAKE = ("make", "--domain", "2dot", "--out", "ts.h5")
BAD = [
    (("mkae",), 2, "no such command 'mkae'. Did you mean 'make'?"),
    (
        ("make", "--domain", "5dt", "--n", "5", "--out", "x.h5"),
        2,
        "unknown domain '5dt'. Did you mean '5dot'?",
    ),
    ((*MAKE, "--n", "0"), 2, "n = 0 clips is not possible; allowed: 1.."),
    ((*MAKE, "--n", "-3"), 2, "n = -3 clips is not possible"),
    ((*MAKE, "--n", "900000000"), 2, "GB free"),
    ((*MAKE, "--n", "99999999999999999999"), 2, "is not possible"),
    ((*MAKE, "--n", "5", "--split", "tset"), 2, "unknown split 'tset'. Did you mean 'test'?"),
    ((*MAKE, "--n", "5", "--seed", "-1"), 2, "seed -1 is not possible"),
    ((*MAKE, "--n", "5", "--threads", "0"), 2, "threads 0 is not possible"),
    ((*MAKE, "--n", "5", "--sigma", "1", "3"), 2, "--sigma: 2dot has no noise; add --background flicker"),
    ((*MAKE, "--n", "5", "--size", "20"), 2, "px are needed"),
    (("make", "--domain", "2dot", "--n", "5", "--out", "no/such/folder/x.h5"), 2, "does not exist"),
    (("make", "--domain", "2dot", "--n", "5", "--out", "."), 2, "is a directory"),
    (("make", "--domain", "mnist", "--n", "5", "--out", "x.h5", "--digits", "no/such"), 2, "no/such"),
    (("info", "absent.h5"), 3, "no such file"),
    (("make", "--domain", "2dot", "--n", "5", "--out", "/dev/null", "--force"), 2, "is not a regular file"),
    (("states", "--domain", "6dot"), 2, "unknown domain '6dot'. Did you mean"),
    (("info", "text.h5"), 3, "is not an HDF5 file"),
    (("show", "text.h5", "--out", "x.png", "--scale", "0"), 2, "--scale 0 is not possible"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    BAD,
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input(run_cli, tmp_path, arguments, code, message):
    (tmp_path / "text.h5").write_text("just text")
    result = run_cli("tsgen", *arguments)
    assert message in result.stderr
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"text.h5", "cache"}, "nothing is left behind"
