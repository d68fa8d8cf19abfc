"""An exported network, taken up again, computes what it did."""

import torch

from hetrain import data
from hetrain.folded import FoldedNetwork
from hetrain.model import ResNet, Topology
from hetrain.start import start_from


def test_started_network_equals_the_exported_one():
    generator = torch.Generator().manual_seed(5)
    dataset = data.synthetic(train=64, test=64)
    topology = Topology(channels=(16, 32), blocks=(1, 2), classes=4, image_size=8)
    source = ResNet(topology).eval()
    with torch.no_grad():
        for act in source.quadratics():
            act.k.add_(0.1 * torch.randn(act.k.shape, generator=generator))
            act.k[2, ::3] *= -1  # some open downwards
            act.mean.normal_(generator=generator)
    folded = FoldedNetwork.fold(source, dataset.normalisation, dataset.name)
    net = ResNet(topology)
    start_from(net, folded, dataset.train, floor=0.0)
    assert all(act.k[2].min() > 0 for act in net.quadratics())
    found = FoldedNetwork.fold(net, dataset.normalisation, dataset.name).logits(dataset.test)
    wanted = folded.logits(dataset.test)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
