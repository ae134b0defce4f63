"""A real SLURM of two nodes on this machine's loopback: its configuration, its daemons, what tests ask of it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
NODES = ("n0", "n1")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START_S = 20.0
STOP_S = 10.0
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}

# Processes are found by ancestry and not by cgroups, so neither systemd nor root's rights are needed. Cores are
# pretended: what the examples ask for need not exist here. A requeued job starts again when its credential has expired,
# 120 s later unless told otherwise; 5 s is the least. Do not hurry it with StartTime=now: the exit code of the first
# attempt, when it comes in late, would be taken for that of the second.
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PlugStackConfig={folder}/no-plugins
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=1
ReturnToService=2
KillWait=5
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """``folder`` holds the configuration, keys, logs and the nodes' spools."""

    folder: Path

    def run(self, *command: object, **environment: str) -> str:
        """What one of SLURM's commands prints; RuntimeError with all it said when it fails."""
        done = subprocess.run(
            [*map(str, command)], env=self.environment(environment), capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """This process's without an outer SLURM's variables; the commands of this virtual environment come first."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), SEARCHED])
        return {**kept, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf"), **more}

    def states(self, job: str) -> dict[str, str]:
        """Task of an array, ``""`` for a job without -> COMPLETED, FAILED, ...; tasks not begun may share one key."""
        shown = self.run("scontrol", "show", "job", "--oneliner", job)
        return {_field(line, "ArrayTaskId"): _field(line, "JobState") for line in shown.splitlines()}

    def restarts(self, task: str) -> int:
        """How many times a job, or ``JOB_TASK`` of an array, began anew."""
        return int(_field(self.run("scontrol", "show", "job", "--oneliner", task), "Restarts"))

    def wait(self, *jobs: str, seconds: float = 240.0) -> list[dict[str, str]]:
        """The :meth:`states` of jobs when all of their tasks have ended."""
        until = time.monotonic() + seconds
        while True:
            states = [self.states(job) for job in jobs]
            if all(state in ENDED for of_job in states for state in of_job.values()):
                return states
            if time.monotonic() > until:
                raise TimeoutError(f"after {seconds} s: {states}\n{self.run('squeue')}\n{self.logs()}")
            time.sleep(0.2)

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def slurm_daemons() -> Iterator[Slurm]:
    """munged, slurmctld and a slurmd for each node, all on 127.0.0.1; none of their processes is left afterwards.

    Skips the test where SLURM is not installed.
    """
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} on this machine: apt-get install slurm-wlm munge")
    # Not below pytest's tmp_path: the name of munge's socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    slurm = Slurm(folder)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        _configure(folder)
        munge = [
            "munged",
            "--foreground",
            "--force",
            f"--socket={folder}/munge.socket",
            f"--key-file={folder}/munge.key",
        ]
        munge += [f"--{kind}-file={folder}/munged.{kind}" for kind in ("pid", "log", "seed")]
        _start(slurm, daemons, munge)
        _until((folder / "munge.socket").exists, slurm, daemons)
        _start(slurm, daemons, ["slurmctld", "-D", "-c"])
        for node in NODES:
            _start(slurm, daemons, ["slurmd", "-D", "-N", node])
        _until(lambda: _idle_nodes(slurm) == len(NODES), slurm, daemons)
        yield slurm
    finally:
        _stop(slurm, daemons)
        shutil.rmtree(folder, ignore_errors=True)


def _field(shown: str, name: str) -> str:
    found = re.search(rf"\b{name}=(\S+)", shown)
    return found[1] if found else ""


def _configure(folder: Path) -> None:
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs=4"
        for name, port in zip(NODES, ports[1:], strict=True)
    )
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    text = CONFIGURATION.format(folder=folder, ports=ports, user=user, nodes=nodes)
    (folder / "slurm.conf").write_text(text)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _start(slurm: Slurm, daemons: list[subprocess.Popen[bytes]], command: list[str]) -> None:
    with (slurm.folder / f"{command[0]}-{len(daemons)}.log").open("wb") as log:
        # setpriv: it is told to end even when this process is killed before it can say so itself.
        daemon = ["setpriv", "--pdeathsig", "TERM", *command]
        daemons.append(subprocess.Popen(daemon, env=slurm.environment({}), stdout=log, stderr=log))


def _idle_nodes(slurm: Slurm) -> int:
    try:
        return slurm.run("sinfo", "--noheader", "--Node", "--format=%t").split().count("idle")
    except RuntimeError:  # slurmctld does not answer yet
        return 0


def _until(condition: Callable[[], bool], slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > until or any(daemon.poll() is not None for daemon in daemons):
            pytest.skip(f"SLURM does not start on this machine:\n{slurm.logs()}")
        time.sleep(0.05)


def _stop(slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    """Jobs too: what runs them is no child of the daemons and outlives these."""
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    until = time.monotonic() + STOP_S
    while left := _processes_of(slurm):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > until:
            raise RuntimeError(f"processes of a stopped SLURM are left: {left}")
        time.sleep(0.05)


def _processes_of(slurm: Slurm) -> list[int]:
    """Those whose environment names this configuration: the jobs, and what starts them."""
    mark = f"SLURM_CONF={slurm.folder}/slurm.conf".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
