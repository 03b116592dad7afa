"""The lists that the reader is trained on: a query, what both first stages return for it, and how good each is.

Graded lists come as they are. For the other collections a query's pool is what vectors and BM25 return of all passages
(NFCorpus: of its own), and what is known to answer it is 1, the rest 0. Besides the queries of `pairs` there are
keyword and lower-case forms of SQuAD's questions, headings of manuals (the passages under them answer) and sentences
taken out of their passages.

    python training/lists.py --data ../shared/data --cache CACHE
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from candidates import BM25, vector_top_k
from kept_states import encode, read_states
from numpy.typing import NDArray
from pairs import is_held_back, read_nfcorpus

POOL = 25
PASSAGE_TOKENS, QUERY_TOKENS = 256, 64
MOST = {"squad": 20_000, "qed": 7_200, "medquad": 9_000, "acl": 16_000, "pubmedqa": 1_000}
FORMS = {"keywords": 12_000, "lower": 10_000}
"""How many further questions of SQuAD are turned into keywords, and into lower case without a question mark."""
CLOZE = 9_000
"""How many sentences are taken out of their passages."""
_MOST_UNDER_A_HEADING = 5
_STOP = re.compile(
    "an?|the|of|in|on|at|to|for|from|by|with|and|or|is|are|was|were|be|been|being|do|does|did|has|have|had|what|which|"
    "who|whom|whose|when|where|why|how|many|much|its?|this|that|these|those|there|their|his|her|he|she|they|as|can|"
    "could|would|should|may|might|will|than|then|into|about"
)
_NUMBER = re.compile(r"^([A-Z]?[\d.]+\s+)+")


@dataclass
class Lists:
    """Queries with their candidates, by the numbers of passages.

    `grades`: 0 to 1. `searched`: how many of the passages the graded lists' searches go through.
    """

    queries: list[str] = field(default_factory=list)
    collections: list[str] = field(default_factory=list)
    held_back: list[bool] = field(default_factory=list)
    candidates: list[list[int]] = field(default_factory=list)
    grades: list[list[float]] = field(default_factory=list)
    searched: int = 0

    def add(self, query: str, collection: str, held_back: bool, candidates: list[int], grades: list[float]) -> None:
        """Add a list."""
        self.queries.append(query)
        self.collections.append(collection)
        self.held_back.append(held_back)
        self.candidates.append(candidates)
        self.grades.append(grades)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Lists:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Corpus:
    """All passages: those of the graded lists first, then NFCorpus' own pool.

    `whole`: with the passages of the other collections that are not among those of the graded lists, twice as many,
    and the queries that they answer. `searched` ends where NFCorpus begins; passages with a sentence taken out, which
    no search returns, come after it.
    """

    def __init__(self, data: Path, whole: bool) -> None:
        self.rows = read_rows(data / "train" / "passages.jsonl.gz")
        self.texts = [row["text"].strip() for row in self.rows]
        self._numbers = {text: number for number, text in reversed(list(enumerate(self.texts)))}
        self.pairs = {name: read_rows(data / "train" / f"{name}.jsonl.gz") for name in MOST}
        for name, rows in self.pairs.items():
            if not whole:
                self.pairs[name] = [row for row in rows if row["positive"].strip() in self._numbers]
            for row in self.pairs[name]:
                text = row["positive"].strip()
                if text not in self._numbers:
                    self._numbers[text] = len(self.texts)
                    self.texts.append(text)
        self.searched = len(self.texts)
        self.nfcorpus = read_nfcorpus(data / "eval" / "nfcorpus")
        self.texts += self.nfcorpus.passages
        self.cloze = list(cloze(self.texts[: len(self.rows)]))
        self.texts += [text for _, _, text in self.cloze]

    def number(self, text: str) -> int:
        """Return the number of a passage."""
        return self._numbers[text.strip()]


def read_rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def queries(corpus: Corpus) -> Iterator[tuple[str, str, bool, list[int]]]:
    """Yield query, collection, whether it is held back, and the passages that answer it; NFCorpus has its own way."""
    for name, rows in corpus.pairs.items():
        random.Random(name).shuffle(rows)
        grouped = len({row["group"] for row in rows}) > 20
        answers: dict[tuple[str, str], list[int]] = defaultdict(list)
        groups = {}
        for row, form in zip(rows, _forms(name), strict=False):
            query = reworded(row["query"].strip(), form)
            if query:
                answers[query, f"{name} {form}".strip()].append(corpus.number(row["positive"]))
                groups[query] = str(row["group"]) if grouped else query
        for (query, collection), positives in answers.items():
            yield query, collection, is_held_back(groups[query]), sorted(set(positives))
    yield from headings(corpus.rows)


def _forms(name: str) -> list[str]:
    """Return in which form each of a collection's queries is taken: as it is, or reworded."""
    further = [form for form, count in FORMS.items() for _ in range(count)] if name == "squad" else []
    return [""] * MOST[name] + further


