"""The loop on a few synthetic images: it resumes exactly, whatever the phase, and learns."""

import dataclasses

import pytest
import torch

from hetrain import data, recipe
from hetrain.train import Machine, Trainer

MACHINE = Machine(torch.device("cpu"), torch.float32, workers=2)


@pytest.fixture(scope="module")
def dataset():
    return data.synthetic(train=512, test=64)


def small_recipe(**schedule):
    plan = dataclasses.replace(recipe.load("tiny").schedule, **schedule)
    return dataclasses.replace(recipe.load("tiny"), schedule=plan, held_out=128, assess_every=1)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def without_times(log):
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in log]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_run_equals_the_uninterrupted_one(dataset, tmp_path, stop):
    plan = small_recipe(warmup=1, stable=1, decay=1, frozen=2)
    whole = Trainer(plan, dataset, tmp_path / "whole", MACHINE, None)
    whole.run()

    class Interrupted(Exception):
        pass

    broken = Trainer(plan, dataset, tmp_path / "broken", MACHINE, None)
    original = broken.train_epoch

    def until_stop(phase):
        if broken.epoch == stop:
            raise Interrupted
        return original(phase)

    broken.train_epoch = until_stop
    with pytest.raises(Interrupted):
        broken.run()
    resumed = Trainer(plan, dataset, tmp_path / "broken", MACHINE, None)
    resumed.resume()
    assert resumed.epoch == stop
    resumed.run()
    assert same(resumed.net, whole.net) and same(resumed.average, whole.average)
    assert without_times(resumed.log) == without_times(whole.log)


def test_frozen_phase_keeps_its_statistics(dataset, tmp_path):
    trainer = Trainer(small_recipe(warmup=1, stable=2, decay=1, frozen=1), dataset, tmp_path, MACHINE, None)
    trainer.run()
    before = torch.load(tmp_path / "end-of-decay.pt", weights_only=True)["average"]
    after = torch.load(tmp_path / "end-of-frozen.pt", weights_only=True)["net"]
    statistics = [name for name in before if name.endswith((".mean", ".variance"))]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["stem.weight"], after["stem.weight"])


def test_longer_stable_phase_changes_nothing_before_it_ends():
    short, long = small_recipe(warmup=2, stable=4), small_recipe(warmup=2, stable=9)
    rates = [[Trainer.rate(type("T", (), {"recipe": plan}), epoch, 0.5) for epoch in range(4)] for plan in (short, long)]
    assert rates[0] == rates[1]


def test_relu_network_trains_with_the_same_recipe(dataset, tmp_path):
    plan = dataclasses.replace(small_recipe(warmup=1, stable=2, decay=1, frozen=1), activation="relu")
    trainer = Trainer(plan, dataset, tmp_path, MACHINE, None)
    trainer.run()
    assert trainer.log[-1]["loss"] < trainer.log[0]["loss"]


def test_unknown_recipe_entry_is_named():
    with pytest.raises(ValueError, match="optimiser.*speed"):
        recipe.load("tiny", ("optimiser.speed=3",))
