"""The training loop: four phases (see `recipe.Schedule`), a checkpoint after every epoch, resumed from any of them."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Dataset, Images, Loader
from .evaluate import accuracy, assess, estimate_statistics
from .folded import BATCH, FoldedNetwork, Ranges
from .hunt import Hunt
from .model import ResNet
from .pictures import assorted
from .quadratic import Tail
from .recipe import Recipe
from .robustness import Family
from .ron import declared
from .start import start_from
from .teacher import ReluTeacher

CHECKPOINT = "last.pt"
FROZEN = ("frozen", "tails")  # phases with fixed statistics
LOOKS = ("held_out_accuracy", "largest_z", "tails_share", "climbed_share")


@dataclass(frozen=True)
class Machine:
    device: torch.device
    dtype: torch.dtype  # of activations; weights stay float32
    workers: int  # threads, each with its own part of every batch

    @classmethod
    def choose(cls, device: str, dtype: str, workers: int | None) -> Machine:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto":
            # bfloat16 pays where the processor multiplies it; elsewhere it is emulated.
            native = device == "cuda" or "avx512_bf16" in _cpu_flags()
            dtype = "bfloat16" if native else "float32"
        if workers is None:
            workers = 1 if device == "cuda" else min(4, os.cpu_count() or 1)
        return cls(torch.device(device), {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype], workers)


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def build(recipe: Recipe, device: torch.device) -> ResNet:
    torch.manual_seed(recipe.seed)
    net = ResNet(recipe.topology, recipe.activation).to(device=device, memory_format=torch.channels_last)
    for act in net.quadratics():
        with torch.no_grad():
            act.k.copy_(torch.tensor(recipe.quadratic.start).view(3, 1).expand_as(act.k))
    return net


def recipe_changes(before: dict, after: dict, epoch: int, prefix: str = "") -> list[dict[str, Any]]:
    """What differs between two recipes, and the first epoch that it holds for."""
    found = []
    for key in after:
        old, new = before.get(key), after[key]
        if isinstance(old, dict) and isinstance(new, dict):
            found += recipe_changes(old, new, epoch, f"{prefix}{key}.")
        elif old != new:
            found.append({"epoch": epoch, "entry": prefix + key, "before": old, "after": new})
    return found


class Trainer:
    def __init__(self, recipe: Recipe, dataset: Dataset, folder: Path, machine: Machine, teacher: ReluTeacher | None):
        if recipe.loss.teacher_weight and teacher is None:
            raise ValueError(f"recipe {recipe.name!r} learns from a teacher: give one with --teacher FILE")
        dataset = dataset.conditioned(recipe.conditioning)
        self.recipe, self.dataset, self.folder, self.machine, self.teacher = recipe, dataset, folder, machine, teacher
        folder.mkdir(parents=True, exist_ok=True)
        self.net = build(recipe, machine.device)
        self.average = copy.deepcopy(self.net)
        self.optimiser = self._optimiser()
        self.pool = None
        if machine.workers > 1:
            # One thread per worker and none below it: a worker that has to wait for a core holds up one batch, not every
            # single operation in it.
            self.pool = ThreadPoolExecutor(machine.workers, initializer=torch.set_num_threads, initargs=(1,))
        self.epoch = 0
        self.log: list[dict[str, Any]] = []
        self.started_from: str | None = None  # SHA-256 of the weights, if not from random ones
        self.changes: list[dict[str, Any]] = []  # of the recipe in the course of the run
        self.reach: dict[str, Tensor] = {}  # ranges that the tails phase aims at, by activation and channel
        self.hunt: Hunt | None = None

        images = dataset.train.to(machine.device)
        kept, held = dataset.split(recipe.held_out, seed=20)
        self.held_out = images.take(held.to(machine.device))
        self.loaders = {"kept": self._loader(images.take(kept.to(machine.device))), "all": self._loader(images)}

    def _loader(self, images: Images) -> Loader:
        recipe = self.recipe
        return Loader(images, recipe.augmentation, self.dataset.normalisation.fill(), recipe.optimiser.batch, recipe.seed)

    def _optimiser(self) -> torch.optim.SGD:
        o = self.recipe.optimiser
        quadratics = [act.k for act in self.net.quadratics()]
        special = {id(p) for p in quadratics}
        weights = [p for p in self.net.parameters() if id(p) not in special and p.dim() > 1]
        others = [p for p in self.net.parameters() if id(p) not in special and p.dim() <= 1]
        groups = [
            {"params": weights, "weight_decay": o.weight_decay, "share": 1.0},
            {"params": others, "weight_decay": 0.0, "share": 1.0},
        ]
        if quadratics:
            groups.append({"params": quadratics, "weight_decay": 0.0, "share": o.quadratic_rate})
        return torch.optim.SGD(groups, o.rate, momentum=o.momentum, nesterov=True, foreach=True)

    def start_from(self, path: Path, phase: str = "stable") -> None:
        """Begins a phase with an exported network instead of random weights."""
        folded = FoldedNetwork.load(path, self.recipe.topology).to(self.machine.device, torch.float32)
        images = self.dataset.train.take(torch.arange(min(1000, len(self.dataset.train)))).to(self.machine.device)
        start_from(self.net, folded, images, self.recipe.quadratic.floor)
        self.average.load_state_dict(self.net.state_dict())
        self.epoch = self.recipe.schedule.begin(phase)
        self.started_from = hashlib.sha256(path.read_bytes()).hexdigest()

    # ---- checkpoints

    def save(self, name: str = CHECKPOINT) -> None:
        state = {
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "log": self.log,
            "recipe": self.recipe.as_dict(),
            "changes": self.changes,
            "started_from": self.started_from,
            "reach": self.reach,
        }
        partial = self.folder / f".{name}.partial"
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.folder / name)

    def resume(self, name: str = CHECKPOINT) -> None:
        state = torch.load(self.folder / name, map_location=self.machine.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.log, self.changes = state["epoch"], state["log"], state["changes"]
        self.started_from, self.reach = state["started_from"], state["reach"]
        self.changes += recipe_changes(state["recipe"], self.recipe.as_dict(), self.epoch + 1)

    # ---- one epoch

    def rate(self, epoch: int, progress: float) -> float:
        """The learning rate at a point of an epoch, `progress` in 0..1."""
        s, o = self.recipe.schedule, self.recipe.optimiser
        at = epoch + progress
        match s.phase(epoch):
            case "stable":
                return o.rate * min(1.0, (at + 0.05) / s.warmup) if s.warmup else o.rate
            case "decay":
                return o.rate * 0.5 * (1 + math.cos(math.pi * (at - s.stable) / s.decay))
            case "frozen":
                return s.frozen_rate * (1 - (at - s.begin("frozen")) / s.frozen)
            case _:
                return s.tails_rate * (1 - (at - s.begin("tails")) / s.tails)

    def loss(self, pixels: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        loss = self.recipe.loss
        hard = F.cross_entropy(logits, labels, label_smoothing=loss.label_smoothing)
        if not loss.teacher_weight:
            return hard
        t = loss.temperature
        wanted = F.log_softmax(self.teacher.logits(pixels) / t, 1)
        soft = F.kl_div(F.log_softmax(logits / t, 1), wanted, reduction="batchmean", log_target=True)
        return (1 - loss.teacher_weight) * hard + loss.teacher_weight * t * t * soft

    def begin_phase(self, phase: str) -> None:
        """What changes at the start of a phase; also called after a resume inside one."""
        for act in self.net.activations().values():
            act.frozen = phase in FROZEN
        quadratics = self.net.quadratics()
        for position, act in enumerate(quadratics):
            act.tail = self.recipe.quadratic.tail(position, len(quadratics), act.frozen)
        if phase == "tails":
            photos, names = self.loaders["all"].images.pixels, self.net.activations()
            self.hunt = Hunt(self.recipe.tails, photos, len(names), self.recipe.seed * 1_000_003 + self.epoch)

    def freeze(self) -> None:
        """Goes on from the averaged weights, with their statistics; momentum starts anew."""
        self.net.load_state_dict(self.average.state_dict())
        self.optimiser.state.clear()

    def aim(self) -> None:
        """Sets the ranges that the tails phase aims at: those that the network would declare as it is."""
        ranges = Ranges.measure(self.folded(self.average), self.loaders["all"].images)
        self.reach = {name: largest.float() for name, largest in declared(ranges).items()}

    def folded(self, net: ResNet) -> FoldedNetwork:
        """A network as it would be exported."""
        folded = FoldedNetwork.fold(net, self.dataset.normalisation, self.dataset.name)
        return folded.to(self.machine.device, torch.float32)

    def tail_gradient(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Gradient of the penalty on tails, of every parameter; nothing else is asked of the pictures."""
        logits = self.net(self.dataset.normalisation.apply(pictures.to(self.machine.device), self.machine.dtype))
        return torch.autograd.grad(0.0 * logits.sum(), list(self.net.parameters()))

    def over_workers(self, work: Callable, *whole: Tensor) -> list:
        """`work` on every worker's part of some tensors."""
        if self.pool is None:
            return [work(*whole)]
        return list(self.pool.map(work, *(tensor.chunk(self.machine.workers) for tensor in whole)))

    def add_tails(self, photos: Tensor) -> Tensor:
        """Adds the gradient of a batch of pictures of every kind, clipped by itself. Returns its norm before that."""
        plan, usual = self.recipe.tails, [act.tail for act in self.net.quadratics()]
        for name, act in self.net.activations().items():
            act.tail = Tail(plan.clamp, weight=plan.weight, span=act.span(plan.threshold * self.reach[name]), cap=plan.cap)
        index, net = self.hunt.next(), self.folded(self.net)
        self.over_workers(lambda part: self.hunt.climb(net, self.reach, part), index)
        parts = self.over_workers(self.tail_gradient, self.hunt.batch(photos, index))
        self.hunt.renew(photos, index)
        for act, tail in zip(self.net.quadratics(), usual):
            act.tail = tail
        found = [sum(values) / len(parts) for values in zip(*parts)]
        norm = torch.nn.utils.get_total_norm(found)
        share = (plan.clip / (norm + 1e-6)).clamp(max=1)
        for parameter, gradient in zip(self.net.parameters(), found):
            parameter.grad = parameter.grad + share * gradient
        return norm

    def gradient(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Loss and correct answers as one tensor, then the gradient of every parameter, of a part of a batch."""
        logits = self.net(self.dataset.normalisation.apply(pixels, self.machine.dtype))
        loss = self.loss(pixels, logits, labels)
        right = (logits.detach().argmax(1) == labels).float().mean()
        return torch.stack([loss.detach(), right]), *torch.autograd.grad(loss, list(self.net.parameters()))

    def batch_gradient(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Sets the gradients of a batch; every worker's part is normalised by itself. Returns mean loss and accuracy."""
        parts = self.over_workers(self.gradient, pixels, labels)
        mean = [sum(values) / len(parts) for values in zip(*parts)]
        for parameter, gradient in zip(self.net.parameters(), mean[1:]):
            parameter.grad = gradient
        return mean[0]

    def train_epoch(self, phase: str) -> dict[str, Any]:
        o, net = self.recipe.optimiser, self.net
        loader = self.loaders["kept" if phase == "stable" or not self.recipe.held_out_joins else "all"]
        parameters, averages = list(net.parameters()), list(self.average.parameters())
        total = torch.zeros(3, device=self.machine.device)
        skipped, steps = 0, loader.steps()
        net.train()
        for step, (pixels, labels) in enumerate(loader.epoch(self.epoch)):
            rate = self.rate(self.epoch, step / steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            found = F.pad(self.batch_gradient(pixels, labels), (0, 1))
            if phase == "tails":
                found[2] = self.add_tails(pixels)
            norm = torch.nn.utils.clip_grad_norm_(parameters, o.clip, foreach=True)
            if not torch.isfinite(norm):
                skipped += 1
                continue
            self.optimiser.step()
            for act in net.quadratics():
                act.keep_curved(self.recipe.quadratic.floor)
            # Young averages forget faster, so that the start does not linger.
            seen = self.epoch * steps + step
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1 - min(o.average, (1 + seen) / (10 + seen)))
            total += found
        done = max(1, steps - skipped)
        loss, right, tails = (value / done for value in total.tolist())
        return {"rate": rate, "loss": loss, "train_accuracy": right, "tails": tails, "skipped": skipped}

    def assess(self, phase: str) -> dict[str, Any]:
        """Settles the averaged network's statistics and looks at the held-out images, while they are held out."""
        if phase in FROZEN:
            self.average.load_state_dict(self.net.state_dict())
        else:
            loader = self.loaders["kept"]
            estimate_statistics(self.average, loader, self.dataset.normalisation, self.machine.dtype, batches=40)
        right, largest = assess(self.average, self.held_out, self.dataset.normalisation, self.machine.dtype)
        seen = phase != "stable" and self.recipe.held_out_joins
        return {"held_out_accuracy": None if seen else right, "largest_z": max(largest.values())} | self.assess_tails(phase)

    def assess_tails(self, phase: str) -> dict[str, Any]:
        """Largest share of the ranges aimed at: of pictures of every kind, always the same ones, and of those that climb."""
        if phase != "tails":
            return {"tails_share": None, "climbed_share": None}
        folded, photos = self.folded(self.average), self.loaders["all"].images.pixels[:1000].cpu()
        kinds = {"tails_share": assorted(photos, torch.Generator().manual_seed(0)), "climbed_share": self.hunt.pool.round()}
        found = {}
        for key, pictures in kinds.items():
            family = Family(key)
            for part in pictures.split(BATCH):
                family.see(folded, part, self.reach)
            found[key] = min(family.share, 1e9)
        return found

    # ---- the whole

    def run(self) -> None:
        schedule = self.recipe.schedule
        while self.epoch < schedule.epochs:
            phase = schedule.phase(self.epoch)
            started, cpu = time.monotonic(), time.process_time()
            if phase in FROZEN and (not self.log or self.log[-1]["phase"] != phase):
                self.freeze()
                if phase == "tails":
                    self.aim()
            self.begin_phase(phase)
            last = schedule.phase(self.epoch + 1) != phase or self.epoch + 1 == schedule.epochs
            row = {"epoch": self.epoch + 1, "phase": phase} | self.train_epoch(phase)
            look = last or phase == "tails" or (self.epoch + 1) % self.recipe.assess_every == 0
            row |= self.assess(phase) if look else dict.fromkeys(LOOKS)
            row |= {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}
            self.epoch += 1
            self.log.append({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
            self.save()
            self.write_log()
            if last:
                self.save(f"end-of-{phase}.pt")
            print("  ".join(f"{k} {v}" for k, v in self.log[-1].items()), flush=True)

    def write_log(self) -> None:
        with open(self.folder / "log.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, self.log[-1].keys())
            writer.writeheader()
            writer.writerows(self.log)
        document = {"recipe": self.recipe.as_dict(), "changes": self.changes, "data_sha256": self.dataset.sha256}
        document["epochs"] = self.log
        if self.started_from:
            document["started_from_sha256"] = self.started_from
        if self.reach:
            document["aimed_at"] = {name: [float(f"{v:.5g}") for v in reach.tolist()] for name, reach in self.reach.items()}
        if self.teacher:
            document["teacher_sha256"] = self.teacher.sha256
        (self.folder / "log.json").write_text(json.dumps(document, indent=1) + "\n")


def trained(recipe: Recipe, run: Path, device: torch.device) -> tuple[ResNet, dict[str, Any]]:
    """The network of a finished run, as it was last assessed (averaged weights, settled statistics), and its log."""
    state = torch.load(run / CHECKPOINT, map_location=device, weights_only=True)
    if state["epoch"] < recipe.schedule.epochs:
        raise ValueError(f"{run}: {state['epoch']} epochs of {recipe.schedule.epochs}; finish the run first")
    net = build(recipe, device)
    net.load_state_dict(state["average"])
    return net, json.loads((run / "log.json").read_text())


def result(recipe: Recipe, dataset: Dataset, run: Path, machine: Machine) -> dict[str, Any]:
    """Test accuracy of a finished run, also written to the run's `result.json`."""
    dataset = dataset.conditioned(recipe.conditioning)
    net, _ = trained(recipe, run, machine.device)
    right = accuracy(net, dataset.test.to(machine.device), dataset.normalisation, machine.dtype)
    found = {"name": recipe.name, "activation": recipe.activation, "accuracy_test": right}
    (run / "result.json").write_text(json.dumps(found) + "\n")
    return found
