"""From a run to a checkpoint that the crate `he-models` reads: weights, model file, card, curves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from . import ron
from .card import card
from .data import Dataset
from .folded import FoldedNetwork, Ranges
from .noise import robustness
from .plot import plot
from .recipe import Recipe
from .robustness import Effort, met, table_of
from .train import trained

WHOLE = Effort()
LICENCE = "MIT OR Apache-2.0"


def training_command(recipe: Recipe, log: dict) -> str:
    teacher = " --teacher TEACHER.safetensors" if "teacher_sha256" in log else ""
    start = f" --start WEIGHTS.safetensors --phase {log['epochs'][0]['phase']}" if "started_from_sha256" in log else ""
    data = "" if recipe.dataset == "synthetic" else " --data DATA"
    return f"python -m hetrain train {shlex.quote(recipe.name)}{data}{teacher}{start} --out RUN"


def export(
    recipe: Recipe,
    dataset: Dataset,
    run: Path,
    to: Path,
    device: torch.device,
    relu_run: Path | None,
    also: Sequence[Dataset] = (),
    effort: Effort = WHOLE,
) -> dict:
    """Writes `to`/NAME.{safetensors,ron,md,csv,png} and returns what was measured. This is where the test set is used."""
    dataset = dataset.conditioned(recipe.conditioning)
    net, log = trained(recipe, run, torch.device("cpu"))
    to.mkdir(parents=True, exist_ok=True)
    name = recipe.name
    folded = FoldedNetwork.fold(net, dataset.normalisation, dataset.name)
    sha256 = folded.save(to / f"{name}.safetensors")

    folded = FoldedNetwork.load(to / f"{name}.safetensors").to(device, torch.float32)
    train_images, test_images = dataset.train.to(device), dataset.test.to(device)
    training = Ranges.measure(folded, train_images)
    promised = ron.declared(training)
    tails = []
    if recipe.schedule.tails:
        aimed = {name: torch.tensor(reach) for name, reach in log["aimed_at"].items()}
        others = met(folded, train_images.pixels, ron.declared(training, aimed), effort)
        promised = ron.declared(training, aimed, {name: ron.MARGIN * largest for name, largest in others.items()})
        tails = list(table_of(folded, promised, [dataset, *also], effort))
    test = Ranges.measure(folded, test_images, promised)
    command = training_command(recipe, log)
    provenance = {
        "origin": f"trained by he-models/training, recipe {name}, {len(log['epochs'])} epochs",
        "command": command,
        "seed": recipe.seed,
        "data_sha256": dataset.sha256,
        "statistics": f"{len(train_images)} training images of {dataset.name}, not augmented",
        "accuracy": test.right,
        "licence": LICENCE,
    }
    text = ron.model_file(name, folded, f"{name}.safetensors", sha256, dataset.classes, training, promised, provenance)
    (to / f"{name}.ron").write_text(text)
    (to / f"{name}.csv").write_text((run / "log.csv").read_text())
    plot(log["epochs"], to / f"{name}.png", name)
    disturbed = robustness(folded, test_images, training)
    relu = json.loads((relu_run / "result.json").read_text()) if relu_run else None
    (to / f"{name}.md").write_text(card(recipe, dataset, log, command, training, test, promised, disturbed, tails, relu))
    return {"name": name, "accuracy_train": training.right, "accuracy_test": test.right, "out_of_range_test": test.out_of_range}
