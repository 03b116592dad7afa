"""Output for people: hits, comparisons, facts. Wrapped and in colours on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import click

from sqlrag.cli.error_reporting import escaped, one_line, printable
from sqlrag.results import Hits

# Rich takes 30 ms to import, so it is imported where it is used: a search in a pipe does not need it.
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from sqlrag.results import Comparison, Hit, IndexInfo

__all__ = [
    "bytes_text",
    "console",
    "movement",
    "print_comparison",
    "print_hits",
    "print_indented",
    "print_info",
    "print_line",
    "print_lines",
    "print_note",
    "print_table",
    "snippet",
    "title_of",
]

_PIPED_WIDTH = 100
"""Columns of a table that is no terminal's; other lines are left as long as they are."""

Styled: TypeAlias = tuple[str, str]
"""A text, and how Rich is to show it."""


@lru_cache(maxsize=1)
def _console_of(_stdout: object) -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(highlight=False, width=width, emoji=False, markup=False)


def console() -> Console:
    """Return a console for the current stdout."""
    return _console_of(sys.stdout)


def movement(hit: Hit) -> Styled:
    """Return `▲ 7 → 1`: the rank before and after reranking."""
    before, after = hit.rank_before, hit.rank_after
    if before == after:
        return f"= {after}", "dim"
    sign, style = ("▲", "green") if after < before else ("▼", "red")
    return f"{sign} {before} → {after}", style


def title_of(hit: Hit) -> str:
    """Return the title of a hit's document, or the key of its row, with the number of the part from the second on."""
    is_row = hit.uri is None and hit.source_id is not None
    title = escaped(hit.title or "") or (f"row {escaped(str(hit.source_id))}" if is_row else f"chunk {hit.id}")
    return f"{title}, part {hit.ordinal + 1}" if hit.ordinal else title


def snippet(hit: Hit, length: int = 160) -> str:
    """Return the beginning of a hit's text as one line, without the title if the text starts with it."""
    text = hit.text
    if hit.title and text.startswith(hit.title):
        text = text.partition("\n\n")[2] or text
    text = one_line(printable(text))
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def print_hits(hits: Sequence[Hit]) -> None:
    """Print each hit: a line with score, movement and origin, then its text."""
    if not hits:
        print_line("No hits.")
    texts = [printable(hit.text.strip()) for hit in hits]
    words = hits.matching_words(texts) if isinstance(hits, Hits) and sys.stdout.isatty() else [[] for _ in texts]
    for hit, text, spans in zip(hits, texts, words, strict=True):
        print_line((f"{hit.rank_after}. {_origin(hit)}", "bold"), _score(hit), "  ", movement(hit))
        print_indented(text, 3, marked=spans)
        if hit.copies:
            print_line((f"   also in {', '.join(map(escaped, hit.copies))}", "dim"))
        print_line()


def print_comparison(comparison: Comparison) -> None:
    """Print the top_n with their movement, then what was pushed out of it."""
    top_n, top_k = comparison.top_n, comparison.top_k
    print_line(f"After reranking {len(comparison.candidates)} of {top_k} candidates: the top {top_n}\n")
    if sys.stdout.isatty():
        from sqlrag.cli.movement import movement_lines

        for line in movement_lines(comparison, console().width):
            print_line(*line)
        print_line()
    print_hits(comparison.hits)
    if not comparison.pushed_out:
        print_line((f"Nothing was pushed out of the top {top_n}.", "dim"))
        return
    print_line((f"Pushed out of the top {top_n}:\n", "bold"))
    for hit in comparison.pushed_out:
        print_line("   ", movement(hit), (f"  {_origin(hit)}", "bold"), _score(hit))
        print_indented(snippet(hit), 6)
        print_line()


def print_note(text: str) -> None:
    """Print a remark, on a terminal only."""
    if sys.stdout.isatty():
        print_line((text, "dim"))


def print_line(*parts: str | Styled) -> None:
    """Print texts, each with its style, on one line of any length."""
    if not sys.stdout.isatty():
        click.echo("".join(part if isinstance(part, str) else part[0] for part in parts))
        return
    from rich.text import Text

    console().print(Text.assemble(*parts), soft_wrap=True)


