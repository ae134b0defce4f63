from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmark.models.pool import max_pool_2x2, max_pool_2x2x2, select_max_pool

SHAPES = [(2, 3, 4, 6, 8), (2, 3, 5, 7, 9), (1, 1, 2, 3, 2), (3, 1, 4, 4, 4), (2, 3, 6, 8), (2, 3, 7, 5), (1, 1, 3, 2)]


def pool_of(shape):
    return F.max_pool3d if len(shape) == 5 else F.max_pool2d


def gradient_of(pool, x, dtype=torch.float64):
    leaf = x.detach().clone().requires_grad_()
    pooled = pool(leaf)
    toward = torch.arange(1.0, pooled.numel() + 1, dtype=dtype).view_as(pooled)  # every window its own number
    pooled.backward(toward)
    return pooled.detach(), leaf.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 1000])
def test_values_and_gradients_are_those_of_torch_also_among_ties(shape, padding, channels_last, levels):
    torch.manual_seed(0)
    x = torch.randint(levels, shape).double() - levels // 2
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d if len(shape) == 5 else torch.channels_last)
    mine = gradient_of(lambda x: select_max_pool(x, padding), x)
    torchs = gradient_of(lambda x: pool_of(shape)(x, 2, padding=padding), x)
    torch.testing.assert_close(mine, torchs, rtol=0, atol=0)


def test_the_first_of_equal_values_in_window_order_gets_the_gradient():
    _, gradient = gradient_of(select_max_pool, torch.zeros(1, 1, 2, 2, 2, dtype=torch.float64))
    assert gradient.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(2, 4, 4, 6, 8), (2, 4, 6, 8)])
def test_gradient_keeps_the_order_of_memory(shape):
    last = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    for memory_format in (torch.contiguous_format, last):
        x = torch.rand(shape).contiguous(memory_format=memory_format).requires_grad_()
        pooled = select_max_pool(x)
        (gradient,) = torch.autograd.grad(pooled, x, torch.ones_like(pooled))
        assert gradient.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 9), (2, 3, 6, 8)])
@pytest.mark.parametrize("padding", [0, 1])
def test_members_under_vmap_equal_separate_calls(shape, padding):
    torch.manual_seed(0)
    x = torch.rand(3, *shape, requires_grad=True)

    def loss(x):
        return select_max_pool(x, padding).square().sum()

    expected = torch.stack([torch.autograd.grad(loss(member), member)[0] for member in x.unbind()])
    torch.testing.assert_close(torch.autograd.grad(torch.vmap(loss)(x).sum(), x)[0], expected, rtol=0, atol=0)
    inside = torch.vmap(torch.func.grad(loss), in_dims=1)(x.detach().transpose(0, 1))
    torch.testing.assert_close(inside, expected, rtol=0, atol=0)


def test_on_cpu_the_pools_are_those_of_torch():
    x = torch.rand(2, 3, 5, 7, 9)
    assert torch.equal(max_pool_2x2x2(x, 1), F.max_pool3d(x, 2, padding=1))
    assert torch.equal(max_pool_2x2(x[:, 0]), F.max_pool2d(x[:, 0], 2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="determinism on CUDA needs a CUDA device")
@pytest.mark.parametrize("shape, pool", [((4, 8, 20, 32, 32), max_pool_2x2x2), ((80, 8, 32, 32), max_pool_2x2)])
def test_pools_on_cuda_pass_the_determinism_check_and_equal_those_of_the_cpu(shape, pool):
    x = torch.randint(3, shape).float()
    torch.use_deterministic_algorithms(True)
    try:
        leaf = x.cuda().requires_grad_()
        pooled = pool(leaf)
        pooled.backward(torch.arange(pooled.numel(), device="cuda").view_as(pooled).float())
    finally:
        torch.use_deterministic_algorithms(False)
    expected = x.clone().requires_grad_()
    pool(expected).backward(torch.arange(pooled.numel()).view_as(pooled).float())
    assert torch.equal(leaf.grad.cpu(), expected.grad)
