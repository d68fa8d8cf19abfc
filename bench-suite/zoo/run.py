"""Runs what `zoo.py` wrote through `polyphase`, encrypted and secure, and prints a table: six networks, each from ONNX and from its graph file.

    python zoo.py OUT
    python run.py OUT --polyphase ../../target/release/polyphase

A network's batch is what the ciphertexts of its plan hold. Fails if encrypted and plain classes differ, if the predicted peak of
the memory is no upper bound of the measured one or more than 15 % above it, or if the two sources are not the same network.
"""
import argparse
import json
import pathlib
import subprocess
import sys

NETWORKS = ["lenet5", "vgg", "concat", "depthwise", "odd", "large"]
SOURCES = ["onnx", "graph"]
SLACK = 1.15
# Largest difference of the plain logits of both sources, in deviations: ONNX holds 32-bit numbers with batch norms folded in.
SAME = 1e-4
HEADER = [
    "network", "from", "N", "batch", "packing, grid", "s per image", "peak, GB", "predicted, GB", "same top-1",
    "accuracy encrypted / plain", "largest logit error / deviation", "predicted",
]


def polyphase(args, *command):
    """Runs the command, with its messages on standard error; gives its JSON report."""
    command = [args.polyphase, *map(str, command)]
    report = args.out / "report.json"
    done = subprocess.run([*command, "--json", report], stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"exit code {done.returncode}: {' '.join(command)}")
    return json.loads(report.read_text())


def model(args, name, source):
    """The model file, with ranges of this network."""
    data = ["--data", args.out / f"{name}.npz"]
    if source == "graph":
        path = args.out / "graph" / f"{name}.ron"
        polyphase(args, "ranges", "--model", path, *data)
    else:
        path = args.out / "imported" / f"{name}.ron"
        path.parent.mkdir(exist_ok=True)
        onnx = args.out / f"{name}.onnx"
        polyphase(args, "import", onnx, "--out", path, *data, "--mean", 0.5, "--std", 0.25)
    return path


def full_batch(args, path):
    """Images that fill the ciphertexts of a plan for about as many as asked for."""
    batch = args.batch
    while True:
        plan = polyphase(args, "plan", "--model", path, "--batch", batch, "--memory-gib", args.memory_gib)
        held = plan["forecast"]["images_per_group"] * plan["forecast"]["groups"]
        if held == batch:
            return batch
        batch = held


def run(args, name, source):
    path = model(args, name, source)
    batch = full_batch(args, path)
    report = args.out / f"{name}.{source}.json"
    shape = ["--model", path, "--batch", batch, "--memory-gib", args.memory_gib]
    result = polyphase(args, "infer", *shape, "--data", args.out / f"{name}.npz", "--logits")
    report.write_text(json.dumps(result, indent=1))
    return result


def row(name, source, r):
    peak, predicted, deviation = r["peak_rss_bytes"], r["predicted_peak_bytes"], r["logit_std"]
    return [
        name, source, f"2^{r['log_n']}", str(r["images"]), f"{r['packing']}, {r['grid']}", f"{r['seconds_per_image']:.4f}",
        f"{peak / 1e9:.2f}", f"{predicted / 1e9:.2f} ({predicted / peak:.2f})", f"{r['agreement']:.3f}",
        f"{r['accuracy_encrypted']:.4f} / {r['accuracy_plain']:.4f}", f"{r['max_logit_error'] / deviation:.5f}",
        f"{r['predicted_max_logit_error'] / deviation:.5f}",
    ]


def faults(r):
    """What of a report is not as it must be."""
    peak, predicted = r["peak_rss_bytes"], r["predicted_peak_bytes"]
    checks = {
        "not secure": r["security_bits"] < 128,
        "other classes than in the clear": r["agreement"] < 1,
        "predicted peak below the measured one": predicted < peak,
        f"predicted peak more than {SLACK} times the measured one": predicted > SLACK * peak,
    }
    return [fault for fault, found in checks.items() if found]


def differences(name, a, b):
    """What is wrong if both sources of a network have other logits in the clear."""
    values = [[v for row in r["logits"] for v in row["plain"]] for r in (a, b)]
    largest = max(abs(x - y) for x, y in zip(*values, strict=False)) / a["logit_std"]
    return [] if largest <= SAME else [f"{name}: the sources' plain logits differ by {largest:.2g} deviations"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder that zoo.py wrote")
    parser.add_argument("--polyphase", default="polyphase", help="the command")
    parser.add_argument("--batch", type=int, default=512, help="images wanted; as many are run as fill the ciphertexts")
    parser.add_argument("--memory-gib", type=float, default=16)
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=NETWORKS, help="these networks")
    args = parser.parse_args()
    results, found = [], []
    for name in args.only:
        for source in SOURCES:
            print(f"--- {name}, {source}", file=sys.stderr)
            results.append((name, source, run(args, name, source)))
        found += differences(name, results[-2][2], results[-1][2])
    table = [HEADER, ["---"] * len(HEADER), *(row(*result) for result in results)]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in table))
    found += [f"{name}, {source}: {fault}" for name, source, r in results for fault in faults(r)]
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
