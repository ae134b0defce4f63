"""Interruptions of worker processes that must not get lost."""

from __future__ import annotations

import _thread
import sys
import threading
from typing import Any

SOON_S = 0.02


def keep_interrupts() -> None:
    """A KeyboardInterrupt that falls into a callback of the interpreter, which swallows and prints it, comes again.

    Where SIGINT is ignored nothing comes again, and nothing is printed either.
    """
    sys.unraisablehook = _once_more


def _once_more(unraisable: Any) -> None:
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        # Not at once: it would fall into this very callback.
        again = threading.Timer(SOON_S, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)
