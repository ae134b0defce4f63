"""The recurrence of a ConvLSTM layer as one Triton kernel a frame, forward and backward.

State of testing: outputs and gradients are tested under Triton's CPU interpreter, and the kernels are compiled for
NVIDIA compute capabilities 8.0 and 9.0 in the tests. They have never run on a GPU, so no speed is claimed; call
:func:`agrees` once on the device before choosing them.

Layout. All maps stay NCHW, as the input convolution delivers them and the next block takes them. With m = y * W + x,
tap (dy, dx) of channel c lies at m + (c * H * W + dy * W + dx): the pixels of a tile are one run of memory for every
channel and tap, which Triton can prove without knowing W, so neighbouring threads read neighbouring words (the compiled
layouts say so). NHWC would coalesce as well, but needs a transposed copy of all maps at both ends, and has short rows
when h is 2 or 3.

Products. The convolution is one matrix product over taps * channels (the channel fastest), gathered on the fly: padding
the joint axis wastes less than padding the channels of every tap. The forward columns are (channel, gate) with the gate
fastest, so that one product serves the four gates and few channels still fill the 16 columns a tensor core takes.

Every element is written by one program, in one order: nothing is atomic, nothing depends on data, the host never waits.
A CUDA graph can capture both directions after one call has compiled the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    import triton
    import triton.language as tl
except ImportError:  # only CUDA builds of torch on Linux bring it
    triton = tl = None

TILE_PIXELS = 64
LAUNCH = {"num_warps": 4, "enable_fp_fusion": True}  # fusion is the default today, and Triton warns that it will change
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Of :func:`agrees`, relative to the largest value; also the dtypes the kernels take."""
TF32_TOLERANCE = 1e-2


def _jit(*unspecialised: str) -> Callable[[Callable[..., Any]], Any]:
    """``triton.jit``; without Triton the function as it is, which nothing calls. ``unspecialised``: see triton.jit."""
    return triton.jit(do_not_specialize=list(unspecialised)) if triton else lambda kernel: kernel


@_jit()
def _tanh(x: tl.tensor) -> tl.tensor:
    return 2 * tl.sigmoid(2 * x) - 1  # tl has no tanh that both the compiler and the interpreter know


@_jit()
def _add_convolution(
    total: tl.tensor,  # (BM, columns), float32 or float64
    maps: tl.tensor,  # (C, H, W) of one image
    weight: tl.tensor,  # (KSIZE * KSIZE * C, N), rows (tap row, tap column, channel)
    m: tl.tensor,  # (BM,) pixels
    columns: tl.tensor,  # (columns,)
    C: tl.constexpr,
    N: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    KSIZE: tl.constexpr,
    BK: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """``total`` plus the "same" convolution of ``maps`` at pixels ``m`` in output channels ``columns``."""
    y, x = m // W, m % W
    for start in range(0, KSIZE * KSIZE * C, BK):
        k = start + tl.arange(0, BK)
        tap, channel = k // C, k % C
        dy, dx = tap // KSIZE - KSIZE // 2, tap % KSIZE - KSIZE // 2
        row, column = y[:, None] + dy[None, :], x[:, None] + dx[None, :]
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W) & (k < KSIZE * KSIZE * C)[None, :]
        patch = tl.load(maps + m[:, None] + (channel * (H * W) + dy * W + dx)[None, :], mask=inside, other=0.0)
        known = (k < KSIZE * KSIZE * C)[:, None] & (columns < N)[None, :]
        taps = tl.load(weight + k[:, None] * N + columns[None, :], mask=known, other=0.0)
        total = tl.dot(patch.to(DOT), taps.to(DOT), total, input_precision=PRECISION, out_dtype=total.dtype)
    return total


