"""How much error a network bears: random error added to what every activation squares, as encryption and rounding do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .data import Images
from .folded import FoldedNetwork, Ranges

IMAGES = 2000  # are enough
LEVELS = tuple(2.0**-bits for bits in (3, 4, 5, 6, 7, 8, 10, 12))


@dataclass(frozen=True)
class Disturbed:
    error: float  # deviation of the added error, as a share of the channel's root mean square of x + t
    accuracy: float
    agreement: float  # share of the images that are answered as without error
    largest: float  # largest error of a logit, as a share of the logits' deviation
    rms: float


def robustness(net: FoldedNetwork, images: Images, ranges: Ranges, seed: int = 0) -> list[Disturbed]:
    images = images.take(torch.arange(min(IMAGES, len(images))))
    exact = net.logits(images)
    spread = exact.std().item()
    generator = torch.Generator(exact.device).manual_seed(seed)
    rows = []
    for level in LEVELS:

        def disturb(name: str, shifted: Tensor, level: float = level) -> Tensor:
            noise = torch.empty_like(shifted).normal_(generator=generator)
            scale = ranges.second_moment[name].sqrt().to(shifted).view(1, -1, 1, 1)
            return shifted + level * scale * noise

        logits = net.logits(images, disturb)
        answers, error = logits.argmax(1), logits - exact
        rows.append(
            Disturbed(
                level,
                (answers == images.labels).double().mean().item(),
                (answers == exact.argmax(1)).double().mean().item(),
                error.abs().max().item() / spread,
                error.square().mean().sqrt().item() / spread,
            )
        )
    return rows