def print_indented(text: str, indent: int, style: str = "", marked: Sequence[tuple[int, int]] = ()) -> None:
    """Print an indented text, wrapped on a terminal, without blanks at the ends of its lines.

    `marked`: where words are that stand out on a terminal.
    """
    if not sys.stdout.isatty():
        for line in text.splitlines():
            click.echo(f"{' ' * indent}{line}".rstrip())
        return
    from rich.text import Text

    shown = Text(text, style=style)
    for start, end in marked:
        shown.stylize("bold yellow", start, end)
    for wrapped in shown.wrap(console(), max(console().width - indent, 20)):
        wrapped.rstrip()
        console().print(Text(" " * indent).append(wrapped) if wrapped else "", soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Print a table that is at most as wide as the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, to_right in zip(columns, right, strict=True):
        table.add_column(Text(column), justify="right" if to_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style="dim" if cell == "NULL" else "") for cell in row))
    console().print(table)


def print_lines(lines: Sequence[Sequence[str | Styled]]) -> None:
    """Print rows of cells. The last cell gets the rest of the width and is cut there."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    for _ in lines[0][:-1] if lines else ():
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        table.add_row(*(Text.assemble(cell) for cell in line))
    console().print(Padding(table, (0, 0, 0, 2)))


def print_info(path: str, engine: str, size: int, indexes: Sequence[IndexInfo], problems: Mapping[str, str]) -> None:
    """Print what each index of a database holds; `problems`: what is wrong with the table of an index."""
    print_line(f"{path}: {engine}, {bytes_text(size)}, {len(indexes)} index{'es' * (len(indexes) != 1)}")
    for one in indexes:
        share = one.truncated / one.chunks if one.chunks else 0.0
        facts = [
            ("documents", f"{one.documents:,} in {one.source}"),
            ("chunks", f"{one.chunks:,}, {one.tokens:,} tokens"),
            ("chunking", f"up to {one.max_tokens} tokens, {one.overlap} of overlap"),
            ("vectors", f"{one.vectors}, {_candidates(one)}"),
            ("full text", f"{one.tokenizer} tokenizer"),
            ("embedder", f"{one.embedder} ({one.dimension} dimensions, {one.embedder_hash[:12]})"),
            ("reranker", f"{one.reranker} ({one.reranker_hash[:12]})"),
            ("window", f"{one.window} tokens; {one.truncated:,} chunks ({share:.1%}) exceed it"),
            ("backlog", _backlog(one, problems.get(one.index))),
        ]
        if one.cached_scores is not None:
            facts.append(("scores", f"{one.cached_scores:,} cached, {one.cache_hits:,} hits"))
        print_line((f"\n{one.index}", "bold"))
        for name, fact in facts:
            print_line((f"  {name:<10} ", "dim"), fact)


def _backlog(one: IndexInfo, problem: str | None) -> str:
    if problem is not None:
        return f"unknown: {problem}"
    if one.backlog is None:
        return f"unknown: the triggers on {one.source} are gone, sqlrag sync makes them again"
    if not one.backlog:
        return "none: up to date"
    if one.source == "documents":
        return f"{one.backlog:,} still to be embedded"
    age = "" if one.backlog_seconds is None else f", the first for {one.backlog_seconds:,.0f} s"
    return f"{one.backlog:,} rows wait{age}: sqlrag sync brings them in"


def _candidates(one: IndexInfo) -> str:
    measured = "" if one.recall is None else f", which finds {one.recall:.1%} of the 25 nearest"
    return f"of which a search compares {one.candidates:,} in full{measured}"


def _score(hit: Hit) -> Styled:
    return ("  not reranked", "dim") if hit.score is None else (f"  score {hit.score:.4f}", "cyan")


def _origin(hit: Hit) -> str:
    return "  ".join(name for name in (title_of(hit), escaped(hit.uri or "")) if name)


def bytes_text(size: int) -> str:
    """Return a number of bytes with a unit that fits its size."""
    kilo = 1000
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if size >= kilo**power:
            return f"{size / kilo**power:,.1f} {unit}"
    return f"{size} bytes"
