"""A reader that training exported, run as users run a reranker: without torch, with and without kept states."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import sqlrag
from sqlrag.errors import ModelFileError

pytestmark = [pytest.mark.torch, pytest.mark.slow]
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
pytest.importorskip("scipy", reason="training needs scipy, which the torch extra brings")
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

QUERY = "How long does green tea steep?"
TEXTS = [
    "Let green tea steep for two minutes in water of 80 degrees.",
    "Copies are made every night.",
    "",
    "Tea 🍵 — 緑茶 is steeped, not boiled: " + "a longer text about leaves and water. " * 12,
    "green tea green tea",
    "It rains.",
    "Statins could delay the recurrence of breast cancer.",
    "A list of numbers is a vector.",
    "steep " * 400,
    "How long does green tea steep?",
]
VOCABULARY = 30_522


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of an untrained reader, all of whose parts have a say."""
    from compact import fitted
    from export_reader import export
    from reader import Reader

    drawn = np.random.default_rng(0)
    states = drawn.standard_normal((800, 384)).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    form = fitted(states, states, 96)
    torch.manual_seed(0)
    reader = Reader(torch.from_numpy(form.basis)).eval()
    for parameter in reader.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "reader"
    rare = drawn.random(VOCABULARY).astype(np.float32) * 8
    table = drawn.standard_normal((VOCABULARY, 384)).astype(np.float32)
    export(reader, form, rare, table, folder, scale=5.0)
    return folder


def test_a_score_does_not_depend_on_what_stands_beside_it(folder):
    backend = sqlrag.Reranker(folder)._backend
    kept = dict(zip(TEXTS, backend.encode(TEXTS)[1], strict=True))
    drawn = np.random.default_rng(1)
    for length in (1, 4, 5, 6, 9, 13, 30):
        query = " ".join(["tea", "leaf", "rain", "night", "water"] * 6)[: 6 * length].rsplit(" ", 1)[0]
        scores = backend.score([(query, text) for text in TEXTS], kept=kept)
        assert np.isfinite(scores).all()
        assert len(set(scores.tolist())) == len(TEXTS)
        order = drawn.permutation(len(TEXTS))
        again = backend.score([(query, TEXTS[place]) for place in order], kept=kept)
        assert again.tolist() == scores[order].tolist()
        assert [backend.score([(query, text)], kept=kept)[0] for text in TEXTS[:4]] == scores[:4].tolist()


def test_a_kept_text_scores_as_one_that_is_read_now(folder):
    backend = sqlrag.Reranker(folder)._backend
    pairs = [(query, text) for query in (QUERY, "", "rain", "a b c d e f g") for text in TEXTS]
    kept = dict(zip(TEXTS, backend.encode(TEXTS)[1], strict=True))
    assert backend.score(pairs, kept=kept).tolist() == backend.score(pairs).tolist()
    some = {text: kept[text] for text in TEXTS[::2]}
    assert backend.score(pairs, kept=some).tolist() == backend.score(pairs).tolist()
    assert [len(kept[text]) for text in TEXTS[:3]] == [6 + 192 + 26 * tokens for tokens in (13, 6, 0)]


def test_one_pass_gives_the_index_its_vectors_too(folder):
    vectors, blobs = sqlrag.Reranker(folder)._backend.encode(TEXTS)
    assert np.array_equal(vectors, sqlrag.Embedder()._backend.embed(TEXTS, "document"))
    assert len(blobs) == len(TEXTS)


def test_what_cannot_be_read_is_encoded_anew(folder):
    backend = sqlrag.Reranker(folder)._backend
    _, (blob,) = backend.encode(TEXTS[:1])
    expected = backend.score([(QUERY, TEXTS[0])]).tolist()
    other_form, no_word = bytes([blob[0] ^ 1]) + blob[1:], blob[:198] + b"\xff\xff" + blob[200:]
    for damaged in (b"", blob[:-1], blob + b"\0", other_form, no_word):
        assert backend.score([(QUERY, TEXTS[0])], kept={TEXTS[0]: damaged}).tolist() == expected


def test_a_budget_scores_the_first_texts(folder):
    found = sqlrag.Reranker(folder, threads=1).score_until(QUERY, TEXTS, 0)
    assert np.isfinite(found).tolist() == [True] + [False] * (len(TEXTS) - 1)


def test_a_reader_of_another_encoder_says_so(folder, tmp_path):
    import json
    import shutil

    copy = shutil.copytree(folder, tmp_path / "other")
    told = json.loads((copy / "sqlrag.json").read_text())
    (copy / "sqlrag.json").write_text(json.dumps(told | {"encoder": "all-MiniLM-L6-v2@000000000000"}))
    with pytest.raises(ModelFileError, match="reads the states of all-MiniLM-L6-v2@000000000000"):
        sqlrag.Reranker(copy)


def test_it_reranks_in_sql(folder, tmp_path):
    with sqlrag.connect(tmp_path / "tea.db", reranker=str(folder)) as db:
        (score,) = db.execute("SELECT rerank_score(?, ?)", [QUERY, TEXTS[0]]).fetchone()
    assert score == pytest.approx(float(sqlrag.Reranker(folder).score(QUERY, TEXTS[:1])[0]))
