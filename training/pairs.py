"""The training collections: passages, queries of several kinds, and which passages answer which query.

From `../shared/data/train` (SQuAD, QED, MedQuAD, ACL, PubMedQA) and NFCorpus' train and dev splits: questions, titles
and topics as people wrote them. Keyword queries made from the passages' own words were tried and left out: they teach
that exact matches are all.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

# Queries taken of each collection: enough of each kind, and no kind drowns the others.
MOST = {"squad": 20_000, "qed": 7_167, "medquad": 7_000, "acl": 12_000, "pubmedqa": 1_000, "nfcorpus": 2_600}
HELD_BACK = 0.05
"""Share of the groups (articles, topics) that no training query comes from; checkpoints are compared on them."""


@dataclass
class Collection:
    """Passages, and queries with the numbers of the passages that answer them.

    `held_back` tells, per query, whether it belongs to the part that is never trained on.
    """

    name: str
    passages: list[str]
    queries: list[str] = field(default_factory=list)
    positives: list[list[int]] = field(default_factory=list)
    held_back: list[bool] = field(default_factory=list)

    def add(self, query: str, positives: list[int], held_back: bool) -> None:
        """Add a query."""
        self.queries.append(query)
        self.positives.append(positives)
        self.held_back.append(held_back)


def read_collections(data: Path) -> list[Collection]:
    """Return all training collections, the same at every call."""
    found = [read_pairs(data / "train" / f"{name}.jsonl.gz", name) for name in MOST if name != "nfcorpus"]
    found.append(read_nfcorpus(data / "eval" / "nfcorpus"))
    return found


def sample_texts(data: Path, count: int = 16) -> list[str]:
    """Return so many training queries of each collection and a passage of each, none held back."""
    texts = []
    for collection in read_collections(data):
        trained = [number for number, held_back in enumerate(collection.held_back) if not held_back]
        for number in random.Random(0).sample(trained, count):
            texts += [collection.queries[number], collection.passages[collection.positives[number][0]]]
    return texts


def read_pairs(path: Path, name: str) -> Collection:
    """Return the collection of a file of `query, positive, group` lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(name).shuffle(rows)
    rows = rows[: MOST[name]]
    numbers: dict[str, int] = {}
    answers: dict[str, list[int]] = defaultdict(list)
    groups: dict[str, str] = {}
    for row in rows:
        number = numbers.setdefault(row["positive"].strip(), len(numbers))
        answers[row["query"].strip()].append(number)
        groups.setdefault(row["query"].strip(), str(row["group"]))
    collection = Collection(name, list(numbers))
    # Where the group is only the source, a query stands for itself.
    grouped = len(set(groups.values())) > 20
    for query, positives in answers.items():
        collection.add(query, sorted(set(positives)), is_held_back(groups[query] if grouped else query))
    return collection


def read_nfcorpus(folder: Path) -> Collection:
    """Return NFCorpus with its train split's queries; the dev split's are held back, the test split's left out."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    numbers = {row["_id"]: number for number, row in enumerate(rows)}
    collection = Collection("nfcorpus", [f"{row['title']}\n\n{row['text']}".strip() for row in rows])
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    for split in ("train", "dev"):
        answers: dict[str, list[int]] = defaultdict(list)
        with (folder / "qrels" / f"{split}.tsv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if int(row["score"]) > 0:
                    answers[row["query-id"]].append(numbers[row["corpus-id"]])
        for query, positives in answers.items():
            collection.add(texts[query], positives, split == "dev")
    return collection


def is_held_back(group: str) -> bool:
    """Tell, the same on every machine, whether a group's queries are kept from training."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") < HELD_BACK * 2**32
