"""Writes a model file (RON, format 2) and its weights (safetensors) from PyTorch modules, without ONNX."""
import hashlib
import json

import numpy as np
import torch
from torch import nn


class Quadratic(nn.Module):
    """a x^2 + b x + c, with an own a, b and c in each channel."""

    def __init__(self, channels):
        super().__init__()
        self.a = nn.Parameter(torch.full((channels,), 0.2))
        self.b = nn.Parameter(torch.full((channels,), 0.5))
        self.c = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        shape = (-1,) + (1,) * (x.dim() - 2)
        a, b, c = (p.view(shape) for p in (self.a, self.b, self.c))
        return a * x**2 + b * x + c


class Concat(nn.ModuleList):
    """The outputs of several branches that read one tensor, channel after channel."""

    def forward(self, x):
        return torch.cat([branch(x) for branch in self], 1)


class GraphFile:
    """Nodes and tensors of a model file, gathered module by module."""

    def __init__(self):
        self.nodes, self.tensors = [], {}

    def node(self, name, inputs, op, fields="", tensors=None):
        """Appends a node. `fields`: RON; `tensors`: by the name of their field. Gives the node's name."""
        parts = [fields] if fields else []
        for field, values in (tensors or {}).items():
            self.tensors[f"{name}.{field}"] = np.asarray(values, np.float64)
            parts.append(f'{field}: "{name}.{field}"')
        reads = ", ".join(f'"{i}"' for i in inputs)
        body = f"{op}({', '.join(parts)})" if parts else op
        self.nodes.append(f'(name: "{name}", inputs: [{reads}], op: {body}),')
        return name

    def add(self, module, name, x):
        """Appends the nodes of a module that reads node `x`. Gives the name of the node with its output."""
        values = {field: p.detach().double().numpy() for field, p in module.named_parameters(recurse=False)}
        match module:
            case nn.Sequential():
                for key, child in module.named_children():
                    x = self.add(child, f"{name}.{key}" if name else key, x)
                return x
            case nn.Identity():
                return x
            case Concat():
                branches = [self.add(child, f"{name}.branch{i}", x) for i, child in enumerate(module)]
                return self.node(f"{name}.concat", branches, "Concat")
            case nn.Conv2d():
                (top, left), pair = module.padding, lambda p: f"({p[0]}, {p[1]})"
                fields = (
                    f"channels: {module.out_channels}, kernel: {pair(module.kernel_size)}, stride: {pair(module.stride)}, "
                    f"padding: ({top}, {left}, {top}, {left}), groups: {module.groups}"
                )
                return self.node(name, [x], "Conv2d", fields, values)
            case nn.BatchNorm2d() | nn.BatchNorm1d():
                values["mean"] = module.running_mean.double().numpy()
                values["variance"] = module.running_var.double().numpy()
                return self.node(name, [x], "BatchNorm", f"epsilon: {module.eps!r}", values)
            case Quadratic():
                a, b, c = values["a"], values["b"], values["c"]
                square = {"g": a, "t": b / (2 * a), "d": c - b**2 / (4 * a)}
                return self.node(name, [x], "Quadratic", tensors=square)
            case nn.AvgPool2d():
                k, s, p = module.kernel_size, module.stride, module.padding
                return self.node(name, [x], "AvgPool", f"kernel: ({k}, {k}), stride: ({s}, {s}), padding: ({p}, {p}, {p}, {p})")
            case nn.AdaptiveAvgPool2d():
                return self.node(name, [x], "GlobalAvgPool")
            case nn.Flatten():
                return self.node(name, [x], "Flatten")
            case nn.Linear():
                return self.node(name, [x], "Dense", f"outputs: {module.out_features}", values)
            case _:
                raise TypeError(f"{name}: no node for {type(module).__name__}")

    def write(self, path, shape, mean, std, classes, origin):
        """Writes `path` and the weights beside it. `shape`: channels, rows and columns of an image."""
        weights = path.with_suffix(".safetensors")
        header, offset = {}, 0
        for name, values in self.tensors.items():
            end = offset + values.nbytes
            header[name] = {"dtype": "F64", "shape": list(values.shape), "data_offsets": [offset, end]}
            offset = end
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        data = b"".join(values.tobytes() for values in self.tensors.values())
        content = len(head).to_bytes(8, "little") + head + data
        weights.write_bytes(content)
        channels, height, width = shape
        names = ", ".join(f'"{c}"' for c in classes)
        nodes = "\n".join(f"        {node}" for node in self.nodes)
        path.write_text(
            f"""(
    format: 2,
    name: "{path.stem}",
    weights: (file: "{weights.name}", sha256: "{hashlib.sha256(content).hexdigest()}"),
    input: (channels: {channels}, height: {height}, width: {width}, mean: {[mean] * channels}, std: {[std] * channels}),
    classes: [{names}],
    nodes: [
{nodes}
    ],
    provenance: (origin: "{origin}"),
)
"""
        )
