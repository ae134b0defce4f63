"""The engine on Ray: the contract of all engines, and what only a cluster can do to a unit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cluster_work
import engine_contract
import pytest

from tsgen.common.engine import EngineOptions, UnitsFailed, Work, results, run_units
from tsgen.common.errors import UsageError

pytestmark = pytest.mark.cluster
GPU = {"cpus": 0.25, "gpus": 0.25}
PREAMBLE = "import cluster_work\nfrom tsgen.common.engine import *\nimport sys\n"


@pytest.fixture(autouse=True)
def disconnected():
    """Whatever a test left open."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture
def options(ray_address):
    return EngineOptions("ray", address=ray_address)


@pytest.fixture
def driver(ray_environment):
    """Start Python code as a command of its own, as a terminal does."""
    begun = []

    def start(code, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + code],
            env={name: value for name, value in {**os.environ, **environment}.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("check", engine_contract.CHECKS + engine_contract.WITH_PROCESSES, ids=lambda f: f.__name__)
def test_alike(check, options):
    check(options)


@pytest.mark.parametrize("check", engine_contract.WITH_PROCESSES, ids=lambda f: f.__name__)
def test_actors_alike(check, options, monkeypatch):
    monkeypatch.setattr(engine_contract, "Work", lambda *one, **work: Work(*one, **work, **GPU))
    check(options)


def test_four_quarters_of_a_gpu_at_once(options, tmp_path):
    units = [(str(tmp_path), number, 4, 30.0) for number in range(4)]
    got = list(run_units(Work(cluster_work.together, **GPU), units, options))
    assert [one.result for one in got] == [True] * 4


def test_actors_stay_warm(options):
    work = Work(cluster_work.where, cluster_work.note, ("model",), cpus=0.5, gpus=0.5)
    got = [one.result for one in run_units(work, range(20), options)]
    assert len(dict(got)) <= 2 and all(told == ["model"] for _, told in got)


def test_workers_is_a_promise(ray_address, tmp_path):
    one = EngineOptions("ray", 1, ray_address)
    for work in (Work(cluster_work.together), Work(cluster_work.together, **GPU)):
        folder = tmp_path / str(work.gpus)
        folder.mkdir()
        assert not next(run_units(work, [(str(folder), n, 2, 2.0) for n in range(2)], one)).result


def test_a_unit_has_the_threads_of_its_cpus(options):
    got = run_units(Work(cluster_work.environment), ["OMP_NUM_THREADS"], options)
    assert next(got).result == "1"


def test_results_name_what_failed(options):
    with pytest.raises(UnitsFailed, match=r"1 of 4 units failed.*\n9: its process was ended.*Ray's logs are"):
        list(results(run_units(Work(cluster_work.square), [9, 1, 2, 3], options)))


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        ({"gpus": 2}, r"takes 1 CPUs and 2 GPUs; no machine .* It has: 1 x \(1 CPUs, 0 GPUs\); 1 x \(1 CPUs, 1 GPUs\)"),
        ({"cpus": 3}, r"takes 3 CPUs; no machine of the Ray cluster has that"),
    ],
)
def test_what_no_machine_has(options, needs, text):
    with pytest.raises(UsageError, match=text):
        list(run_units(Work(cluster_work.square, **needs), [1], options))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("127.0.0.1:9", "no Ray cluster at --address 127.0.0.1:9: .*refused"),
        ("nonsense", "no Ray cluster at --address nonsense"),
        ("ray://127.0.0.1:10001", "is that of a Ray client server"),
    ],
)
def test_an_address_of_nothing(ray_environment, address, text):
    with pytest.raises(UsageError, match=text):
        list(run_units(Work(cluster_work.square), [1], EngineOptions("ray", address=address)))


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_token_is_needed(driver, ray_address, tmp_path, token):
    process = driver(
        f"try: list(run_units(Work(cluster_work.square), [1], EngineOptions('ray', address={ray_address!r})))\n"
        "except UsageError as error: print(error)",
        RAY_AUTH_TOKEN=token,
        HOME=str(tmp_path),
    )
    assert "asks for its token: set RAY_AUTH_MODE=token" in process.communicate(timeout=120)[0]


