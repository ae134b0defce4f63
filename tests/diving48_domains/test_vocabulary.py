from __future__ import annotations

import json
from pathlib import Path

import pytest

from diving48_domains.vocabulary import DIVE_CLASSES

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "diving48_vocab.json"


def test_class_34_is_the_papers():
    """Section 4.2: class 34 is inward, 2.5 somersaults, no twist, tuck."""
    assert DIVE_CLASSES[34] == ("Inward", "25som", "NoTwis", "TUCK")


def test_classes_are_48_and_distinct():
    assert len(set(DIVE_CLASSES)) == len(DIVE_CLASSES) == 48


def test_vocabulary_equals_the_facts():
    if not FACTS.exists():
        pytest.skip(f"needs {FACTS}")
    assert [list(dive) for dive in DIVE_CLASSES] == json.loads(FACTS.read_text())


def test_command_lists_them(run_cli):
    rows = json.loads(run_cli("d48dom", "classes", "--json").stdout)
    assert len(rows) == 48
    assert [row["id"] for row in rows if not row["in_v2"]] == [30]
    text = run_cli("d48dom", "classes").stdout
    assert len(text.splitlines()) == 49
