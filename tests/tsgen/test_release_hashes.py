"""The values of the release are those that its version stands for."""

from __future__ import annotations

import json
import time

import pytest
from release_hashes import HASHES, facts

from tsgen.release.plan import RELEASE_VERSION, Plan, clip_file

pytest.importorskip("pyarrow")
RECORDED = json.loads(HASHES.read_text())


def test_the_version_is_the_one_of_the_recorded_values():
    assert RECORDED["version"].split(".")[:2] == RELEASE_VERSION.split(".")[:2]
    assert list(RECORDED["real"]["content_hashes"]) == [clip_file(*part) for part in Plan().parts]


def test_a_small_release_has_the_recorded_values():
    assert facts("small") == RECORDED["small"]


@pytest.mark.slow
def test_the_release_has_the_recorded_values_within_a_minute():
    begun = time.process_time()  # of all threads: the machine may be busy with other things
    assert facts("real") == RECORDED["real"]
    assert time.process_time() - begun < 120  # two cores for a minute
