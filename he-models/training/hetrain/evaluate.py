"""Accuracy, normalisation statistics, and what values the activations meet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .data import Images, Loader, Normalisation
from .model import ResNet
from .quadratic import EPSILON

BATCH = 250


@torch.no_grad()
def logits(net: nn.Module, images: Images, normalisation: Normalisation, dtype: torch.dtype) -> Tensor:
    net.eval()
    parts = images.pixels.split(BATCH)
    return torch.cat([net(normalisation.apply(part, dtype)).float() for part in parts])


def accuracy(net: nn.Module, images: Images, normalisation: Normalisation, dtype: torch.dtype) -> float:
    return (logits(net, images, normalisation, dtype).argmax(1) == images.labels).float().mean().item()


@torch.no_grad()
def estimate_statistics(net: ResNet, loader: Loader, normalisation: Normalisation, dtype: torch.dtype, batches: int) -> None:
    """Sets every activation's statistics to the medians over augmented batches of the batch's own: a single outlier image
    spoils a mean of variances, and a median shrugs it off."""
    activations = list(net.activations().values())
    net.train()
    for act in activations:
        act.frozen, act.record = False, []
    for _, (pixels, _) in zip(range(batches), loader.epoch(-1)):
        net(normalisation.apply(pixels, dtype))
    for act in activations:
        means, variances = zip(*act.record)
        act.mean.copy_(torch.stack(means).median(0).values)
        act.variance.copy_(torch.stack(variances).median(0).values)
        act.record = None


@contextlib.contextmanager
def watching(modules: dict[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Shows `see` the input of every module, by name, on every forward pass."""
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: see(name, inputs[0])) for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def assess(net: ResNet, images: Images, normalisation: Normalisation, dtype: torch.dtype) -> tuple[float, dict[str, float]]:
    """Accuracy, and the largest |z| that each activation meets."""
    activations = net.activations()
    largest = dict.fromkeys(activations, 0.0)

    def see(name: str, x: Tensor) -> None:
        act = activations[name]
        extremes = torch.stack([x.amin((0, 2, 3)), x.amax((0, 2, 3))]).float()
        z = (extremes - act.mean) * torch.rsqrt(act.variance + EPSILON)
        largest[name] = max(largest[name], z.abs().max().item())

    with watching(activations, see):
        right = accuracy(net, images, normalisation, dtype)
    return right, largest
