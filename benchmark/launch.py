"""``rac-bench run`` in several processes that train one model (torchrun), on this machine or on one of a cluster.

The command begins itself again, without the options that led here. What begins it holds its standard input open: when
that ends, by Ctrl-C, kill -9 or the loss of a worker, the processes end as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmark.nodes import check_device, enter, gpus_of
from tsgen.common.engine import EngineOptions, Work, run_units
from tsgen.common.errors import UsageError

STOP_S = 30.0
POLL_S = 0.5
OWN_OPTIONS = ("ranks", "engine", "address")
ENVIRONMENT = ("RAC_DATA_DIR", "TSGEN_MNIST_DIR")
BEGIN = "import sys; from benchmark.launch import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Launch:
    """A command to begin again in ``folder``, in ``ranks`` processes; on a cluster ``log`` takes its messages."""

    arguments: tuple[str, ...]
    ranks: int
    folder: Path
    environment: Mapping[str, str]
    log: Path | None = None

    @property
    def command(self) -> list[str]:
        # -P: a file in the current folder cannot stand in for an installed package.
        return [sys.executable, "-P", "-c", BEGIN, str(self.ranks), *self.arguments]


def check_launch(engine: EngineOptions, ranks: int, device: str) -> None:
    """UsageError for what cannot be begun."""
    if ranks < 1:
        raise UsageError(f"--ranks {ranks} is not possible; allowed: 1 or more.")
    if engine.name == "processes":
        raise UsageError("--engine processes: a run trains one model; give --ranks for several processes.")
    if "RANK" in os.environ and (ranks > 1 or engine.name != "serial"):
        raise UsageError("torchrun has begun this process already; leave --ranks and --engine out, or torchrun.")
    check_device(engine, device)


def arguments_of(context: click.Context, *more: str) -> tuple[str, ...]:
    """The command and the options that were given, without those that led here, and ``more`` of them."""
    given: list[str] = [str(context.info_name)]
    for parameter in context.command.params:
        name, source = parameter.name or "", context.get_parameter_source(parameter.name or "")
        if name in OWN_OPTIONS or source != click.core.ParameterSource.COMMANDLINE or parameter.opts[0] in more:
            continue
        value = context.params[name]
        given += [parameter.opts[0]] if value is True else [f"{parameter.opts[0]}={value}"]
    return (*given, *more)


def launch(one: Launch, engine: EngineOptions, device: str, threads: int | None) -> int:
    """Begin it and wait; its exit code. On a cluster all ranks run on one machine, and its loss costs an epoch."""
    if engine.name == "serial":
        _check_gpus(device, one.ranks)
        # A session of its own: Ctrl-C reaches this process, which then ends that one once.
        return _wait(subprocess.Popen(one.command, stdin=subprocess.PIPE, start_new_session=True))
    assert one.log is not None
    work = Work(run=do_launch, cpus=float(one.ranks * (threads or 1)), gpus=one.ranks * gpus_of(device))
    with _followed(one.log), contextlib.closing(run_units(work, [one], engine)) as units:  # type: ignore[type-var]
        finished = next(units)
    if finished.problem is not None:
        raise finished.problem
    assert finished.result is not None
    code, printed = finished.result
    click.echo(printed, nl=False)
    return code


def do_launch(one: Launch) -> tuple[int, str]:
    """The unit of a cluster: exit code and what was printed. Messages go to the log, which the driver follows."""
    enter(one.folder)
    assert one.log is not None
    # Ray's number of threads is that of all ranks together.
    environment = {**os.environ, **one.environment, "OMP_NUM_THREADS": "1"}
    with one.log.open("ab") as log:
        process = subprocess.Popen(
            one.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
        )
        assert process.stdout is not None
        printed = process.stdout.read().decode("utf-8", "replace")
        return _wait(process), printed


def _check_gpus(device: str, ranks: int) -> None:
    import torch

    if device != "cpu" and ranks > torch.cuda.device_count() > 0:
        raise UsageError(f"--ranks {ranks}: this machine has {torch.cuda.device_count()} GPUs, one for each rank.")


def _wait(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    try:
        code = process.wait()
    except BaseException:
        process.stdin.close()  # tells it to stop
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        process.kill()
        process.wait()
        raise
    process.stdin.close()
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _followed(log: Path) -> Iterator[None]:
    """What is appended to ``log`` meanwhile goes to standard error."""
    ended = threading.Event()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    begun_at = log.stat().st_size

    def follow() -> None:
        with log.open("rb") as file:
            file.seek(begun_at)
            while True:
                last = ended.is_set()
                click.echo(file.read(), err=True, nl=False)
                if last:
                    return
                time.sleep(POLL_S)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def main(arguments: Sequence[str]) -> int:
    """Of the process that was begun: the ranks, or with one the command itself."""
    ranks, command = int(arguments[0]), list(arguments[1:])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if ranks == 1:
        sys.argv[1:] = command
        from benchmark.cli import main as rac_bench

        rac_bench()
    return _torchrun(ranks, command)


def _torchrun(ranks: int, command: Sequence[str]) -> int:
    """``torchrun --standalone``; its exit code is that of the rank which failed first."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun itself would, with a warning
    begin = [sys.executable, "-P", "-c", "from benchmark.cli import main; main()", *command]
    try:
        run(
            parse_args(
                [  # type: ignore[no-untyped-call]
                    "--standalone",
                    f"--nproc-per-node={ranks}",
                    "--no-python",
                    *begin,
                ]
            )
        )
    except ChildFailedError as problem:
        code = problem.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except (SignalException, KeyboardInterrupt):
        return 130
    return 0


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock, held by a thread, would break the end of the process
        pass
    os.kill(os.getpid(), signal.SIGTERM)
