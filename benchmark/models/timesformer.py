"""The TimeSformer (section 3.1; supplement, Tables 8 and 9): divided space-time attention of timesformer-pytorch 0.4.1.

The parameters, their names and their initialisation are the package's; :meth:`TimeSformer.plain` is the package's own
forward pass and the oracle of the fast one. ``forward`` computes the same function and gradients in less time:

* Only the cls token reaches the head. So the spatial attention and the feed-forward of the last layer are computed for
  the cls token alone: the other tokens' results would be thrown away.
* The cls token attends to the tokens x before any projection: q (W_k x) = (q W_k) x and sum a (W_v x) = W_v (sum a x).
  No keys and values are made for it, whose gradients would be arrays as large as all tokens.
* The cls token is put in front of each group before the projection: keys and values need no copy each.
* The rotation is one product and one fused product and sum with signed tables, made once for a size, dtype and device.
* Small groups attend by two batched products and a softmax, large ones by scaled_dot_product_attention.

The rotation keeps a quirk of the package. Over frames its frequencies are concatenated, (f0, f1, f0, f1), but pairs of
neighbours are turned, (0, 1) and (2, 3), as if they were interleaved, (f0, f0, f1, f1). For D_h > 2 it therefore is no
rotation, and attention does not depend on the distance of frames alone. Over space only 4 * (D_h // 4) of the D_h
values are turned: at D_h = 2 none, and the model knows no place. Both stay for parity with the paper's code.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.specs import ClipShape, TimeSformerSpec
from tsgen.common.errors import UsageError

try:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r'"is" with .*literal', SyntaxWarning)  # its `amt is 0`, once when compiled
        import timesformer_pytorch
        from timesformer_pytorch.rotary import AxialRotaryEmbedding, RotaryEmbedding
except ImportError as problem:
    raise UsageError(
        f"the TimeSformer needs timesformer-pytorch ({problem}); install it with: "
        "pip install 'recur-attend-convolve[train]'."
    ) from problem

SMALL_GROUP = 64
"""Tokens of a group up to which attention is written out. On a CPU that is faster for the 17 and 21 of Temporal Shape;
on a GPU the fused kernels fail from 65536 groups on (pytorch #142228), which a few dozen stacked models have."""

Grid = tuple[int, int, int]
"""Frames, and rows and columns of patches in a frame."""

Table = tuple[Tensor, Tensor]
"""cos and signed sin, (1 + positions, 2D), for queries and keys side by side; row 0 leaves the cls token as it is."""


class TimeSformer(nn.Module):
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, num_classes); UsageError for sizes that cannot be cut into patches.

    The number of frames and the frame size may differ from ``shape``: no parameter depends on them.
    """

    def __init__(self, spec: TimeSformerSpec, shape: ClipShape, num_classes: int) -> None:
        super().__init__()
        p = spec.patch_px
        if shape.height % p or shape.width % p:
            raise UsageError(
                f"frames of {shape.height}x{shape.width} px cannot be cut into patches of {p}x{p} px; "
                f"give sides that are multiples of {p}."
            )
        if spec.head_dim % 2:
            raise UsageError(f"head_dim {spec.head_dim} is odd, but rotary embeddings turn pairs; give an even one.")
        self.spec = spec
        self.net = timesformer_pytorch.TimeSformer(
            dim=spec.dim,
            num_frames=shape.frames,
            num_classes=num_classes,
            image_size=shape.height,
            patch_size=spec.patch_px,
            channels=shape.channels,
            depth=spec.depth,
            heads=spec.heads,
            dim_head=spec.head_dim,
            attn_dropout=spec.attention_dropout,
            ff_dropout=spec.feed_forward_dropout,
            rotary_emb=True,
            shift_tokens=False,
        )
        self.extra = nn.Linear(num_classes, num_classes) if spec.extra_linear else nn.Identity()
        self._tables: dict[tuple[Grid, torch.dtype, torch.device], tuple[Table, Table]] = {}

    def plain(self, clips: Tensor) -> Tensor:
        """The package's own forward pass, and the extra layer."""
        logits: Tensor = self.extra(self.net(clips))
        return logits

    def forward(self, clips: Tensor) -> Tensor:
        B, T, C, H, W = clips.shape
        p, D = self.spec.patch_px, self.spec.dim
        grid = (T, H // p, W // p)
        patches = clips.reshape(B, T, C, H // p, p, W // p, p)
        patches = patches.permute(0, 1, 3, 5, 4, 6, 2)  # (B, T, rows, columns, p, p, C)
        tokens = self.net.to_patch_embedding(patches.reshape(B, -1, p * p * C))
        x = torch.cat((self.net.cls_token.expand(B, 1, D), tokens), 1)  # (B, 1 + T * N, D), N patches a frame
        last = self.spec.depth - 1
        for layer, (time, space, feed_forward) in enumerate(self.net.layers):
            y = time.norm(x)
            over_time = self._over_time(time.fn, y, grid)
            x = x + time.fn.to_out(torch.cat((_attend_cls(time.fn, y), over_time), 1))
            y = space.norm(x)
            if layer == last:
                x = x[:, :1] + space.fn.to_out(_attend_cls(space.fn, y))  # (B, 1, D): what the head reads
            else:
                over_space = self._over_space(space.fn, y, grid)
                x = x + space.fn.to_out(torch.cat((_attend_cls(space.fn, y), over_space), 1))
            x = x + feed_forward(x)
        logits: Tensor = self.extra(self.net.to_out(x[:, 0]))
        return logits

    def _over_time(self, attention: Any, y: Tensor, grid: Grid) -> Tensor:
        """A patch attends to the cls token and to its own place in all frames: (B, 1 + T * N, D) to (B, T * N, D)."""
        (B, _, D), T, N = y.shape, grid[0], grid[1] * grid[2]
        cls, tokens = y[:, :1], y[:, 1:]
        groups = torch.cat((cls[:, None].expand(B, 1, N, D), tokens.view(B, T, N, D)), 1)  # (B, 1 + T, N, D)
        qk, v = self._project(attention, groups)
        cos, sin = self._rotary(grid, qk)[0]
        q, k = _rotate(qk, cos[:, None], sin[:, None]).chunk(2, -1)
        heads = (self.spec.heads, self.spec.head_dim)
        q, k, v = (torch.unflatten(t, -1, heads).permute(0, 2, 3, 1, 4).flatten(0, 1) for t in (q, k, v))
        out = _attend(q[:, :, 1:], k, v)  # (B * N, heads, T, D_h)
        return torch.unflatten(out, 0, (B, N)).permute(0, 3, 1, 2, 4).reshape(B, T * N, D)

    def _over_space(self, attention: Any, y: Tensor, grid: Grid) -> Tensor:
        """A patch attends to the cls token and to all patches of its frame: (B, 1 + T * N, D) to (B, T * N, D)."""
        (B, _, D), T, N = y.shape, grid[0], grid[1] * grid[2]
        cls, tokens = y[:, :1], y[:, 1:]
        groups = torch.cat((cls[:, None].expand(B, T, 1, D), tokens.view(B, T, N, D)), 2)  # (B, T, 1 + N, D)
        qk, v = self._project(attention, groups)
        q, k = _rotate(qk, *self._rotary(grid, qk)[1]).chunk(2, -1)
        heads = (self.spec.heads, self.spec.head_dim)
        q, k, v = (torch.unflatten(t, -1, heads).flatten(0, 1).transpose(1, 2) for t in (q, k, v))
        out = _attend(q[:, :, 1:], k, v)  # (B * T, heads, N, D_h)
        return out.transpose(1, 2).reshape(B, T * N, D)

    def _project(self, attention: Any, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled queries and keys side by side (..., 2D), and values (..., D)."""
        query, key, value = attention.to_qkv.weight.chunk(3)
        qkv = F.linear(groups, torch.cat((query * attention.scale, key, value)))
        qk, v = qkv.split_with_sizes((2 * self.spec.dim, self.spec.dim), -1)
        return qk, v

    def _rotary(self, grid: Grid, like: Tensor) -> tuple[Table, Table]:
        """The tables of time and of space in the dtype and on the device of ``like``."""
        key = (grid, like.dtype, like.device)
        if key not in self._tables:
            # Ordinary CPU tensors whatever the caller's mode or default device: the tables outlive this call.
            with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
                over_time = RotaryEmbedding(self.spec.head_dim).double()(grid[0], "cpu")
                over_space = AxialRotaryEmbedding(self.spec.head_dim).double()(*grid[1:], "cpu")
                self._tables[key] = self._table(over_time, like), self._table(over_space, like)
        return self._tables[key]

    def _table(self, package: tuple[Tensor, Tensor], like: Tensor) -> Table:
        """From sin and cos, (1, positions, turned values): a pair (a, b) becomes (a cos - b sin, b cos + a sin)."""
        sin, cos = package
        unturned = self.spec.head_dim - sin.shape[-1]
        cos = F.pad(cos[0], (0, unturned, 1, 0), value=1.0)
        sin = F.pad(sin[0], (0, unturned, 1, 0))
        sin[:, 0::2].neg_()
        cos, sin = (t.repeat(1, 2 * self.spec.heads).to(like.device, like.dtype) for t in (cos, sin))
        return cos, sin


def _rotate(qk: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = torch.unflatten(qk, -1, (-1, 2)).unbind(-1)
    swapped = torch.stack((b, a), -1).flatten(-2)  # flip(-1) takes twice as long
    return torch.addcmul(qk * cos, swapped, sin)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(G, heads, L, D_h) scaled queries, (G, heads, S, D_h) keys and values to (G, heads, L, D_h)."""
    if k.shape[-2] <= SMALL_GROUP:
        return (q @ k.transpose(-1, -2)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


def _attend_cls(attention: Any, y: Tensor) -> Tensor:
    """The cls token, the first of (B, tokens, D), attends to all of them, unrotated: (B, 1, D)."""
    query, key, value = attention.to_qkv.weight.unflatten(0, (3, attention.heads, -1)).unbind(0)  # (heads, D_h, D)
    q = torch.einsum("bD,hdD->bhd", y[:, 0], query) * attention.scale
    scores = torch.einsum("bhd,hdD->bhD", q, key) @ y.transpose(1, 2)  # (B, heads, tokens)
    out = torch.einsum("bhD,hdD->bhd", scores.softmax(-1) @ y, value)
    return out.flatten(1)[:, None]
