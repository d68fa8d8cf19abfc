"""Trains a small network with quadratic activations and exports it for the encrypted run.

    pip install numpy torch onnx onnxscript
    python own_network.py
    polyphase import net.onnx --data gratings.npz --mean 0.5 --std 0.25 --out net.ron
    polyphase infer --model net.ron --data gratings.npz --batch 64

The images are grey, 16 x 16 pixels: gratings of four directions under noise.
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
MEAN, STD = 0.5, 0.25


class Quadratic(nn.Module):
    """a x^2 + b x + c, with an own a, b and c in each channel."""

    def __init__(self, channels):
        super().__init__()
        self.a = nn.Parameter(torch.full((channels, 1, 1), 0.2))
        self.b = nn.Parameter(torch.full((channels, 1, 1), 0.5))
        self.c = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x):
        return self.a * x**2 + self.b * x + self.c


def gratings(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    angle, phase = (np.pi / 4 * labels)[:, None, None], rng.uniform(0, 2 * np.pi, (count, 1, 1))
    row, column = np.mgrid[:16, :16]
    wave = np.sin(0.8 * (row * np.cos(angle) + column * np.sin(angle)) + phase)
    return (128 + 60 * wave + rng.normal(0, 40, wave.shape)).clip(0, 255).astype(np.uint8)[:, None], labels


(x_train, y_train), (x_test, y_test) = gratings(4000, 1), gratings(1000, 2)
np.savez("gratings.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 6, 5, stride=2, padding=2), nn.BatchNorm2d(6), Quadratic(6),
    nn.Conv2d(6, 12, 3, padding=1), nn.BatchNorm2d(12), Quadratic(12),
    nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 4),
)
x, y = (torch.from_numpy(x_train) / 255 - MEAN) / STD, torch.from_numpy(y_train)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
for epoch in range(5):
    for batch in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        F.cross_entropy(net(x[batch]), y[batch]).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
net.eval()
with torch.no_grad():
    right = net((torch.from_numpy(x_test) / 255 - MEAN) / STD).argmax(1) == torch.from_numpy(y_test)
print(f"accuracy on the test images: {right.float().mean():.4f}")
torch.onnx.export(net, (x[:1],), "net.onnx")
