"""Writes the ONNX files of this folder, each with images and the logits that PyTorch gives for them.

    pip install torch onnx onnxscript safetensors
    python generate.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent
MEAN, STD = 0.45, 0.25


class Quadratic(nn.Module):
    """a x^2 + b x + c, one of each for each channel."""

    def __init__(self, channels, form="powers"):
        super().__init__()
        self.form = form
        self.a = nn.Parameter(0.1 + 0.2 * torch.rand(channels, 1, 1))
        self.b = nn.Parameter(torch.rand(channels, 1, 1))
        self.c = nn.Parameter(torch.rand(channels, 1, 1) - 0.5)

    def forward(self, x):
        if self.form == "powers":
            return self.a * x**2 + self.b * x + self.c
        if self.form == "horner":
            return x * (self.a * x + self.b) + self.c
        shifted = x + self.b
        return self.a * (shifted * shifted) - self.c


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(1, 4, 5, padding=2), Quadratic(4)
        self.conv2, self.act2 = nn.Conv2d(4, 6, 3), Quadratic(6, "horner")
        self.fc1, self.fc2 = nn.Linear(6 * 2 * 2, 10), nn.Linear(10, 5)

    def forward(self, x):
        x = F.avg_pool2d(self.act1(self.conv1(x)), 2)
        x = F.avg_pool2d(self.act2(self.conv2(x)), 2)
        x = self.fc1(x.flatten(1))
        return F.softmax(self.fc2(0.1 * x * x + x), dim=1) if self.training else self.fc2(0.1 * x * x + x)


class Block(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs)
        self.conv2, self.bn2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False), nn.BatchNorm2d(outs)
        same = stride == 1 and ins == outs
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(ins, outs, 1, stride), nn.BatchNorm2d(outs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(Block(4, 4, 1), Block(4, 6, 2))
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.blocks(F.relu(self.stem(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.act, self.c = Quadratic(7, "shifted"), nn.Conv2d(9, 5, 3, padding=1)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        y = self.act(torch.cat([self.a(x), self.b(x)], 1))
        y = self.c(torch.cat([x, y], 1))
        return self.fc((y * y).mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.depth, self.point = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 8, 1)
        self.act1, self.act2, self.drop = Quadratic(6), Quadratic(8), nn.Dropout(0.1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        # A batch norm that no convolution before it can take in.
        x = self.act1(self.bn(F.avg_pool2d(self.stem(x), 2, 1)))
        x = self.act2(self.point(self.depth(x)))
        return self.fc(self.drop(x.mean(dim=(2, 3))))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 5, 2, 2), nn.Conv2d(5, 7, 3, 2, 1, bias=False)
        self.c, self.d = nn.Conv2d(7, 12, (1, 3), padding=(0, 2), dilation=(1, 2)), nn.Conv2d(12, 3, 1)
        self.acts = nn.ModuleList([Quadratic(5), Quadratic(7, "horner"), Quadratic(12, "shifted")])
        self.fc = nn.Linear(3 * 3 * 2, 4)

    def forward(self, x):
        for conv, act in zip((self.a, self.b, self.c), self.acts):
            x = act(conv(x))
        return self.fc(self.d(x).reshape(x.shape[0], -1))


def randomise(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)


def main():
    torch.manual_seed(1)
    shapes = {LeNet: (1, 12, 12), Residual: (3, 8, 8), Concat: (2, 6, 6), Depthwise: (3, 12, 12), Odd: (3, 11, 7)}
    for kind, shape in shapes.items():
        net = kind().eval()
        with torch.no_grad():
            randomise(net)
        name = kind.__name__.lower()
        images = torch.rand(5, *shape, dtype=torch.float64)
        x = ((images - MEAN) / STD).float()
        torch.onnx.export(
            net, (x[:1],), str(HERE / f"{name}.torchscript.onnx"), dynamo=False,
            input_names=["x"], dynamic_axes={"x": {0: "batch"}},
        )
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            net, (x,), str(HERE / f"{name}.dynamo.onnx"), dynamo=True, external_data=name == "odd",
            dynamic_shapes=({0: batch},),
        )
        with torch.no_grad():
            logits = net.double()((images - MEAN) / STD)
        save_file({"images": images, "logits": logits}, HERE / f"{name}.safetensors")


main()
