from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models import MODELS, build_model, count_parameters
from benchmark.models.cnn3d import CNN3D

TABLE8 = Path(__file__).parents[1] / "oracles" / "table8.csv"
MISPRINTS = {("timesf8", 2): 20421}


def table8(model):
    with TABLE8.open() as lines:
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        return [(int(row["hidden"]), MISPRINTS.get((model, int(row["hidden"])), int(row[model]))) for row in rows]


@pytest.mark.parametrize("model, hidden, expected", [(m, h, n) for m in MODELS for h, n in table8(m)])
def test_parameter_counts_are_those_of_table_8(model, hidden, expected):
    assert count_parameters(model, hidden) == expected


def test_parameter_count_not_printed_in_table_8():
    assert count_parameters("3dcnn", 10) == 12165


class PlainCNN3D(nn.Module):
    """The block order of the paper, written down as it is: Conv -> ReLU -> MaxPool -> BatchNorm."""

    def __init__(self, hidden, num_classes):
        super().__init__()
        layers, channels = [], 1
        for _ in range(3):
            layers += [nn.Conv3d(channels, hidden, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2, 2), nn.BatchNorm3d(hidden)]
            channels = hidden
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(hidden * 128, num_classes))

    def forward(self, clips):
        return self.net(clips.transpose(1, 2))


def test_fast_model_equals_the_plain_one_over_several_steps():
    torch.manual_seed(0)
    plain, fast = PlainCNN3D(2, 5).double(), CNN3D(2, 5).double()
    with torch.no_grad():
        plain_parameters = [p for m in plain.net if isinstance(m, nn.Conv3d) for p in m.parameters()]
        plain_parameters += [p for m in plain.net if isinstance(m, nn.BatchNorm3d) for p in m.parameters()]
        plain_parameters += list(plain.net[-1].parameters())
        for mine, theirs in zip(fast.parameters(), plain_parameters, strict=True):
            assert mine.shape == theirs.shape
            mine.copy_(theirs)
    optimizers = [
        torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-5)
        for parameters in (plain_parameters, list(fast.parameters()))
    ]
    labels = torch.arange(4)
    for _ in range(3):
        clips = torch.rand(4, 20, 1, 64, 64, dtype=torch.float64)
        outputs = []
        for model, optimizer in zip((plain, fast), optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(model(clips))
            F.cross_entropy(outputs[-1], labels).backward()
            optimizer.step()
        torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-10)
        for mine, theirs in zip(fast.parameters(), plain_parameters, strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-10)
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    plain.eval(), fast.eval()
    torch.testing.assert_close(fast(clips), plain(clips), rtol=0, atol=1e-10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("hidden", [1, 3])
def test_any_positive_hidden_works(model, hidden):
    assert build_model(model, hidden)(torch.rand(2, 20, 1, 64, 64)).shape == (2, 5)
