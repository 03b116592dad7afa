"""Search results as HTML that stands on its own: cards, and both orders as a bump chart in SVG.

Notebooks and Datasette show it. It has no script and loads nothing; colours are chosen for light and dark pages alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlrag.results import Hit

__all__ = ["cards", "label", "movement_chart", "printable"]

Spans = Sequence[tuple[int, int]]

_IN, _OUT, _EDGE = "#0f8f83", "#c4651a", "#8b95a1"
_WIDTH, _SIDE, _STEP = 720, 280, 21
_LETTERS = 36
"""Letters of a label that fit beside the lines."""

_LONGEST = 600
"""Characters of a passage on its card."""

_MOST = 50
"""Ranks that the chart has."""


def printable(text: str) -> str:
    """Return a text without the characters that control how others are shown; line breaks and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def label(hit: Hit) -> str:
    """Return what a hit is called: its title, its source, or the key of its row; with its part from the second on."""
    name = hit.title or hit.uri or (f"row {hit.source_id}" if hit.source_id is not None else f"chunk {hit.id}")
    return printable(f"{name}, part {hit.ordinal + 1}" if hit.ordinal else name)


def cards(hits: Sequence[Hit], words: Sequence[Spans]) -> str:
    """Return a card for each hit. `words`: where its text has words of the question."""
    return "".join(map(_card, hits, words)) or "<p>No hits.</p>"


def _card(hit: Hit, words: Spans) -> str:
    source = f' <span style="opacity:.65;font-size:.9em">{_bdi(hit.uri)}</span>' if hit.uri else ""
    score = "not scored" if hit.score is None else f"score {hit.score:.4f}"
    return (
        '<article style="border:1px solid #8b95a166;border-radius:10px;padding:10px 14px;margin:8px 0;max-width:52em">'
        f'<div><b style="color:{_IN}">{hit.rank_after}</b>&ensp;<b>{_bdi(label(hit))}</b>{source}'
        f'<span style="float:right;white-space:nowrap">{_movement(hit)}&ensp;<span style="opacity:.75">{score}</span>'
        '</span></div><p dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0 0">'
        f"{_marked(hit.text, words)}</p></article>"
    )


def _movement(hit: Hit) -> str:
    before, after = hit.rank_before, hit.rank_after
    if before == after:
        return f'<span style="opacity:.75">= {after}</span>'
    sign, colour = ("▲", _IN) if after < before else ("▼", _OUT)
    return f'<b style="color:{colour}">{sign} {before} → {after}</b>'


def _marked(text: str, words: Spans) -> str:
    shown, at = [], 0
    for start, end in words:
        if end > _LONGEST:
            break
        mark = f'<b style="text-decoration:underline;text-decoration-color:{_IN}">{_text(text[start:end])}</b>'
        shown += [_text(text[at:start]), mark]
        at = end
    return "".join(shown) + _text(text[at:_LONGEST]) + ("…" if len(text) > _LONGEST else "")


def movement_chart(hits: Sequence[Hit], top_n: int) -> str:
    """Return the ranks of hits before and after reranking as an SVG; `top_n` of them count as results."""
    if not hits:
        return ""
    rows = min(max(max(hit.rank_before, hit.rank_after) for hit in hits), _MOST)
    height = 30 + rows * _STEP
    # What matters is drawn last, so that it lies above the rest.
    drawn = sorted(hits, key=lambda hit: (hit.rank_after <= top_n, hit.rank_before <= top_n, -hit.rank_after))
    moves = "; ".join(f"{label(hit)}: {hit.rank_before} to {hit.rank_after}" for hit in hits if hit.rank_after <= top_n)
    cut = 24 + top_n * _STEP
    line = f'<line x1="0" x2="{_WIDTH}" y1="{cut}" y2="{cut}" stroke="{_IN}" stroke-dasharray="2 4"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'style="max-width:{_WIDTH}px;width:100%;font-size:12.5px" fill="currentColor" '
        f'aria-label="{escape(f"Ranks before and after reranking: {moves}")}">'
        f'<text x="{_SIDE}" y="14" text-anchor="end" opacity=".7">first stage</text>'
        f'<text x="{_WIDTH - _SIDE}" y="14" opacity=".7">reranked</text>{line if top_n < rows else ""}'
        + "".join(_line(hit, top_n, rows, height) for hit in drawn)
        + "</svg>"
    )


def _line(hit: Hit, top_n: int, rows: int, height: int) -> str:
    is_in, is_out = hit.rank_after <= top_n, hit.rank_before <= top_n < hit.rank_after
    colour = _IN if is_in else _OUT if is_out else _EDGE
    style = (
        ' stroke-width="2.5"' if is_in else ' stroke-width="2" stroke-dasharray="5 3"' if is_out else ' opacity=".5"'
    )
    left, right, middle = _SIDE, _WIDTH - _SIDE, _WIDTH // 2
    before, after = (14 + rank * _STEP if rank <= rows else height for rank in (hit.rank_before, hit.rank_after))
    bends = f"M{left} {before}C{middle} {before} {middle} {after} {right} {after}"
    parts = [f'<path d="{bends}" fill="none" stroke="{colour}"{style}/>']
    weight = ' font-weight="600"' if is_in else f' fill="{_OUT}"' if is_out else ' opacity=".75"'
    name = label(hit)
    name = _text(name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…")
    if hit.rank_before <= rows:
        parts.append(f'<circle cx="{left}" cy="{before}" r="3" fill="{colour}"/>')
        parts.append(
            f'<text x="{left - 9}" y="{before + 4}" text-anchor="end"{weight}>{name}&#8194;{hit.rank_before}</text>'
        )
    if hit.rank_after <= rows:
        parts.append(f'<circle cx="{right}" cy="{after}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{right + 9}" y="{after + 4}"{weight}>{hit.rank_after}&#8194;{name}</text>')
    return f"<g><title>{_text(label(hit))}</title>{''.join(parts)}</g>"


def _bdi(text: str) -> str:
    return f'<bdi style="overflow-wrap:anywhere">{_text(text)}</bdi>'


def _text(text: str) -> str:
    return escape(printable(text))
