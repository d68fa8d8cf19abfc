"""Pictures of every kind, the climb towards the ranges, and the phase that trains against both."""

import dataclasses
from pathlib import Path

import pytest
import torch

from hetrain import data, pictures, recipe, ron
from hetrain.folded import FoldedNetwork, Ranges
from hetrain.hunt import Hunt, Tails
from hetrain.robustness import Effort, climb, families, largest, met, shares, starts, table_of
from hetrain.train import Machine, Trainer

TINY = Path(__file__).parents[2] / "checkpoints" / "tiny"
MACHINE = Machine(torch.device("cpu"), torch.float32, workers=2)


@pytest.fixture(scope="module")
def dataset():
    return data.synthetic(train=512, test=64)


@pytest.fixture(scope="module")
def tiny():
    return FoldedNetwork.load(TINY / "tiny.safetensors"), ron.read_declared((TINY / "tiny.ron").read_text())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", pictures.FAMILIES)
def test_families_make_pictures(dataset, name):
    photos = dataset.train.pixels[:40].float()
    made = pictures.finish(pictures.FAMILIES[name](photos, generator()))
    assert made.shape == photos.shape and torch.isfinite(made).all()
    assert len(made.flatten(1).unique(dim=0)) > 10
    again = pictures.finish(pictures.FAMILIES[name](photos, generator()))
    assert torch.equal(made, again)


def test_boards_have_their_period():
    for cell in (1, 2, 3):
        mask = pictures.board(12, "checkerboard", torch.full((1, 1, 1), float(cell)), torch.zeros(1, 1, 1))[0]
        assert torch.equal(mask[cell:], 1 - mask[:-cell]) and torch.equal(mask, mask.T)
        stripes = pictures.board(12, "rows", torch.full((1, 1, 1), float(cell)), torch.zeros(1, 1, 1))[0]
        assert torch.equal(stripes[cell:], 1 - stripes[:-cell]) and torch.equal(stripes[:, 0], stripes[:, 5])


def test_shares_are_those_of_the_ranges(dataset, tiny):
    net, declared = tiny
    found, logits = shares(net, dataset.test.pixels.float(), declared)
    ranges = Ranges.measure(net, dataset.test, declared)
    wanted = [(ranges.largest[name] / declared[name]).max().item() for name in net.activation_names()]
    torch.testing.assert_close(found.amax(0), torch.tensor(wanted), rtol=1e-5, atol=0)
    assert int((found > 1).any(1).sum()) == ranges.out_of_range and logits.shape == (64, 10)


def test_climbed_pictures_have_larger_shares(dataset, tiny):
    net, declared = tiny
    before = starts(dataset.test.pixels, 16, seed=1)
    wide = {name: 10 * reach for name, reach in declared.items()}  # so that nobody stops
    after = climb(net, before, wide, steps=20)
    assert after.min() >= 0 and after.max() <= 255 and torch.equal(after, after.round())
    old, new = (shares(net, p, wide)[0].amax(1) for p in (before, after))
    assert (new >= old - 1e-5).all() and (new > 1.3 * old).float().mean() > 0.8


def test_ranges_met_are_those_of_every_family_and_of_climbed_pictures(dataset, tiny):
    net, declared = tiny
    photos, effort = dataset.train.pixels, Effort(count=20, ascents=16, steps=20)
    found = met(net, photos, declared, effort, seed=1)
    kinds = largest(net, (batch for _, batches in families(photos[:20], 20, 1) for batch in batches))
    before = starts(photos, 4, 1)
    climbed = largest(net, [climb(net, before, declared, 20)])
    for name, reach in found.items():
        torch.testing.assert_close(reach, torch.maximum(kinds[name], climbed[name]))
    assert any((climbed[name] > 1.2 * reach).any() for name, reach in largest(net, [before]).items())


def test_table_counts_what_leaves(dataset, tiny):
    net, declared = tiny
    tight = {name: 0.2 * reach for name, reach in declared.items()}
    rows = list(table_of(net, tight, [dataset], Effort(count=20, ascents=8, steps=2)))
    assert rows[0].name == "synthetic, training images" and rows[0].images == 512 and rows[0].leaving > 0
    assert rows[-1].images == 8 and all(row.share > 0 and row.where for row in rows)
    names = [name for name, _ in families(dataset.test.pixels, 20, 0)]
    assert [row.name for row in rows[2:-1]] == names


def test_a_picture_that_is_not_a_number_has_left(dataset, tiny):
    net, declared = tiny
    broken = dataclasses.replace(net, tensors=net.tensors | {"stem.weight": net.tensors["stem.weight"] * 1e20})
    found, _ = shares(broken, dataset.test.pixels[:4].float(), declared)
    assert (found > 1).any(1).all()
    assert Ranges.measure(broken, dataset.test, declared).out_of_range == 64


