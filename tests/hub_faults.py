"""What a server on loopback answers, and how to spoil it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent_bytes: int | None = None  # of the body; fewer than promised is a cut connection


@dataclass
class Fault:
    """``change`` is applied to the answers number ``first``.. (``times`` of them) to requests that match.

    ``acts``: whether the server does what was asked all the same, so that only the answer is wrong.
    """

    method: str
    path: str
    change: Callable[[Answer], None]
    first: int = 1
    times: int = 1
    acts: bool = True
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if self.method != method or not re.search(self.path, path):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


def status(code: int) -> Callable[[Answer], None]:
    """The service in trouble: ``code`` instead of the answer."""

    def change(answer: Answer) -> None:
        answer.status, answer.body, answer.headers = code, b'{"error": "ordered fault"}', {}

    return change


def cut(kept_bytes: int) -> Callable[[Answer], None]:
    """The line breaks after ``kept_bytes`` of the body."""

    def change(answer: Answer) -> None:
        answer.sent_bytes = kept_bytes

    return change


def corrupt(answer: Answer) -> None:
    """Other bytes, as many of them."""
    answer.body = bytes(byte ^ 0x5A for byte in answer.body)
