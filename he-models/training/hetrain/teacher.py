"""A trained ReLU network that shows a quadratic one what to answer.

Reads post-activation ResNets with normalisation folded into weights and biases, as safetensors:
`conv1`, `layer{s}.{b}.conv1|conv2|shortcut`, `fc`, each `.weight` and `.bias`, blocks counted from 0, stages from 1;
y = relu(conv2(relu(conv1(x))) + shortcut(x)). The file's metadata may hold `mean` and `std` of pixel/255,
three numbers each, separated by commas.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from .data import Normalisation


class ReluTeacher:
    def __init__(self, path: Path, normalisation: Normalisation, device: torch.device, dtype: torch.dtype):
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(device, dtype) for name in file.keys()}
        for name, value in tensors.items():
            if value.dim() == 4:
                tensors[name] = value.contiguous(memory_format=torch.channels_last)
        self.tensors, self.dtype = tensors, dtype
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.normalisation = normalisation
        if "mean" in metadata and "std" in metadata:
            self.normalisation = Normalisation(*(tuple(map(float, metadata[key].split(","))) for key in ("mean", "std")))

    def _conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        return F.conv2d(x, weight, self.tensors[f"{name}.bias"], stride, weight.shape[-1] // 2)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """Of [n, h, w, c] in 0..255."""
        x = F.relu_(self._conv("conv1", self.normalisation.apply(pixels, self.dtype)))
        stage = 1
        while f"layer{stage}.0.conv1.weight" in self.tensors:
            block = 0
            while f"layer{stage}.{block}.conv1.weight" in self.tensors:
                name = f"layer{stage}.{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                shortcut = self._conv(f"{name}.shortcut", x, stride) if f"{name}.shortcut.weight" in self.tensors else x
                h = F.relu_(self._conv(f"{name}.conv1", x, stride))
                x = F.relu_(self._conv(f"{name}.conv2", h).add_(shortcut))
                block += 1
            stage += 1
        pooled = x.mean((2, 3), dtype=torch.float32)
        return F.linear(pooled, self.tensors["fc.weight"].float(), self.tensors["fc.bias"].float())
