"""Writes the model file that the crate `he-models` reads (format 2, RON)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .conditioning import Conditioning
from .folded import FoldedNetwork, Ranges

FORMAT = 2
HEADROOM = 2.0  # declared range over the largest value that training images excite
MARGIN = 1.2  # declared range, at least, over the largest value that pictures of any kind excite


@dataclass(frozen=True)
class Variant:
    """A RON enum variant: `Name` or `Name(field: value, ...)`."""

    name: str
    fields: Line | None = None


class Line(dict[str, Any]):
    """A struct on one line."""


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_inline, value)) + ")"
    if isinstance(value, Line):
        return "(" + ", ".join(f"{key}: {_inline(field)}" for key, field in value.items()) + ")"
    if isinstance(value, Variant):
        return value.name if value.fields is None else value.name + _inline(value.fields)
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" in text else f"{text}.0"
    return str(value)


def write(value: Any, indent: int = 0) -> str:
    """Dictionaries as structs, one field a line; lists of lines, one a line; all else inline."""
    pad = "    " * (indent + 1)
    if isinstance(value, dict) and not isinstance(value, Line):
        body = "".join(f"{pad}{key}: {write(field, indent + 1)},\n" for key, field in value.items())
        return f"(\n{body}{'    ' * indent})"
    if isinstance(value, list) and value and isinstance(value[0], Line):
        body = "".join(f"{pad}{write(item, indent + 1)},\n" for item in value)
        return f"[\n{body}{'    ' * indent}]"
    return _inline(value)


def _conditioning(c: Conditioning) -> dict[str, Any]:
    return {"opponent": c.opponent, "bands": [list(b) for b in c.bands], "means": list(c.means)}


def _rounded(values) -> list[float]:
    return [float(f"{v:.5g}") for v in values.tolist()]


def nodes(net: FoldedNetwork) -> list[Line]:
    """The graph, every node after those that it reads."""
    widths, found = net.topology.channels, []

    def node(name: str, inputs: list[str], op: str, **fields: Any) -> str:
        found.append(Line({"name": name, "inputs": inputs, "op": Variant(op, Line(fields) if fields else None)}))
        return name

    def conv(name: str, read: str, channels: int, kernel: int, stride: int = 1) -> str:
        fields: dict[str, Any] = {"channels": channels, "kernel": (kernel, kernel)}
        if stride != 1:
            fields["stride"] = (stride, stride)
        if kernel > 1:
            fields["padding"] = (kernel // 2,) * 4
        return node(name, [read], "Conv2d", **fields, weight=f"{name}.weight")

    def quadratic(name: str, read: str) -> str:
        return node(name, [read], "Quadratic", **{part: f"{name}.{part}" for part in "gtd"})

    x = conv("stem", "input", widths[0], 3)
    for block, stride in net.block_names():
        width = widths[int(block.removeprefix("stage").split(".")[0]) - 1]
        h = quadratic(f"{block}.act1", x)
        branch = conv(f"{block}.conv1", h, width, 3, stride)
        branch = conv(f"{block}.conv2", quadratic(f"{block}.act2", branch), width, 3)
        projected = f"{block}.shortcut.weight" in net.tensors
        skip = conv(f"{block}.shortcut", h, width, 1, stride) if projected else x
        x = node(f"{block}.add", [branch, skip], "Add")
    pooled = node("final.pool", [quadratic("final", x)], "GlobalAvgPool")
    node("final.fc", [pooled], "Dense", outputs=net.topology.classes, weight="fc.weight", bias="fc.bias")
    return found


def declared(ranges: Ranges, *reached: dict[str, Tensor]) -> dict[str, Tensor]:
    """The largest |x + t| that is promised, per activation and channel: `HEADROOM` times that of training images, and not less
    than other values that are `reached` (aimed at in training, or excited by pictures of other kinds)."""
    promised = {name: HEADROOM * largest for name, largest in ranges.largest.items()}
    for more in reached:
        promised = {name: torch.maximum(value, more[name].to(value)) for name, value in promised.items()}
    return promised


def read_declared(text: str) -> dict[str, Tensor]:
    """The declared ranges of a model file written by `model_file`."""
    entries = re.findall(r'name: "([^"]+)", declared: \[([^\]]*)\]', text)
    if not entries:
        raise ValueError("the model file declares no ranges")
    return {name: torch.tensor([float(v) for v in values.split(",")]) for name, values in entries}


def model_file(
    name: str,
    net: FoldedNetwork,
    weights: str,
    sha256: str,
    classes: list[str],
    ranges: Ranges,
    promised: dict[str, Tensor],
    provenance: dict[str, Any],
) -> str:
    size, norm = net.topology.image_size, net.normalisation
    document = {
        "format": FORMAT,
        "name": name,
        "dataset": net.dataset,
        "weights": {"file": weights, "sha256": sha256},
        "input": {
            "channels": net.topology.in_channels,
            "height": size,
            "width": size,
            "mean": list(norm.mean),
            "std": list(norm.std),
        }
        | ({"conditioning": Line(_conditioning(norm.conditioning))} if norm.conditioning else {}),
        "classes": classes,
        "nodes": nodes(net),
        "activations": [
            Line({"name": act, "declared": _rounded(promised[act]), "second_moment": _rounded(ranges.second_moment[act])})
            for act in net.activation_names()
        ],
        "provenance": provenance,
    }
    return "#![enable(implicit_some)]\n" + write(document) + "\n"
