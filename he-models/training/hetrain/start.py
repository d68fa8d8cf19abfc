"""Starting from an exported network instead of random weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .data import Images
from .folded import FoldedNetwork
from .model import ResNet
from .quadratic import EPSILON


@torch.no_grad()
def start_from(net: ResNet, folded: FoldedNetwork, images: Images, floor: float) -> None:
    """Gives `net` the weights of `folded`. Normalisation comes back with the statistics that `images` show: with them,
    g (x + t)^2 + d = k0 + k1 z + k2 z^2 has one solution. Channels that open downwards are turned over together with the
    weights that read them; then k2 is raised to `floor`, which alone changes what the network computes."""
    means: dict[str, Tensor] = {}
    variances: dict[str, Tensor] = {}

    def see(name: str, shifted: Tensor) -> Tensor:
        variances[name], means[name] = torch.var_mean(shifted.double(), (0, 2, 3), correction=0)
        return shifted

    folded.forward(folded.normalisation.apply(images.pixels, torch.float32), see)
    tensors = dict(folded.tensors)
    readers = _readers(folded)
    for name, act in net.activations().items():
        g, t, d = (tensors[f"{name}.{part}"].double() for part in "gtd")
        sign = torch.where(g < 0, -1.0, 1.0)
        for reader in readers[name]:
            weight = tensors[f"{reader}.weight"]
            tensors[f"{reader}.weight"] = weight * sign.to(weight).view(1, -1, *[1] * (weight.dim() - 2))
        g, d = g * sign, d * sign
        spread = (variances[name] + EPSILON).sqrt()
        act.k.copy_(torch.stack([d + g * means[name] ** 2, 2 * g * means[name] * spread, g * spread**2]))
        act.mean.copy_(means[name] - t)
        act.variance.copy_(variances[name])
        act.keep_curved(floor)
    for name, conv in net.convolutions().items():
        conv.weight.copy_(tensors[f"{name}.weight"])
    net.fc.weight.copy_(tensors["fc.weight"])
    net.fc.bias.copy_(tensors["fc.bias"])


def _readers(folded: FoldedNetwork) -> dict[str, list[str]]:
    """What reads each activation."""
    readers = {"final": ["fc"]}
    for block, _ in folded.block_names():
        readers[f"{block}.act1"] = [f"{block}.conv1"]
        if f"{block}.shortcut.weight" in folded.tensors:
            readers[f"{block}.act1"].append(f"{block}.shortcut")
        readers[f"{block}.act2"] = [f"{block}.conv2"]
    return readers
