"""Units on a Ray cluster: those that take cores as tasks, those that take GPUs as actors that keep what they loaded."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from tsgen.common.engine import MOST_LOST_IN_A_ROW, EngineOptions, Finished, Result, Unit, UnitError, Work
from tsgen.common.engine.doing import StartFailed, perform
from tsgen.common.errors import UsageError

ATTEMPTS = 3
"""How often a unit may end its process or lose its machine before it has failed."""

LEAST_AHEAD = 2
LOST = f"its process was ended from outside, or its machine was lost, {ATTEMPTS} times (out of memory?)"

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Unless the user says otherwise: nothing is reported to anybody, a cluster started here stays on this machine."""


def run_units(
    work: Work[Unit, Result], units: Iterable[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    """As :func:`tsgen.common.engine.run_units`; units of a machine that is lost are done on another."""
    ray = _import_ray()
    with _connected(ray, options):
        yield from (_on_actors if work.gpus else _as_tasks)(ray, work, iter(units), options)


def _import_ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install 'recur-attend-convolve[scale]'.") from None
    return ray


@contextlib.contextmanager
def _connected(ray: Any, options: EngineOptions) -> Iterator[None]:
    """To the cluster at the address, or to one of this machine alone that ends with the block."""
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if options.address is None:
            ray.init(
                "local",
                num_cpus=options.workers or None,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                **common,
            )
        else:
            ray.init(options.address, **common)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise UsageError(f"no Ray cluster at --address {options.address}: {problem}") from problem
    try:
        yield
    finally:
        ray.shutdown()


def _ahead(ray: Any, work: Work[Any, Any]) -> int:
    """Units under way together: twice what the cluster has room for at this moment."""
    cores = ray.cluster_resources().get("CPU", 0.0)
    return max(LEAST_AHEAD, int(2 * cores / work.cpus))


def _as_tasks(
    ray: Any, work: Work[Unit, Result], left: Iterator[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    token, shared = secrets.token_hex(8), ray.put(work)
    task = ray.remote(num_cpus=work.cpus, max_retries=ATTEMPTS - 1)(_perform_shared)
    waiting: dict[Any, Unit] = {}
    lost = 0
    try:
        while True:
            room = _ahead(ray, work) - len(waiting)
            for unit in (unit for _, unit in zip(range(room), left)):  # noqa: B905
                waiting[task.remote(token, [shared], unit)] = unit
            if not waiting:
                return
            for done in ray.wait(list(waiting), timeout=1.0)[0]:
                unit = waiting.pop(done)
                finished = _finished(ray, done, unit)
                lost = lost + 1 if isinstance(finished.problem, UnitError) and str(finished.problem) == LOST else 0
                yield finished
                if lost >= MOST_LOST_IN_A_ROW:
                    raise UnitError(f"{lost} units, one after the other, failed: {LOST}. What is finished is kept.")
    finally:
        for each in waiting:
            ray.cancel(each, force=True)


def _perform_shared(token: str, shared: list[Any], unit: Any) -> tuple[Any, Exception | None]:
    import ray

    return perform(token, ray.get(shared[0]), unit)


def _finished(ray: Any, done: Any, unit: Unit) -> Finished[Unit, Any]:
    try:
        result, problem = ray.get(done)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError:
        return Finished(unit, problem=UnitError(LOST))
    if isinstance(problem, StartFailed):
        raise problem.problem
    return Finished(unit, result, problem)


def _on_actors(
    ray: Any, work: Work[Unit, Result], left: Iterator[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    raise NotImplementedError
    deque()
