"""The model card, in Markdown."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .data import Dataset
from .folded import Ranges
from .noise import IMAGES as NOISE_IMAGES
from .noise import Disturbed
from .recipe import Recipe
from .robustness import Family, table
from .ron import HEADROOM, MARGIN

PHOTOGRAPHS = """Trained on natural 32x32 photographs of {classes} classes; anything else gets an answer too{ranges} Not calibrated, not tested for fairness, not meant for decisions about people."""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 600 else f"{seconds / 3600:.1f} hours"


def _finite(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "overflow"


def _held_out(log: dict) -> str:
    looks = [(row["epoch"], row["held_out_accuracy"]) for row in log["epochs"] if row["held_out_accuracy"] is not None]
    return f"{looks[-1][1]:.4f} (averaged weights, after epoch {looks[-1][0]})" if looks else "not measured"


def card(
    recipe: Recipe,
    dataset: Dataset,
    log: dict,
    command: str,
    training: Ranges,
    test: Ranges,
    promised: dict[str, Tensor],
    disturbed: list[Disturbed],
    tails: list[Family],
    relu: dict | None,
) -> str:
    t, s, o, q, loss = recipe.topology, recipe.schedule, recipe.optimiser, recipe.quadratic, recipe.loss
    epochs = log["epochs"]
    taken, busy = (_duration(sum(row[key] for row in epochs)) for key in ("seconds", "cpu_seconds"))
    begun = (
        f"\n- Begun in the phase `{epochs[0]['phase']}` with exported weights (SHA-256 `{log['started_from_sha256'][:16]}…`)." if "started_from_sha256" in log else ""
    )
    teacher = ""
    if loss.teacher_weight:
        teacher = (
            f"\n- Taught by {loss.teacher} (SHA-256 `{log['teacher_sha256'][:16]}…`): {1 - loss.teacher_weight:g} x cross entropy"
            f" + {loss.teacher_weight:g} x T² KL(teacher ‖ student), T = {loss.temperature:g}."
        )
    held_out = ""
    if recipe.held_out:
        held_out = f"{recipe.held_out} training images were held out to choose by"
        if loss.teacher_weight:
            held_out += " (the teacher has seen them, which flatters their accuracy)"
        held_out += (
            " and trained too from the decay phase on, when nothing was chosen any more." if recipe.held_out_joins else "."
        )
    before = {name: torch.tensor(values) for name, values in log.get("aimed_at", {}).items()}
    changed_head = ["against before: mean", "worst"] if before else []

    def growth(name: str) -> list[str]:
        if not before:
            return []
        factor = promised[name].cpu() / before[name]
        return [f"{factor.log().mean().exp():.2f}", f"{factor.max():.2f}"]

    ratio = {name: (test.largest[name] / training.largest[name]).max().item() for name in training.largest}
    rows = [
        [name, f"{training.largest[name].max():.1f}", f"{test.largest[name].max():.1f}", f"{ratio[name]:.2f}", f"{promised[name].max():.1f}", *growth(name)]
        for name in training.largest
    ]
    noise = [
        [f"2^{round(math.log2(d.error))}", f"{d.accuracy:.4f}", f"{d.agreement:.4f}", _finite(d.largest, 3), _finite(d.rms, 4)]
        for d in disturbed
    ]
    kept = [c for c in log["changes"] if not c["entry"].startswith("schedule.")]  # a phase made longer or shorter changes no past
    changes = [f"- From epoch {c['epoch']}: `{c['entry']}` = {c['after']} (was {c['before']})." for c in kept]
    if changes:
        changes = ["", "Changed on the way:", "", *changes]
    conditioned = dataset.normalisation.conditioning
    input = ""
    if conditioned:
        components = "opponent colours" if conditioned.opponent else "channels"
        input = f"""

