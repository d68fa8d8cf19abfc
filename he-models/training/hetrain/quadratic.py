"""The activation: normalisation (no affine part) followed by a quadratic per channel.

    z = (x - mean) / sqrt(variance + EPSILON)        y = k0 + k1 z + k2 z^2

In training, z may be clamped: one image far out would otherwise square its way through the network and spoil the
statistics of its whole batch. A penalty makes the tails shrink all the while; the exported network has no clamp.

`NormalisedQuadratic` is the module. Its gradient is written out by hand: on the CPU forward and backward then are
fused passes of C++ (`native/quadratic.cpp`), elsewhere a few tensor operations. Both compute the same thing; a test
holds them against PyTorch's own differentiation.
"""

from __future__ import annotations

import fcntl
import functools
import math
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


@dataclass(frozen=True)
class Tail:
    """What keeps |z| small in training: a clamp at `bound`, and a penalty `weight * mean(max(|z| - limit, 0)^2)` that is added
    to the loss through the gradient alone. The penalty sees z as it is before the clamp. `span` [2, channels] holds the
    lowest and the highest z that cost nothing, in place of -limit and limit. From `cap` beyond them the penalty grows but
    linearly, so that one wild picture does not drown all others."""

    bound: float = math.inf
    limit: float = 4.0
    weight: float = 0.0
    span: Tensor | None = None
    cap: float = math.inf

    def free(self, like: Tensor) -> Tensor:
        """[2, channels] between which z costs nothing; `like` [channels]."""
        return torch.stack([like.new_full(like.shape, way * self.limit) for way in (-1, 1)]) if self.span is None else self.span


