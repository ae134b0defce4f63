"""One thread for torch, so that tests running side by side repeat; a cache of clips shared by the session."""

from __future__ import annotations

import pytest
import torch

from benchmark.config import make_config
from benchmark.data import plan_data

torch.set_num_threads(1)

TINY = {"hidden": 2, "n_train": 20, "n_val": 15, "n_target": 15, "max_epochs": 3, "batch_size": 10}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def tiny():
    """A config that trains in seconds."""
    return make_config("quick", **TINY)


@pytest.fixture(scope="session")
def plan(tiny, data_dir):
    return plan_data(tiny, "embedded", data_dir)


@pytest.fixture(scope="session")
def source(plan):
    return plan.load_source(lambda line: None)
