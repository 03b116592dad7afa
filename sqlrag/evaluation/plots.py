"""Drawing two plots of an evaluation as PNG files: quality against top_k, and recall against context tokens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sqlrag.errors import MissingDependencyError

if TYPE_CHECKING:
    from sqlrag.evaluation.report import Evaluation

__all__ = ["check_plots", "draw_plots"]

_COLOURS = {"vector": "tab:blue", "text": "tab:orange", "hybrid": "tab:green", "run": "tab:purple"}
_INCHES = (7.0, 4.5)
_DPI = 150


def check_plots(folder: str | os.PathLike[str]) -> None:
    """Make the folder for the plots, before an evaluation takes its time.

    Raises MissingDependencyError without matplotlib, OSError if the folder cannot be made or written.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - only to know whether it is installed
    except ImportError as error:
        raise MissingDependencyError('plots need matplotlib: pip install "sqlrag[eval]"') from error
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "no permission to write into this folder", os.fspath(folder))


def draw_plots(evaluation: Evaluation, folder: str | os.PathLike[str]) -> list[str]:
    """Draw `quality.png` and `context.png` into a folder, and return their paths. Raises as `check_plots` does."""
    check_plots(folder)
    paths = []
    for name, draw in (("quality", _quality), ("context", _context)):
        from matplotlib.figure import Figure

        figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        axes = figure.add_subplot()
        draw(evaluation, axes)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        path = os.path.join(folder, f"{name}.png")
        figure.savefig(path)
        paths.append(path)
    return paths


def _stages(evaluation: Evaluation) -> list[str]:
    return list(dict.fromkeys(row.first_stage for row in evaluation.rows))


def _quality(evaluation: Evaluation, axes: Any) -> None:
    """Draw nDCG against top_k. The reranked order has the interval of its gain over the first stage's order."""
    for name in _stages(evaluation):
        rows = [row for row in evaluation.rows if row.first_stage == name]
        first, second = [row for row in rows if not row.reranked], [row for row in rows if row.reranked]
        top_ks = [row.top_k for row in first]
        axes.plot(top_ks, [row.ndcg.mean for row in first], **_style(name, False))
        gains = [row.ndcg_gain for row in second if row.ndcg_gain is not None]
        spread = [[gain.mean - gain.low for gain in gains], [gain.high - gain.mean for gain in gains]]
        axes.errorbar(top_ks, [row.ndcg.mean for row in second], yerr=spread, capsize=3, **_style(name, True))
    axes.set_xlabel("top_k: candidates of the first stage")
    axes.set_ylabel(f"nDCG@{evaluation.cutoff}; bars: 95 % interval of the gain")
    axes.set_title(f"Quality against top_k, {evaluation.queries} queries", fontsize="medium")


def _context(evaluation: Evaluation, axes: Any) -> None:
    """Draw recall against the tokens of an LLM's context."""
    for name in _stages(evaluation):
        for reranked in (False, True):
            points = [p for p in evaluation.context if (p.first_stage, p.reranked) == (name, reranked)]
            axes.plot([p.tokens for p in points], [p.recall for p in points], **_style(name, reranked))
    axes.set_xlabel("context: tokens of the passages that an LLM is given")
    axes.set_ylabel("share of the relevant documents among them")
    axes.set_title(f"Recall against context, top_k {evaluation.rows[-1].top_k}", fontsize="medium")


def _style(name: str, reranked: bool) -> dict[str, Any]:
    style = {"color": _COLOURS[name], "marker": "o", "markersize": 4}
    if reranked:
        return style | {"label": f"{name}, reranked"}
    return style | {"label": name, "linestyle": "--", "alpha": 0.6}
