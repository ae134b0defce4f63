"""``rac-bench run`` in several processes that train one model (torchrun), on this machine or on one of a cluster.

The command begins itself again, without the options that led here. What begins it holds its standard input open: when
that ends, by Ctrl-C, kill -9 or the loss of a worker, the processes end as well.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.nodes import check_device, gpus_of
from tsgen.common.engine import EngineOptions, Work, run_units
from tsgen.common.engine.place import enter
from tsgen.common.errors import UsageError
from tsgen.common.names import printable

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

STOP_S = 30.0
RANK_STOPS_S = 5.0
"""torchrun ends its ranks sooner, unless it is lost itself."""

POLL_S = 0.5
OWN_OPTIONS = ("ranks", "engine", "address")
ENVIRONMENT = ("RAC_DATA_DIR", "TSGEN_MNIST_DIR")
BEGIN = "import sys; from benchmark.launch import main; sys.exit(main(sys.argv[1:]))"
BEGIN_RANK = "from benchmark.launch import be_rank; be_rank()"
SAID_BY_US = ("multiprocessing.api", "agent.server.api")
"""Loggers of torch.distributed.elastic that tell, in many lines, which process ended with which code."""


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
        return _wait(subprocess.Popen(one.command, stdin=subprocess.PIPE, start_new_session=True))[0]
    assert one.log is not None
    work = Work(run=do_launch, cpus=float(one.ranks * (threads or 1)), gpus=one.ranks * gpus_of(device))
    with _followed(one.log), contextlib.closing(run_units(work, [one], engine)) as units:
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
        code, printed = _wait(process)
        return code, printed.decode("utf-8", "replace")


def _check_gpus(device: str, ranks: int) -> None:
    import torch

    if device != "cpu" and ranks > torch.cuda.device_count() > 0:
        raise UsageError(f"--ranks {ranks}: this machine has {torch.cuda.device_count()} GPUs, one for each rank.")


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Its exit code and what it printed, if that comes here."""
    assert process.stdin is not None
    try:
        printed = b"" if process.stdout is None else process.stdout.read()
        code = process.wait()
    except BaseException:
        process.stdin.close()  # tells it to stop
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        process.kill()
        process.wait()
        raise
    process.stdin.close()
    return code if code >= 0 else 128 - code, printed


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
    """``torchrun --standalone``; its exit code is that of the rank to blame; what was wrong is said once."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun itself would, with a warning
    for name in SAID_BY_US:
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    begin = [sys.executable, "-P", "-c", BEGIN_RANK, *command]
    try:
        options = ["--standalone", f"--nproc-per-node={ranks}", "--no-python", *begin]
        run(parse_args(options))  # type: ignore[no-untyped-call]
    except ChildFailedError as problem:
        code, said = blamed(problem.failures)
        click.echo("error: " + "\n".join(map(printable, said.split("\n"))), err=True)
        return code
    except (SignalException, KeyboardInterrupt):
        return 130
    return 0


def blamed(failures: Mapping[int, ProcessFailure]) -> tuple[int, str]:
    """Exit code and words for ranks that failed: one that knew why comes before one that was killed, and both before
    those that only lost the others.
    """
    rank, failure = min(
        failures.items(), key=lambda item: (not _knew_why(item[1]), item[1].exitcode >= 0, item[1].timestamp)
    )
    if _knew_why(failure):  # its own code: it may have been ended on its way out
        return failure.error_file_data["code"], failure.message
    if failure.exitcode >= 0:
        return failure.exitcode, f"rank {rank} failed; see its messages above."
    hint = " (out of memory?)" if failure.signal_name() == "SIGKILL" else ""
    return (
        128 - failure.exitcode,
        f"rank {rank} was ended by {failure.signal_name()}{hint}; with --resume the run goes on after its last epoch.",
    )


def _knew_why(failure: ProcessFailure) -> bool:
    return "code" in failure.error_file_data  # written by end_rank


_rank_of_ours: list[bool] = []
"""Not empty in a rank that :func:`launch` began; somebody's own torchrun tells what its ranks say."""


def be_rank() -> None:
    """``rac-bench`` as one of the ranks."""
    _rank_of_ours.append(True)
    threading.Thread(target=_end_with_parent, args=(RANK_STOPS_S,), daemon=True).start()
    from benchmark.cli import main as rac_bench

    rac_bench()


def end_rank(code: int, problem: str = "") -> None:
    """End this process if it is a rank that :func:`launch` began, which then says the problem, once for all of them."""
    if not _rank_of_ours:
        return
    if problem:
        what = {"message": problem, "timestamp": int(time.time()), "code": code}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(what), encoding="utf-8")
    sys.exit(code)


def _end_with_parent(after_s: float = 0.0) -> None:
    while os.read(0, 1):  # not sys.stdin: its lock, held by a thread, would break the end of the process
        pass
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGTERM)
