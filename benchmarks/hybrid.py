"""Full text and its fusion with vectors: which words of a question, which tokenizer, which weights.

    python benchmarks/hybrid.py ../shared/data/eval/{nfcorpus,cacm,cranfield,trec-dl-2019} [--databases FOLDER]
                                [--write]

All test queries of collections in BEIR's layout, ingested as benchmarks/evaluation.py does; nothing is reranked.
100 candidates a query; a document counts as its best chunk. Three questions:

- What becomes of a question's function words ("how", "does", "the")? The package's own answer is match_expression;
  beside it all words, no word that more than 30 % or 10 % of the chunks have, and phrases of two words as well.
- Which tokenizer? The same chunks in a full text of each, by the statement of text_top_k.
- Which weights? hybrid_top_k with vector_weight from 0 to 1.
"""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import apsw
from evaluation import ingest, write

import sqlrag
from sqlrag.engines.measures import MEASURES
from sqlrag.evaluation import read_qrels, read_queries
from sqlrag.evaluation.task import DOCUMENT_ID
from sqlrag.store.full_text import TOKENIZERS, match_expression
from sqlrag.store.statements import statement

RESULTS = Path(__file__).with_suffix(".md")
DEPTH = 100
WEIGHTS = [tenth / 10 for tenth in range(11)]

Result: TypeAlias = "dict[str, object]"


class Collection:
    """A collection: its judged queries, and the chunks of a database that holds it."""

    def __init__(self, folder: Path, path: Path) -> None:
        ingest(path, folder)
        self.name = folder.name
        self.qrels = read_qrels(folder)
        self.queries = {query: text for query, text in read_queries(folder).items() if query in self.qrels}
        self.db = sqlrag.connect(path, read_only=True)
        sql = f"SELECT c.id, {DOCUMENT_ID} FROM chunks AS c JOIN documents AS d ON d.id = c.source_id"
        self._documents: dict[int, str] = dict(self.db.execute(sql))

    def measured(self, find: Callable[[str], Iterable[int]]) -> Result:
        """Return nDCG@10 and recall@25 of a function that finds chunks for a question."""
        ndcg, recall = [], []
        for query, text in self.queries.items():
            chunks = list(find(text))
            documents = list(dict.fromkeys(self._documents[chunk] for chunk in chunks))
            near = {self._documents[chunk] for chunk in chunks[:25]}
            ranks = {document: rank for rank, document in enumerate(documents, start=1)}
            judged = self.qrels[query]
            rows = [(ranks.get(document), judged.get(document)) for document in ranks | judged]
            ndcg.append(MEASURES["ndcg"].of(rows, 10))
            relevant = [document for document, grade in judged.items() if grade > 0]
            recall.append(sum(document in near for document in relevant) / max(len(relevant), 1))
        return {"ndcg": fmean(value or 0.0 for value in ndcg), "recall_25": fmean(recall)}

    def full_text(self, tokenizer: str) -> FullText:
        """Return the chunks as a full text of this tokenizer."""
        return FullText(tokenizer, self.db.execute("SELECT id, text FROM chunks"), len(self._documents))

    def weighed(self, weight: float) -> Callable[[str], Iterable[int]]:
        """Return hybrid_top_k with a weight of the vectors."""
        sql = f"SELECT id FROM hybrid_top_k('chunks', :q, {DEPTH}, NULL, :w) ORDER BY rank"
        return lambda text: [id_ for (id_,) in self.db.execute(sql, {"q": text, "w": weight})]