def headings(rows: list[dict[str, str]]) -> Iterator[tuple[str, str, bool, list[int]]]:
    """Yield the headings of manuals, each with the few passages under it."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        heading = _NUMBER.sub("", row["title"]).strip()
        if len(heading.split()) > 1 and row["source"] not in {"squad", "qed", "medquad"}:
            found[row["source"], heading].append(number)
    for (_, heading), positives in found.items():
        if len(positives) <= _MOST_UNDER_A_HEADING:
            yield heading, "headings", is_held_back(heading), positives


def reworded(question: str, form: str) -> str:
    """Return a question as keywords or as people type it."""
    if form == "keywords":
        words = [word for word in re.findall(r"[\w'.-]+", question) if not _STOP.fullmatch(word.lower())]
        return " ".join(words).strip(".") if 2 <= len(words) <= 8 else ""
    return question.lower().rstrip("? ") if form == "lower" else question


def cloze(passages: list[str]) -> Iterator[tuple[str, int, str]]:
    """Yield sentences, the number of the passage that each comes from, and the passage without it."""
    drawn = random.Random(0)
    numbers = list(range(len(passages)))
    drawn.shuffle(numbers)
    found = 0
    for number in numbers:
        sentences = re.split(r"(?<=[.!?]) +(?=[A-Z])", passages[number])
        chosen = drawn.randrange(len(sentences))
        if len(sentences) < 4 or not 7 <= len(sentences[chosen].split()) <= 28:
            continue
        yield sentences[chosen], number, " ".join(sentences[:chosen] + sentences[chosen + 1 :])
        found += 1
        if found == CLOZE:
            return


def graded_held_back(query: str) -> bool:
    """Tell whether a graded list belongs to the fifth that is kept from training."""
    return int.from_bytes(hashlib.sha256(query.encode()).digest()[:4], "big") < 0.2 * 2**32


def vectors_of(parts: list[Path]) -> NDArray[np.float32]:
    return np.concatenate([read_states(part).vectors for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--whole", action="store_true", help="all passages of all collections, not only the sample")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    corpus = Corpus(arguments.data, arguments.whole)
    cache, threads = arguments.cache, arguments.threads
    graded = read_rows(arguments.data / "train" / "graded.jsonl.gz")
    others = list(queries(corpus))
    asked = [row["query"] for row in graded]
    asked += [query for query, *_ in others] + corpus.nfcorpus.queries + [query for query, *_ in corpus.cloze]
    print(f"{len(corpus.texts):,} passages, {len(asked):,} queries", flush=True)
    vectors = vectors_of(encode(corpus.texts, PASSAGE_TOKENS, cache, "corpus", threads))
    asked_vectors = vectors_of(encode(asked, QUERY_TOKENS, cache, "queries", threads))
    lists = Lists(searched=len(corpus.rows))
    numbers = {row["id"]: number for number, row in enumerate(corpus.rows)}
    for row in graded:
        chosen = [numbers[identifier] for identifier, _ in row["candidates"]]
        grades = [grade / 3 for _, grade in row["candidates"]]
        lists.add(row["query"], f"graded {row['source']}", graded_held_back(row["query"]), chosen, grades)
    place = len(graded)
    searches = (
        (0, corpus.searched, others),
        (
            corpus.searched,
            corpus.searched + len(corpus.nfcorpus.passages),
            [
                (query, "nfcorpus", held_back, [corpus.searched + number for number in positives])
                for query, positives, held_back in zip(
                    corpus.nfcorpus.queries, corpus.nfcorpus.positives, corpus.nfcorpus.held_back, strict=True
                )
            ],
        ),
        (
            0,
            corpus.searched,
            [(sentence, "cloze", is_held_back(str(number)), [number]) for sentence, number, _ in corpus.cloze],
        ),
    )
    first_cloze = corpus.searched + len(corpus.nfcorpus.passages)
    for begin, end, wanted in searches:
        lexical = BM25(corpus.texts[begin:end])
        nearest = vector_top_k(asked_vectors[place : place + len(wanted)], vectors[begin:end], POOL)
        for row, (query, collection, held_back, positives) in enumerate(wanted):
            pool = list(dict.fromkeys([*nearest[row].tolist(), *lexical.top_k(query, POOL).tolist()]))
            pool = [begin + number for number in pool]
            if collection == "cloze":
                # The passage itself contains the sentence: it gives way to the one without it.
                pool = [first_cloze + row, *(number for number in pool if number not in positives)]
                positives = [first_cloze + row]  # noqa: PLW2901
            known = set(positives)
            grades = [1.0 if number in known else 0.0 for number in pool]
            lists.add(query, collection, held_back, pool, grades)
        place += len(wanted)
        print(f"{place:,} lists", flush=True)
    lists.save(cache / "lists.json")
    (cache / "texts.json").write_text(json.dumps(corpus.texts), encoding="utf-8")


if __name__ == "__main__":
    main()
