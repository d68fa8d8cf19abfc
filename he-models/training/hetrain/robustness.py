"""How near pictures of every kind come to the declared ranges, and how near gradient ascent brings them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from . import pictures as make
from .data import Dataset
from .folded import FoldedNetwork

BATCH = 250
BLOWN_UP = 1000.0  # logits beyond it

Declared = dict[str, Tensor]  # largest |x + t| allowed, per activation and channel


def _normalised(net: FoldedNetwork, pictures: Tensor) -> Tensor:
    like = net.tensors["fc.weight"]
    return net.normalisation.apply(pictures.to(like.device), like.dtype)


def shares(net: FoldedNetwork, pictures: Tensor, declared: Declared) -> tuple[Tensor, Tensor]:
    """Largest |x + t| / declared of every picture at every activation [n, activations], and logits. Pixels are 0..255."""
    found: list[Tensor] = []

    def see(name: str, shifted: Tensor) -> Tensor:
        found.append((shifted.abs() / declared[name].to(shifted).view(1, -1, 1, 1)).amax((1, 2, 3)))
        return shifted

    logits = net.forward(_normalised(net, pictures), see)
    return torch.stack(found, 1).nan_to_num(nan=math.inf).cpu(), logits


@dataclass
class Family:
    name: str
    images: int = 0
    leaving: int = 0  # images with some share above 1
    blown_up: int = 0
    share: float = 0.0  # largest
    where: str = ""  # the activation that has it

    @torch.no_grad()
    def see(self, net: FoldedNetwork, pictures: Tensor, declared: Declared) -> None:
        found, logits = shares(net, pictures, declared)
        top, at = found.amax(0).max(0)
        self.images += len(pictures)
        self.leaving += int((found > 1).any(1).sum())
        self.blown_up += int((~(logits.abs() <= BLOWN_UP)).any(1).sum())
        if top.item() > self.share:
            self.share, self.where = top.item(), net.activation_names()[int(at)]

    def row(self) -> list[str]:
        share = f"{self.share:.3f}" if self.share < 1e4 else ("overflow" if math.isinf(self.share) else f"{self.share:.1e}")
        return [self.name, str(self.images), str(self.leaving), str(self.blown_up), share, self.where]


HEAD = ["pictures", "images", "out of range", "blown up", "largest share", "where"]


def measure(net: FoldedNetwork, declared: Declared, families: Iterable[tuple[str, Iterable[Tensor]]]) -> Iterator[Family]:
    for name, batches in families:
        family = Family(name)
        for batch in batches:
            for part in batch.split(BATCH):
                family.see(net, part, declared)
        yield family


@torch.no_grad()
def largest(net: FoldedNetwork, batches: Iterable[Tensor]) -> Declared:
    """Largest |x + t| per activation and channel."""
    met: Declared = {}

    def see(name: str, shifted: Tensor) -> Tensor:
        peak = shifted.abs().amax((0, 2, 3)).double().cpu()
        met[name] = torch.maximum(met[name], peak) if name in met else peak
        return shifted

    for batch in batches:
        for part in batch.split(BATCH):
            net.forward(_normalised(net, part), see)
    return met


# ---- the families


def _grid_of_colours(size: int, levels: int = 9) -> Tensor:
    level = torch.linspace(0, 255, levels).round()
    return torch.cartesian_prod(level, level, level).view(-1, 1, 1, 3).expand(-1, size, size, 3)


def _all_boards(size: int) -> Iterator[Tensor]:
    """Every kind and period, two phases, black and white and the colours of the cube against their opposites."""
    corners = 255.0 * torch.cartesian_prod(*[torch.arange(2.0)] * 3).view(-1, 1, 1, 3)
    for kind in make.BOARDS:
        for cell in range(1, size // 2 + 1):
            for phase in {0, cell // 2}:
                mask = make.board(size, kind, torch.full((1, 1, 1), float(cell)), torch.full((1, 1, 1), float(phase)))
                yield corners + (255 - 2 * corners) * mask.unsqueeze(3)


def photographs(datasets: list[Dataset]) -> Iterator[tuple[str, Iterable[Tensor]]]:
    for dataset in datasets:
        for what, images in (("training", dataset.train), ("test", dataset.test)):
            yield f"{dataset.name}, {what} images", (part.float() for part in images.pixels.split(BATCH))


def families(photos: Tensor, count: int, seed: int) -> Iterator[tuple[str, Iterable[Tensor]]]:
    """Names and batches; `photos` [n, h, w, 3] are what changed photographs are made of, `count` pictures per random family."""
    size = photos.shape[1]

    def of_photos(change) -> Iterator[Tensor]:
        return (make.finish(change(part.float())) for part in photos.split(BATCH))

    def random(maker: make.Maker, count: int, *more) -> Iterator[Tensor]:
        g = Generator().manual_seed(seed)
        for start in range(0, count, BATCH):
            index = torch.randint(0, len(photos), (min(BATCH, count - start),), generator=g)
            yield make.finish(maker(photos[index].float(), g, *more))

    for name, change in {
        "contrast x2": lambda p: make.contrast(p, 2),
        "contrast x4": lambda p: make.contrast(p, 4),
        "brightness -50 %": lambda p: make.brightness(p, 0.5),
        "brightness +50 %": lambda p: make.brightness(p, 1.5),
        "saturation x3": lambda p: make.saturation(p, 3),
        "sharpening x3": lambda p: make.sharpness(p, 3),
        "inversion": make.inversion,
        "inversion, contrast x4": lambda p: make.contrast(make.inversion(p), 4),
    }.items():
        yield name, of_photos(change)
    for kind in ("uniform", "Gaussian", "binary"):
        for cell in (1, 2, 4, 8):
            yield f"{kind} noise, cells of {cell}", random(make.noise, count, kind, cell)
    yield "noise of all spectra", random(make.spectra, count)
    yield "stripes and checkerboards of every period", _all_boards(size)
    yield "stripes and checkerboards of random colours", random(make.boards, count)
    yield "waves", random(make.waves, count)
    yield "single colours, 9^3", (make.finish(_grid_of_colours(size)),)
    yield "flat areas and edges", random(make.edges, count)
    yield "dead pixels, rows and columns", random(make.impulses, count)
    yield "mixtures of two photographs", random(make.mixtures, count)
    yield "photographs changed at random", random(make.changed, count)
    yield "drawings", random(make.drawings, 5 * count)


# ---- gradient ascent


@torch.enable_grad()
def uphill(net: FoldedNetwork, pictures: Tensor, declared: Declared, target: Tensor) -> tuple[Tensor, Tensor]:
    """Largest share [n] of every picture, and the direction [n, h, w, 3] in which its share at activation `target` [n] grows
    (-1: the largest of all), with components of one on average."""
    at = pictures.round().requires_grad_()
    found, _ = shares(net, at, declared)
    top = found.amax(1)
    wanted = torch.where(target < 0, top, found.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1))
    (slope,) = torch.autograd.grad(wanted.clamp(max=1e6).sum(), at)
    slope = slope.nan_to_num(0, 0, 0)
    return top.detach(), slope / slope.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-20)


def targets(count: int, activations: int) -> Tensor:
    """What pictures climb on: one half on the largest share of all (-1), the other on that of one activation, in turn."""
    turn = torch.arange(count)
    return torch.where(turn % 2 == 1, turn // 2 % activations, -1)


MOMENTUM = 0.75  # of a climb


def climb(net: FoldedNetwork, pictures: Tensor, declared: Declared, steps: int, first: float = 24.0, last: float = 1.0) -> Tensor:
    """The best of what every picture becomes in `steps` steps by the sign of a gradient with momentum; whole pixel values.
    Who has left stops."""
    target = targets(len(pictures), len(net.activation_names()))
    now, best = pictures.float().clone(), pictures.float().clone()
    record = torch.zeros(len(pictures))
    momentum = torch.zeros_like(now)
    for step in range(steps + 1):
        going = (record <= 1).nonzero().flatten()
        if not len(going):
            break
        top, slope = uphill(net, now[going], declared, target[going])
        better = top > record[going]
        record[going] = torch.where(better, top, record[going])
        best[going] = torch.where(better.view(-1, 1, 1, 1), now[going].round(), best[going])
        momentum[going] = MOMENTUM * momentum[going] + slope
        size = first * (last / first) ** (step / max(1, steps))
        now[going] = (now[going] + size * momentum[going].sign()).clamp(0, 255)
    return best


def starts(photos: Tensor, count: int, seed: int) -> Tensor:
    """Where the ascent begins: half photographs, half pictures of every other kind."""
    g = Generator().manual_seed(seed)
    some = photos[torch.randint(0, len(photos), (count,), generator=g)].float()
    return torch.where((torch.arange(count) // 4 % 2 == 0).view(-1, 1, 1, 1), some, make.assorted(some, g))


def ascent(net: FoldedNetwork, declared: Declared, photos: Tensor, count: int, steps: int, seed: int) -> Family:
    family = Family(f"gradient ascent, {steps} steps")
    for part in starts(photos, count, seed).split(BATCH):
        family.see(net, climb(net, part, declared, steps), declared)
    return family


@dataclass(frozen=True)
class Effort:
    """How much to look at."""

    count: int = 2000  # pictures of a random family (drawings: five times as many), photographs to change
    ascents: int = 1000
    steps: int = 200


def met(net: FoldedNetwork, photos: Tensor, promised: Declared, effort: Effort, seed: int = 1) -> Declared:
    """Largest |x + t| of pictures of every kind made of training photographs, climbed ones too: for the declared ranges."""
    found = largest(net, (batch for _, batches in families(photos[: effort.count], effort.count, seed) for batch in batches))
    climbed = (climb(net, part, promised, effort.steps) for part in starts(photos, effort.ascents // 4, seed).split(BATCH))
    ascended = largest(net, climbed)
    return {name: torch.maximum(value, ascended[name]) for name, value in found.items()}


def table_of(net: FoldedNetwork, promised: Declared, datasets: list[Dataset], effort: Effort, seed: int = 2) -> Iterator[Family]:
    """Every family, then the ascent. Test images are what is changed and where the ascent begins."""
    yield from measure(net, promised, photographs(datasets))
    photos = torch.cat([d.test.pixels[: effort.count] for d in datasets])
    yield from measure(net, promised, families(photos, effort.count, seed))
    if effort.ascents:
        yield ascent(net, promised, photos, effort.ascents, effort.steps, seed)


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(found: Iterable[Family]) -> str:
    return "\n".join(map(row, [HEAD, ["---"] * len(HEAD), *(family.row() for family in found)]))
