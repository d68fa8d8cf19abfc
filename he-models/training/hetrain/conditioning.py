"""What the client does to a picture before it is normalised and encrypted: details and colours that are stronger than in any
photograph are scaled down. Photographs pass nearly unchanged.

1. x = pixel / 255. If `opponent`: (r+g+b)/sqrt3, (r-b)/sqrt2, (r-2g+b)/sqrt6, else the channels as they are.
2. Every component is split into S detail bands and a base (a trous): l_0 = y, l_{s+1} = l_s blurred by [1, 2, 1]/4 with taps at
   distance 2^s, indices clamped to the map, rows then columns; band_s = l_s - l_{s+1}; base = l_S less its mean m.
3. A band or base whose root mean square over the map passes its limit is scaled down to it.
4. m becomes center + clamp(m - center, -reach, reach).
5. All is added up again and, if `opponent`, turned back. Nothing is clipped.

`Conditioning.apply` is for training (float32, differentiable); `reference` is the definition in float64, which the crate
`he-models` is held against: `python -m hetrain.conditioning --vectors FILE`.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
BATCH = 1000


@dataclass(frozen=True)
class Plan:
    """How to fit limits to training images; part of a recipe."""

    opponent: bool = True
    scales: int = 3  # detail bands; none: no conditioning
    share: float = 0.999  # of the training images lie below a limit, and between the limits of a mean


@functools.cache
def _blur(size: int, distance: int) -> Tensor:
    """The blur of one axis as a matrix [size, size]."""
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for row in range(size):
        for offset, weight in ((-distance, 0.25), (0, 0.5), (distance, 0.25)):
            matrix[row, min(max(row + offset, 0), size - 1)] += weight
    return matrix


def _levels(y: Tensor, scales: int) -> list[Tensor]:
    """l_0 to l_S of [n, c, h, w]."""
    levels = [y]
    for s in range(scales):
        rows, columns = (_blur(extent, 2**s).to(y) for extent in y.shape[2:])
        levels.append(rows @ levels[-1] @ columns.T)
    return levels


def _components(x: Tensor, opponent: bool) -> Tensor:
    """[n, h, w, c] to [n, c, h, w]."""
    return (x @ torch.from_numpy(OPPONENT.T).to(x) if opponent else x).permute(0, 3, 1, 2)


def _mean_squares(levels: list[Tensor], mean: Tensor) -> Tensor:
    """Of every band and the base: [n, c, S + 1]."""
    parts = [a - b for a, b in zip(levels, levels[1:])] + [levels[-1] - mean]
    return torch.stack([part.square().mean((2, 3)) for part in parts], 2)


@dataclass(frozen=True)
class Conditioning:
    opponent: bool
    bands: tuple[tuple[float, ...], ...]  # [component][band, the base last]: limit of the root mean square
    means: tuple[tuple[float, float], ...]  # [component]: center and reach of the mean

    def apply(self, x: Tensor) -> Tensor:
        """[n, h, w, c], pixel / 255, to the same."""
        y = _components(x, self.opponent)
        limits = torch.tensor(self.bands).to(x)
        center, reach = torch.tensor(self.means).to(x).view(-1, 2, 1, 1).unbind(1)
        levels = _levels(y, limits.shape[1] - 1)
        mean = levels[-1].mean((2, 3), keepdim=True)
        # clamped before the root, whose slope at zero is infinite
        factors = limits * torch.maximum(_mean_squares(levels, mean), limits**2).rsqrt()
        factors = factors.unsqueeze(3).unsqueeze(4).unbind(2)
        total = center + (mean - center).clamp(-reach, reach) - factors[-1] * mean
        total = total + factors[0] * levels[0]
        for level, before, after in zip(levels[1:], factors, factors[1:]):
            total = total + (after - before) * level
        x = total.permute(0, 2, 3, 1)
        return x @ torch.from_numpy(OPPONENT).to(x) if self.opponent else x

    @classmethod
    def fit(cls, pixels: Tensor, plan: Plan) -> Conditioning:
        """Limits that `plan.share` of the pictures, uint8 [n, h, w, c], stay below."""
        squares, means = [], []
        for part in pixels.split(BATCH):
            levels = _levels(_components(part.float() / 255, plan.opponent), plan.scales)
            mean = levels[-1].mean((2, 3), keepdim=True)
            squares.append(_mean_squares(levels, mean))
            means.append(mean.flatten(1))
        last = len(pixels) - 1

        def quantile(values: Tensor, share: float) -> Tensor:  # torch.quantile refuses long inputs
            return values.sort(0).values[round(share * last)]

        limits, mean = quantile(torch.cat(squares), plan.share).sqrt(), torch.cat(means)
        low, high = (quantile(mean, share) for share in ((1 - plan.share) / 2, (1 + plan.share) / 2))
        means = torch.stack([(low + high) / 2, (high - low) / 2], 1)
        return cls(plan.opponent, _rounded(limits), _rounded(means))

    def as_dict(self) -> dict[str, Any]:
        return {"opponent": self.opponent, "bands": [list(b) for b in self.bands], "means": [list(m) for m in self.means]}

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> Conditioning:
        return cls(entries["opponent"], *(tuple(map(tuple, entries[key])) for key in ("bands", "means")))


def _rounded(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{v:.5g}") for v in row) for row in values.tolist())


def reference(pixels: np.ndarray, conditioning: Conditioning) -> np.ndarray:
    """The definition, step by step in float64: uint8 [c, h, w] to [c, h, w]."""
    y = pixels.astype(np.float64) / 255
    if conditioning.opponent:
        y = np.tensordot(OPPONENT, y, 1)
    done = np.empty_like(y)
    for component, (limits, (center, reach)) in enumerate(zip(conditioning.bands, conditioning.means)):
        level, parts = y[component], []
        for s in range(len(limits) - 1):
            smooth = level
            for axis, extent in enumerate(level.shape):
                index = np.arange(extent)
                before, after = (np.clip(index + way * 2**s, 0, extent - 1) for way in (-1, 1))
                smooth = 0.25 * smooth.take(before, axis) + 0.5 * smooth + 0.25 * smooth.take(after, axis)
            parts.append(level - smooth)
            level = smooth
        mean = level.mean()
        parts.append(level - mean)
        total = np.full_like(level, center + min(max(mean - center, -reach), reach))
        for part, limit in zip(parts, limits):
            rms = math.sqrt(np.mean(part**2))
            total += part * (limit / rms) if rms > limit else part
        done[component] = total
    return np.tensordot(OPPONENT.T, done, 1) if conditioning.opponent else done


def vectors(seed: int = 14) -> list[dict[str, Any]]:
    """Pictures that meet all limits or none, of odd shapes too. `expected` is x after conditioning: mean and std are 0 and 1."""
    rng = np.random.default_rng(seed)
    tight = Conditioning(
        True,
        ((0.05, 0.06, 0.05, 0.2), (0.02, 0.02, 0.02, 0.05), (0.01, 0.01, 0.01, 0.04)),
        ((0.8, 0.3), (0.02, 0.1), (0.0, 0.05)),
    )
    loose = Conditioning(True, ((9.0,) * 4,) * 3, ((0.8, 9.0), (0.0, 9.0), (0.0, 9.0)))
    plain = Conditioning(False, ((0.04, 0.05, 0.1),), ((0.4, 0.2),))
    channels = Conditioning(False, ((0.04, 0.3), (0.05, 0.2), (0.06, 0.1)), ((0.5, 0.1), (0.4, 0.1), (0.5, 0.5)))

    def smooth(c: int, h: int, w: int) -> np.ndarray:
        rows, columns = np.mgrid[:h, :w]
        return np.stack([127 + 40 * np.sin(0.5 * rows + k) + 30 * np.cos(0.4 * columns - k) for k in range(c)])

    def board(c: int, h: int, w: int) -> np.ndarray:
        return np.broadcast_to(255 * (np.indices((h, w)).sum(0) % 2), (c, h, w))

    cases = [
        ("noise, all limits met", tight, rng.integers(0, 256, (3, 8, 8))),
        ("noise, no limit met", loose, rng.integers(0, 256, (3, 8, 8))),
        ("smooth", tight, smooth(3, 16, 16)),
        ("checkerboard", tight, board(3, 8, 8)),
        ("one colour", tight, np.full((3, 8, 8), 255) * np.array([1, 0, 0]).reshape(3, 1, 1)),
        ("black", tight, np.zeros((3, 8, 8))),
        ("one channel, map smaller than the taps", plain, rng.integers(0, 256, (1, 3, 5))),
        ("three channels without opponent colours, not square", channels, smooth(3, 6, 9)),
    ]
    found = []
    for name, conditioning, picture in cases:
        pixels = np.clip(np.round(picture), 0, 255).astype(np.uint8)
        c, h, w = pixels.shape
        shape = {"channels": c, "height": h, "width": w, "mean": [0.0] * c, "std": [1.0] * c}
        found.append(
            {
                "name": name,
                "input": shape | {"conditioning": conditioning.as_dict()},
                "pixels": pixels.ravel().tolist(),
                "expected": reference(pixels, conditioning).ravel().tolist(),
            }
        )
    return found


def main() -> None:
    from . import data

    parser = argparse.ArgumentParser(prog="hetrain.conditioning", description="Fits limits, or writes test vectors.")
    parser.add_argument("--fit", metavar="DATASET", help="print the limits of a data set's training images")
    parser.add_argument("--data", type=Path, help="folder of the official binary files")
    parser.add_argument("--share", type=float, default=Plan.share)
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="write test vectors")
    args = parser.parse_args()
    if args.fit:
        print(json.dumps(Conditioning.fit(data.load(args.fit, args.data).train.pixels, Plan(share=args.share)).as_dict()))
    if args.vectors:
        cases = ",\n".join(json.dumps(case) for case in vectors())
        args.vectors.write_text(f"[\n{cases}\n]\n")


if __name__ == "__main__":
    main()
