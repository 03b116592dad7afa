"""What int8 does to the order of a reranker's results, on all queries of NFCorpus."""

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
    embedder = Embedder()
    similar = embedder.encode_query(queries) @ embedder.encode_document([d["title"] for d in documents]).T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :CANDIDATES]
    return [
        (query, f"{documents[i]['title']} {documents[i]['text']}")
        for query, row in zip(queries, nearest, strict=True)
        for i in row
    ]


def test_int8_keeps_the_top_three(shared_data, tmp_path):
    """The top 3 of 25 by int8 are, up to neighbours, those of CrossEncoder.predict for 95 % of the queries.

    A looser measure than identical sets, which 80.5 % of the queries have (0.75 is asserted): documents within
    0.01 of the exact third score count as equal. The 0.01 was chosen after the results were seen (0.005: 95.0 %).
    """
    original = find_original()
    if original is None:
        pytest.skip(REASON)
    from sqlrag.models.export import export_onnx

    make_cross_encoder(original, tmp_path / "saved", WINDOW)
    export_onnx(tmp_path / "saved", tmp_path / "int8", kind="cross-encoder", name="int8")
    pairs = read_pairs(shared_data / "eval" / "nfcorpus")
    exact = sentence_transformers.CrossEncoder(str(tmp_path / "saved")).predict(pairs).reshape(-1, CANDIDATES)
    int8 = Reranker(tmp_path / "int8").score_pairs(pairs).reshape(-1, CANDIDATES)
    assert len(exact) == 323
    best, found = (np.argsort(-scores, axis=1, kind="stable")[:, :3] for scores in (exact, int8))
    third = np.take_along_axis(exact, best, 1).min(1)
    worst = np.take_along_axis(exact, found, 1).min(1)
    same = np.mean([set(a) == set(b) for a, b in zip(best.tolist(), found.tolist(), strict=True)])
    within = np.mean(worst >= third - 0.01)
    print(f"top 3 equal: {same:.3f}, up to 0.01: {within:.3f}, mean error {np.abs(int8 - exact).mean():.4f}")
    assert within >= 0.95
    assert same >= 0.75
