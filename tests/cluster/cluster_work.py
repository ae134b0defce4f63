"""What the tests of the engines send to workers, which import it from here."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from pathlib import Path

from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path

started: list[str] = []
"""Of a process: what ``start`` was told, once each time."""


def square(number: int) -> int:
    """But for 7 (DataError), 8 (an error nobody foresaw), 9 (ends its process), 10 (leaves), 11 (an unsendable
    result).
    """
    match number:
        case 7:
            raise DataError("seven is damaged")
        case 8:
            raise ZeroDivisionError("eight is odd")
        case 9:
            os._exit(1)
        case 10:
            raise SystemExit("ten has gone")
        case 11:
            return threading.Lock()  # type: ignore[return-value]
    return number * number


def note(told: str) -> None:
    started.append(told)


def fail(told: str) -> None:
    raise DataError(told) if told == "foreseen" else KeyError(told)


def vanish() -> None:
    os._exit(1)


def where(unit: int) -> tuple[int, list[str]]:
    """This process, and what its ``start`` was told."""
    return os.getpid(), list(started)


def environment(name: str) -> str | None:
    return os.environ.get(name)


def slow(unit: tuple[str, int, float]) -> int:
    """``(folder, number, seconds)``: a file that says by which process and when it was begun, then the wait."""
    folder, number, seconds = unit
    Path(folder, f"{number}-{os.getpid()}-{time.time_ns()}").touch()
    time.sleep(seconds)
    return number


def long_call(unit: tuple[str, int, float]) -> int:
    """As :func:`slow`, in one call of a C library, which no signal ends before its time."""
    slow((*unit[:2], 0.0))
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    return unit[1]


def unfinished(unit: tuple[str, int, float]) -> int:
    """``(folder, number, seconds)``: a file of that number, which is half written for as long."""
    folder, number, seconds = unit
    with atomic_path(Path(folder, str(number))) as partial:
        partial.touch()
        time.sleep(seconds)
    return number


def last_stays(unit: tuple[str, int, int]) -> int:
    """``(folder, number, most)``: until ``most`` units are under way at once; then number 0 stays, when first begun."""
    folder, number, most = unit
    again = bool(list(Path(folder).glob(f"{number}-*")))
    slow((folder, number, 0.0))
    while len(list(Path(folder).iterdir())) < most:
        time.sleep(0.02)
    if number == 0 and not again:
        time.sleep(60.0)
    return number


class Unsendable:
    """Refuses to be pickled in its own words."""

    def __reduce__(self) -> str:
        raise pickle.PicklingError("not to be pickled")


def machine(seconds: float) -> str:
    """Of a Ray cluster: on which this runs."""
    import ray

    time.sleep(seconds)
    return str(ray.get_runtime_context().get_node_id())


def together(unit: tuple[str, int, int, float]) -> bool:
    """``(folder, number, most, seconds)``: whether ``most`` units were seen under way at once."""
    folder, number, most, seconds = unit
    Path(folder, str(number)).touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if len(list(Path(folder).iterdir())) >= most:
            return True
        time.sleep(0.02)
    return False


def big(number: int) -> bytes:
    """More than travels with an answer: Ray leaves it in the memory of the machine that did it."""
    return bytes([number]) * 300_000
