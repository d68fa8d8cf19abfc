"""Folding, export and the file that the Rust side reads."""

import re

import pytest
import torch

from hetrain import data, ron
from hetrain.folded import FoldedNetwork, Ranges
from hetrain.model import ResNet, Topology
from hetrain.noise import robustness

TOPOLOGY = Topology(channels=(16, 32), blocks=(1, 2), classes=4, image_size=8)


@pytest.fixture
def dataset():
    return data.synthetic(train=64, test=64)


@pytest.fixture
def net():
    """Random weights, statistics and quadratics, none of them at a special value."""
    generator = torch.Generator().manual_seed(5)
    net = ResNet(TOPOLOGY).eval()
    with torch.no_grad():
        for act in net.quadratics():
            act.k.add_(0.1 * torch.randn(act.k.shape, generator=generator))
            act.mean.normal_(generator=generator)
            act.variance.uniform_(0.5, 2, generator=generator)
    return net


def test_folded_network_equals_the_trained_module(net, dataset):
    folded = FoldedNetwork.fold(net, dataset.normalisation, dataset.name).to(torch.device("cpu"), torch.float64)
    x = dataset.normalisation.apply(dataset.test.pixels, torch.float64)
    wanted = net.double()(x)
    torch.testing.assert_close(folded.forward(x), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


def test_saved_weights_round_trip(net, dataset, tmp_path):
    folded = FoldedNetwork.fold(net, dataset.normalisation, dataset.name)
    folded.save(tmp_path / "net.safetensors")
    loaded = FoldedNetwork.load(tmp_path / "net.safetensors")
    assert (loaded.topology, loaded.normalisation, loaded.dataset) == (folded.topology, folded.normalisation, folded.dataset)
    assert loaded.tensors.keys() == folded.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], folded.tensors[name]) for name in folded.tensors)


def test_tensor_names_follow_the_file_format(net, dataset):
    names = FoldedNetwork.fold(net, dataset.normalisation, dataset.name).tensors.keys()
    assert {"stem.weight", "stage2.block1.shortcut.weight", "stage1.block1.act1.g", "final.d", "fc.bias"} <= names
    assert "stage1.block1.shortcut.weight" not in names and "stage2.block2.shortcut.weight" not in names


def test_ranges_are_those_of_the_squared_values(net, dataset):
    folded = FoldedNetwork.fold(net, dataset.normalisation, dataset.name)
    seen = {}

    def keep(name, shifted):
        seen[name] = shifted
        return shifted

    folded.forward(dataset.normalisation.apply(dataset.train.pixels, torch.float32), keep)
    ranges = Ranges.measure(folded, dataset.train)
    for name, shifted in seen.items():
        torch.testing.assert_close(ranges.largest[name].float(), shifted.abs().amax((0, 2, 3)), rtol=1e-5, atol=0)
        torch.testing.assert_close(ranges.second_moment[name].float(), (shifted**2).mean((0, 2, 3)), rtol=1e-4, atol=0)
    assert Ranges.measure(folded, dataset.train, ron.declared(ranges)).out_of_range == 0
    halved = {name: largest / 2 for name, largest in ranges.largest.items()}
    assert Ranges.measure(folded, dataset.train, halved).out_of_range > 0


def test_model_file_lists_every_layer_and_activation(net, dataset):
    folded = FoldedNetwork.fold(net, dataset.normalisation, dataset.name)
    ranges = Ranges.measure(folded, dataset.train)
    promised = ron.declared(ranges)
    text = ron.model_file("small", folded, "small.safetensors", "0" * 64, dataset.classes, ranges, promised, {"seed": 1})
    assert text.count("op: Add") == 3 and text.count('.shortcut", inputs') == 1 and text.count("op: Quadratic(") == 7
    assert len(re.findall(r"declared: \[", text)) == len(folded.activation_names()) == 7
    assert text.count("(") == text.count(")") and text.count("[") == text.count("]")


def test_more_error_moves_the_logits_more(net, dataset):
    folded = FoldedNetwork.fold(net, dataset.normalisation, dataset.name)
    rows = robustness(folded, dataset.test, Ranges.measure(folded, dataset.train))
    assert [row.rms for row in rows] == sorted((row.rms for row in rows), reverse=True)
    assert rows[-1].rms < 0.1
