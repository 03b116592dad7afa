"""What the precision of an export does to the order of a reranker's results, on queries of NFCorpus."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest

from sqlrag.models import Embedder, Reranker
from tests.models.original import REASON, find_original, make_cross_encoder

pytestmark = [pytest.mark.torch, pytest.mark.data, pytest.mark.slow]
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'"
)

CANDIDATES = 25
# Every third of the 323 test queries: all of them take ten minutes on two cores.
EVERY = 3
# Enough for a query, a title and the first sentences; the whole of every abstract takes a quarter of an hour.
WINDOW = 64


def read_pairs(folder) -> list[tuple[str, str]]:
    """The pairs of each test query with its candidates, found by their titles."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = {query["_id"]: query["text"] for query in map(json.loads, file)}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        queries = [texts[key] for key in dict.fromkeys(row["query-id"] for row in csv.DictReader(file, delimiter="\t"))]
    queries = queries[::EVERY]
    embedder = Embedder()
    similar = embedder.encode_query(queries) @ embedder.encode_document([d["title"] for d in documents]).T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :CANDIDATES]
    return [
        (query, f"{documents[i]['title']} {documents[i]['text']}")
        for query, row in zip(queries, nearest, strict=True)
        for i in row
    ]


def top_three(scores) -> list[set[int]]:
    return [set(row) for row in np.argsort(-scores, axis=1, kind="stable")[:, :3].tolist()]


def test_a_reranker_keeps_its_top_three(shared_data, tmp_path):
    """The top 3 of 25 of an export are those of CrossEncoder.predict, as sets, for 95 % of the queries.

    What is exported by default is measured.
    """
    original = find_original()
    if original is None:
        pytest.skip(REASON)
    from sqlrag.models.export.onnx_export import export_onnx

    make_cross_encoder(original, tmp_path / "saved", WINDOW)
    export_onnx(tmp_path / "saved", tmp_path / "default", kind="cross-encoder", name="default")
    pairs = read_pairs(shared_data / "eval" / "nfcorpus")
    exact = sentence_transformers.CrossEncoder(str(tmp_path / "saved")).predict(pairs).reshape(-1, CANDIDATES)
    found = Reranker(tmp_path / "default").score_pairs(pairs).reshape(-1, CANDIDATES)
    assert len(exact) == 108
    same = np.mean([one == other for one, other in zip(top_three(exact), top_three(found), strict=True)])
    print(f"top 3 equal: {same:.3f}, mean error {np.abs(found - exact).mean():.5f}")
    assert same >= 0.95
