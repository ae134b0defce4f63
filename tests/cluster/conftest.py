"""A Ray cluster of two nodes on this machine's loopback, for everything that ``--engine ray`` does."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# Before Ray is imported anywhere: it reads them once, and without the second 127.0.0.1 becomes an outside address.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "5",
}
OBJECT_STORE = 100 << 20


@pytest.fixture(scope="session")
def ray_environment() -> Iterator[None]:
    """Ray can be imported; the environment of this process and of those it starts is that of the tests' clusters."""
    patch = pytest.MonkeyPatch()
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    # Nodes, their workers and new drivers import the functions that the tests send.
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, which pytest makes errors
        pytest.importorskip("ray", reason="needs Ray: pip install 'recur-attend-convolve[scale]'")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def ray_cluster(ray_environment: None) -> Iterator[Callable[..., Any]]:
    """``ray_cluster({"num_cpus": 1}, ...)``: a new ``ray.cluster_utils.Cluster``, a node for each; ended at the end.

    Nodes cannot be told apart by address, so a driver connects to the first of them.
    """
    from ray.cluster_utils import Cluster

    begun: list[tuple[Any, str]] = []

    def begin(*nodes: dict[str, Any]) -> Any:
        # Not below pytest's tmp_path: the names of Ray's sockets may have 107 characters.
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        head = {"include_dashboard": False, "temp_dir": folder, **_node(nodes[0])}
        try:
            cluster = Cluster(initialize_head=True, head_node_args=head)
        except Exception as problem:  # Ray alone so far: a machine without shared memory, or that forbids its sockets
            pytest.skip(f"Ray does not start on this machine: {problem}")
        begun.append((cluster, folder))
        for node in nodes[1:]:
            cluster.add_node(**_node(node))
        return cluster

    try:
        yield begin
    finally:
        for cluster, folder in begun:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _node(resources: dict[str, Any]) -> dict[str, Any]:
    return {"node_ip_address": "127.0.0.1", "object_store_memory": OBJECT_STORE, **resources}


@pytest.fixture(scope="session")
def ray_address(ray_cluster: Callable[..., Any]) -> str:
    """HOST:PORT of two nodes of one CPU each, of which one says that it has a GPU."""
    return str(ray_cluster({"num_cpus": 1}, {"num_cpus": 1, "num_gpus": 1}).address)
