"""Pre-activation residual networks with zero padding, whose activations are quadratics (or ReLU, to compare with).

    h = act1(x);  x' = S(h) + conv2(act2(conv1(h)))

where S is the 1x1 strided shortcut at the start of a stage that changes the shape, and x' = x + conv2(...) elsewhere:
the residual stream itself is never multiplied. Names follow the exported file (`stage1.block1.conv1.weight`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .quadratic import Normalised, NormalisedQuadratic, NormalisedRelu


@dataclass(frozen=True)
class Topology:
    """Channels and blocks of every stage; all stages but the first halve the map."""

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    classes: int
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self):
        if len(self.channels) != len(self.blocks):
            raise ValueError(f"{len(self.channels)} widths for {len(self.blocks)} stages")


class Conv(nn.Conv2d):
    """A convolution without bias whose float32 weights are cast to the type of its input."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(dtype=x.dtype, memory_format=torch.channels_last)
        return F.conv2d(x, weight, None, self.stride, self.padding)


ACTIVATIONS: dict[str, Callable[[int], Normalised]] = {"quadratic": NormalisedQuadratic, "relu": NormalisedRelu}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[int], Normalised]):
        super().__init__()
        self.act1 = activation(inputs)
        self.conv1 = Conv(inputs, outputs, 3, stride)
        self.act2 = activation(outputs)
        self.conv2 = Conv(outputs, outputs, 3, 1)
        self.shortcut = Conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.act1(x)
        skip = x if self.shortcut is None else self.shortcut(h)
        return skip + self.conv2(self.act2(self.conv1(h)))


class ResNet(nn.Module):
    def __init__(self, topology: Topology, activation: str = "quadratic"):
        super().__init__()
        self.topology = topology
        make = ACTIVATIONS[activation]
        self.stem = Conv(topology.in_channels, topology.channels[0], 3, 1)
        width = topology.channels[0]
        self.stages = nn.ModuleDict()
        for s, (channels, blocks) in enumerate(zip(topology.channels, topology.blocks), 1):
            stage = nn.ModuleDict()
            for b in range(1, blocks + 1):
                stage[f"block{b}"] = Block(width, channels, 2 if s > 1 and b == 1 else 1, make)
                width = channels
            self.stages[f"stage{s}"] = stage
        self.final = make(width)
        self.fc = nn.Linear(width, topology.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks():
            x = block(x)
        return self.fc(self.final(x).mean((2, 3), dtype=self.fc.weight.dtype))

    def blocks(self) -> Iterator[Block]:
        for stage in self.stages.values():
            yield from stage.values()

    def _named(self, kind: type) -> dict[str, nn.Module]:
        return {name.removeprefix("stages."): module for name, module in self.named_modules() if isinstance(module, kind)}

    def activations(self) -> dict[str, Normalised]:
        """Every activation by its exported name, in the order of the computation."""
        return self._named(Normalised)

    def quadratics(self) -> list[NormalisedQuadratic]:
        return list(self._named(NormalisedQuadratic).values())

    def convolutions(self) -> dict[str, Conv]:
        return self._named(Conv)