@_jit("t", "batch")
def _forward_frame(
    gates: tl.tensor,  # (T, B, 4h, H, W) pre-activations
    weight: tl.tensor,  # (KSIZE * KSIZE * h, h * 4), the gate fastest
    hidden: tl.tensor,  # (T, B, h, H, W), frame t is written
    cell: tl.tensor,  # (T, B, h, H, W) if SAVE, else (B, h, H, W), updated in place
    activations: tl.tensor,  # (T, B, 4h, H, W) if SAVE, else unused
    t: tl.tensor,
    batch: tl.tensor,
    HIDDEN: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    KSIZE: tl.constexpr,
    FIRST: tl.constexpr,
    SAVE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    DOT: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Frame ``t`` of BM pixels of one image and BN hidden channels with their four gates."""
    HW: tl.constexpr = H * W
    tiles: tl.constexpr = (HW + BM - 1) // BM
    b = tl.program_id(0) // tiles
    m = tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    first = tl.program_id(1) * BN
    columns = first * 4 + tl.arange(0, 4 * BN)
    image = (t * batch + b).to(tl.int64)  # whole videos exceed 2^31 elements
    planes = image * (4 * HIDDEN) + columns % 4 * HIDDEN + columns // 4
    wanted = (m < HW)[:, None] & (columns < 4 * HIDDEN)[None, :]
    total = tl.load(gates + planes[None, :] * HW + m[:, None], mask=wanted, other=0.0).to(ACC)
    if not FIRST:
        before = hidden + (image - batch) * (HIDDEN * HW)
        total = _add_convolution(total, before, weight, m, columns, HIDDEN, 4 * HIDDEN, H, W, KSIZE, BK, DOT, PRECISION)
    io, fg = tl.split(tl.reshape(total, (BM, BN, 2, 2)))  # gates i, f, o, g along the last two axes
    i, o = tl.split(io)
    f, g = tl.split(fg)
    i, f, o, g = tl.sigmoid(i), tl.sigmoid(f), tl.sigmoid(o), _tanh(g)

    channels = first + tl.arange(0, BN)
    inside = (m < HW)[:, None] & (channels < HIDDEN)[None, :]
    pixels = channels[None, :] * HW + m[:, None]  # (BM, BN) in the maps of one image
    here = image if SAVE else b.to(tl.int64)
    c = i * g
    if not FIRST:
        there = here - batch if SAVE else here
        c += f * tl.load(cell + there * (HIDDEN * HW) + pixels, mask=inside, other=0.0)
    tl.store(cell + here * (HIDDEN * HW) + pixels, c, mask=inside)
    out = hidden + image * (HIDDEN * HW) + pixels
    tl.store(out, (o * _tanh(c)).to(hidden.dtype.element_ty), mask=inside)
    if SAVE:
        kept = activations + image * (4 * HIDDEN * HW) + pixels
        tl.store(kept, i.to(activations.dtype.element_ty), mask=inside)
        tl.store(kept + HIDDEN * HW, f.to(activations.dtype.element_ty), mask=inside)
        tl.store(kept + 2 * HIDDEN * HW, o.to(activations.dtype.element_ty), mask=inside)
        tl.store(kept + 3 * HIDDEN * HW, g.to(activations.dtype.element_ty), mask=inside)


@_jit("t", "batch")
def _backward_frame(
    grad_hidden: tl.tensor,  # (T, B, h, H, W) from the layers above
    weight: tl.tensor,  # (KSIZE * KSIZE * 4h, h), taps turned by 180 degrees
    cell: tl.tensor,  # (T, B, h, H, W)
    activations: tl.tensor,  # (T, B, 4h, H, W)
    grad_cell: tl.tensor,  # (B, h, H, W), of the cell state handed from frame to frame
    grad_gates: tl.tensor,  # (T, B, 4h, H, W), frame t is written
    t: tl.tensor,
    batch: tl.tensor,
    HIDDEN: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    KSIZE: tl.constexpr,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    DOT: tl.constexpr,
    ACC: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradients of the gates of frame ``t`` for BM pixels of one image and BN hidden channels."""
    HW: tl.constexpr = H * W
    tiles: tl.constexpr = (HW + BM - 1) // BM
    b = tl.program_id(0) // tiles
    m = tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    channels = tl.program_id(1) * BN + tl.arange(0, BN)
    image = (t * batch + b).to(tl.int64)
    inside = (m < HW)[:, None] & (channels < HIDDEN)[None, :]
    pixels = channels[None, :] * HW + m[:, None]

    dh = tl.load(grad_hidden + image * (HIDDEN * HW) + pixels, mask=inside, other=0.0).to(ACC)
    if not LAST:
        after = grad_gates + (image + batch) * (4 * HIDDEN * HW)
        dh = _add_convolution(dh, after, weight, m, channels, 4 * HIDDEN, HIDDEN, H, W, KSIZE, BK, DOT, PRECISION)

    kept = activations + image * (4 * HIDDEN * HW) + pixels
    i = tl.load(kept, mask=inside, other=0.0).to(ACC)
    f = tl.load(kept + HIDDEN * HW, mask=inside, other=0.0).to(ACC)
    o = tl.load(kept + 2 * HIDDEN * HW, mask=inside, other=0.0).to(ACC)
    g = tl.load(kept + 3 * HIDDEN * HW, mask=inside, other=0.0).to(ACC)
    tanh_c = _tanh(tl.load(cell + image * (HIDDEN * HW) + pixels, mask=inside, other=0.0))
    dc = dh * o * (1 - tanh_c * tanh_c)
    carried = grad_cell + b.to(tl.int64) * (HIDDEN * HW) + pixels
    if not LAST:
        dc += tl.load(carried, mask=inside, other=0.0)
    out = grad_gates + image * (4 * HIDDEN * HW) + pixels
    df = tl.zeros_like(dc)
    if not FIRST:
        before = tl.load(cell + (image - batch) * (HIDDEN * HW) + pixels, mask=inside, other=0.0)
        df = dc * before * f * (1 - f)
        tl.store(carried, dc * f, mask=inside)
    tl.store(out, (dc * g * i * (1 - i)).to(grad_gates.dtype.element_ty), mask=inside)
    tl.store(out + HIDDEN * HW, df.to(grad_gates.dtype.element_ty), mask=inside)
    tl.store(out + 2 * HIDDEN * HW, (dh * tanh_c * o * (1 - o)).to(grad_gates.dtype.element_ty), mask=inside)
    tl.store(out + 3 * HIDDEN * HW, (dc * i * (1 - g * g)).to(grad_gates.dtype.element_ty), mask=inside)


def _interpreted() -> bool:
    return bool(triton) and not isinstance(_forward_frame, triton.JITFunction)


def launch_options(gates: Tensor, weight: Tensor, backward: bool) -> tuple[tuple[int, int], dict[str, Any]]:
    """Grid and compile-time constants of a frame; ``gates`` (T, B, 4h, H, W), ``weight`` (4h, h, k, k).

    float32 products follow ``torch.backends.cudnn.allow_tf32``, as convolutions do.
    """
    (_, batch, _, height, width), hidden = gates.shape, weight.shape[1]
    forward_block = 16 if hidden > 8 else 8 if hidden > 4 else 4  # times four gates: 64, 32 or 16 columns
    block = forward_block if not backward else 32 if (hidden - 1) % 32 >= 16 else 16
    wide = gates.dtype == torch.float64
    # The interpreter keeps bfloat16 as bit patterns, which numpy cannot multiply.
    narrow = gates.dtype == torch.bfloat16 and not _interpreted()
    tile = min(TILE_PIXELS, max(16, triton.next_power_of_2(height * width)))
    constants = {
        "HIDDEN": hidden, "H": height, "W": width, "KSIZE": weight.shape[-1],
        "BM": tile, "BN": block,
        # Triton gives tiles of one shape one layout; a gathered tile must not share the vectors of an elementwise one.
        "BK": 16 if block == (32 if backward else 8) else 32,
        "DOT": tl.float64 if wide else tl.bfloat16 if narrow else tl.float32,
        "ACC": tl.float64 if wide else tl.float32,
        "PRECISION": "tf32" if torch.backends.cudnn.allow_tf32 and gates.dtype == torch.float32 else "ieee",
    }  # fmt: skip
    return (batch * triton.cdiv(height * width, tile), triton.cdiv(hidden, block)), constants


def _forward(gates: Tensor, weight: Tensor, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, cell states and gate activations; the last two are only a buffer unless ``save``."""
    (frames, batch, _, height, width), (_, hidden, kernel, _) = gates.shape, weight.shape
    states = gates.new_empty((frames, batch, hidden, height, width))
    wide = torch.float64 if gates.dtype == torch.float64 else torch.float32
    cell = gates.new_empty((frames if save else 1, *states.shape[1:]), dtype=wide)
    activations = torch.empty_like(gates) if save else gates
    packed = weight.view(4, hidden, hidden, kernel, kernel).permute(3, 4, 2, 1, 0).contiguous()  # (k, k, in, out, gate)
    grid, constants = launch_options(gates, weight, backward=False)
    with torch.cuda.device(gates.get_device()):
        for t in range(frames):
            _forward_frame[grid](
                gates, packed, states, cell, activations, t, batch,
                FIRST=t == 0, SAVE=save, **constants, **LAUNCH,
            )  # fmt: skip
    return states, cell, activations


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor) -> Tensor:
        states, cell, activations = _forward(gates, weight, save=True)
        ctx.save_for_backward(weight, states, cell, activations)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor, Tensor | None]:
        weight, states, cell, activations = ctx.saved_tensors
        (frames, batch), kernel = states.shape[:2], weight.shape[-1]
        grad_states = grad_states.contiguous()
        grad_gates, grad_cell = torch.empty_like(activations), torch.empty_like(cell[0])
        packed = weight.flip(2, 3).permute(2, 3, 0, 1).contiguous()  # (k, k, 4h, h)
        grid, constants = launch_options(activations, weight, backward=True)
        with torch.cuda.device(grad_gates.get_device()):
            for t in reversed(range(frames)):
                _backward_frame[grid](
                    grad_states, packed, cell, activations, grad_cell, grad_gates, t, batch,
                    FIRST=t == 0, LAST=t == frames - 1, **constants, **LAUNCH,
                )  # fmt: skip
        if not ctx.needs_input_grad[1]:
            return grad_gates, None
        if frames == 1:
            return grad_gates, torch.zeros_like(weight)
        padding = [kernel // 2] * 2
        grad_weight: Tensor = torch.ops.aten.convolution_backward(
            grad_gates[1:].flatten(0, 1), states[:-1].flatten(0, 1), weight, None,
            [1, 1], padding, [1, 1], False, [0, 0], 1, [False, True, False],
        )[1]  # fmt: skip
        return grad_gates, grad_weight


def _check(gates: Tensor, weight: Tensor) -> None:
    if gates.ndim != 5 or weight.ndim != 4:
        raise ValueError(
            f"gates have {gates.ndim} axes and the weight {weight.ndim}; allowed: (T, B, 4h, H, W) and (4h, h, k, k)."
        )
    four_h, hidden, rows, columns = weight.shape
    if four_h != 4 * hidden or gates.shape[2] != four_h:
        raise ValueError(
            f"gates {tuple(gates.shape)} and weight {tuple(weight.shape)} do not fit; "
            "allowed: (T, B, 4h, H, W) and (4h, h, k, k) with one h."
        )
    if rows != columns or rows % 2 == 0:
        raise ValueError(f"the kernel is {rows}x{columns}; allowed: square with an odd side.")
    if not gates.numel():
        raise ValueError(f"gates {tuple(gates.shape)} hold nothing; every axis needs a length of at least 1.")
    if gates.dtype not in TOLERANCES:
        raise ValueError(f"gates are {gates.dtype}; allowed: {', '.join(map(str, TOLERANCES))}.")
    if gates.device != weight.device:
        raise ValueError(f"gates are on {gates.device}, the weight on {weight.device}; move them to one device.")
    if triton is None:
        raise ValueError("Triton is not installed; ask available() before you call this.")
    if not (gates.is_cuda or _interpreted()):
        raise ValueError(f"gates are on {gates.device}; allowed: a CUDA device (the CPU with TRITON_INTERPRET=1).")


def convlstm_recurrence(gates: Tensor, weight: Tensor) -> Tensor:
    """Hidden states (T, B, h, H, W) of a ConvLSTM layer (section 3.1) from a zero state, in the dtype of ``gates``.

    ``gates`` (T, B, 4h, H, W): pre-activations of the input convolution with all biases, in blocks of h channels for i,
    f, o, g; float32, bfloat16 (products of bfloat16, sums and the cell state in float32) or float64. ``weight``
    (4h, h, k, k) with odd k: the convolution of the previous hidden state, padding k // 2; it is cast to the dtype of
    ``gates``. c_t = f * c_{t-1} + i * g and h_t = o * tanh(c_t), with i, f, o through the sigmoid and g through tanh.
    Differentiable once in both. ValueError for other shapes, dtypes or devices.
    """
    _check(gates, weight)
    gates, weight = gates.contiguous(), weight.to(gates.dtype).contiguous()
    if torch.is_grad_enabled() and (gates.requires_grad or weight.requires_grad):
        states: Tensor = _Recurrence.apply(gates, weight)
        return states
    return _forward(gates, weight, save=False)[0]


def available() -> str | None:
    """None where the kernels can run on this machine's CUDA device, else the reason in words."""
    if triton is None:
        return "Triton is not installed (CUDA builds of PyTorch for Linux bring it)"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.version.hip is not None:
        return "the kernels are written for NVIDIA GPUs only"
    if (capability := torch.cuda.get_device_capability()) < (8, 0):
        return f"the GPU has compute capability {capability[0]}.{capability[1]}; Triton needs 8.0"
    return None


def plain_recurrence(gates: Tensor, weight: Tensor) -> Tensor:
    """The definition as a loop over frames, for comparison; arguments and result of :func:`convlstm_recurrence`."""
    states: list[Tensor] = []
    c = torch.zeros_like(gates[0].chunk(4, dim=1)[0])
    for frame in gates:
        total = frame
        if states:
            total = frame + torch.nn.functional.conv2d(states[-1], weight, padding=weight.shape[-1] // 2)
        i, f, o, g = total.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        states.append(o.sigmoid() * c.tanh())
    return torch.stack(states)


def deviations(
    hidden: int,
    kernel: int,
    shape: tuple[int, int, int, int],
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """Largest deviation of hidden states and of both gradients from the plain loop, over its largest value.

    ``shape`` (T, B, H, W). The inputs are random but the same in every call; the loop runs on the CPU in float64.
    """
    frames, batch, height, width = shape
    generator = torch.Generator().manual_seed(0)
    gates = torch.randn(frames, batch, 4 * hidden, height, width, generator=generator).to(dtype)
    scale = (hidden * kernel * kernel) ** -0.5
    weight = (scale * torch.randn(4 * hidden, hidden, kernel, kernel, generator=generator)).to(dtype)
    upstream = torch.randn(frames, batch, hidden, height, width, generator=generator).to(dtype)
    results = []
    for recurrence, place in ((plain_recurrence, {"dtype": torch.float64}), (convlstm_recurrence, {"device": device})):
        inputs = [each.to(**place).requires_grad_() for each in (gates, weight)]
        states = recurrence(*inputs)
        grads = torch.autograd.grad(states, inputs, upstream.to(states), materialize_grads=True)  # T = 1
        results.append([each.detach().cpu().double() for each in (states, *grads)])
    names = ("hidden states", "gradient of the gates", "gradient of the weight")
    return {
        name: float((ours - plain).abs().max() / plain.abs().max().clamp(min=1e-30))
        for name, plain, ours in zip(names, *results, strict=True)
    }


def agrees(hidden: int, kernel: int, size: int, device: torch.device | str, dtype: torch.dtype = torch.float32) -> bool:
    """Whether outputs and gradients on maps of ``size`` x ``size`` pixels follow the plain loop on this device.

    Tolerances: ``TOLERANCES``, or ``TF32_TOLERANCE`` where float32 convolutions may use TF32. What the compiler or the
    driver raises is passed on.
    """
    loose = dtype == torch.float32 and torch.device(device).type == "cuda" and torch.backends.cudnn.allow_tf32
    tolerance = TF32_TOLERANCE if loose else TOLERANCES[dtype]
    return all(each <= tolerance for each in deviations(hidden, kernel, (3, 2, size, size), device, dtype).values())
