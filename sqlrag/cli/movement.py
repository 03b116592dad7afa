"""Both orders on a terminal: lines of box characters from each rank before reranking to the one after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.cli.error_reporting import one_line, printable
from sqlrag.results.drawing import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.cli.render import Styled
    from sqlrag.results import Comparison, Hit

__all__ = ["movement_lines"]

_MOST = 12
"""Lines that are drawn, those of the results first: more would be a tangle."""

_NARROWEST = 12
"""Columns of a label, at least."""

_TURNS = {(False, True): ("╮", "╰"), (True, False): ("╯", "╭")}
"""How a line turns into its column and out of it, when it goes down, and when it goes up."""

_DOWN = "│┼╮╭"
"""The signs from which a line goes on below."""


def movement_lines(comparison: Comparison, width: int) -> list[list[Styled]]:
    """Return the lines of the drawing, each a list of texts with their styles; `width`: columns of the terminal.

    It has the results, what they pushed out, and the ranks that these had and have. Other ranks are left out.
    """
    drawn = [*comparison.hits, *comparison.pushed_out][:_MOST]
    if not drawn:
        return []
    top_n = comparison.top_n
    ranks = sorted({rank for hit in drawn for rank in (hit.rank_before, hit.rank_after)})
    row_of = {rank: row for row, rank in enumerate(ranks)}
    columns = 2 * len(drawn) + 3
    side = max((width - columns - 14) // 2, _NARROWEST)
    canvas = [[(" ", "")] * columns for _ in ranks]
    # The longest ways get the outer columns of those that go the same way, so that fewer lines cross.
    for place, hit in enumerate(sorted(drawn, key=lambda hit: (hit.rank_before - hit.rank_after, hit.rank_before))):
        style = "green" if hit.rank_after <= top_n else "red"
        _draw(canvas, row_of[hit.rank_before], row_of[hit.rank_after], 2 * place + 2, style)
    before = {hit.rank_before: hit for hit in comparison.candidates}
    after = {hit.rank_after: hit for hit in comparison.candidates}
    lines: list[list[Styled]] = []
    for row, rank in enumerate(ranks):
        if row and rank > ranks[row - 1] + 1:
            passing = [("│", style) if sign in _DOWN else (" ", "") for sign, style in canvas[row - 1]]
            lines.append([(f"{'⋮':>{side + 4}} ", "dim"), *passing, ("   ⋮", "dim")])
        left, right = before[rank], after[rank]
        lines.append([
            (f"{_fitted(left, side):>{side}}", _style(left, drawn, top_n)),
            (f" {rank:>3} ", "dim"),
            *canvas[row],
            (f" {rank:>3} ", "dim"),
            (_fitted(right, side), _style(right, drawn, top_n)),
        ])  # fmt: skip
    return lines


def _draw(canvas: list[list[Styled]], start: int, end: int, column: int, style: str) -> None:
    """Draw a line from a row on the left to a row on the right, which changes rows in a column of its own."""
    for place in range(len(canvas[0])):
        row = start if place < column or start == end else end
        if place != column or start == end:
            _put(canvas, row, place, "─", style)
    if start == end:
        return
    into, out = _TURNS[start > end, start < end]
    canvas[start][column], canvas[end][column] = (into, style), (out, style)
    for row in range(min(start, end) + 1, max(start, end)):
        _put(canvas, row, column, "│", style)


def _put(canvas: list[list[Styled]], row: int, place: int, sign: str, style: str) -> None:
    """Put a sign where there is none, or a crossing where there is another line."""
    there = canvas[row][place][0]
    if there == " ":
        canvas[row][place] = sign, style
    elif {there, sign} == {"─", "│"}:
        canvas[row][place] = "┼", style


def _style(hit: Hit, drawn: Sequence[Hit], top_n: int) -> str:
    return "dim" if hit not in drawn else "bold" if hit.rank_after <= top_n else "red"


def _fitted(hit: Hit, width: int) -> str:
    name = one_line(printable(label(hit)))
    return name if len(name) <= width else f"{name[: width - 1]}…"
