"""Six small networks with quadratic activations, trained on synthetic images and written twice: as ONNX and as graph files.

    pip install torch onnx
    python zoo.py OUT

OUT/NAME.npz has the images, OUT/NAME.onnx what PyTorch exports, OUT/graph/NAME.ron and its weights what `graphfile.py` writes. The
ranges in the graph files are left to `polyphase ranges`, which `run.py` calls.
"""
import argparse
import pathlib
import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import images
from graphfile import Concat, GraphFile, Quadratic

MEAN, STD = 0.5, 0.25
SEED = 2026
TEST_IMAGES = 1024


def stages(**modules):
    return nn.Sequential(OrderedDict(modules))


def conv(inputs, outputs, kernel, stride=1, padding=None, groups=1):
    """Convolution without activation; the bias is that of the batch norm."""
    padding = kernel // 2 if padding is None else padding
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return stages(conv=layer, norm=nn.BatchNorm2d(outputs))


def active(inputs, outputs, kernel, stride=1, padding=None, groups=1):
    """Convolution, batch norm, quadratic activation."""
    layers = conv(inputs, outputs, kernel, stride, padding, groups)
    layers.act = Quadratic(outputs)
    return layers


def dense(inputs, outputs):
    """Dense layer, batch norm, quadratic activation."""
    return stages(fc=nn.Linear(inputs, outputs), norm=nn.BatchNorm1d(outputs), act=Quadratic(outputs))


def separable(inputs, outputs, stride=1):
    """Depthwise 3x3 and pointwise 1x1 convolution, an activation after each."""
    return stages(depth=active(inputs, inputs, 3, stride, groups=inputs), point=active(inputs, outputs, 1))


def lenet():
    return stages(
        conv1=active(1, 6, 5), pool1=nn.AvgPool2d(2), conv2=active(6, 16, 5, padding=0), pool2=nn.AvgPool2d(2), flat=nn.Flatten(),
        dense1=dense(400, 120), dense2=dense(120, 84), out=nn.Linear(84, 10),
    )


def vgg():
    return stages(
        conv1=active(3, 8, 3), conv2=active(8, 8, 3), pool1=nn.AvgPool2d(2), conv3=active(8, 16, 3), conv4=active(16, 16, 3),
        pool2=nn.AvgPool2d(2), flat=nn.Flatten(), dense1=dense(1024, 32), out=nn.Linear(32, 10),
    )


def concat():
    """An Inception block, whose pooling is a branch, then a DenseNet block, which keeps what it reads."""
    inception = Concat([
        conv(8, 4, 1), conv(8, 6, 3), conv(8, 4, 5), stages(pool=nn.AvgPool2d(3, 1, 1), conv=nn.Conv2d(8, 4, 1)),
    ])
    block = Concat([nn.Identity(), stages(act=Quadratic(18), conv=nn.Conv2d(18, 10, 3, padding=1))])
    return stages(
        stem=active(3, 8, 3, 2), inception=inception, block=block, last=stages(norm=nn.BatchNorm2d(28), act=Quadratic(28)),
        pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), out=nn.Linear(28, 12),
    )


def depthwise():
    return stages(
        stem=active(3, 8, 3), block1=separable(8, 16, 2), block2=separable(16, 32, 2), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(),
        out=nn.Linear(32, 12),
    )


def odd():
    """40x24, 19x11, 9x5, 5x3: kernels 1, 3 and 5, strides of 2 on odd sizes, channels 5, 7 and 12."""
    return stages(
        conv1=active(3, 5, 5), conv2=active(5, 7, 3, 2, padding=0), conv3=active(7, 12, 5, 2, padding=1), conv4=active(12, 7, 1),
        conv5=active(7, 12, 3, 2), flat=nn.Flatten(), out=nn.Linear(180, 10),
    )


def large():
    return stages(
        conv1=active(3, 8, 7, 4), conv2=active(8, 16, 3, 2), pool1=nn.AvgPool2d(2), conv3=active(16, 24, 3, 2),
        pool2=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), out=nn.Linear(24, 10),
    )


@dataclass
class Recipe:
    """A network and what it is trained on. `shape`: channels, rows and columns of an image."""

    build: Callable[[], nn.Module]
    data: Callable
    shape: tuple[int, int, int]
    classes: int
    train_images: int
    epochs: int


ZOO = {
    "lenet5": Recipe(lenet, images.digits, (1, 28, 28), 10, 4096, 4),
    "vgg": Recipe(vgg, images.shapes, (3, 32, 32), 10, 4096, 4),
    "concat": Recipe(concat, images.gratings, (3, 32, 32), 12, 4096, 3),
    "depthwise": Recipe(depthwise, images.gratings, (3, 32, 32), 12, 4096, 3),
    "odd": Recipe(odd, images.digits, (3, 40, 24), 10, 4096, 4),
    "large": Recipe(large, images.shapes, (3, 224, 224), 10, 2048, 6),
}


def normalised(x):
    return (torch.from_numpy(x) / 255 - MEAN) / STD


def train(net, x, y, epochs):
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-3)
    steps = epochs * -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    for _ in range(epochs):
        net.train()
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(normalised(x[batch.numpy()])), y[batch]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    net.eval()


def accuracy(net, x, y):
    with torch.no_grad():
        right = [net(normalised(x[i : i + 128])).argmax(1) == y[i : i + 128] for i in range(0, len(x), 128)]
    return torch.cat(right).float().mean().item()


def make(name, recipe, out):
    begun = time.monotonic()
    x_train, y_train = images.make(recipe.data, recipe.classes, recipe.shape, recipe.train_images, SEED + 1)
    x_test, y_test = images.make(recipe.data, recipe.classes, recipe.shape, TEST_IMAGES, SEED + 2)
    np.savez(out / f"{name}.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    torch.manual_seed(SEED)
    net = recipe.build()
    train(net, x_train, torch.from_numpy(y_train), recipe.epochs)
    right = accuracy(net, x_test, torch.from_numpy(y_test))
    onnx = out / f"{name}.onnx"
    axes = {"input": {0: "images"}}
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.onnx.export(net, (normalised(x_train[:1]),), onnx, dynamo=False, dynamic_axes=axes, input_names=["input"])
    graph = GraphFile()
    graph.add(net, "", "input")
    origin = f"trained by bench-suite/zoo, seed {SEED}, {recipe.epochs} epochs"
    graph.write(out / "graph" / f"{name}.ron", recipe.shape, MEAN, STD, range(recipe.classes), origin)
    print(f"{name:<12} accuracy {right:.4f} of {TEST_IMAGES} test images, {time.monotonic() - begun:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder to write")
    parser.add_argument("--only", nargs="*", choices=ZOO, default=list(ZOO), help="these networks")
    args = parser.parse_args()
    (args.out / "graph").mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    for name in args.only:
        make(name, ZOO[name], args.out)


if __name__ == "__main__":
    main()
