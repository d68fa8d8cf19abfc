"""The pictures that the penalty on tails sees in training: some of every kind, and some that climb towards the ranges all the
while. The gradient that trains the weights is taken down to the pixels too, so that the climb costs nothing more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from . import pictures as make


@dataclass(frozen=True)
class Tails:
    """Part of a recipe: what the last phase adds."""

    pictures: int = 48  # of every kind, per step
    climbing: int = 48  # of the pool, per step
    pool: int = 240
    life: int = 40  # climbing steps until a picture of the pool is replaced
    first_step: float = 24.0  # pixel values; the step shrinks to one
    threshold: float = 0.45  # of the declared range, from where on |x + t| costs
    weight: float = 2000.0
    clamp: float = 8.0  # of |z|
    cap: float = 2.0  # how far beyond the threshold, in z, the penalty is quadratic; linear from there on
    clip: float = 2.0  # of the norm of the penalty's gradient


class Hunt:
    """A pool of climbing pictures, fresh for every epoch."""

    def __init__(self, plan: Tails, photos: Tensor, seed: int):
        self.plan, self.generator = plan, Generator().manual_seed(seed)
        index = torch.randint(0, len(photos), (plan.pool,), generator=self.generator)
        self.pool = make.assorted(photos[index].cpu(), self.generator)
        self.age = torch.arange(plan.pool) % plan.life  # not all are replaced at once
        self.turn = 0
        self.index = torch.zeros(0, dtype=torch.long)
        self.fresh = self.pool[:0]

    def batch(self, photos: Tensor) -> Tensor:
        """Pictures [n, h, w, 3] made of a step's photographs, then those that climb."""
        p = self.plan
        self.index = (self.turn + torch.arange(p.climbing)) % p.pool
        self.turn = (self.turn + p.climbing) % p.pool
        photos = photos.cpu()
        self.fresh = make.assorted(photos[torch.arange(p.pictures) % len(photos)], self.generator)
        return torch.cat([self.fresh, self.pool[self.index]])

    def climb(self, slope: Tensor) -> None:
        """Moves the climbing pictures of the last batch by the sign of the penalty's gradient; the old, and those that cost
        nothing, make way for fresh ones."""
        p, slope = self.plan, slope[-len(self.index) :].cpu()
        age = self.age[self.index]
        size = p.first_step * (1 / p.first_step) ** (age / p.life)
        moved = (self.pool[self.index] + size.view(-1, 1, 1, 1) * slope.sign()).clamp(0, 255)
        idle = ~(slope.abs().amax((1, 2, 3)) > 0)
        replaced = (age + 1 >= p.life) | idle
        successors = self.fresh[torch.arange(len(moved)) % len(self.fresh)]
        self.pool[self.index] = torch.where(replaced.view(-1, 1, 1, 1), successors, moved)
        self.age[self.index] = torch.where(replaced, 0, age + 1)
