"""The pictures that the penalty on tails sees in training: some of every kind, and some that climb towards the ranges all the
while, in the way of `robustness.climb`, on the network as it is at that step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from . import pictures as make
from .folded import FoldedNetwork
from .robustness import MOMENTUM, Declared, targets, uphill


@dataclass(frozen=True)
class Tails:
    """Part of a recipe: what the last phase adds."""

    pictures: int = 48  # of every kind, per step
    climbing: int = 48  # of the pool, per step
    pool: int = 96
    life: int = 100  # moves of a picture until another takes its place
    first_step: float = 24.0  # pixel values; the step shrinks to one
    threshold: float = 0.45  # of the declared range, from where on |x + t| costs
    weight: float = 2000.0
    clamp: float = 8.0  # of |z|
    cap: float = 2.0  # how far beyond the threshold, in z, the penalty is quadratic; linear from there on
    clip: float = 2.0  # of the norm of the penalty's gradient


class Hunt:
    """A pool of climbing pictures, fresh for every epoch."""

    def __init__(self, plan: Tails, photos: Tensor, activations: int, seed: int):
        self.plan, self.generator = plan, Generator().manual_seed(seed)
        index = torch.randint(0, len(photos), (plan.pool,), generator=self.generator)
        self.pool = make.assorted(photos[index].cpu(), self.generator)
        self.momentum = torch.zeros_like(self.pool)
        self.age = torch.arange(plan.pool) % plan.life  # not all are replaced at once
        self.target = targets(plan.pool, activations)
        self.turn = 0

    def next(self) -> Tensor:
        """Places in the pool whose turn it is."""
        index = (self.turn + torch.arange(self.plan.climbing)) % self.plan.pool
        self.turn = (self.turn + self.plan.climbing) % self.plan.pool
        return index

    def batch(self, photos: Tensor, index: Tensor) -> Tensor:
        """Pictures [n, h, w, 3] made of a step's photographs, then those at `index`."""
        photos = photos.cpu()
        fresh = make.assorted(photos[torch.arange(self.plan.pictures) % len(photos)], self.generator)
        return torch.cat([fresh, self.pool[index].round()])

    def climb(self, net: FoldedNetwork, reach: Declared, index: Tensor) -> None:
        """One move of the pictures at `index`. Who is beyond a range stays there to be seen by the penalty."""
        p = self.plan
        top, slope = uphill(net, self.pool[index], reach, self.target[index])
        momentum = MOMENTUM * self.momentum[index] + slope
        size = p.first_step * (1 / p.first_step) ** (self.age[index] / p.life)
        moved = (self.pool[index] + size.view(-1, 1, 1, 1) * momentum.sign()).clamp(0, 255)
        self.pool[index] = torch.where((top <= 1).view(-1, 1, 1, 1), moved, self.pool[index])
        self.momentum[index] = momentum
        self.age[index] += 1

    def renew(self, photos: Tensor, index: Tensor) -> None:
        """Others take the places at `index` of those that have climbed long enough: photographs and pictures of every kind,
        one half each."""
        old = index[self.age[index] >= self.plan.life]
        if not len(old):
            return
        some = photos.cpu()[torch.arange(len(old)) % len(photos)].float()
        made = make.assorted(some, self.generator)
        self.pool[old] = torch.where((old // 4 % 2 == 0).view(-1, 1, 1, 1), some, made)
        self.momentum[old] = 0
        self.age[old] = 0
