"""The plot of benchmarks/index.py: recall against the time of a query, a panel for each N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LEAST_RECALL = 0.8


def plot(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str], path: Path) -> None:
    """Draw the points of all rows; sqlrag's lines are thick, a cross is where nothing is set."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    sizes = sorted({row["n"] for row in rows})
    names = [name for name in titles if any(row["candidate"] == name and "points" in row for row in rows)]
    colours = {name: plt.get_cmap("tab20")(2 * place % 20 + place // 10) for place, name in enumerate(names)}
    figure, panels = plt.subplots(1, len(sizes), figsize=(4.2 * len(sizes), 4.6), sharey=True, squeeze=False)
    for panel, n in zip(panels[0], sizes, strict=True):
        for row in rows:
            if row["n"] != n or "points" not in row:
                continue
            name = row["candidate"]
            own = name.startswith("sqlrag")
            swept = [(point["p50"], point["recall"]) for point in row["points"] if point["setting"] is not None]
            default = [(point["p50"], point["recall"]) for point in row["points"] if point["setting"] is None]
            style = {"color": colours[name], "linewidth": 2.5 if own else 1.2, "markersize": 3}
            if swept:
                panel.plot(*zip(*swept, strict=True), marker="o", label=titles[name], **style)
            if default:
                style |= {"markersize": 9, "linestyle": ""}
                panel.plot(*zip(*default, strict=True), marker="x", label=None if swept else titles[name], **style)
        panel.axhline(0.95, color="grey", linewidth=0.6, linestyle=":")
        panel.set(xscale="log", ylim=(LEAST_RECALL, 1.005), title=f"N = {n:,}", xlabel="p50 of a query, ms")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("recall@25")
    handles = [panel.get_legend_handles_labels() for panel in panels[0]]
    legend = {label: line for found in handles for line, label in zip(*found, strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    figure.savefig(path, dpi=90)
    plt.close(figure)
