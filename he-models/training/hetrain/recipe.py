"""What is trained and how: a TOML file, read into checked, immutable records."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .conditioning import Plan
from .data import Augmentation
from .hunt import Tails
from .model import ACTIVATIONS, Topology
from .quadratic import Tail

RECIPES = Path(__file__).parents[1] / "recipes"


PHASES = ("stable", "decay", "frozen", "tails")


@dataclass(frozen=True)
class Schedule:
    """Four phases. `stable`: the rate climbs for `warmup` epochs, then stays, so that this phase can be lengthened at any
    time. `decay`: the rate falls to zero as half a cosine. `frozen`: the averaged weights, with normalisation statistics
    re-estimated as medians over batches and then fixed, at `frozen_rate` falling linearly to zero. `tails`: the same at
    `tails_rate`, with pictures of every kind and a penalty on what they excite (see `Tails`)."""

    warmup: int
    stable: int  # epochs, warm-up included
    decay: int
    frozen: int
    frozen_rate: float = 0.01
    tails: int = 0
    tails_rate: float = 0.01

    @property
    def epochs(self) -> int:
        return self.stable + self.decay + self.frozen + self.tails

    def begin(self, phase: str) -> int:
        """The first epoch of a phase."""
        return sum(getattr(self, before) for before in PHASES[: PHASES.index(phase)])

    def phase(self, epoch: int) -> str:
        return next((phase for phase in reversed(PHASES) if epoch >= self.begin(phase)), PHASES[0])


@dataclass(frozen=True)
class Optimiser:
    """Stochastic gradient descent with Nesterov momentum."""

    batch: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 4.0  # of the gradient's norm
    quadratic_rate: float = 0.1  # the quadratics' learning rate, as a share of the others'
    average: float = 0.999  # decay per step of the moving average of the weights


@dataclass(frozen=True)
class Quadratic:
    start: tuple[float, float, float] = (0.0, 0.5, 0.2)
    floor: float = 0.1  # under k2
    clamp: float = 8.0  # of |z| in training, until statistics are frozen; `inf` for none
    tail_limit: float = 3.5  # |z| beyond it is penalised
    tail_weight: float = 20.0
    tail_last: int = 3  # so many activations at the end of the network ...
    tail_last_factor: float = 2.0  # ... are penalised this much harder

    def tail(self, position: int, count: int, frozen: bool) -> Tail:
        factor = self.tail_last_factor if position >= count - self.tail_last else 1.0
        return Tail(math.inf if frozen else self.clamp, self.tail_limit, self.tail_weight * factor)


@dataclass(frozen=True)
class Loss:
    """(1 - teacher_weight) cross entropy + teacher_weight T^2 KL(teacher || student), both softened by T."""

    label_smoothing: float = 0.0
    teacher: str = ""  # whose weights --teacher wants, for the model card
    teacher_weight: float = 0.0
    temperature: float = 4.0


@dataclass(frozen=True)
class Recipe:
    name: str
    dataset: str
    topology: Topology
    schedule: Schedule
    activation: str = "quadratic"
    seed: int = 0
    held_out: int = 5000  # images taken out of the training set to choose by ...
    held_out_joins: bool = True  # ... which train too from the decay phase on, when nothing is chosen any more
    assess_every: int = 3  # epochs between looks at the held-out images
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimiser: Optimiser = field(default_factory=Optimiser)
    quadratic: Quadratic = field(default_factory=Quadratic)
    loss: Loss = field(default_factory=Loss)
    conditioning: Plan = field(default_factory=lambda: Plan(scales=0))
    tails: Tails = field(default_factory=Tails)

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}, expected one of {sorted(ACTIVATIONS)}")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _record(cls: type, table: dict[str, Any], where: str):
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := set(table) - set(fields):
        raise ValueError(f"{where}: unknown entries {sorted(unknown)}, expected some of {sorted(fields)}")
    parts = {
        "topology": Topology,
        "schedule": Schedule,
        "augmentation": Augmentation,
        "optimiser": Optimiser,
        "quadratic": Quadratic,
        "loss": Loss,
        "conditioning": Plan,
        "tails": Tails,
    }
    values = {}
    for name, value in table.items():
        if isinstance(value, dict):
            value = _record(parts[name], value, f"{where}.{name}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


def load(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe by its name in `recipes/` or by path; overrides read `schedule.stable=40`."""
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.exists():
        raise ValueError(f"no recipe {name!r}, expected a .toml file or one of {sorted(p.stem for p in RECIPES.glob('*.toml'))}")
    table = tomllib.loads(path.read_text())
    for override in overrides:
        key, _, value = override.partition("=")
        target = table
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = tomllib.loads(f"v = {value}")["v"]
    return _record(Recipe, table, path.stem)
