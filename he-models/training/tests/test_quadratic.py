"""The activation's hand-written gradient, and the fused passes against the plain ones."""

import math
import os
import shutil
import subprocess
import sys

import pytest
import torch

from hetrain import quadratic
from hetrain.quadratic import EPSILON, NormalisedQuadratic, Tail


def plain(x, k, tail, batch_statistics, mean, variance):
    """Value, and the penalty that the gradient of the activation stands for, in operations that PyTorch differentiates."""
    if batch_statistics:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    z = (x - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + EPSILON).sqrt()
    if tail.span is None:
        excess = (z.abs() - tail.limit).clamp(min=0)
    else:
        low, high = tail.span.to(x.dtype).view(2, 1, -1, 1, 1)
        excess = (z - high).clamp(min=0) + (low - z).clamp(min=0)
    near = excess.clamp(max=tail.cap)
    penalty = tail.weight * (near**2 + 2 * near * (excess - near)).mean()
    c = z.clamp(-tail.bound, tail.bound)
    return k[0].view(1, -1, 1, 1) + k[1].view(1, -1, 1, 1) * c + k[2].view(1, -1, 1, 1) * c**2, penalty


SPAN = torch.stack([torch.linspace(-2, 0, 32), torch.linspace(0.1, 1.5, 32)])
TAILS = [Tail(), Tail(bound=1.5, limit=1.0, weight=0.7), Tail(bound=1.5, weight=0.7, span=SPAN, cap=0.3)]


@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("path", ["plain", "fused"])
def test_gradient_matches_automatic_differentiation(batch_statistics, tail, path, monkeypatch):
    if path == "fused" and quadratic.native() is None:
        pytest.skip("no C++ compiler")
    if path == "plain":
        monkeypatch.setattr(quadratic, "_fused", lambda x: None)
    dtype, tolerance = (torch.float64, 1e-10) if path == "plain" else (torch.float32, 2e-4)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(5, 32, 7, 6, generator=generator, dtype=dtype).requires_grad_()
    k = torch.randn(3, 32, generator=generator, dtype=dtype).requires_grad_()
    mean, variance = torch.randn(32, generator=generator, dtype=dtype), torch.rand(32, generator=generator, dtype=dtype) + 0.5
    weights = torch.randn(x.shape, generator=generator, dtype=dtype)

    value, penalty = plain(x, k, tail, batch_statistics, mean, variance)
    wanted = torch.autograd.grad((value * weights).sum() + penalty, (x, k))
    if batch_statistics:
        mean, variance = quadratic.moments(x.detach())
    found_value = quadratic._Quadratic.apply(x, k, mean, variance, batch_statistics, tail)
    found = torch.autograd.grad((found_value * weights).sum(), (x, k))

    torch.testing.assert_close(found_value, value, rtol=tolerance, atol=tolerance)
    for f, w in zip(found, wanted):
        torch.testing.assert_close(f, w, rtol=tolerance, atol=tolerance * w.abs().max().item())


def test_fused_bfloat16_rounds_the_float32_result():
    if quadratic.native() is None:
        pytest.skip("no C++ compiler")
    x = torch.randn(4, 16, 8, 8).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    k = torch.randn(3, 16)
    mean, variance = quadratic.moments(x)
    narrow = quadratic._Quadratic.apply(x, k, mean, variance, True, Tail())
    wide = quadratic._Quadratic.apply(x.float(), k, mean, variance, True, Tail())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), wide, rtol=2**-8, atol=1e-6)


def test_completed_square_equals_the_quadratic():
    act = NormalisedQuadratic(16).eval()
    with torch.no_grad():
        act.k.copy_(torch.randn(3, 16)).data[2].abs_().add_(0.1)
        act.mean.normal_()
        act.variance.uniform_(0.5, 2)
    x = torch.randn(2, 16, 4, 4)
    g, t, d = (v.view(1, -1, 1, 1) for v in act.completed_square())
    torch.testing.assert_close((g * (x.double() + t) ** 2 + d).float(), act(x), rtol=1e-4, atol=1e-4)


def test_span_is_where_the_reach_is_kept():
    act = NormalisedQuadratic(16).eval()
    with torch.no_grad():
        act.k.normal_()[2].abs_().add_(0.1)
        act.mean.normal_()
        act.variance.uniform_(0.5, 2)
    reach = torch.linspace(1, 5, 16)
    x = act.mean + act.span(reach) * (act.variance + EPSILON).sqrt()
    shifted = x + act.completed_square()[1].float()
    torch.testing.assert_close(shifted, torch.stack([-reach, reach]), rtol=1e-4, atol=1e-4)


def test_keep_curved_holds_the_floor():
    act = NormalisedQuadratic(16)
    act.k.data[2] = torch.linspace(-1, 1, 16)
    act.keep_curved(0.1)
    assert act.k[2].min().item() == pytest.approx(0.1)
    assert math.isclose(act.k[2].max().item(), 1.0)


def test_the_lock_of_a_killed_build_is_not_waited_for(tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path / sys.implementation.cache_tag / "hetrain_quadratic"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    command = [sys.executable, "-c", "from hetrain import quadratic; assert quadratic.native() is not None"]
    subprocess.run(command, env={**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path)}, timeout=300, check=True)
