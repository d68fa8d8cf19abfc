"""CIFAR-10 and CIFAR-100 in their official binary layouts, synthetic images, augmentation.

Images stay uint8 and channels-last (pixel/255 and normalisation come last, on the training device), the whole set in
memory. Augmentation fills what lies outside an image with the mean colour, which is zero after normalisation, just as
the network's own padding.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .conditioning import Conditioning, Plan


@dataclass(frozen=True)
class Normalisation:
    """Of pixel/255, per channel, after conditioning if there is one."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    conditioning: Conditioning | None = None

    def apply(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """[n, h, w, c] in 0..255 to [n, c, h, w] (channels-last in memory)."""
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        x = pixels.float() / 255
        if self.conditioning:
            x = self.conditioning.apply(x).contiguous()
        return ((x - mean) / std).to(dtype).permute(0, 3, 1, 2)

    def fill(self) -> Tensor:
        """The mean colour."""
        return torch.tensor([round(255 * m) for m in self.mean], dtype=torch.uint8)


@dataclass(frozen=True)
class Images:
    pixels: Tensor  # uint8 [n, h, w, c]
    labels: Tensor  # int64 [n]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Images:
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> Images:
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    name: str
    train: Images
    test: Images
    classes: list[str]
    normalisation: Normalisation
    sha256: str  # of the training files, one after the other

    def conditioned(self, plan: Plan) -> Dataset:
        """The same with a conditioning of pictures, its limits fitted to the training images."""
        if not plan.scales:
            return self
        fitted = Conditioning.fit(self.train.pixels, plan)
        return dataclasses.replace(self, normalisation=dataclasses.replace(self.normalisation, conditioning=fitted))

    def split(self, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
        """Indices of the training set: what trains, and the images held out to choose by."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        return order[held_out:], order[:held_out]


@dataclass(frozen=True)
class _Layout:
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int  # the last of them is the class
    normalisation: Normalisation


_LAYOUTS = {
    "cifar10": _Layout(
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        ("test_batch.bin",),
        "batches.meta.txt",
        1,
        Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ),
    "cifar100": _Layout(
        "cifar-100-binary",
        ("train.bin",),
        ("test.bin",),
        "fine_label_names.txt",
        2,
        Normalisation((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
}


def _read(path: Path, label_bytes: int, classes: int) -> Images:
    raw = np.fromfile(path, dtype=np.uint8)
    record = label_bytes + 3 * 32 * 32
    if raw.size == 0 or raw.size % record:
        raise ValueError(f"{path}: {raw.size} bytes, expected a multiple of {record}")
    records = raw.reshape(-1, record)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise ValueError(f"{path}: label {labels.max()}, expected one below {classes}")
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Images(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(labels))


def _join(parts: list[Images]) -> Images:
    return Images(torch.cat([p.pixels for p in parts]), torch.cat([p.labels for p in parts]))


def _cifar(name: str, root: Path) -> Dataset:
    layout = _LAYOUTS[name]
    folder = root / layout.folder if (root / layout.folder).is_dir() else root
    classes = (folder / layout.names).read_text().split()
    digest = hashlib.sha256()
    for file in layout.train:
        digest.update((folder / file).read_bytes())
    train = _join([_read(folder / file, layout.label_bytes, len(classes)) for file in layout.train])
    test = _join([_read(folder / file, layout.label_bytes, len(classes)) for file in layout.test])
    return Dataset(name, train, test, classes, layout.normalisation, digest.hexdigest())


_SYNTHETIC_NOISE = {1: 35.0, 2: 40.0, 4: 30.0, 8: 15.0}  # deviation in pixel values, by squares per side


def _synthetic_images(count: int, size: int, classes: int, generator: torch.Generator) -> Images:
    """Each class is a plane wave of its own direction and colour, at a random phase, under noise of a few scales. Brightness,
    contrast and the correlation of the colours are about those of CIFAR's images, so that a network trained on these has
    its ranges where the other synthetic images of this project, which have no classes, excite it."""
    labels = torch.arange(count) % classes
    axis = (torch.arange(size) + 0.5) / size - 0.5
    angle = labels * (torch.pi / classes)
    wave = (
        2 * torch.pi * 2.5 * (axis.view(1, -1, 1) * angle.sin().view(-1, 1, 1) + axis.view(1, 1, -1) * angle.cos().view(-1, 1, 1))
    )
    phase = 2 * torch.pi * torch.rand(count, 1, 1, generator=generator)
    colour = 0.6 + 0.4 * torch.cos(2 * angle.view(-1, 1) + 2 * torch.pi / 3 * torch.arange(3))
    picture = 25 * torch.sin(wave + phase).unsqueeze(-1) * colour.view(count, 1, 1, 3)
    noise = torch.zeros(count, 3, size, size)
    for squares, deviation in _SYNTHETIC_NOISE.items():
        grey, own = (torch.randn(count, c, squares, squares, generator=generator) for c in (1, 3))
        noise += torch.nn.functional.interpolate(deviation * (0.95 * grey + 0.31 * own), size=size, mode="nearest")
    pixels = (121 + picture + noise.permute(0, 2, 3, 1)).clamp(0, 255).round().to(torch.uint8)
    return Images(pixels.contiguous(), labels)


def synthetic(train: int = 10_240, test: int = 2560, size: int = 8, classes: int = 10, seed: int = 1) -> Dataset:
    """A small data set that needs no download: the tiny network's."""
    generator = torch.Generator().manual_seed(seed)
    images = _synthetic_images(train, size, classes, generator)
    held = _synthetic_images(test, size, classes, generator)
    names = [f"wave{180 * c // classes}" for c in range(classes)]
    digest = hashlib.sha256(images.pixels.numpy().tobytes() + images.labels.numpy().tobytes()).hexdigest()
    return Dataset("synthetic", images, held, names, _LAYOUTS["cifar10"].normalisation, digest)


def load(name: str, root: Path | None) -> Dataset:
    if name == "synthetic":
        return synthetic()
    if name not in _LAYOUTS:
        raise ValueError(f"unknown data set {name!r}, expected one of {sorted(_LAYOUTS)} or 'synthetic'")
    if root is None:
        raise ValueError(f"{name} needs the folder of its binary files: --data DIR")
    return _cifar(name, root)


def others(dataset: Dataset, root: Path | None) -> list[Dataset]:
    """The other data sets of images of the same size that lie in `root`."""
    if dataset.name not in _LAYOUTS or root is None:
        return []
    return [_cifar(name, root) for name, layout in _LAYOUTS.items() if name != dataset.name and (root / layout.folder).is_dir()]


@dataclass(frozen=True)
class Augmentation:
    flip: bool = True
    shift: int = 4  # pixels, each way
    cutout: int = 0  # side of the square that is painted over; centred anywhere, so it may stick out


class Loader:
    """Augmented batches. All randomness of an epoch comes from (seed, epoch), so that a resumed run sees what an
    uninterrupted one would have seen, on any device."""

    def __init__(self, images: Images, augmentation: Augmentation, fill: Tensor, batch: int, seed: int):
        self.images, self.augmentation, self.batch, self.seed = images, augmentation, batch, seed
        self.fill = fill.to(images.pixels.device)
        self.size = images.pixels.shape[1]
        s = augmentation.shift
        self.padded = self.fill.repeat(len(images), self.size + 2 * s, self.size + 2 * s, 1)
        self.padded[:, s : s + self.size, s : s + self.size] = images.pixels

    def steps(self) -> int:
        return len(self.images) // self.batch

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        for step in range(self.steps()):
            index = order[step * self.batch : (step + 1) * self.batch]
            yield self._pixels(index, generator), self.images.labels[index.to(self.fill.device)]

    def _pixels(self, index: Tensor, generator: torch.Generator) -> Tensor:
        a, n, device = self.augmentation, len(index), self.fill.device

        def uniform(bound: int) -> Tensor:
            return torch.randint(0, bound, (n, 1), generator=generator).to(device)

        axis = torch.arange(self.size, device=device)
        rows = axis + uniform(2 * a.shift + 1)
        columns = axis + uniform(2 * a.shift + 1)
        if a.flip:
            columns = torch.where(uniform(2) == 1, columns.flip(1), columns)
        pixels = self.padded[index.to(device).view(n, 1, 1), rows.unsqueeze(2), columns.unsqueeze(1)]
        if a.cutout:
            half = a.cutout / 2
            inside_rows = (axis + 0.5 - uniform(self.size)).abs() < half
            inside_columns = (axis + 0.5 - uniform(self.size)).abs() < half
            hole = inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)
            pixels = torch.where(hole.unsqueeze(3), self.fill, pixels)
        return pixels
