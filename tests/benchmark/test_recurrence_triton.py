"""The Triton kernels, run by Triton's CPU interpreter and compiled for two GPUs that need not be here.

The interpreter is chosen when Triton is imported, so one subprocess runs everything under it and another one compiles.
Both are this file as a script; they print what the tests judge.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from benchmark.models import recurrence_triton
from benchmark.models.recurrence_triton import TOLERANCES, agrees, available, convlstm_recurrence

needs_triton = pytest.mark.skipif(
    recurrence_triton.triton is None, reason="Triton is not installed; only CUDA builds of torch for Linux bring it"
)
needs_gpu = pytest.mark.skipif(available() is not None, reason=f"Triton kernels cannot run: {available()}")

SHAPES = {  # h, k, (T, B, H, W): maps below and above a tile of 64 pixels, one and several channel blocks
    "h2": (2, 3, (4, 3, 6, 7)),
    "h3 k5": (3, 5, (4, 1, 6, 7)),
    "h8": (8, 3, (4, 1, 6, 7)),
    "one frame": (3, 3, (1, 3, 6, 7)),
    "k1": (2, 1, (2, 1, 3, 2)),
    "two tiles": (3, 3, (3, 2, 9, 10)),
    "blocks of channels": (40, 3, (2, 1, 5, 4)),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
CASES = [(name, "float32") for name in SHAPES] + [("h8", "bfloat16")]
CASES += [(name, "float64") for name in ("h3 k5", "one frame", "two tiles", "blocks of channels")]


def plain_loop(gates, weight):
    """Written apart from the module's own loop: gate by gate, every frame convolved, also the first with its zeros."""
    hidden = weight.shape[1]
    h = c = torch.zeros_like(gates[0][:, :hidden])
    frames = []
    for frame in gates:
        i, f, o, g = (
            frame[:, q * hidden : (q + 1) * hidden]
            + F.conv2d(h, weight[q * hidden : (q + 1) * hidden], padding=weight.shape[-1] // 2)
            for q in range(4)
        )
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        frames.append(h)
    return torch.stack(frames)


def make_inputs(hidden, kernel, shape, dtype):
    torch.manual_seed(0)
    frames, batch, *size = shape
    weight = torch.randn(4 * hidden, hidden, kernel, kernel) / (hidden * kernel * kernel) ** 0.5
    upstream = torch.randn(frames, batch, hidden, *size)
    return (2 * torch.randn(frames, batch, 4 * hidden, *size)).to(dtype), weight.to(dtype), upstream.to(dtype)


def largest_difference(name, dtype):
    gates, weight, upstream = make_inputs(*SHAPES[name], DTYPES[dtype])
    results = []
    for recurrence, exact in ((plain_loop, torch.float64), (convlstm_recurrence, DTYPES[dtype])):
        leaves = [each.to(exact).requires_grad_() for each in (gates, weight)]
        states = recurrence(*leaves)
        results.append([states.detach(), *torch.autograd.grad(states, leaves, upstream.to(states), allow_unused=True)])
    return [float((ours - plain).abs().max() / max(1, plain.abs().max())) for plain, ours in zip(*results, strict=True)]


def facts():
    """Properties beyond the numbers, by name."""
    gates, weight, upstream = make_inputs(*SHAPES["h2"], torch.float32)
    states = convlstm_recurrence(gates, weight)  # keeps nothing for backward
    leaf = gates.clone().requires_grad_()
    trained = convlstm_recurrence(leaf, weight)
    trained.backward(upstream)
    strided = gates.transpose(0, 1).contiguous().transpose(0, 1)
    yield "inference gives the bits of training", torch.equal(states, trained.detach())
    yield (
        "non-contiguous gates",
        not strided.is_contiguous() and torch.equal(convlstm_recurrence(strided, weight), states),
    )
    frozen, expanded = gates.clone().requires_grad_(), upstream[:, :1].expand_as(upstream)
    convlstm_recurrence(frozen, weight).backward(expanded)
    again = gates.clone().requires_grad_()
    convlstm_recurrence(again, weight).backward(expanded.contiguous())
    yield "expanded gradients", torch.equal(frozen.grad, again.grad)
    parameter = weight.clone().requires_grad_()
    mixed = convlstm_recurrence(gates.bfloat16(), parameter)
    mixed.float().sum().backward()
    yield "float32 weight of bfloat16 gates", mixed.dtype == torch.bfloat16 and parameter.grad.dtype == torch.float32
    yield "agrees", agrees(2, 3, 7, "cpu")
    right = recurrence_triton.plain_recurrence
    recurrence_triton.plain_recurrence = lambda gates, weight: right(gates, weight.flip(2))
    yield "agrees notices turned kernels", not agrees(2, 3, 7, "cpu")


def compile_kernel(kernel, flags, hidden, kernel_size, size, dtype, capability):
    """Compiled for a GPU that need not be here: bytes of machine code, and how tiles of two axes lie on a warp."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    gates = torch.empty(2, 1, 4 * hidden, size, size, dtype=dtype, device="meta")
    weight = torch.empty(4 * hidden, hidden, kernel_size, kernel_size, dtype=dtype, device="meta")
    _, constants = recurrence_triton.launch_options(gates, weight, backward="LAST" in flags)
    constants |= flags
    names = kernel.arg_names
    narrow = {torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16"}[dtype]
    special = {"t": "i32", "batch": "i32"} | dict.fromkeys(
        ("cell", "grad_cell"), "*fp64" if dtype.itemsize == 8 else "*fp32"
    )
    signature = {name: "constexpr" if name in constants else special.get(name, narrow) for name in names}
    aligned = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, {(names.index(name),): each for name, each in constants.items()}, aligned)
    compiled = compile(source, target=GPUTarget("cuda", capability, 32), options=dict(recurrence_triton.LAUNCH))
    layouts = re.findall(r"sizePerThread = (\[\d+, \d+\]), threadsPerWarp = (\[\d+, \d+\])", compiled.asm["ttgir"])
    return {"bytes": len(compiled.asm["cubin"]), "convolves": "tt.dot" in compiled.asm["ttir"], "layouts": layouts}


def compile_all():
    forward, backward = recurrence_triton._forward_frame, recurrence_triton._backward_frame
    usual = [(forward, {"FIRST": False, "SAVE": True}), (backward, {"FIRST": False, "LAST": False})]
    ends = [(forward, {"FIRST": True, "SAVE": True}), (forward, {"FIRST": True, "SAVE": False})]
    ends += [(forward, {"FIRST": False, "SAVE": False})]
    ends += [(backward, {"FIRST": True, "LAST": False}), (backward, {"FIRST": True, "LAST": True})]
    for capability in (80, 90):
        for dtype, hidden, tf32 in ((torch.float32, 3, False), (torch.float32, 48, True), (torch.bfloat16, 8, False)):
            torch.backends.cudnn.allow_tf32 = tf32
            for kernel, flags in usual + ends * (capability == 90 and hidden == 3):
                yield compile_kernel(kernel, flags, hidden, 3, 32, dtype, capability)


def run_script(task, interpret, cache):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(cache)} | ({"TRITON_INTERPRET": "1"} if interpret else {})
    command = [sys.executable, "-W", "error", __file__, task]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_script("interpret", True, tmp_path_factory.mktemp("triton"))


@needs_triton
@pytest.mark.parametrize("name, dtype", CASES)
def test_states_and_gradients_are_those_of_the_plain_loop(interpreted, name, dtype):
    differences = interpreted["differences"][f"{name} {dtype}"]
    assert max(differences) < TOLERANCES[DTYPES[dtype]], differences


@needs_triton
def test_special_calls(interpreted):
    wrong = [name for name, holds in interpreted["facts"].items() if not holds]
    assert len(interpreted["facts"]) == 6 and not wrong


@needs_triton
def test_kernels_compile_for_gpus_and_read_pixels_side_by_side(tmp_path):
    kernels = run_script("compile", False, tmp_path)
    assert [kernel["convolves"] for kernel in kernels].count(False) == 3  # only frames without a neighbour
    for kernel in kernels:
        assert kernel["bytes"] > 0
        if kernel["convolves"]:  # a warp reads 32 neighbouring pixels of a channel and tap
            assert [[1, 1], [32, 1]] in [[json.loads(axes) for axes in layout] for layout in kernel["layouts"]]


@pytest.mark.parametrize(
    "gates, weight, message",
    [
        ((4, 8, 5, 5), (8, 2, 3, 3), "gates have 4 axes and the weight 4"),
        ((2, 1, 8, 5, 5), (8, 3, 3, 3), "do not fit"),
        ((2, 1, 12, 5, 5), (8, 2, 3, 3), "do not fit"),
        ((2, 1, 8, 5, 5), (8, 2, 4, 4), "the kernel is 4x4; allowed: square with an odd side"),
        ((2, 1, 8, 5, 5), (8, 2, 3, 1), "the kernel is 3x1"),
        ((0, 1, 8, 5, 5), (8, 2, 3, 3), "hold nothing"),
    ],
)
def test_shapes_that_do_not_fit_are_named(gates, weight, message):
    with pytest.raises(ValueError, match=message):
        convlstm_recurrence(torch.zeros(gates), torch.zeros(weight))


def test_dtypes_and_devices_that_cannot_be_are_named():
    gates, weight = torch.zeros(2, 1, 8, 5, 5), torch.zeros(8, 2, 3, 3)
    with pytest.raises(ValueError, match=r"gates are torch.float16; allowed: torch.float64"):
        convlstm_recurrence(gates.half(), weight)
    with pytest.raises(ValueError, match="gates are on cpu, the weight on meta"):
        convlstm_recurrence(gates, weight.to("meta"))


@needs_triton
@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter takes CPU tensors")
def test_cpu_tensors_are_refused_without_the_interpreter():
    with pytest.raises(ValueError, match="gates are on cpu; allowed: a CUDA device"):
        convlstm_recurrence(torch.zeros(2, 1, 8, 5, 5), torch.zeros(8, 2, 3, 3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_cuda_is_told_the_reason():
    assert available() in {
        "there is no CUDA device",
        "Triton is not installed (CUDA builds of PyTorch for Linux bring it)",
    }


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("hidden, kernel, size", [(2, 3, 64), (3, 5, 7), (48, 3, 32)])
def test_agrees_on_the_gpu(hidden, kernel, size, dtype):
    assert agrees(hidden, kernel, size, "cuda", dtype)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "compile":
        print(json.dumps(list(compile_all())))
    else:
        found = {f"{name} {dtype}": largest_difference(name, dtype) for name, dtype in CASES}
        print(json.dumps({"differences": found, "facts": dict(facts())}))
