"""An interruption that falls into a callback, where the interpreter would print and forget it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import time, weakref
from tsgen.common.interrupts import keep_interrupts

class Thing: pass

def callback(reference):
    raise {problem}

keep_interrupts()
thing = Thing()
reference = weakref.ref(thing, callback)
try:
    del thing
    for _ in range({looks}):
        time.sleep(0.01)
    print("lost")
except KeyboardInterrupt:
    print("kept")
"""


def run(problem: str, looks: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(problem=problem, looks=looks)], capture_output=True, text=True
    )


def test_an_interrupt_comes_again():
    done = run("KeyboardInterrupt", 3000)
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_other_problems_are_printed_as_ever():
    done = run("ValueError('odd')", 0)
    assert done.stdout == "lost\n" and "ValueError: odd" in done.stderr
