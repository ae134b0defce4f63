"""A piece of GPU work recorded once and replayed without the cost of launching each of its kernels.

Written after PyTorch's documentation of CUDA graphs; never run on a GPU so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3


def capture(work: Callable[[], None], changes: Sequence[Tensor]) -> Callable[[], None]:
    """``work`` as a CUDA graph. It must read and write fixed tensors only; its random numbers are torch's.

    ``changes``: tensors that ``work`` changes. They and the random state are put back after the runs that warm up and
    record it.
    """
    random_state = torch.cuda.get_rng_state()
    before = [tensor.detach().clone() for tensor in changes]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    with torch.no_grad():
        for tensor, value in zip(changes, before, strict=True):
            tensor.copy_(value)
    torch.cuda.set_rng_state(random_state)
    return graph.replay
