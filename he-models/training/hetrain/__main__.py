"""Command line: `python -m hetrain train resnet20 --data DIR --out DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from . import data, recipe
from .teacher import ReluTeacher
from .train import CHECKPOINT, Machine, Trainer


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hetrain", description=sys.modules["hetrain"].__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help)
        sub.add_argument("recipe", help="name of a recipe (resnet20, resnet34, tiny) or a .toml file")
        sub.add_argument("--data", type=Path, help="folder of the official binary files")
        sub.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoints and logs")
        sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        sub.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"], help="of activations")
        sub.add_argument("--workers", type=int, help="threads on a CPU (default: one a core, four at most)")
        sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe: schedule.stable=40")
        return sub

    train = command("train", "train, going on from the last checkpoint in --out if there is one")
    train.add_argument("--teacher", type=Path, help="safetensors of a ReLU network to learn from")
    return parser


def main() -> None:
    args = _arguments().parse_args()
    machine = Machine.choose(args.device, args.dtype, args.workers)
    if machine.workers > 1:
        torch.set_num_threads(1)  # workers are the only threads
    wanted = recipe.load(args.recipe, tuple(args.set))
    dataset = data.load(wanted.dataset, args.data)
    if args.command == "train":
        teacher = None
        if args.teacher:
            teacher = ReluTeacher(args.teacher, dataset.normalisation, machine.device, machine.dtype)
        trainer = Trainer(wanted, dataset, args.out, machine, teacher)
        if (args.out / CHECKPOINT).exists():
            trainer.resume()
            print(f"resumed after epoch {trainer.epoch}", flush=True)
        trainer.run()


if __name__ == "__main__":
    main()
