#!/usr/bin/env python3
"""Puts known faults back into the code, one at a time, and sees whether a test notices.

    python3 bench-suite/faults/faults.py --list
    python3 bench-suite/faults/faults.py --check
    git worktree add --detach ../faulty
    python3 bench-suite/faults/faults.py --tree ../faulty --table table.md [--only ID ...]

A fault is a text that its file has exactly once, and what stands there instead. In the clean tree its test must run and pass,
with the fault it must fail. What needs more than 10 GiB of memory fails. A fault that has `seconds` makes its test hang: it is
caught when the test has not ended after so many. Of other faults, a test that does not end says nothing.
Needs Python 3.11 and Linux. The faults are in the `.toml` files of this folder.
"""

import argparse
import datetime
import os
import pathlib
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
LISTS = ("keys.toml", "pipeline.toml", "input.toml")
FIELDS = {"id", "fault", "file", "text", "with", "test"}
CARGO = ["cargo", "test", "--locked", "--profile", "devo", "--color", "never"]
SECONDS = 180
MEMORY = 10 << 30


class Wrong(Exception):
    """Something that must be mended before anything can be said."""


def faults():
    """All faults, in the order of the lists."""
    found = []
    for name in LISTS:
        found += tomllib.loads((HERE / name).read_text())["fault"]
    for fault in found:
        if fields := FIELDS - fault.keys():
            raise Wrong(f"{fault.get('id')}: without {', '.join(sorted(fields))}")
    ids = [fault["id"] for fault in found]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise Wrong(f"there twice: {', '.join(sorted(twice))}")
    return found


def misplaced(tree, chosen):
    """What is wrong with the places of faults."""
    for fault in chosen:
        path = tree / fault["file"]
        count = path.read_text().count(fault["text"]) if path.is_file() else 0
        if count != 1:
            yield f"{fault['id']}: its text is {count} times in {fault['file']}, expected once"


def git(tree, *args):
    return subprocess.run(["git", "-C", tree, *args], check=True, capture_output=True, text=True).stdout.strip()


def check_tree(tree):
    """Refuses a tree that is not whole, clean and another one than this script's."""
    if not (tree / ".git").exists():
        raise Wrong(f"{tree}: not the root of a git work tree")
    if HERE.is_relative_to(tree):
        raise Wrong(f"{tree}: faults are put into another work tree than this one (git worktree add --detach ../faulty)")
    if git(tree, "status", "--porcelain"):
        raise Wrong(f"{tree}: has changes; only a clean tree is used")


def build(tree, test):
    """What the compiler says if it fails."""
    done = subprocess.run([*CARGO, "--no-run", *shlex.split(test)], cwd=tree, capture_output=True, text=True)
    return done.stderr if done.returncode else None


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(tree, test, seconds):
    """How many tests passed, whether all did, and what they printed; nothing if they did not end. What was started does not
    outlive its test."""
    process = subprocess.Popen(
        [*CARGO, *shlex.split(test)],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=limited,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return 0, False, None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    passed = sum(int(count) for count in re.findall(r"^test result: ok\. (\d+) passed", output, re.M))
    return passed, process.returncode == 0, output


def said(output):
    """The first words of a failure."""
    panic = re.search(r"panicked at [^\n]*\n(.*)", output)
    words = panic.group(1) if panic else output.strip().rpartition("\n")[2]
    return words.strip()[:160]


def check_clean(tree, chosen):
    """Every test runs and passes without a fault."""
    tests = dict.fromkeys(fault["test"] for fault in chosen)
    for test in tests:
        if words := build(tree, test):
            raise Wrong(f"without a fault `{test}` does not build:\n{words[-2000:]}")
        passed, all_passed, output = run(tree, test, SECONDS)
        if output is None:
            raise Wrong(f"without a fault `{test}` is not done within {SECONDS} s")
        if not (passed and all_passed):
            raise Wrong(f"without a fault `{test}` does not pass, or is no test:\n{output[-2000:]}")
        print(f"without a fault: passes  {test}", flush=True)


def put_back(tree, fault):
    """What becomes of one fault: a word for the table, and what the test says."""
    path = tree / fault["file"]
    whole = path.read_bytes()
    try:
        path.write_text(path.read_text().replace(fault["text"], fault["with"]))
        words = build(tree, fault["test"])
        if words:
            error = re.search(r"^error.*", words, re.M)
            by_compiler = fault.get("guard") == "compiler"
            return "caught by the compiler" if by_compiler else "DOES NOT BUILD", error.group(0) if error else words[-500:]
        if fault.get("guard") == "compiler":
            return "NOT CAUGHT", "it builds"
        _, all_passed, output = run(tree, fault["test"], fault.get("seconds", SECONDS))
        if output is None:
            return "caught" if "seconds" in fault else "NOT DONE", "the test does not end"
        return ("NOT CAUGHT", "") if all_passed else ("caught", said(output))
    finally:
        path.write_bytes(whole)


def write_table(path, results):
    """The table of all results so far; rows of faults that were put back again are replaced."""
    rows = {}
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if line.startswith("| `")]
        rows = {line.split("`")[1]: line for line in lines}
    for fault, commit, word in results:
        today = datetime.date.today().isoformat()
        rows[fault["id"]] = f"| `{fault['id']}` | {fault['fault']} | `{fault['test']}` | {word}, {today}, {commit} |"
    order = [fault["id"] for fault in faults()]
    lines = ["| | fault | `cargo test --profile devo` | result |", "|---|---|---|---|"]
    path.write_text("\n".join(lines + [rows[name] for name in order if name in rows]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults")
    parser.add_argument("--check", action="store_true", help="only see whether the faults have their places")
    parser.add_argument("--tree", type=pathlib.Path, help="a clean git work tree that the faults are put into")
    parser.add_argument("--only", nargs="+", metavar="ID", help="these faults, not all")
    parser.add_argument("--table", type=pathlib.Path, help="a Markdown file that gets the results")
    args = parser.parse_args()
    chosen = faults()
    if args.only:
        if unknown := set(args.only) - {fault["id"] for fault in chosen}:
            raise Wrong(f"no such fault: {', '.join(sorted(unknown))}")
        chosen = [fault for fault in chosen if fault["id"] in args.only]
    if args.list:
        for fault in chosen:
            print(f"{fault['id']:32} {fault['fault']}")
        return 0
    if not args.check and args.tree is None:
        parser.error("one of --list, --check and --tree is needed")
    tree = (args.tree or HERE.parents[1]).resolve()
    if not args.check:
        check_tree(tree)
    if wrong := list(misplaced(tree, chosen)):
        raise Wrong("\n".join(wrong))
    if args.check:
        print(f"{len(chosen)} faults have their places")
        return 0
    # So that the file is whole again whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    check_clean(tree, chosen)
    commit = git(tree, "rev-parse", "--short", "HEAD")
    results = []
    for fault in chosen:
        start = time.monotonic()
        word, words = put_back(tree, fault)
        results.append((fault, commit, word))
        print(f"{fault['id']}: {word} ({time.monotonic() - start:.0f} s)  {words}", flush=True)
        if args.table:
            write_table(args.table, results)
    missed = sum(not word.startswith("caught") for _, _, word in results)
    print(f"{len(results) - missed} of {len(results)} faults caught")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")