@functools.cache
def native():
    """The fused C++ passes, compiled at first use, or None where they cannot be (HETRAIN_NATIVE=0 switches them off)."""
    if os.environ.get("HETRAIN_NATIVE") == "0":
        return None
    from torch.utils.cpp_extension import get_default_build_root, load

    name = "hetrain_quadratic"
    source = Path(__file__).parent / "native" / "quadratic.cpp"
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root()
    folder = Path(root, sys.implementation.cache_tag, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "builds", "w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            # One build at a time, so this file of PyTorch's is a killed build's, and would be waited for without end.
            (folder / "lock").unlink(missing_ok=True)
            flags = ["-O3", "-march=native", "-ffast-math"]
            return load(name, [str(source)], extra_cflags=flags, build_directory=str(folder))
    except (RuntimeError, OSError, ImportError) as error:
        warnings.warn(f"no C++ compiler at hand, activations run as plain tensor operations: {error}", stacklevel=2)
        return None


def _fused(x: Tensor):
    """The native passes if they can take this tensor, else None."""
    if x.device.type != "cpu" or x.dim() != 4 or x.size(1) % 16 or x.dtype not in (torch.float32, torch.bfloat16):
        return None
    return native()


def _per_channel(v: Tensor) -> Tensor:
    return v.view(1, -1, 1, 1)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every channel of `x` [n, c, h, w], in float32 at least."""
    if fused := _fused(x):
        return fused.moments(x.contiguous(memory_format=torch.channels_last))
    wide = x if x.dtype == torch.float64 else x.float()
    variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
    return mean, variance


class _Quadratic(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, k: Tensor, mean: Tensor, variance: Tensor, batch_statistics: bool, tail: Tail) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        inv_std = torch.rsqrt(variance + EPSILON)
        ctx.save_for_backward(x, k, mean, inv_std)
        ctx.batch_statistics, ctx.tail = batch_statistics, tail
        if fused := _fused(x):
            return fused.forward(x, mean, inv_std, k.detach(), tail.bound)
        z = ((x.to(mean.dtype) - _per_channel(mean)) * _per_channel(inv_std)).clamp(-tail.bound, tail.bound)
        return (_per_channel(k[0]) + z * (_per_channel(k[1]) + _per_channel(k[2]) * z)).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, k, mean, inv_std = ctx.saved_tensors
        tail = ctx.tail
        if fused := _fused(x):
            gradient = gradient.contiguous(memory_format=torch.channels_last)
            free = tail.free(mean).contiguous()
            numbers = tail.bound, tail.cap, tail.weight
            dx, dk = fused.backward(gradient, x, mean, inv_std, k.detach(), free, *numbers, ctx.batch_statistics)
            return dx, dk, None, None, None, None
        z = (x.to(mean.dtype) - _per_channel(mean)) * _per_channel(inv_std)
        g, c = gradient.to(mean.dtype), z.clamp(-tail.bound, tail.bound)
        dk = torch.stack([g.sum((0, 2, 3)), (g * c).sum((0, 2, 3)), (g * c * c).sum((0, 2, 3))])
        dz = g * (_per_channel(k[1]) + 2 * _per_channel(k[2]) * z) * (z == c)
        if tail.weight:
            low, high = tail.free(mean)
            excess = (z - z.clamp(_per_channel(low), _per_channel(high))).clamp(-tail.cap, tail.cap)
            dz = dz + (2 * tail.weight / z.numel()) * excess
        if ctx.batch_statistics:
            dz = dz - dz.mean((0, 2, 3), keepdim=True) - z * (dz * z).mean((0, 2, 3), keepdim=True)
        return (dz * _per_channel(inv_std)).to(x.dtype), dk, None, None, None, None


class Normalised(nn.Module):
    """Statistics of a normalisation. While training, the batch's own normalise, unless `frozen`: then the stored ones do,
    and what is trained is exactly what is exported. Evaluation always uses the stored ones. No running mean is kept:
    whoever wants statistics sets `record` to a list, which then collects those of every batch."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.frozen = False
        self.record: list[tuple[Tensor, Tensor]] | None = None

    def uses_batch(self) -> bool:
        return self.training and not self.frozen

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.uses_batch():
            return self.mean, self.variance
        with torch.no_grad():
            found = moments(x)
        if self.record is not None:
            self.record.append(found)
        return found


class NormalisedQuadratic(Normalised):
    """Batch normalisation without affine part, then k0 + k1 z + k2 z^2 with k learnt per channel."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.k = nn.Parameter(torch.tensor([0.0, 0.5, 0.2]).view(3, 1).repeat(1, channels))
        self.tail = Tail()

    def forward(self, x: Tensor) -> Tensor:
        tail = self.tail if self.training else Tail()
        return _Quadratic.apply(x, self.k, *self.statistics(x), self.uses_batch(), tail)

    @torch.no_grad()
    def span(self, reach: Tensor) -> Tensor:
        """[2, channels]: the z between which |x + t| <= reach (per channel)."""
        inv_std = torch.rsqrt(self.variance + EPSILON)
        shift = self.k[1] / (2 * self.k[2])  # t, in units of z
        return torch.stack([-reach * inv_std - shift, reach * inv_std - shift])

    @torch.no_grad()
    def keep_curved(self, floor: float) -> None:
        """Holds k2 at `floor` or above. The sign of a channel is free (the next weights absorb it), the curvature is not:
        completing the square divides by it."""
        self.k[2].clamp_(min=floor)

    @torch.no_grad()
    def completed_square(self) -> tuple[Tensor, Tensor, Tensor]:
        """(g, t, d) in float64 with y = g (x + t)^2 + d, x being the value before normalisation."""
        mean, inv_std = self.mean.double(), torch.rsqrt(self.variance.double() + EPSILON)
        k0, k1, k2 = self.k.double()
        return k2 * inv_std**2, k1 / (2 * k2 * inv_std) - mean, k0 - k1**2 / (4 * k2)


class NormalisedRelu(Normalised):
    """What the quadratics replace: batch normalisation with an affine part, then ReLU. For comparison, same recipe."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.statistics(x)
        if self.uses_batch():
            mean = variance = None
        return F.relu(F.batch_norm(x, mean, variance, self.scale, self.shift, self.uses_batch(), eps=EPSILON))
