"""Units on a Ray cluster: those that take cores as tasks, those that take GPUs as actors that keep what they loaded."""

from __future__ import annotations

import pickle
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic

from tsgen.common.engine import MOST_LOST_IN_A_ROW, EngineOptions, Finished, Result, Unit, UnitError, Work
from tsgen.common.engine.doing import StartFailed, perform, sendable
from tsgen.common.engine.ray_cluster import Cluster, connected
from tsgen.common.errors import UsageError

ATTEMPTS = 3
"""How often a unit may end its process or lose its machine before it has failed."""

AHEAD = 2
"""Tasks under way for every one that can run: enough that no core is idle, few enough for a list of any length."""

LOOK_S = 1.0
"""How often the machines are counted: they come and go."""

GONE_S = 60.0
"""How long a command waits for a machine that can do its units, where there was one."""


def run_units(
    work: Work[Unit, Result], units: Iterable[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    """As :func:`tsgen.common.engine.run_units`. Ray knows which unit ended a process: it alone is done again, up to
    :data:`ATTEMPTS` times, as are the units of a machine that is lost.

    UsageError when no machine of the cluster has what a unit takes.
    """
    with connected(work, options) as cluster:
        slots = Slots(cluster, work, options.workers)
        if not slots.now():
            raise UsageError(
                f"a unit takes {_needs(work)}; no machine of the Ray cluster has that. It has: {slots.machines()}."
            )
        hands: Tasks | Actors = Actors(cluster, work, slots) if work.gpus else Tasks(cluster, work, slots)
        # What is under way when this ends is given up: a cluster ends all processes of a command that disconnects.
        # (Nothing is cancelled: where that meets an answer on its way, Ray aborts this process.)
        yield from _followed(cluster, hands, slots, iter(units))


@dataclass(slots=True)
class Slots:
    """How many units the machines can do side by side, ``most`` at most; counted again when :data:`LOOK_S` is over."""

    cluster: Cluster
    work: Work[Any, Any]
    most: int | None
    counted: int = 0
    looked: float = float("-inf")
    seen: float = 0.0
    """When there was last room for any."""

    def now(self) -> int:
        """UnitError when there has been none for :data:`GONE_S`."""
        time_s = time.monotonic()
        if time_s - self.looked >= LOOK_S:
            self.counted = sum(_fits(self.work, node) for node in self.cluster.nodes())
            self.looked = time_s
            if self.counted:
                self.seen = time_s
            elif self.seen and time_s - self.seen > GONE_S:
                raise UnitError(
                    f"a unit takes {_needs(self.work)}; the machines that had it have left the Ray cluster, which is "
                    f"now: {self.machines()}. What is finished is kept."
                )
        return self.counted if not self.most else min(self.most, self.counted)

    def machines(self) -> str:
        """What the cluster has, machine by machine, for an error."""
        nodes = sorted(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in self.cluster.nodes())
        return "; ".join(f"{nodes.count(each)} x ({each})" for each in dict.fromkeys(nodes)) or "no machine at all"


def _needs(work: Work[Any, Any]) -> str:
    return f"{work.cpus:g} CPUs" + (f" and {work.gpus:g} GPUs" if work.gpus else "")


def _fits(work: Work[Any, Any], node: dict[str, float]) -> int:
    """Units that a machine can do side by side."""
    needs = {"CPU": work.cpus, "GPU": work.gpus}
    # The small number is for fractions: 1 / 0.1 is a little less than 10.
    return min(int(node.get(name, 0.0) / need + 1e-9) for name, need in needs.items() if need)


@dataclass(frozen=True, slots=True)
class Attempt(Generic[Unit]):
    """A unit, and how often it was lost so far."""

    unit: Unit
    lost: int = 0


def _followed(
    cluster: Cluster, hands: Tasks | Actors, slots: Slots, left: Iterator[Unit]
) -> Iterator[Finished[Unit, Any]]:
    """Keeps ``hands`` busy until all units are finished."""
    ray = cluster.ray
    todo, under_way = deque[Attempt[Unit]](), dict[Any, Attempt[Unit]]()
    in_a_row = 0
    while True:
        room = hands.ahead * slots.now() - len(under_way)
        todo.extend(Attempt(unit) for unit in islice(left, max(0, room - len(todo), not under_way and not todo)))
        if not todo and not under_way:
            return
        hands.prepare(len(todo))
        for _ in range(min(room, len(todo))):
            try:
                sent = hands.send(todo[0].unit)
            except (TypeError, AttributeError, ValueError, pickle.PicklingError) as problem:  # what pickling raises
                yield Finished(todo.popleft().unit, problem=sendable(problem))
                continue
            if sent is None:
                break
            under_way[sent] = todo.popleft()
        for answer in _ready(ray, [*under_way, *hands.starting]):
            if answer in hands.starting:
                hands.welcome(answer)
                continue
            attempt = under_way.pop(answer)
            try:
                finished = _finished(ray, attempt.unit, answer)
            except ray.exceptions.RayError as problem:
                hands.back(answer, lost=True)
                attempt = Attempt(attempt.unit, attempt.lost + 1)
                if attempt.lost < ATTEMPTS:
                    todo.append(attempt)
                    continue
                in_a_row += 1
                finished = Finished(attempt.unit, problem=_lost(cluster, problem))
            else:
                hands.back(answer, lost=False)
                in_a_row = 0
            yield finished
            if in_a_row >= MOST_LOST_IN_A_ROW:
                raise UnitError(f"{in_a_row} units, one after the other, failed: {finished.problem}")


def _ready(ray: Any, answers: list[Any]) -> list[Any]:
    """All that have come; waits for the first, but no longer than until machines are counted again."""
    if not answers:
        time.sleep(LOOK_S)
        return []
    first = ray.wait(answers, num_returns=1, timeout=LOOK_S)[0]
    return list(ray.wait(answers, num_returns=len(answers), timeout=0)[0]) if first else []


def _finished(ray: Any, unit: Unit, answer: Any) -> Finished[Unit, Any]:
    """Raises ``ray.exceptions.RayError`` where the unit was lost, and what ``work.start`` raised."""
    try:
        result, problem = ray.get(answer)
    except ray.exceptions.RayTaskError as failed:
        # `perform` raises nothing, so it was not reached, or what it returned cannot be sent.
        if "failed to be imported" in str(failed) or isinstance(failed.cause, ImportError):
            raise _other_version(failed.cause) from failed
        return Finished(unit, problem=UnitError(f"its result could not be sent back: {failed.cause}"))
    if isinstance(problem, StartFailed):
        raise problem.problem
    return Finished(unit, result, problem)


def _other_version(problem: object) -> UsageError:
    return UsageError(f"a machine of the Ray cluster lacks this version of the package or a part of it: {problem}")


def _lost(cluster: Cluster, problem: Exception) -> UnitError:
    cluster.keep()
    return UnitError(
        f"its process was ended from outside, or its machine was lost, {ATTEMPTS} times (out of memory?). Ray's logs "
        f"are on that machine below {cluster.logs}. Ray: {str(problem).strip().splitlines()[0]}"
    )


@dataclass(slots=True)
class Tasks:
    """Units as Ray tasks: Ray chooses the machine."""

    cluster: Cluster
    work: Work[Any, Any]
    slots: Slots
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    starting: tuple[Any, ...] = ()
    task: Any = None
    shared: Any = None

    @property
    def ahead(self) -> int:
        """A number of workers is a promise, so then nothing waits at Ray's."""
        return 1 if self.slots.most else AHEAD

    def prepare(self, wanted: int) -> None:
        """Once: the work travels to each machine one time, not with every unit."""
        if self.task is None:
            # Attempts are counted here, for Ray would do a unit that takes too much memory again for ever.
            self.task = self.cluster.ray.remote(num_cpus=self.work.cpus, max_retries=0)(_perform)
            self.shared = self.cluster.ray.put(self.work)

    def send(self, unit: Any) -> Any:
        """What will be the answer."""
        return self.task.remote(self.token, [self.shared], unit)

    def welcome(self, answer: Any) -> None:
        """Nothing starts before its units."""

    def back(self, answer: Any, lost: bool) -> None:
        """A task leaves nothing behind."""


@dataclass(slots=True)
class Actors:
    """Units in actors, one at a time each; an actor is asked for where the cluster has room and a unit has none."""

    cluster: Cluster
    work: Work[Any, Any]
    slots: Slots
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    starting: dict[Any, Any] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    busy: dict[Any, Any] = field(default_factory=dict)
    failed: int = 0
    ahead: int = 1
    shared: Any = None

    def prepare(self, wanted: int) -> None:
        """As many actors as units want, beside those that come; those that find no place hold up none."""
        if self.shared is None:
            self.shared = self.cluster.ray.put(self.work)
        room = self.slots.now() - len(self.starting) - len(self.idle) - len(self.busy)
        for _ in range(min(room, wanted - len(self.idle) - len(self.starting))):
            actor = self.cluster.ray.remote(
                num_cpus=self.work.cpus, num_gpus=self.work.gpus, max_restarts=0, max_task_retries=0
            )(_Keeper).remote()
            self.starting[actor.ready.remote()] = actor

    def send(self, unit: Any) -> Any:
        """None when no actor is idle."""
        if not self.idle:
            return None
        actor = self.idle[-1]
        answer = actor.perform.remote(self.token, [self.shared], unit)
        self.busy[answer] = self.idle.pop()
        return answer

    def welcome(self, answer: Any) -> None:
        """A new actor is there, or could not begin; when several in a row could not, it is not the machines."""
        ray, actor = self.cluster.ray, self.starting.pop(answer)
        try:
            ray.get(answer)
        except ray.exceptions.RayError as problem:
            self.failed += 1
            if "failed to be imported" in str(problem):
                raise _other_version(problem) from problem
            if self.failed >= MOST_LOST_IN_A_ROW:
                raise _lost(self.cluster, problem) from problem
        else:
            self.failed = 0
            self.idle.append(actor)

    def back(self, answer: Any, lost: bool) -> None:
        """An actor that lost a unit gets no other: it is dead, or cannot be reached."""
        actor = self.busy.pop(answer)
        if lost:
            # The idle ones may have been on the same machine, and the unit would be lost again to each of them.
            for each in (actor, *self.idle):
                self.cluster.ray.kill(each)
            self.idle.clear()
        else:
            self.idle.append(actor)


class _Keeper:
    """An actor: its process stays, and with it what ``start`` loaded."""

    def ready(self) -> None:
        """Answers as soon as the process is there."""

    def perform(self, token: str, shared: list[Any], unit: Any) -> tuple[Any, Exception | None]:
        return _perform(token, shared, unit)


_kept: dict[str, Any] = {}
"""Of a worker: the work it last did, by its token."""


def _perform(token: str, shared: list[Any], unit: Any) -> tuple[Any, Exception | None]:
    if token not in _kept:
        import ray

        try:
            work = ray.get(shared[0])
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RaySystemError as problem:
            return None, StartFailed(_other_version(str(problem).splitlines()[0]))
        _kept.clear()
        _kept[token] = work
    return perform(token, _kept[token], unit)
