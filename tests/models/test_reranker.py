"""Reranker: the score of a pair, whatever is computed beside it, and never paid twice."""

from __future__ import annotations

import itertools
import math
import random
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sqlrag.errors import InputError
from sqlrag.models import Reranker
from sqlrag.models.onnx import OnnxScorer
from sqlrag.models.spec import ModelSpec

QUERY = "Why do people drink coffee in the morning?"


def test_a_score_does_not_depend_on_what_is_beside_it(texts):
    """Alone, in any order, in any batch, with one thread and with two: the same bits."""
    together = Reranker(threads=2).score(QUERY, texts)
    alone = Reranker(threads=1)
    assert np.array([alone.score(QUERY, [text])[0] for text in texts]).tobytes() == together.tobytes()
    order = random.Random(0).sample(range(len(texts)), len(texts))
    shuffled = Reranker(threads=2).score(QUERY, [texts[i] for i in order])
    assert shuffled.tobytes() == together[order].tobytes()
    assert Reranker(threads=1).score(QUERY, texts).tobytes() == together.tobytes()


def test_scores_are_probabilities_in_shape(reranker, texts):
    """float32 within 0 and 1, one per text; none for no texts."""
    scores = reranker.score(QUERY, texts)
    assert (scores.shape, scores.dtype) == ((len(texts),), np.float32)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert reranker.score(QUERY, []).shape == (0,)


def test_the_answer_scores_higher_than_the_rest(reranker):
    """A text that answers the question stands first."""
    documents = [
        "Coffee beans are the seeds of a fruit that grows in the tropics.",
        "Caffeine blocks adenosine, so a cup after getting up makes people feel awake.",
        "The morning train to Leeds is late.",
    ]
    assert reranker.rank(QUERY, documents)[0]["corpus_id"] == 1


def test_a_pair_is_paid_for_once(texts):
    """Repeated pairs, across calls and within one, run through the model once."""
    reranker = Reranker()
    first = reranker.score(QUERY, texts[:4] * 3)
    assert reranker.pairs_scored == 4
    assert first.tobytes() == np.tile(first[:4], 3).tobytes()
    assert reranker.score(QUERY, texts[:5])[:4].tobytes() == first[:4].tobytes()
    assert reranker.pairs_scored == 5
    reranker.score("Another question?", texts[:4])
    assert reranker.pairs_scored == 9


def test_the_memo_keeps_query_and_text_apart():
    """("a", "bc") and ("ab", "c") are two pairs."""
    reranker = Reranker()
    reranker.score_pairs([("a", "bc"), ("ab", "c"), ("", "abc")])
    assert reranker.pairs_scored == 3


def test_score_pairs_is_score(reranker, texts):
    """Both ways to ask give the same bits."""
    pairs = [(QUERY, text) for text in texts]
    assert reranker.score_pairs(pairs).tobytes() == reranker.score(QUERY, texts).tobytes()


def test_rank_is_that_of_a_cross_encoder(reranker, texts):
    """Sorted by falling score, equal ones in their order; top_k cuts; the text comes when asked for."""
    documents = [texts[0], texts[1], texts[0], texts[2]]
    scores = reranker.score(QUERY, documents).tolist()
    ranked = reranker.rank(QUERY, documents)
    assert [hit["corpus_id"] for hit in ranked] == sorted(range(4), key=lambda i: (-scores[i], i))
    assert [hit["score"] for hit in ranked] == sorted(scores, reverse=True)
    assert all(set(hit) == {"corpus_id", "score"} for hit in ranked)
    assert reranker.rank(QUERY, documents, top_k=2) == ranked[:2]
    best = reranker.rank(QUERY, documents, top_k=1, return_documents=True)[0]
    assert best["text"] == documents[best["corpus_id"]]


def test_a_long_pair_is_cut_at_its_longer_side(reranker):
    """Text behind the window changes nothing; the short side stays whole."""
    assert reranker.max_tokens == 512
    room = 512 - 3 - 1
    document = "word " * room
    score = reranker.score("coffee", [document])
    assert reranker.score("coffee", [document + "and much more"]).tobytes() == score.tobytes()
    assert reranker.score("coffee", ["word " * (room - 1)]).tobytes() != score.tobytes()


@pytest.mark.parametrize("documents", [5, "one text", None, b"bytes"], ids=repr)
def test_documents_that_are_no_texts_are_named(reranker, documents):
    """A str where texts are expected is a mistake too, and is named as one."""
    with pytest.raises(InputError, match="documents must be a sequence of str") as error:
        reranker.score(QUERY, documents)
    assert repr(documents) in str(error.value)


def test_a_wrong_pair_is_named(reranker):
    """The error says which pair, and what is wrong with it."""
    with pytest.raises(InputError, match=r"pairs\[1\] must be \(query, document\), not 3 texts"):
        reranker.score_pairs([("a", "b"), ("a", "b", "c")])
    with pytest.raises(InputError, match=r"pairs\[0\]\[1\] must be a str, not int: 3"):
        reranker.score_pairs([("a", 3)])
    with pytest.raises(InputError, match="query must be a str, not NoneType: None"):
        reranker.score(None, ["a"])


def test_a_budget_is_kept_pair_by_pair(texts, monkeypatch):
    """Until the time is over, in their order and at least the first; the rest are NaN and are not remembered."""
    ticks = itertools.count()
    monkeypatch.setattr("sqlrag.models.onnx.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    reranker = Reranker(threads=1)
    assert reranker.remembered(QUERY, texts[:2]) == [None, None]
    found = reranker.score_until(QUERY, texts, 3)
    assert reranker.pairs_scored == 4
    assert np.isnan(found[4:]).all()
    assert found[:4].tobytes() == Reranker(threads=2).score(QUERY, texts[:4]).tobytes()
    assert reranker.remembered(QUERY, texts[:5]) == [*found[:4].tolist(), None]
    assert reranker.score_until(QUERY, texts, 0)[:5].tobytes() == reranker.score(QUERY, texts[:5]).tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_budget_that_is_enough(texts, threads):
    """All are scored, with the same bits."""
    found = Reranker(threads=threads).score_until(QUERY, texts, math.inf)
    assert found.tobytes() == Reranker(threads=2).score(QUERY, texts).tobytes()


def test_an_error_in_a_thread_is_raised(reranker, monkeypatch):
    """Whatever it is, also an IndexError, in the caller's thread; the next call works."""
    with monkeypatch.context() as patched:
        patched.setattr(reranker._backend.tokenizer, "pairs", lambda *_: [])
        with pytest.raises(IndexError):
            reranker.score_until("an error?", ["a", "b", "c"], math.inf)
    assert np.isfinite(reranker.score("an error?", ["a", "b", "c"])).all()


def test_what_decides_a_score_is_in_its_fingerprint(tmp_path):
    """Not the name, the folder or the number of threads; but each of weights, tokenizer, window and activation."""
    spec = Reranker().spec
    changes = {"same": {}, "weights": {"weights_hash": "0" * 64}, "window": {"max_tokens": 100}}
    changes |= {"activation": {"activation": "identity"}, "tokenizer": {}, "name": {"name": "other"}}
    found = {}
    for name, change in changes.items():
        folder = shutil.copytree(spec.folder, tmp_path / name)
        replace(spec, **change).save(folder)
        if name == "tokenizer":
            (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
        found[name] = _fingerprint(ModelSpec.load(folder))
    assert found.pop("same") == found.pop("name") == Reranker(threads=1).fingerprint
    assert len(set(found.values())) == 4


def _fingerprint(spec):
    reranker = Reranker()
    reranker._backend = OnnxScorer(spec)
    return reranker.fingerprint
