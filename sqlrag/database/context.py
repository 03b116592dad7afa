"""The best passages that fit into a prompt: merged, without repetitions, numbered, as one text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from sqlrag.errors import InputError
from sqlrag.results import Context, Hit, Passage
from sqlrag.values.arguments import check_k, shown
from sqlrag.values.json_values import json_value

__all__ = ["FORMATS", "ORDERS", "check_context", "gather"]

ORDERS = ("ends", "score", "document")
FORMATS = ("markdown", "json", "xml")


def check_context(max_tokens: object, order: object, form: object) -> int:
    """Return `max_tokens`. Raises InputError for a wrong argument of `Database.context`."""
    for name, value, known in (("order", order, ORDERS), ("format", form, FORMATS)):
        if not isinstance(value, str) or value not in known:
            raise InputError(f"{name} is {shown(value)}: it is one of {', '.join(map(repr, known))}")
    return check_k("context", "max_tokens", max_tokens)


def gather(
    question: str, hits: Sequence[Hit], count: Callable[[str], int], *, max_tokens: int, order: str, form: str
) -> Context:
    """Return as many of the hits, best first, as fit. `count` returns the tokens of a text."""
    counts: dict[str, int] = {}

    def counted(text: str) -> int:
        if text not in counts:
            counts[text] = count(text)
        return counts[text]

    def size(kept: Sequence[Hit]) -> int:
        """Return the tokens of a context, counted piece by piece: what did not change is not counted again."""
        return sum(map(counted, _pieces(question, _passages(kept, order), form)))

    kept: list[Hit] = []
    seen: set[str] = set()
    for hit in hits:
        words = " ".join(hit.text.casefold().split())
        # A text that is longer on its own than what is allowed need not be counted together with the others.
        if words in seen or counted(hit.text) > max_tokens:
            continue
        if size([*kept, hit]) <= max_tokens:
            kept.append(hit)
            seen.add(words)
    # Some tokenizers do not count a text as the sum of its pieces.
    while kept and count(_text(question, _passages(kept, order), form)) > max_tokens:
        kept.pop()
    passages = _passages(kept, order)
    text = _text(question, passages, form)
    return Context(question, text, count(text), passages)


def _passages(hits: Sequence[Hit], order: str) -> list[Passage]:
    """Merge hits that are neighbours in their source, order the passages and number them."""
    runs: list[list[Hit]] = []
    for hit in sorted(hits, key=lambda hit: (str(hit.source_id), hit.ordinal)):
        last = runs[-1][-1] if runs else None
        if last is not None and last.source_id == hit.source_id and hit.ordinal == last.ordinal + 1:
            runs[-1].append(hit)
        else:
            runs.append([hit])
    ranked = sorted(runs, key=_rank)
    if order == "ends":
        ranked = ranked[::2] + ranked[1::2][::-1]
    elif order == "document":
        best: dict[Any, int] = {}
        for run in ranked:
            best.setdefault(run[0].source_id, _rank(run))
        ranked.sort(key=lambda run: (best[run[0].source_id], run[0].ordinal))
    return [_passage(number, run) for number, run in enumerate(ranked, start=1)]


def _rank(run: Sequence[Hit]) -> int:
    return min(hit.rank_after for hit in run)


def _passage(number: int, run: Sequence[Hit]) -> Passage:
    best = min(run, key=lambda hit: hit.rank_after)
    return Passage(
        number,
        [hit.id for hit in run],
        best.source_id,
        best.uri,
        best.title,
        best.metadata,
        run[0].start_char,
        run[-1].end_char,
        best.score,
        best.rank_before,
        best.rank_after,
        _joined(run),
    )


def _joined(run: Sequence[Hit]) -> str:
    """Return the texts of neighbouring chunks as one: what they share once, a blank line where text was cut away."""
    text, end = run[0].text, run[0].end_char
    for hit in run[1:]:
        shared = end - hit.start_char
        text += hit.text[shared:] if shared >= 0 else "\n\n" + hit.text
        end = hit.end_char
    return text


def _text(question: str, passages: Sequence[Passage], form: str) -> str:
    head, *pieces, foot = _pieces(question, passages, form)
    return head + (",\n" if form == "json" else "\n\n" if form == "markdown" else "\n").join(pieces) + foot


def _pieces(question: str, passages: Sequence[Passage], form: str) -> list[str]:
    """Return what a text begins with, each passage, and what it ends with."""
    if form == "json":
        head = f'{{"question": {json.dumps(question, ensure_ascii=False)}, "passages": [\n'
        return [head, *map(_as_json, passages), "\n]}"]
    if form == "xml":
        return [f"<context question={_attribute(question)}>\n", *map(_as_xml, passages), "\n</context>"]
    return ["", *map(_as_markdown, passages), ""]


def _as_markdown(passage: Passage) -> str:
    name = " ".join((passage.title or "").split())
    source = " ".join((passage.uri or "").split())
    if passage.uri is None:
        source = f"row {passage.source_id}" if passage.source_id is not None else f"chunk {passage.chunks[0]}"
    heading = f"{name} ({source})" if name and source else name or source
    first, _, rest = passage.text.partition("\n\n")
    # Most documents begin with their title.
    has_title = rest.strip() and first.lstrip("# ") == passage.title
    return f"### [{passage.number}] {heading}\n\n{rest if has_title else passage.text}"


def _as_json(passage: Passage) -> str:
    return json.dumps(
        {
            "number": passage.number,
            "title": passage.title,
            "source": json_value(passage.source_id) if passage.uri is None else passage.uri,
            "chunks": passage.chunks,
            "start_char": passage.start_char,
            "end_char": passage.end_char,
            "score": _rounded(passage.score),
            "text": passage.text,
        },
        ensure_ascii=False,
        default=str,
    )


def _rounded(score: float | None) -> float | None:
    """Return a score with the digits that say something: each costs a token."""
    return None if score is None else round(score, 4)


def _as_xml(passage: Passage) -> str:
    source = passage.source_id if passage.uri is None else passage.uri
    given = {"number": passage.number, "title": passage.title, "source": source, "score": _rounded(passage.score)}
    attributes = "".join(f" {name}={_attribute(value)}" for name, value in given.items() if value is not None)
    return f"<passage{attributes}>{escape(_xml_characters(passage.text))}</passage>"


def _attribute(value: object) -> str:
    return quoteattr(_xml_characters(str(value)))


def _xml_characters(text: str) -> str:
    """Return a text without the characters that XML 1.0 excludes (https://www.w3.org/TR/xml/#charsets)."""
    return "".join(
        c
        if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"
        else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