@pytest.mark.parametrize(("needs", "slots"), [({}, 2), ({"cpus": 0.5, "gpus": 0.5}, 4)], ids=["tasks", "actors"])
def test_a_machine_that_is_lost_loses_no_unit(ray_cluster, tmp_path, needs, slots):
    cluster = ray_cluster({"num_cpus": 1, "num_gpus": 1}, {"num_cpus": 1, "num_gpus": 1})
    units = [(str(tmp_path), number, 3.0) for number in range(6)]

    def lose():
        until(lambda: len(list(tmp_path.iterdir())) >= slots)  # so both machines are at it
        cluster.remove_node(not_mine(cluster), allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    finished = list(run_units(Work(cluster_work.slow, **needs), units, EngineOptions("ray", address=cluster.address)))
    thread.join()
    assert sorted(one.result for one in finished) == list(range(6))
    assert len(list(tmp_path.iterdir())) > 6  # what was under way there was begun again


def test_idle_actors_that_are_lost_cost_no_attempts(options, tmp_path):
    finished = run_units(Work(cluster_work.last_stays, **GPU), [(str(tmp_path), n, 4) for n in range(4)], options)
    done = {next(finished).result for _ in range(3)}
    for path in list(tmp_path.iterdir()):  # three are idle now
        os.kill(int(path.name.split("-")[1]), signal.SIGKILL)
    assert [one.result for one in finished] == [0] and done == {1, 2, 3}


def not_mine(cluster):
    """The node that the driver is not connected to."""
    import ray

    mine = ray.get_runtime_context().get_node_id()
    return next(node for node in cluster.list_all_nodes() if node.node_id != mine)


def test_a_machine_that_joins_is_used(ray_cluster):
    cluster = ray_cluster({"num_cpus": 1})
    finished = run_units(Work(cluster_work.machine), [0.1] + [1.0] * 9, EngineOptions("ray", address=cluster.address))
    machines = {next(finished).result}
    cluster.add_node(node_ip_address="127.0.0.1", num_cpus=1)
    assert len(machines | {one.result for one in finished}) == 2


def test_big_results(options):
    got = {one.unit: one.result for one in run_units(Work(cluster_work.big), range(8), options)}
    assert got == {n: cluster_work.big(n) for n in range(8)}


def children(pid):
    """All processes below one."""
    below = [int(each) for task in Path(f"/proc/{pid}/task").glob("*/children") for each in task.read_text().split()]
    return below + [each for child in below for each in children(child)]


def alive(pids):
    """Those that are processes still, and not only waited for."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [
        pid for pid, path in states.items() if path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"
    ]


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


SLOW = """
units = [({!r}, number, 60.0) for number in range(4)]
list(run_units(Work(cluster_work.slow, **{}), units, EngineOptions('ray', 2, {!r})))
"""


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("local", "needs"), [(True, {}), (False, {}), (False, GPU)], ids=["local", "tasks", "actors"])
def test_nothing_outlives_the_command(driver, ray_address, tmp_path, local, needs, kill):
    process = driver(SLOW.format(str(tmp_path), needs, None if local else ray_address))
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name.split("-")[1]) for path in tmp_path.iterdir()]
    below = children(process.pid) if local else []
    assert alive(workers) == workers and (not local or set(workers) <= set(below))
    os.killpg(process.pid, kill) if kill == signal.SIGINT else process.send_signal(kill)
    process.communicate(timeout=30)
    # After SIGKILL two of Ray's own helpers look for it for up to a minute.
    until(lambda: not alive(workers if kill == signal.SIGKILL else [*workers, *below]), 30)


def test_a_local_cluster_is_nobody_elses(driver, tmp_path):
    code = """
finished = run_units(Work(cluster_work.square), range(4), EngineOptions('ray', workers=1))
print(next(finished).unit)
import os
print(os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"], flush=True)
import time; time.sleep(60)
"""
    (tmp_path / "home").mkdir()
    process = driver(
        code, TMPDIR=str(tmp_path), HOME=str(tmp_path / "home"), RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN=""
    )
    process.stdout.readline()
    mode, token = process.stdout.readline().split()
    assert mode == "token" and len(token) == 64 and token != os.environ["RAY_AUTH_TOKEN"]
    listening = addresses_of([process.pid, *children(process.pid)])
    assert len(listening) > 3 and set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}, listening
    assert not (tmp_path / ".ray").exists()


def addresses_of(pids):
    """Where processes listen, in the kernel's notation."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


def test_local_output_is_the_commands_own(driver, tmp_path):
    code = (
        "got = {one.unit: one for one in run_units(Work(cluster_work.square), [1, 9], EngineOptions('ray', 1))}\n"
        "print(got[1].result, type(got[9].problem).__name__)"
    )
    out, err = driver(code, RAY_ADDRESS="127.0.0.1:9", TMPDIR="/tmp").communicate(timeout=120)
    assert out == "1 UnitError\n" and err == ""


def test_a_package_that_machines_lack(driver, ray_address, tmp_path):
    (tmp_path / "only_here.py").write_text("def work(unit): return unit\n")
    code = (
        f"sys.path.insert(0, {str(tmp_path)!r})\nimport only_here\n"
        f"for gpus in (0, 1):\n"
        f"    options = EngineOptions('ray', address={ray_address!r})\n"
        "    try: list(run_units(Work(only_here.work, gpus=gpus), [1], options))\n"
        "    except UsageError as error: print(error)\n"
    )
    out, err = driver(code).communicate(timeout=120)
    assert err == "" and out.count("lacks this version of the package or a part of it") == 2 and "only_here" in out


def test_one_cluster_at_a_time(options):
    first = run_units(Work(cluster_work.square), range(4), options)
    next(first)
    with pytest.raises(UsageError, match="connected to a Ray cluster already"):
        next(run_units(Work(cluster_work.square), range(4), options))
    assert len(list(first)) == 3
