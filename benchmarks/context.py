"""What titles and headings add: chunks embedded, indexed and reranked without and with their context.

The chunking set counts tokens of answers among the five nearest chunks, as benchmarks/chunking.py does. The evaluation
sets have a title and a text in each document. A document's rank is that of its best chunk. nDCG@10 of the vectors and
of BM25 (SQLite's FTS5, Porter stems) is over all queries, that of reranking over the first queries of each set: the 25
nearest chunks, scored as `context + text`.

    python benchmarks/context.py ../shared/data/eval > benchmarks/context.md
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import numpy as np
from chunking import K, TokenSpans, read_questions, scores

from sqlrag.models import Embedder, Reranker
from sqlrag.store.full_text import match_expression
from sqlrag.text.chunking import CONTEXT_TOKENS, Chunk, Chunker
from sqlrag.text.words import indexed_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SETS = ("nfcorpus", "cranfield", "cacm")
RERANKED = 60
TOP_K = 25


def ndcg(ranking: Sequence[str], judged: dict[str, int]) -> float:
    """Return nDCG@10, with linear gains as trec_eval has them."""
    discounts = 1 / np.log2(np.arange(2, 12))
    gains = np.array([judged.get(name, 0) for name in ranking[:10]] + [0] * 10)[:10]
    ideal = np.array(sorted(judged.values(), reverse=True)[:10] + [0] * 10)[:10]
    return float(gains @ discounts / max(ideal @ discounts, 1e-9))


def of_documents(chunks: Sequence[int], owners: Sequence[str]) -> list[str]:
    """Return the documents of chunks, each at its best chunk."""
    return list(dict.fromkeys(owners[chunk] for chunk in chunks))


class Words:
    """BM25 over chunks."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._database = apsw.Connection(":memory:")
        self._database.execute("CREATE VIRTUAL TABLE w USING fts5 (context, text, tokenize = 'porter unicode61')")
        rows = ((place, indexed_words(c.context), indexed_words(c.text)) for place, c in enumerate(chunks))
        self._database.executemany("INSERT INTO w (rowid, context, text) VALUES (?, ?, ?)", rows)

    def nearest(self, query: str) -> list[int]:
        """Return the 100 best chunks."""
        sql = "SELECT rowid FROM w WHERE w MATCH ? ORDER BY rank LIMIT 100"
        return [place for (place,) in self._database.execute(sql, (match_expression(query, "porter"),))]


def chunking_rows(folder: Path, embedder: Embedder) -> None:
    corpora = {path.stem: path.read_bytes().decode() for path in sorted((folder / "corpora").glob("*.md"))}
    questions = read_questions(folder / "questions_df.csv", corpora)
    spans = {name: TokenSpans(embedder.tokenizer, text) for name, text in corpora.items()}
    queries = np.array([embedder.encode_query(question.text) for question in questions])
    chunker = Chunker(embedder.tokenizer, 200, 0, CONTEXT_TOKENS)
    made = [(name, chunk) for name, text in corpora.items() for chunk in chunker.chunks(text)]
    for label, as_text in VARIANTS.items():
        vectors = embedder.encode_document([as_text(chunk) for _, chunk in made])
        nearest = np.argsort(-queries @ vectors.T, axis=1, kind="stable")[:, :K]
        found = np.mean(
            [
                scores(q, [(made[i][0], (made[i][1].start_char, made[i][1].end_char)) for i in places], spans)
                for q, places in zip(questions, nearest, strict=True)
            ],
            axis=0,
        )
        extra = np.mean([embedder.token_count(chunk.context) for _, chunk in made]) if label != "without" else 0
        print(
            f"| {label} | {len(made):,} | {extra:.1f} | {found[0]:.1%} | {found[1]:.1%} | {found[2]:.1%} |", flush=True
        )


VARIANTS: dict[str, Callable[[Chunk], str]] = {
    "without": lambda chunk: chunk.text,
    "with": lambda chunk: chunk.context + chunk.text,
}


def set_rows(folder: Path, embedder: Embedder, reranker: Reranker) -> None:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        corpus = [json.loads(line) for line in file]
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = {row["_id"]: row["text"] for row in map(json.loads, file)}
    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels[query][document] = int(grade)
    asked = [query for query in qrels if query in texts]
    vectors_of_queries = np.array([embedder.encode_query(texts[query]) for query in asked])
    chunker = Chunker(embedder.tokenizer, 200, 0, CONTEXT_TOKENS)
    made = [(row["_id"], chunk) for row in corpus for chunk in chunker.chunks(row["text"], row.get("title") or "")]
    owners = [owner for owner, _ in made]
    for label, as_text in VARIANTS.items():
        passages = [as_text(chunk) for _, chunk in made]
        order = np.argsort(-vectors_of_queries @ embedder.encode_document(passages).T, axis=1, kind="stable")[:, :100]
        words = Words([chunk if label == "with" else Chunk(0, 0, 0, chunk.text, 0) for _, chunk in made])
        by_vector = [
            ndcg(of_documents(places, owners), qrels[query]) for query, places in zip(asked, order, strict=True)
        ]
        by_words = [ndcg(of_documents(words.nearest(texts[query]), owners), qrels[query]) for query in asked]
        reranked = []
        for query, places in list(zip(asked, order, strict=True))[:RERANKED]:
            near = places[:TOP_K]
            marks = reranker.score(texts[query], [passages[place] for place in near])
            best = [near[place] for place in np.argsort(-np.asarray(marks), kind="stable")]
            reranked.append(ndcg(of_documents(best, owners), qrels[query]))
        extra = np.mean([embedder.token_count(chunk.context) for _, chunk in made]) if label != "without" else 0
        means = " | ".join(f"{np.mean(values):.3f}" for values in (by_vector, by_words, reranked))
        print(f"| {folder.name} | {label} | {len(made):,} | {extra:.1f} | {means} |", flush=True)


def main(folder: Path) -> None:
    embedder, reranker = Embedder(), Reranker()
    print("# Chunks without and with their context\n")
    print("Made by `python benchmarks/context.py ../shared/data/eval`, which says what is measured.\n")
    print(f"The chunking set (headings alone; its documents have no titles), the {K} nearest chunks:\n")
    print("| context | chunks | tokens added to a chunk | recall | precision | IoU |")
    print("| --- | --: | --: | --: | --: | --: |")
    chunking_rows(folder / "chunking", embedder)
    print(f"\nnDCG@10 of the evaluation sets (titles); reranking on the first {RERANKED} queries of each:\n")
    print("| set | context | chunks | tokens added to a chunk | vectors | BM25 | reranked |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    for name in SETS:
        set_rows(folder / name, embedder, reranker)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