class FullText:
    """A full text in memory, for the statement of text_top_k."""

    def __init__(self, tokenizer: str, chunks: Iterable[tuple[int, str]], count: int) -> None:
        self._tokenizer = tokenizer
        self._count = count
        self._connection = apsw.Connection(":memory:")
        self._connection.execute(
            f"CREATE VIRTUAL TABLE chunks_fts USING fts5 (text, content = '', tokenize = '{TOKENIZERS[tokenizer]}')"
        )
        self._connection.executemany("INSERT INTO chunks_fts (rowid, text) VALUES (?, ?)", chunks)
        self.share = lru_cache(maxsize=None)(self._share)

    def matching(self, expression: str) -> list[int]:
        """Return the chunks that match an FTS5 expression, best first."""
        sql = statement("index/text_top_k", word_filter="")
        return [row[0] for row in self._connection.execute(sql, {"match": expression, "k": DEPTH})]

    def _share(self, word: str) -> float:
        """Return the share of the chunks that have a word."""
        sql = "SELECT count(*) FROM chunks_fts WHERE chunks_fts MATCH ?"
        ((count,),) = self._connection.execute(sql, (f'"{word}"',))
        return count / self._count

    def own(self, text: str) -> list[int]:
        """Find as text_top_k does."""
        return self.matching(match_expression(text, self._tokenizer))

    def all_words(self, text: str) -> list[int]:
        """Find any of the words."""
        return self.matching(any_of(words(text)))

    def rarer_than(self, most: float) -> Callable[[str], list[int]]:
        """Find any of the words that at most this share of the chunks has, if there is one."""

        def find(text: str) -> list[int]:
            rare = [word for word in words(text) if self.share(word) <= most]
            return self.matching(any_of(rare or words(text)))

        return find

    def phrases(self, text: str) -> list[int]:
        """Find what `own` finds, two words that follow each other counting once more."""
        kept = re.findall(r'"(.+?)"', match_expression(text, self._tokenizer))
        pairs = [f"{one} {other}" for one, other in itertools.pairwise(kept)]
        return self.matching(any_of([*kept, *pairs]))


def words(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\w+", text.lower())))


def any_of(phrases: Iterable[str]) -> str:
    return " OR ".join(f'"{phrase}"' for phrase in phrases) or '""'


def measure(collection: Collection) -> list[Result]:
    """Return what was measured on a collection, a row for each question and answer."""
    rows = []

    def add(question: str, answer: str, find: Callable[[str], Iterable[int]]) -> None:
        found = {"collection": collection.name, "question": question, "answer": answer} | collection.measured(find)
        print(*found.values(), flush=True)
        rows.append(found)

    porter = collection.full_text("porter")
    add("words", "all", porter.all_words)
    add("words", "without function words", porter.own)
    add("words", "of at most 30 % of the chunks", porter.rarer_than(0.3))
    add("words", "of at most 10 % of the chunks", porter.rarer_than(0.1))
    add("words", "without function words, with phrases", porter.phrases)
    for tokenizer in TOKENIZERS:
        text = collection.full_text(tokenizer)
        add("tokenizer", f"{tokenizer}, all words", text.all_words)
        add("tokenizer", tokenizer, text.own)
    for weight in WEIGHTS:
        add("vector_weight", f"{weight:g}", collection.weighed(weight))
    return rows


def table(rows: list[Result], question: str) -> list[str]:
    """Return the rows of one question as a table: a column pair for each collection."""
    collections = list(dict.fromkeys(str(row["collection"]) for row in rows))
    answers = list(dict.fromkeys(str(row["answer"]) for row in rows if row["question"] == question))
    lines = [f"| {question} | " + " | ".join(f"{name} nDCG@10 | recall@25" for name in collections) + " |"]
    lines += ["| --- |" + " --: | --: |" * len(collections)]
    for answer in answers:
        found = [row for row in rows if (row["question"], row["answer"]) == (question, answer)]
        cells = [f"{row['ndcg']:.4f} | {row['recall_25']:.4f}" for row in found]
        lines.append(f"| {answer} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--databases", type=Path, metavar="FOLDER", help="make them there, or go on with those there")
    parser.add_argument("--write", action="store_true", help=f"put the results into {RESULTS.name} and .json")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for folder in arguments.folders:
            rows += measure(Collection(folder, (arguments.databases or Path(temporary)) / f"{folder.name}.db"))
    tables: list[str] = []
    for question in dict.fromkeys(str(row["question"]) for row in rows):
        tables += ["", *table(rows, question)] if tables else table(rows, question)
    print(*tables, sep="\n")
    if arguments.write:
        write(RESULTS, tables, rows)


if __name__ == "__main__":
    main()
