"""The network as it is exported: no normalisation left, every activation g (x + t)^2 + d per channel."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from .conditioning import Conditioning
from .data import Images, Normalisation
from .model import ResNet, Topology
from .quadratic import NormalisedQuadratic

BATCH = 250

# Sees the activation's name and x + t, and gives back what is squared.
Observer = Callable[[str, Tensor], Tensor]


def _unchanged(name: str, shifted: Tensor) -> Tensor:
    return shifted


def _with_sorted_header(content: bytes) -> bytes:
    """The library writes metadata in another order every time; the same network has to give the same file."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    ordered = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))} | header
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(end - 8) + content[end:]


@dataclass(frozen=True)
class FoldedNetwork:
    """Tensors by name: `stem.weight`; `stage1.block1.` with `act1.g|t|d`, `conv1.weight`, `act2.g|t|d`, `conv2.weight` and,
    where the shape changes, `shortcut.weight`; `final.g|t|d`; `fc.weight`, `fc.bias`."""

    topology: Topology
    normalisation: Normalisation
    dataset: str
    tensors: dict[str, Tensor]

    @classmethod
    def fold(cls, net: ResNet, normalisation: Normalisation, dataset: str) -> FoldedNetwork:
        tensors = {f"{name}.weight": conv.weight.detach() for name, conv in net.convolutions().items()}
        for name, act in net.activations().items():
            if not isinstance(act, NormalisedQuadratic):
                raise ValueError(f"{name}: only quadratic activations can be folded")
            for part, value in zip("gtd", act.completed_square()):
                tensors[f"{name}.{part}"] = value
        tensors |= {"fc.weight": net.fc.weight.detach(), "fc.bias": net.fc.bias.detach()}
        for name, value in tensors.items():
            tensors[name] = value.cpu().float().contiguous()
        return cls(net.topology, normalisation, dataset, tensors)

    def save(self, path: Path) -> str:
        """Writes a safetensors file and returns its SHA-256."""
        numbers = {key: ",".join(map(str, getattr(self.normalisation, key))) for key in ("mean", "std")}
        metadata = numbers | {
            "input": "pixel/255, then (x-mean)/std per channel R,G,B",
            "padding": "zero, after normalisation",
            "activation": "g*(x+t)^2+d per channel",
            "block": "x' = S(h)+conv2(act2(conv1(h))), h = act1(x); S = shortcut(h) where present, else x",
            "dataset": self.dataset,
            "topology": json.dumps(dataclasses.asdict(self.topology)),
        }
        if conditioning := self.normalisation.conditioning:
            metadata["input"] = f"pixel/255, conditioned, {metadata['input'].removeprefix('pixel/255, ')}"
            metadata["conditioning"] = json.dumps(conditioning.as_dict())
        content = _with_sorted_header(save(self.tensors, metadata))
        path.write_bytes(content)  # `save_file` makes files that only their owner may read
        return hashlib.sha256(content).hexdigest()

    @classmethod
    def load(cls, path: Path, topology: Topology | None = None) -> FoldedNetwork:
        """`topology` for a file whose metadata does not hold one."""
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if topology is None:
            entries = json.loads(metadata["topology"])
            topology = Topology(**{key: tuple(v) if isinstance(v, list) else v for key, v in entries.items()})
        normalisation = Normalisation(*(tuple(map(float, metadata[key].split(","))) for key in ("mean", "std")))
        if "conditioning" in metadata:
            conditioning = Conditioning.from_dict(json.loads(metadata["conditioning"]))
            normalisation = dataclasses.replace(normalisation, conditioning=conditioning)
        return cls(topology, normalisation, metadata["dataset"].lower().replace("-", ""), tensors)

    def to(self, device: torch.device, dtype: torch.dtype) -> FoldedNetwork:
        return dataclasses.replace(self, tensors={name: v.to(device, dtype) for name, v in self.tensors.items()})

    def block_names(self) -> Iterator[tuple[str, int]]:
        """Blocks with their strides."""
        for stage, blocks in enumerate(self.topology.blocks, 1):
            for block in range(1, blocks + 1):
                yield f"stage{stage}.block{block}", 2 if stage > 1 and block == 1 else 1

    def activation_names(self) -> list[str]:
        return [f"{block}.{act}" for block, _ in self.block_names() for act in ("act1", "act2")] + ["final"]

    def forward(self, x: Tensor, observe: Observer = _unchanged) -> Tensor:
        """Logits of normalised images [n, c, h, w], in the tensors' own type."""
        w = self.tensors

        def act(name: str, x: Tensor) -> Tensor:
            g, t, d = (w[f"{name}.{part}"].view(1, -1, 1, 1) for part in "gtd")
            return g * observe(name, x + t) ** 2 + d

        def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
            weight = w[f"{name}.weight"]
            return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

        x = conv("stem", x)
        for block, stride in self.block_names():
            h = act(f"{block}.act1", x)
            skip = conv(f"{block}.shortcut", h, stride) if f"{block}.shortcut.weight" in w else x
            x = skip + conv(f"{block}.conv2", act(f"{block}.act2", conv(f"{block}.conv1", h, stride)))
        return F.linear(act("final", x).mean((2, 3)), w["fc.weight"], w["fc.bias"])

    @torch.no_grad()
    def logits(self, images: Images, observe: Observer = _unchanged) -> Tensor:
        dtype = self.tensors["fc.weight"].dtype
        parts = images.pixels.split(BATCH)
        return torch.cat([self.forward(self.normalisation.apply(part, dtype), observe) for part in parts])


@dataclass
class Ranges:
    """Largest |x + t| and mean of (x + t)^2, for every activation and channel, over a set of images."""

    largest: dict[str, Tensor]
    second_moment: dict[str, Tensor]
    right: float  # share of the images answered rightly
    out_of_range: int  # images that leave a declared range

    @classmethod
    def measure(cls, net: FoldedNetwork, images: Images, declared: dict[str, Tensor] | None = None) -> Ranges:
        largest: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        values: dict[str, int] = {}
        leaving: list[Tensor] = []

        def see(name: str, shifted: Tensor) -> Tensor:
            peak = shifted.abs().amax((2, 3))  # [n, c]
            over = torch.zeros(len(peak), dtype=torch.bool, device=peak.device)
            if declared is not None:
                over = ~(peak <= declared[name].to(peak)).all(1)  # what is not a number has left, too
            if name == names[0]:
                leaving.append(over)
            else:
                leaving[-1] |= over
            top, square = peak.amax(0).double(), shifted.square().sum((2, 3)).double().sum(0)
            largest[name] = torch.maximum(largest[name], top) if name in largest else top
            squares[name] = squares.get(name, 0) + square
            values[name] = values.get(name, 0) + shifted.numel() // shifted.shape[1]
            return shifted

        names = net.activation_names()
        right = (net.logits(images, see).argmax(1) == images.labels).double().mean().item()
        moments = {name: squares[name] / values[name] for name in names}
        return cls(largest, moments, right, int(torch.cat(leaving).sum()))
