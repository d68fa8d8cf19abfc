#!/usr/bin/env python3
"""Whether the plan that is chosen is the fastest: measured in turns with others that fit the same memory.

    python3 bench-suite/choices/choices.py --data DIR --model resnet20 --batch 64 [--batch 512 ...] [-- ARGUMENTS OF POLYPHASE]

For each batch the planner is asked once as it is, and once more for each pin of the list below. Of the plans that fit and differ from
the chosen one, the fastest by prediction of each kind of pin is taken, in the order of the list; where kinds have none, the fastest of
all that are left fill up. All of them run, one after another, `--rounds` times; each round begins with another plan. The table has medians. What stands after `--` goes to `plan` and to `infer`, for instance
`--memory-gib 14.8 --machine machine.ron`. Needs Python 3.9 and `polyphase` (`--polyphase PATH`, default `target/release/polyphase`).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

PINS = {
    "grid": ["4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32", "32x64", "64x64"],
    "packing": ["real", "complex"],
    "log_n": ["14", "15", "16", "17"],
    "bootstrap": ["never", "1", "2", "3", "4", "5"],
    "groups": ["equal"],
    "digits": ["1", "2", "3", "4", "5"],
    "prime_bits": ["42", "44", "46", "48", "50"],
    "blocks": ["1", "2", "4", "8"],
}


def planned(args, batch, path, pins=()):
    """The plan for some pins, or nothing if there is none that fits."""
    command = [args.polyphase, "plan", "--model", args.model, "--batch", str(batch), "--out", str(path), "--json", "-"]
    for pin in pins:
        command += ["--pin", pin]
    done = subprocess.run(command + args.rest, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout)
    # 4: no plan fits. 2: the model has no such choice.
    if done.returncode not in (2, 4) or not pins:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return None


def seconds(plan):
    return plan["forecast"]["predicted_seconds_infer"]


def without_threads(plan):
    """What a plan decides that can make it another one."""
    return {key: value for key, value in plan["decisions"].items() if not key.startswith("threads")}


def alternatives(args, batch, folder):
    """The chosen plan and the best others: name, plan and file of each."""
    path = folder / "chosen.ron"
    chosen = planned(args, batch, path)
    seen, best, others = [without_threads(chosen)], [], []
    for kind, values in PINS.items():
        of_kind = []
        for value in values:
            pin = f"{kind}={value}"
            file = folder / f"{kind}-{value}.ron"
            plan = planned(args, batch, file, [pin])
            if plan is None or without_threads(plan) in seen:
                continue
            seen.append(without_threads(plan))
            of_kind.append((pin, plan, file))
        of_kind.sort(key=lambda one: seconds(one[1]))
        best += of_kind[:1]
        others += of_kind[1:]
    others.sort(key=lambda one: seconds(one[1]))
    found = (best + others)[: args.alternatives]
    return [("chosen", chosen, path)] + found


def measured(args, batch, file, folder):
    report = folder / "report.json"
    command = [args.polyphase, "infer", "--model", args.model, "--batch", str(batch), "--plan", str(file), "--json", str(report)]
    command += ["--data", args.data] if args.data else []
    done = subprocess.run(command + args.rest, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return json.loads(report.read_text())


def main():
    here, rest = sys.argv[1:], []
    if "--" in here:
        at = here.index("--")
        here, rest = here[:at], here[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polyphase", default="target/release/polyphase")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", help="a folder as for polyphase infer; else synthetic images")
    parser.add_argument("--batch", type=int, action="append", required=True)
    parser.add_argument("--alternatives", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", help="write all runs to this file")
    args = parser.parse_args(here)
    args.rest = rest
    runs = []
    print("| batch | plan | predicted s | measured s | against the chosen | peak GB (predicted at most) | same top-1 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for batch in args.batch:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            plans = alternatives(args, batch, folder)
            found = [[] for _ in plans]
            for turn in range(args.rounds):
                for step in range(len(plans)):
                    at = (turn + step) % len(plans)
                    report = measured(args, batch, plans[at][2], folder)
                    found[at].append(report)
                    runs.append({"batch": batch, "plan": plans[at][0], "report": report})
        medians = [statistics.median(run["seconds_infer"] for run in of_plan) for of_plan in found]
        for (name, plan, _), of_plan, median in zip(plans, found, medians):
            peak = max(run["peak_rss_bytes"] for run in of_plan) / 1e9
            bound = plan["forecast"]["predicted_peak_bytes"] / 1e9
            same = min(run["agreement"] for run in of_plan)
            ratio = median / medians[0]
            print(f"| {batch} | {name} | {seconds(plan):.1f} | {median:.1f} | {ratio:.3f} | {peak:.2f} ({bound:.2f}) | {same:.3f} |", flush=True)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