def test_pool_moves_uphill_and_is_renewed(dataset, tiny):
    net, declared = tiny
    wide = {name: 10 * reach for name, reach in declared.items()}
    photos = dataset.train.pixels
    hunt = Hunt(Tails(pictures=8, climbing=8, pool=16, life=40), photos, len(declared), seed=1)
    index, before = hunt.next(), hunt.pool.clone()
    batch = hunt.batch(photos[:8], index)
    assert batch.shape == (16, 8, 8, 3) and torch.equal(batch[8:], before[:8])
    hunt.age[:8] = torch.arange(8)
    for _ in range(10):
        hunt.climb(net, wide, index)
    shares_of = [shares(net, pool[:8].round(), wide)[0].amax(1) for pool in (before, hunt.pool)]
    assert (shares_of[1] > shares_of[0]).sum() >= 6 and shares_of[1].mean() > 1.2 * shares_of[0].mean()
    assert torch.equal(hunt.pool[8:], before[8:]) and hunt.age[:8].tolist() == list(range(10, 18))
    assert hunt.next().tolist() == list(range(8, 16)) and hunt.next().tolist() == list(range(8))

    # Beyond a range: it stays where it is, but not for ever.
    climbed = hunt.pool.clone()
    narrow = {name: reach / 100 for name, reach in declared.items()}
    hunt.climb(net, narrow, index)
    assert torch.equal(hunt.pool, climbed)
    hunt.age[:8] = torch.tensor([40, 39, 41, 1, 1, 1, 1, 1])
    hunt.renew(photos, index)
    assert torch.equal(hunt.pool[0], photos[0].float()) and torch.equal(hunt.pool[2], photos[1].float())
    assert hunt.age[:3].tolist() == [0, 39, 0] and torch.equal(hunt.pool[1], climbed[1]) and not hunt.momentum[2].any()


def test_tails_phase_brings_the_shares_down_and_resumes(dataset, tmp_path):
    base = recipe.load("tiny")
    plan = dataclasses.replace(
        base,
        held_out=128,
        assess_every=1,
        conditioning=dataclasses.replace(base.conditioning, scales=2),
        schedule=dataclasses.replace(base.schedule, stable=0, decay=0, frozen=0, tails=4),
        optimiser=dataclasses.replace(base.optimiser, batch=32),
        tails=Tails(pictures=16, climbing=16, pool=32, life=8, threshold=0.4),
    )
    whole = Trainer(plan, dataset, tmp_path / "whole", MACHINE, None)
    whole.start_from(TINY / "tiny.safetensors", "tails")
    whole.run()
    first, last = whole.log[0], whole.log[-1]
    assert first["phase"] == "tails" and whole.reach.keys() == whole.net.activations().keys()
    assert last["tails"] < 0.7 * first["tails"] and last["train_accuracy"] > 0.8

    class Interrupted(Exception):
        pass

    broken = Trainer(plan, dataset, tmp_path / "broken", MACHINE, None)
    broken.start_from(TINY / "tiny.safetensors", "tails")
    original = broken.train_epoch

    def until_stop(phase):
        if broken.epoch == 2:
            raise Interrupted
        return original(phase)

    broken.train_epoch = until_stop
    with pytest.raises(Interrupted):
        broken.run()
    resumed = Trainer(plan, dataset, tmp_path / "broken", MACHINE, None)
    resumed.resume()
    assert resumed.epoch == 2
    resumed.run()
    assert all(torch.equal(a, b) for a, b in zip(resumed.net.state_dict().values(), whole.net.state_dict().values()))


def test_model_file_has_the_nodes_of_the_bundled_one(tiny):
    net, declared = tiny
    bundled = (TINY / "tiny.ron").read_text()
    ranges = Ranges({}, {name: torch.ones_like(reach) for name, reach in declared.items()}, 0.0, 0)
    text = ron.model_file("tiny", net, "tiny.safetensors", "", ["a"], ranges, declared, {"seed": 1})
    lines = [line for line in bundled.splitlines() if "op: " in line]
    assert [line for line in text.splitlines() if "op: " in line] == lines and len(lines) == 15
    again = ron.read_declared(text)
    assert all(torch.equal(again[name], declared[name]) for name in declared)
    assert "conditioning" not in text


def test_conditioning_reaches_the_files(dataset, tiny, tmp_path):
    from hetrain.conditioning import Plan

    conditioned = dataset.conditioned(Plan(scales=2))
    net = dataclasses.replace(tiny[0], normalisation=conditioned.normalisation)
    net.save(tmp_path / "net.safetensors")
    assert FoldedNetwork.load(tmp_path / "net.safetensors").normalisation == conditioned.normalisation
    ranges = Ranges({}, {name: torch.ones_like(reach) for name, reach in tiny[1].items()}, 0.0, 0)
    text = ron.model_file("tiny", net, "w", "", ["a"], ranges, tiny[1], {"seed": 1})
    assert "        conditioning: (opponent: true, bands: [[0." in text
