"""The connection to a Ray cluster: one at an address, or one of this machine alone that nobody else can reach."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgen.common.engine import EngineOptions, Work, usable_cores
from tsgen.common.errors import UsageError

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "^", "RAY_ENABLE_AUTO_CONNECT": "0"}
"""Unless the user says otherwise: nothing is reported to anybody, Ray writes none of its messages between the lines of
a command's standard output, and starts no cluster that nobody asked for. Ray reads them when it is imported.
"""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What Ray must find when it is imported, on any system, to leave 127.0.0.1 as it is instead of looking for the address
at which others reach this machine.
"""

IMPATIENT = {"RAY_NUM_REDIS_GET_RETRIES": "5"}
"""For a cluster that listens: seconds, not 20, until a wrong token is reported."""

KEEP = "keep"
KNOCK_S = 10.0

LONGEST_FOLDER = 40
"""Ray puts 64 characters behind it, and the name of a socket may have 107."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """``ray``: the module, connected; ``logs``: where the machines' logs lie; ``mine``: ends with this command."""

    ray: Any
    logs: Path
    mine: bool

    def nodes(self) -> list[dict[str, float]]:
        """What each machine that is alive has in all, such as ``{"CPU": 64.0, "GPU": 8.0}``."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def keep(self) -> None:
        """The logs of a cluster of this machine outlive it: something was lost."""
        if self.mine:
            (self.folder / KEEP).touch()

    @property
    def folder(self) -> Path:
        """Of all of Ray's sessions of a cluster of this machine."""
        return self.logs.parents[1]


@contextlib.contextmanager
def connected(work: Work[Any, Any], options: EngineOptions) -> Iterator[Cluster]:
    """Until the end of the block. UsageError where Ray is absent, nobody answers or the token is not the cluster's."""
    ray = _imported(options)
    if ray.is_initialized():
        raise UsageError("this process is connected to a Ray cluster already; end that with ray.shutdown() first.")
    # One thing after the other: what ends first began last.
    with contextlib.ExitStack() as stack:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if options.address is None:
            folder = stack.enter_context(_private_folder())
            stack.enter_context(_own_token())
            common |= {
                "num_cpus": max(math.ceil(work.cpus), usable_cores() if options.workers is None else options.workers),
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": str(folder),
            }
        else:
            _knock(options.address)
        try:
            stack.callback(ray.shutdown)
            context = ray.init(options.address or "local", **common)
        except (OSError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as problem:
            raise _no_cluster(options.address, problem, ray) from problem
        if options.address is None and context.address_info["node_ip_address"] != "127.0.0.1":
            raise UsageError(
                f"Ray would listen at {context.address_info['node_ip_address']}, where others can reach it: it was "
                "imported before this engine. Set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before Ray is imported."
            )
        yield Cluster(ray, Path(context.address_info["session_dir"], "logs"), options.address is None)


def _imported(options: EngineOptions) -> Any:
    address = options.address
    if address is not None and "://" in address:
        raise UsageError(
            f"--address {address} is that of a Ray client server, which units cannot be followed through; run the "
            "command on a machine of the cluster (by ssh, or with `ray job submit`) with --address auto."
        )
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name, value in (LOOPBACK if address is None else IMPATIENT).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install 'recur-attend-convolve[scale]'.") from None
    return ray


def _knock(address: str) -> None:
    """UsageError where nobody listens: Ray itself would go on trying for minutes."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("none was started on this machine")
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, ValueError) as problem:
        raise UsageError(f"no Ray cluster at --address {address}: {problem}") from problem


def _no_cluster(address: str | None, problem: Exception, ray: Any) -> UsageError:
    if address is None:
        return UsageError(f"Ray could not start on this machine: {problem}")
    cause = str(problem.__cause__ or "")
    if isinstance(problem, ray.exceptions.AuthenticationError) or "InvalidAuthToken" in cause:
        return UsageError(
            f"the Ray cluster at --address {address} asks for its token: set RAY_AUTH_MODE=token and put the token "
            "into ~/.ray/auth_token or RAY_AUTH_TOKEN, as on its machines (docs/ray.md)."
        )
    return UsageError(
        f"cannot work with the Ray cluster at --address {address} (this machine must be one of its own): {problem} "
        f"{cause}".rstrip()
    )


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """For sockets and logs: Ray's default is one folder for all users of a machine, writable for each of them.

    Kept where the block leaves a file :data:`KEEP` in it.
    """
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=usual if len(usual) <= LONGEST_FOLDER else "/tmp"))
    try:
        yield folder
    finally:
        if not (folder / KEEP).exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    """A cluster of this machine asks for a token that nobody else has, whatever the user's own clusters do.

    Other users reach loopback too, and the token file that Ray would write can be read by them.
    """
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    # The mode is left to Ray, which turns tokens on for clusters of one machine and remembers the mode otherwise.
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _forget_token()
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)
        _forget_token()


def _forget_token() -> None:
    """Ray remembers the token of the first cluster of a process, which may see several."""
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("ray._raylet").AuthenticationTokenLoader.instance().reset_cache()
