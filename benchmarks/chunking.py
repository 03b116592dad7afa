"""Which splitter, which chunk size, which overlap: the Chroma chunking evaluation on our own embedder.

Five documents (1.4 MB), 472 questions, each with the exact spans of text that answer it. As in the original
(https://research.trychroma.com/evaluating-chunking) the chunks of all five are in one index, the five nearest to the
question are retrieved, and what counts is tokens: recall is the share of the answer's tokens that were retrieved,
precision the share of the retrieved tokens that belong to the answer, IoU their intersection over their union. A token
that overlapping chunks retrieve twice counts once as found and twice as retrieved. Tokens are those of the embedder.

    python benchmarks/chunking.py ../shared/data/eval/chunking > benchmarks/chunking.md

Needs `pip install semantic-text-splitter`, which was not chosen. Some ten minutes on two idle cores, nearly all of
it for embedding.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import semchunk

from sqlrag.models import Embedder
from sqlrag.text.chunking import Chunker

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter
    from tokenizers import Tokenizer

K = 5
SIZES = (128, 200, 254)
OVERLAP = 0.15

Span: TypeAlias = "tuple[int, int]"  # half-open, in characters
Splitter: TypeAlias = Callable[[str], list[Span]]


@dataclass(frozen=True)
class Question:
    """A question and the spans of one document that answer it."""

    text: str
    corpus: str
    answers: list[Span]


def ours(tokenizer: Tokenizer, size: int, overlap: int) -> Splitter:
    """Cut as the package does: semchunk within Markdown sections."""
    chunker = Chunker(tokenizer, size, overlap)
    return lambda text: [(chunk.start_char, chunk.end_char) for chunk in chunker.chunks(text)]


def semantic_chunk(tokenizer: Tokenizer, size: int, overlap: int) -> Splitter:
    """Cut with semchunk alone."""
    chunker = semchunk.chunkerify(lambda text: len(tokenizer.encode(text, add_special_tokens=False)), size)
    return lambda text: chunker(text, offsets=True, overlap=overlap or None)[1]


def plain(tokenizer: Tokenizer, size: int, overlap: int) -> Splitter:
    """Cut with semantic-text-splitter's TextSplitter."""
    from semantic_text_splitter import TextSplitter

    return _semantic_text_splitter(TextSplitter.from_huggingface_tokenizer(tokenizer, size, overlap))


def markdown(tokenizer: Tokenizer, size: int, overlap: int) -> Splitter:
    """Cut with semantic-text-splitter's MarkdownSplitter."""
    from semantic_text_splitter import MarkdownSplitter

    return _semantic_text_splitter(MarkdownSplitter.from_huggingface_tokenizer(tokenizer, size, overlap))


def _semantic_text_splitter(splitter: TextSplitter | MarkdownSplitter) -> Splitter:
    return lambda text: [(start, start + len(part)) for start, part in splitter.chunk_indices(text)]


SPLITTERS = {
    "sqlrag (semchunk in sections)": ours,
    "semchunk": semantic_chunk,
    "semantic-text-splitter, text": plain,
    "semantic-text-splitter, Markdown": markdown,
}
OVERLAPPING = ("sqlrag (semchunk in sections)", "semchunk")


class TokenSpans:
    """Counts the tokens of spans of one document."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        encoded = tokenizer.encode(text, add_special_tokens=False)
        self._starts = np.array([start for start, _ in encoded.offsets])

    def of(self, span: Span) -> range:
        """Return the tokens that start in a span of characters."""
        first, end = np.searchsorted(self._starts, span)
        return range(int(first), int(end))


def read_questions(path: Path, corpora: dict[str, str]) -> list[Question]:
    questions = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            answers = [(answer["start_index"], answer["end_index"]) for answer in json.loads(row["references"])]
            text = corpora[row["corpus_id"]]
            if any(not 0 <= start < end <= len(text) for start, end in answers):
                raise SystemExit(f"{path}: a span outside of {row['corpus_id']}: {row['question']}")
            questions.append(Question(row["question"], row["corpus_id"], answers))
    return questions


def scores(question: Question, retrieved: list[tuple[str, Span]], spans: dict[str, TokenSpans]) -> np.ndarray:
    """Recall, precision and IoU of one question."""
    answer = {token for span in question.answers for token in spans[question.corpus].of(span)}
    right = {token for corpus, span in retrieved if corpus == question.corpus for token in spans[corpus].of(span)}
    found = len(answer & right)
    total = sum(len(spans[corpus].of(span)) for corpus, span in retrieved)
    return np.array([found / len(answer), found / total, found / (total + len(answer) - found)])


@dataclass(frozen=True)
class Evaluation:
    """The documents, the questions about them, and what both are in tokens and vectors."""

    corpora: dict[str, str]
    questions: list[Question]
    spans: dict[str, TokenSpans]
    query_vectors: np.ndarray
    embed: Callable[[list[str]], np.ndarray]

    def row(self, split: Splitter) -> str:
        """Return a splitter's part of a line of the table."""
        started = time.process_time()
        chunks = [(name, span) for name, text in self.corpora.items() for span in split(text)]
        seconds = time.process_time() - started
        vectors = self.embed([self.corpora[name][slice(*span)] for name, span in chunks])
        nearest = np.argsort(-self.query_vectors @ vectors.T, axis=1, kind="stable")[:, :K]
        recall, precision, iou = np.mean(
            [
                scores(question, [chunks[place] for place in places], self.spans)
                for question, places in zip(self.questions, nearest, strict=True)
            ],
            axis=0,
        )
        size = sum(len(self.spans[name].of(span)) for name, span in chunks) / len(chunks)
        megabytes = sum(len(text.encode()) for text in self.corpora.values()) / 1e6
        return f"{len(chunks):,} | {size:.0f} | {recall:.1%} | {precision:.1%} | {iou:.1%} | {seconds / megabytes:.1f}"


def main(folder: Path) -> None:
    embedder = Embedder()
    tokenizer = embedder.tokenizer
    corpora = {path.stem: path.read_bytes().decode() for path in sorted((folder / "corpora").glob("*.md"))}
    spans = {name: TokenSpans(tokenizer, text) for name, text in corpora.items()}
    questions = read_questions(folder / "questions_df.csv", corpora)
    query_vectors = np.array([embedder.encode_query(question.text) for question in questions])
    known: dict[str, np.ndarray] = {}

    def embed(texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, embedder.encode_document(new), strict=True))
        return np.array([known[text] for text in texts])

    evaluation = Evaluation(corpora, questions, spans, query_vectors, embed)
    print("# Splitters, chunk sizes and overlaps on the Chroma chunking evaluation\n")
    print("Made by `python benchmarks/chunking.py ../shared/data/eval/chunking`, which says what is measured:")
    print(f"{len(questions)} questions, {len(corpora)} documents in one index, k = {K}, {embedder.id}.\n")
    print("| splitter | max tokens | overlap | chunks | tokens a chunk | recall | precision | IoU | CPU s/MB |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: |")
    for size in SIZES:
        settings = [(name, 0) for name in SPLITTERS] + [(name, round(size * OVERLAP)) for name in OVERLAPPING]
        for name, overlap in settings:
            row = evaluation.row(SPLITTERS[name](tokenizer, size, overlap))
            print(f"| {name} | {size} | {overlap} | {row} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
