"""From a finished run to files."""

import dataclasses

import pytest
import torch

from hetrain import data, recipe
from hetrain.evaluate import accuracy
from hetrain.export import export
from hetrain.folded import FoldedNetwork, Ranges
from hetrain.train import Machine, Trainer, trained

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    plan = recipe.load("tiny")
    plan = dataclasses.replace(plan, held_out=128, schedule=dataclasses.replace(plan.schedule, stable=2, decay=1, frozen=1))
    dataset, folder = data.synthetic(train=1024, test=256), tmp_path_factory.mktemp("run")
    trainer = Trainer(plan, dataset, folder, Machine(CPU, torch.float32, workers=1), None)
    trainer.run()
    return plan, dataset, folder


def test_export_writes_every_file_and_the_accuracy_of_the_module(run, tmp_path):
    plan, dataset, folder = run
    measured = export(plan, dataset, folder, tmp_path, CPU, None)
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".ron", ".md", ".csv", ".png"}
    net, _ = trained(plan, folder, CPU)
    wanted = accuracy(net, dataset.test, dataset.normalisation, torch.float32)
    assert measured["accuracy_test"] == pytest.approx(wanted, abs=0.005)
    folded = FoldedNetwork.load(tmp_path / "tiny.safetensors")
    assert Ranges.measure(folded, dataset.test).right == measured["accuracy_test"]


def test_same_run_gives_the_same_files(run, tmp_path):
    for folder in ("a", "b"):
        export(*run, tmp_path / folder, CPU, None)
    for file in ("tiny.safetensors", "tiny.ron", "tiny.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_unfinished_run_is_not_exported(run, tmp_path):
    plan, dataset, folder = run
    longer = dataclasses.replace(plan, schedule=dataclasses.replace(plan.schedule, stable=9))
    with pytest.raises(ValueError, match="finish the run first"):
        export(longer, dataset, folder, tmp_path, CPU, None)
