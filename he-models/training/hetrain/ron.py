"""Writes the model file that the crate `he-models` reads (format 1, RON)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .folded import FoldedNetwork, Ranges

FORMAT = 1
HEADROOM = 2.0  # declared range over the largest value seen in training


@dataclass(frozen=True)
class Variant:
    """A RON enum variant: `Name` or `Name(field: value, ...)`."""

    name: str
    fields: dict[str, Any] | None = None


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, Variant) and value.fields is None:
        return value.name
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" in text else f"{text}.0"
    return str(value)


def write(value: Any, indent: int = 0) -> str:
    """Dictionaries as structs, one field a line; lists of structs one a line; all else inline."""
    pad = "    " * (indent + 1)
    fields, name = value, ""
    if isinstance(value, Variant) and value.fields is not None:
        fields, name = value.fields, value.name
    if isinstance(fields, dict):
        body = "".join(f"{pad}{key}: {write(field, indent + 1)},\n" for key, field in fields.items())
        return f"{name}(\n{body}{'    ' * indent})"
    if isinstance(value, list) and value and isinstance(value[0], (dict, Variant)):
        body = "".join(f"{pad}{write(item, indent + 1)},\n" for item in value)
        return f"[\n{body}{'    ' * indent}]"
    return _inline(value)


def _rounded(values) -> list[float]:
    return [float(f"{v:.5g}") for v in values.tolist()]


def layers(net: FoldedNetwork) -> list[Variant]:
    widths = net.topology.channels
    found = [Variant("Stem", {"name": "stem", "channels": widths[0], "kernel": 3, "stride": 1})]
    for block, stride in net.block_names():
        stage = int(block.removeprefix("stage").split(".")[0])
        shortcut = "Projection" if f"{block}.shortcut.weight" in net.tensors else "Identity"
        fields = {"name": block, "channels": widths[stage - 1], "kernel": 3, "stride": stride, "shortcut": Variant(shortcut)}
        found.append(Variant("PreActBlock", fields))
    return [*found, Variant("Head", {"activation": "final", "dense": "fc"})]


def declared(ranges: Ranges) -> dict[str, Any]:
    return {name: HEADROOM * largest for name, largest in ranges.largest.items()}


def model_file(
    name: str, net: FoldedNetwork, weights: str, sha256: str, classes: list[str], ranges: Ranges, provenance: dict[str, Any]
) -> str:
    promised = declared(ranges)
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
        },
        "classes": classes,
        "layers": layers(net),
        "activations": [
            {"name": act, "declared": _rounded(promised[act]), "second_moment": _rounded(ranges.second_moment[act])}
            for act in net.activation_names()
        ],
        "provenance": provenance,
    }
    return "#![enable(implicit_some)]\n" + write(document) + "\n"
