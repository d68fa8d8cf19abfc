"""Command line: `python -m hetrain train resnet20 --data DIR --out RUN`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from . import data, recipe
from .export import export
from .folded import FoldedNetwork, Ranges
from .plot import plot
from .robustness import HEAD, Effort, row, table_of
from .ron import read_declared
from .teacher import ReluTeacher
from .train import CHECKPOINT, Machine, Trainer, result


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hetrain", description=sys.modules["hetrain"].__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help)
        sub.add_argument("--data", type=Path, help="folder of the official binary files")
        sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        return sub

    def of_recipe(name: str, help: str) -> argparse.ArgumentParser:
        sub = command(name, help)
        sub.add_argument("recipe", help="name of a recipe (resnet20, resnet34, tiny) or a .toml file")
        sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe: schedule.stable=40")
        return sub

    train = of_recipe("train", "train, going on from the last checkpoint in --out if there is one")
    train.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoints and logs")
    train.add_argument("--teacher", type=Path, help="safetensors of a ReLU network to learn from")
    train.add_argument("--start", type=Path, help="exported weights to begin with, instead of random ones")
    train.add_argument("--phase", default="stable", choices=recipe.PHASES, help="that --start begins (default: stable)")
    train.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"], help="of activations")
    train.add_argument("--workers", type=int, help="threads on a CPU (default: one a core, four at most)")

    finish = of_recipe("export", "write weights, model file and card of a finished run; uses the test set")
    finish.add_argument("--run", type=Path, required=True)
    finish.add_argument("--out", type=Path, required=True)
    finish.add_argument("--relu", type=Path, metavar="RUN", help="a finished ReLU run of the same recipe, for the card")

    measure = of_recipe("result", "accuracy of a finished run that is not exported (ReLU); uses the test set")
    measure.add_argument("--run", type=Path, required=True)

    evaluate = command("evaluate", "accuracy of exported weights on the training or the test set")
    evaluate.add_argument("weights", type=Path)
    evaluate.add_argument("--on", default="test", choices=["train", "test"])

    tails = command("robustness", "how near pictures of every kind come to the declared ranges of an exported network")
    tails.add_argument("exported", type=Path, help="folder of NAME.safetensors and NAME.ron")
    tails.add_argument("--count", type=int, default=Effort.count, help="pictures per random family, photographs to change")
    tails.add_argument("--ascent", type=int, default=Effort.ascents, help="pictures that gradient ascent starts from")
    tails.add_argument("--steps", type=int, default=Effort.steps, help="of the ascent")

    curves = commands.add_parser("plot", help="curves of a run, finished or not")
    curves.add_argument("--run", type=Path, required=True)
    curves.add_argument("--out", type=Path, required=True, help="a .png or .svg file")
    return parser


def _train(args: argparse.Namespace) -> None:
    machine = Machine.choose(args.device, args.dtype, args.workers)
    torch.set_num_threads(1)  # workers are the only threads
    wanted = recipe.load(args.recipe, tuple(args.set))
    dataset = data.load(wanted.dataset, args.data)
    teacher = None
    if args.teacher:
        teacher = ReluTeacher(args.teacher, dataset.normalisation, machine.device, machine.dtype)
    trainer = Trainer(wanted, dataset, args.out, machine, teacher)
    if (args.out / CHECKPOINT).exists():
        trainer.resume()
        print(f"resumed after epoch {trainer.epoch}", flush=True)
    elif args.start:
        trainer.start_from(args.start, args.phase)
    trainer.run()


def _robustness(args: argparse.Namespace) -> None:
    files = sorted(args.exported.glob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(f"{args.exported}: {len(files)} .safetensors files, expected one")
    net = FoldedNetwork.load(files[0])
    promised = read_declared(files[0].with_suffix(".ron").read_text())
    dataset = data.load(net.dataset, args.data)
    effort = Effort(args.count, args.ascent, args.steps)
    for cells in (HEAD, ["---"] * len(HEAD)):
        print(row(cells))
    for family in table_of(net, promised, [dataset, *data.others(dataset, args.data)], effort):
        print(row(family.row()), flush=True)


def main() -> None:
    args = _arguments().parse_args()
    match args.command:
        case "train":
            _train(args)
        case "export":
            wanted = recipe.load(args.recipe, tuple(args.set))
            device = Machine.choose(args.device, "float32", 1).device
            dataset = data.load(wanted.dataset, args.data)
            print(json.dumps(export(wanted, dataset, args.run, args.out, device, args.relu, data.others(dataset, args.data))))
        case "result":
            wanted = recipe.load(args.recipe, tuple(args.set))
            machine = Machine.choose(args.device, "float32", 1)
            print(json.dumps(result(wanted, data.load(wanted.dataset, args.data), args.run, machine)))
        case "evaluate":
            device = Machine.choose(args.device, "float32", 1).device
            net = FoldedNetwork.load(args.weights).to(device, torch.float32)
            dataset = data.load(net.dataset, args.data)
            images = (dataset.train if args.on == "train" else dataset.test).to(device)
            print(json.dumps({"images": len(images), "accuracy": Ranges.measure(net, images).right}))
        case "robustness":
            _robustness(args)
        case "plot":
            plot(json.loads((args.run / "log.json").read_text())["epochs"], args.out, args.run.name)


if __name__ == "__main__":
    main()
