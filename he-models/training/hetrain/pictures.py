"""Pictures of every kind, made on the fly: photographs changed beyond recognition, noise, patterns, drawings.

Everything works on float tensors [n, h, w, 3] of pixel values, not yet clipped; `finish` clips and rounds. Randomness comes from
the generator alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Maker = Callable[[Tensor, Generator], Tensor]  # photographs in, as many pictures out


def finish(pictures: Tensor) -> Tensor:
    return pictures.clamp(0, 255).round()


def uniform(n: int, low: float, high: float, g: Generator, *shape: int) -> Tensor:
    """[n, *shape], or [n, 1, 1, 1]."""
    return low + (high - low) * torch.rand(n, *(shape or (1, 1, 1)), generator=g)


def choice(n: int, options: list[float], g: Generator) -> Tensor:
    return torch.tensor(options)[torch.randint(0, len(options), (n, 1, 1, 1), generator=g)]


# ---- photographs, changed by a factor per picture


def contrast(p: Tensor, factor: Tensor | float) -> Tensor:
    return 127.5 + (p - 127.5) * factor


def brightness(p: Tensor, factor: Tensor | float) -> Tensor:
    return p * factor


def saturation(p: Tensor, factor: Tensor | float) -> Tensor:
    grey = p.mean(3, keepdim=True)
    return grey + (p - grey) * factor


def sharpness(p: Tensor, factor: Tensor | float) -> Tensor:
    """What a 3x3 mean takes away, added `factor` times more."""
    planes = F.pad(p.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    return p + (p - F.avg_pool2d(planes, 3, 1).permute(0, 2, 3, 1)) * factor


def inversion(p: Tensor) -> Tensor:
    return 255 - p


def coarser(p: Tensor, cell: int) -> Tensor:
    """Every cell takes the value of its first pixel."""
    index = torch.arange(p.shape[1]) // cell
    return p[:, index][:, :, index]


# ---- colours and patterns


def colours(n: int, g: Generator) -> Tensor:
    """[n, 1, 1, 3]: anything, corners of the cube, greys, a third each."""
    kind = torch.randint(0, 3, (n, 1, 1, 1), generator=g)
    anything = uniform(n, 0, 255, g, 1, 1, 3)
    corner = 255.0 * torch.randint(0, 2, (n, 1, 1, 3), generator=g)
    grey = 255.0 * torch.randint(0, 2, (n, 1, 1, 1), generator=g).expand(n, 1, 1, 3)
    return torch.where(kind == 0, anything, torch.where(kind == 1, corner, grey))


def two_colours(mask: Tensor, g: Generator) -> Tensor:
    """A mask [n, h, w] in 0..1 as a picture."""
    first, second = colours(len(mask), g), colours(len(mask), g)
    return first + (second - first) * mask.unsqueeze(3)


def axes(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size, dtype=torch.float32)
    return axis.view(1, -1, 1), axis.view(1, 1, -1)


def board(size: int, kind: str | int, cell: Tensor, phase: Tensor) -> Tensor:
    """Masks [n, h, w] of stripes (rows, columns, diagonals) or a checkerboard; cell and phase [n, 1, 1] in pixels."""
    rows, columns = axes(size)
    row, column = ((a + phase).div(cell, rounding_mode="floor") for a in (rows, columns))
    match kind:
        case "rows":
            index = row.expand(-1, size, size)
        case "columns":
            index = column.expand(-1, size, size)
        case "diagonals":
            index = (rows + columns + phase).div(cell, rounding_mode="floor")
        case _:
            index = row + column
    return index.remainder(2)


BOARDS = ("rows", "columns", "diagonals", "checkerboard")


def boards(photos: Tensor, g: Generator) -> Tensor:
    n, size = photos.shape[:2]
    cell = torch.randint(1, size // 2 + 1, (n, 1, 1), generator=g).float()
    cell = torch.where(uniform(n, 0, 1, g, 1, 1) < 0.5, cell.clamp(max=4), cell)
    phase = torch.randint(0, size, (n, 1, 1), generator=g)
    kinds = torch.randint(0, len(BOARDS), (n, 1, 1), generator=g)
    mask = torch.stack([board(size, kind, cell, phase) for kind in BOARDS]).gather(0, kinds.expand(n, size, size).unsqueeze(0))[0]
    return two_colours(mask, g)


def waves(photos: Tensor, g: Generator) -> Tensor:
    """Sines of any direction and frequency, or their signs; the second half crossed with another."""
    n, size = photos.shape[:2]
    rows, columns = axes(size)

    def wave() -> Tensor:
        angle, frequency = uniform(n, 0, torch.pi, g, 1, 1), uniform(n, 0.01, 0.5, g, 1, 1)
        along = angle.sin() * rows + angle.cos() * columns
        return torch.sin(2 * torch.pi * (frequency * along + uniform(n, 0, 1, g, 1, 1)))

    first, second = wave(), wave()
    crossed = torch.where(uniform(n, 0, 1, g, 1, 1) < 0.5, first, first * second)
    hard = choice(n, [1.0, 3.0, 1000.0], g).squeeze(3)
    return two_colours(0.5 + 0.5 * (hard * crossed).clamp(-1, 1), g)


def edges(photos: Tensor, g: Generator) -> Tensor:
    """Two or four flat areas, hard or soft edges."""
    n, size = photos.shape[:2]
    rows, columns = axes(size)

    def side() -> Tensor:
        angle, at = uniform(n, 0, 2 * torch.pi, g, 1, 1), uniform(n, -0.5, 0.5, g, 1, 1) * size
        distance = angle.sin() * (rows - size / 2) + angle.cos() * (columns - size / 2) - at
        return (0.5 + distance / choice(n, [0.01, 1.0, 8.0, 32.0], g).squeeze(3)).clamp(0, 1)

    first = two_colours(side(), g)
    cut = (uniform(n, 0, 1, g, 1, 1) < 0.5) * side()
    return first + (colours(n, g) - first) * cut.unsqueeze(3)


def flats(photos: Tensor, g: Generator) -> Tensor:
    return colours(len(photos), g).expand_as(photos)


# ---- noise


def noise(photos: Tensor, g: Generator, kind: str | None = None, cell: int | None = None) -> Tensor:
    """Uniform, Gaussian or black-and-white, per channel or grey; cells of one size per batch."""
    n, size = photos.shape[:2]
    if cell is None:
        cell = (1, 1, 2, 3, 4, 8)[int(torch.randint(0, 6, (1,), generator=g))]
    if kind is None:
        kind = ("uniform", "Gaussian", "binary")[int(torch.randint(0, 3, (1,), generator=g))]
    count = -(-size // cell)
    grey = torch.rand(n, 1, 1, 1, generator=g) < 0.3
    match kind:
        case "uniform":
            values = 255 * torch.rand(n, count, count, 3, generator=g)
        case "Gaussian":
            values = 127.5 + choice(n, [32.0, 64.0, 128.0], g) * torch.randn(n, count, count, 3, generator=g)
        case _:
            values = 255.0 * (torch.rand(n, count, count, 3, generator=g) < choice(n, [0.1, 0.5, 0.5, 0.9], g))
    values = torch.where(grey, values[..., :1], values)
    index = torch.arange(size) // cell
    return values[:, index][:, :, index]


def spectra(photos: Tensor, g: Generator) -> Tensor:
    """Noise whose amplitude goes with a power of the frequency, -1 (coarse) to 2.5 of its inverse; strong."""
    n, size = photos.shape[:2]
    frequency = torch.hypot(torch.fft.fftfreq(size).view(-1, 1), torch.fft.rfftfreq(size).view(1, -1)).clamp(min=1 / size)
    shape = frequency.view(1, 1, size, -1) ** -uniform(n, -1, 2.5, g)
    values = torch.fft.irfft2(torch.fft.rfft2(torch.randn(n, 3, size, size, generator=g)) * shape, s=(size, size))
    values = values / values.std((1, 2, 3), keepdim=True)
    mixed = values + uniform(n, 0, 2, g) * values[:, :1]
    return colours(n, g) / 2 + 64 + choice(n, [20.0, 60.0, 120.0, 400.0], g) * mixed.permute(0, 2, 3, 1)


def impulses(photos: Tensor, g: Generator) -> Tensor:
    """Photographs or flat areas with dead pixels, rows and columns."""
    n, size = photos.shape[:2]
    ground = torch.where(torch.rand(n, 1, 1, 1, generator=g) < 0.5, photos, colours(n, g))
    share = choice(n, [0.001, 0.01, 0.1], g)
    dead = torch.rand(n, size, size, 1, generator=g) < share
    lines = choice(n, [0.0, 0.0, 0.05], g)
    dead = dead | (torch.rand(n, size, 1, 1, generator=g) < lines) | (torch.rand(n, 1, size, 1, generator=g) < lines)
    return torch.where(dead, colours(n, g), ground)


# ---- drawings and mixtures


def drawings(photos: Tensor, g: Generator, marks: int = 5) -> Tensor:
    """Lines, discs and text-like rows of marks on a flat ground."""
    n, size = photos.shape[:2]
    rows, columns = axes(size)
    picture = colours(n, g).expand(n, size, size, 3)
    for _ in range(marks):
        y, x, v, u = (uniform(n, 0, size, g, 1, 1) for _ in range(4))
        dy, dx = v - y, u - x
        along = (((rows - y) * dy + (columns - x) * dx) / (dy * dy + dx * dx + 1e-6)).clamp(0, 1)
        distance = torch.hypot(rows - y - along * dy, columns - x - along * dx)
        line = distance < uniform(n, 0.5, 2.5, g, 1, 1)
        disc = torch.hypot(rows - y, columns - x) < uniform(n, 1, size / 3, g, 1, 1)
        cell = int(torch.randint(1, 3, (1,), generator=g))
        index = torch.arange(size) // cell
        bits = torch.rand(n, size, size, generator=g)[:, index][:, :, index] < 0.55
        height = float(torch.randint(4, 9, (1,), generator=g))
        page = ((rows - y).abs() < size / 3) & ((columns - x).abs() < size / 2.5)
        text = bits & page & ((rows + y).remainder(height) < height - 2)
        kind = torch.randint(0, 4, (n, 1, 1), generator=g)
        mark = torch.where(kind == 0, line, torch.where(kind == 1, disc, torch.where(kind == 2, text, False)))
        picture = torch.where(mark.unsqueeze(3), colours(n, g), picture)
    return picture


def mixtures(photos: Tensor, g: Generator) -> Tensor:
    """Two pictures in one: averaged, added, subtracted, or one in the gaps of the other."""
    n, size = photos.shape[:2]
    other = photos.roll(1, 0)
    share = uniform(n, 0, 1, g)
    mask = board(size, "checkerboard", torch.randint(1, 9, (n, 1, 1), generator=g), torch.zeros(n, 1, 1)).unsqueeze(3)
    options = [
        share * photos + (1 - share) * other,
        photos + other - 127.5,
        127.5 + photos - other,
        torch.where(mask == 0, photos, other),
        torch.maximum(photos, other),
    ]
    kind = torch.randint(0, len(options), (1, n, 1, 1, 1), generator=g)
    return torch.stack(options).gather(0, kind.expand(1, *photos.shape))[0]


def changed(photos: Tensor, g: Generator) -> Tensor:
    """Contrast, brightness, saturation, sharpness and inversion, alone or one after the other."""
    n = len(photos)

    def some(p: Tensor, q: Tensor, share: float) -> Tensor:
        return torch.where(torch.rand(n, 1, 1, 1, generator=g) < share, q, p)

    p = some(photos, saturation(photos, uniform(n, 0, 6, g)), 0.3)
    p = some(p, sharpness(p, uniform(n, 0, 8, g)), 0.3)
    p = some(p, contrast(p, 2 ** uniform(n, 0, 3, g)), 0.4)
    p = some(p, p + uniform(n, -128, 128, g, 1, 1, 3), 0.2)
    p = some(p, brightness(p, uniform(n, 0.2, 2, g)), 0.3)
    return some(p, inversion(p), 0.3)


FAMILIES: dict[str, Maker] = {
    "changed": changed,
    "mixtures": mixtures,
    "boards": boards,
    "waves": waves,
    "edges": edges,
    "flats": flats,
    "noise": noise,
    "spectra": spectra,
    "impulses": impulses,
    "drawings": drawings,
}
OFTEN = ("changed", "changed", *FAMILIES)
GROUP = 4  # pictures of one family


def assorted(photos: Tensor, g: Generator) -> Tensor:
    """As many pictures as photographs, [n, h, w, 3] in 0..255, of families by chance; one in five is changed once more."""
    groups = []
    for group in photos.float().split(GROUP):
        made = FAMILIES[OFTEN[int(torch.randint(0, len(OFTEN), (1,), generator=g))]](group, g).clamp(0, 255)
        if float(torch.rand(1, generator=g)) < 0.2:
            made = changed(made, g)
        groups.append(finish(made))
    return torch.cat(groups)