## Input
The client conditions every picture before encryption: {components}, {len(conditioned.bands[0]) - 1} detail bands and a base each, scaled down where they pass
the limits that {recipe.conditioning.share:.2%} of the training images keep; limits in the model file."""
    tails_phase, kinds = "", ""
    if s.tails:
        p = recipe.tails
        tails_phase = (
            f"\n- Then {s.tails} epochs with frozen statistics from {s.tails_rate:g} that add, per step, {p.pictures} pictures of every kind and {p.climbing} that climb"
            f" by gradient ascent (a pool of {p.pool}, {p.life} moves each): {p.weight:g} x mean of e², e being how far z passes {p.threshold:g} of the"
            f" range, linear from {p.cap:g} on; |z| clamped at {p.clamp:g}, gradient norm clipped at {p.clip:g} by itself."
        )
    if tails:
        kinds = f"""

## Pictures of every kind
Share: |x + t| / declared, of the activation and channel where it is largest. Blown up: a logit beyond 1000, or not a number.

{table(tails)}"""
    raised = f", {MARGIN:g} times that of pictures of other kinds, or what the phase `tails` aimed at, whatever is more" if tails else ""
    limits = (
        "A test object: waves and noise." if dataset.name == "synthetic" else PHOTOGRAPHS.format(
            classes=len(dataset.classes),
            ranges="." if tails else ", and may leave the declared ranges, where an\nencrypted run is wrong without notice.",
        )
    )
    compared = f"{relu['accuracy_test']:.4f}" if relu else "not trained yet"
    return f"""# {recipe.name}

Pre-activation ResNet on {dataset.name}: stages of {", ".join(map(str, t.channels))} channels with {", ".join(map(str, t.blocks))} blocks, every activation a
quadratic per channel, g (x + t)² + d; zero padding, no normalisation left.{input}

| | accuracy |
| --- | --- |
| test set ({len(dataset.test)} images, used once, for this table) | **{test.right:.4f}** |
| training set, as it is exported | {training.right:.4f} |
| held-out images | {_held_out(log)} |
| ReLU, same topology and recipe, test set | {compared} |

## Data
{dataset.name}, {len(dataset.train)} training images (SHA-256 of the files, one after the other: `{dataset.sha256}`). {held_out}

## Recipe
`{command}`, seed {recipe.seed}; {len(epochs)} epochs, {taken}, {busy} of processor time. Curve in `{recipe.name}.csv` and `.png`.

- Epochs: {s.stable} at rate {o.rate:g} ({s.warmup} of them warm-up), {s.decay} decaying to zero, {s.frozen} with frozen statistics from {s.frozen_rate:g}.{tails_phase}
- SGD, batch {o.batch}, Nesterov momentum {o.momentum:g}, weight decay {o.weight_decay:g}, gradient norm clipped at {o.clip:g}; quadratics at {o.quadratic_rate:g} of the
  rate, without decay, starting at {q.start}, k2 held at {q.floor:g} or above.
- Tails: |z| clamped at {q.clamp:g} until statistics are frozen; {q.tail_weight:g} x mean of (|z| - {q.tail_limit:g})² beyond {q.tail_limit:g}; the last {q.tail_last} activations {q.tail_last_factor:g} times harder.
- Flips: {str(recipe.augmentation.flip).lower()}; shifts up to {recipe.augmentation.shift} pixels; cutout {recipe.augmentation.cutout}; label smoothing {loss.label_smoothing:g}.{teacher}{begun}
{chr(10).join(changes)}

## Ranges
Declared range: {HEADROOM:g} times the largest |x + t| over the training set, per activation and channel{raised}. Test images that leave one: **{test.out_of_range}** of {len(dataset.test)}
(reported, not tuned on). The ratio is the worst channel's.

{_table(["activation", "largest, training", "largest, test", "test / training", "declared", *changed_head], rows)}{kinds}

## Robustness to noise
Gaussian error added to what every activation squares, its deviation given as a share of the channel's root mean square; {NOISE_IMAGES} test images. Logit errors
as shares of the logits' standard deviation.

{_table(["error", "accuracy", "same answer", "largest logit error", "rms"], noise)}

## Limits
{limits}

## Licence
MIT OR Apache-2.0. {"The training data is research data without a licence of its own; none of it is included." if dataset.name != "synthetic" else "The data is generated."}
"""
