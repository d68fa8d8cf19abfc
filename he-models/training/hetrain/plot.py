"""Curves of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot(log: list[dict[str, Any]], path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    epochs = [row["epoch"] for row in log]
    looks = [row for row in log if row["held_out_accuracy"] is not None]
    tails = [row for row in log if row["largest_z"] is not None]
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(8, 9), sharex=True, layout="constrained")
    top.plot(epochs, [row["train_accuracy"] for row in log], label="training, augmented")
    top.plot(
        [row["epoch"] for row in looks],
        [row["held_out_accuracy"] for row in looks],
        "o-",
        ms=3,
        label="held out, averaged weights",
    )
    top.set_ylabel("accuracy")
    top.legend()
    middle.plot(epochs, [row["loss"] for row in log])
    middle.set_ylabel("loss")
    rate = middle.twinx()
    rate.plot(epochs, [row["rate"] for row in log], color="tab:gray", lw=0.8)
    rate.set_ylabel("learning rate")
    bottom.plot([row["epoch"] for row in tails], [row["largest_z"] for row in tails], "o-", ms=3)
    bottom.set_ylabel("largest |z|")
    ends = [row for row in log if row.get("climbed_share") is not None]
    if ends:
        shares = bottom.twinx()
        for key, label in (("tails_share", "pictures of every kind"), ("climbed_share", "climbed pictures")):
            shares.semilogy([row["epoch"] for row in ends], [row[key] for row in ends], "s--", ms=3, label=label)
        shares.set_ylabel("largest share of the range")
        shares.legend()
    bottom.set_xlabel("epoch")
    for panel in (top, middle, bottom):
        for before, after in zip(log, log[1:]):
            if before["phase"] != after["phase"]:
                panel.axvline(after["epoch"] - 0.5, color="tab:gray", ls=":", lw=0.8)
    top.set_title(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
