"""The second reranker's reader: a pair's logit does not depend on what else is scored with it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
pytest.importorskip("scipy", reason="training needs scipy, which the torch extra brings")
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

VOCABULARY = 300
DRAWN = np.random.default_rng(0)


def texts_of(lengths, width, levels):
    """Texts of random words and states."""
    from train_reader import Texts

    start = np.cumsum([0, *lengths])
    ids = DRAWN.integers(5, VOCABULARY, start[-1]).astype(np.uint16)
    vectors = DRAWN.standard_normal((len(lengths), 384)).astype(np.float32)
    return Texts(start, ids, DRAWN.integers(0, levels, (start[-1], width)), vectors)


@pytest.fixture(scope="module")
def data():
    """Three queries and six passages, one of them empty."""
    from compact import fitted
    from lists import Lists
    from train_reader import Data

    states = DRAWN.standard_normal((500, 384)).astype(np.float32)
    form = fitted(states / np.linalg.norm(states, axis=1, keepdims=True), states[:50], 96)
    queries, passages = texts_of([3, 9, 1], 384, 127), texts_of([20, 7, 45, 1, 0, 30], 96, 4)
    words = torch.nn.functional.normalize(torch.randn(VOCABULARY, 384), dim=-1)
    return Data(Lists(), queries, passages, form, words, torch.rand(VOCABULARY) * 8)


@pytest.fixture(scope="module")
def reader(data):
    """A reader whose parts all have a say."""
    from reader import Reader

    torch.manual_seed(0)
    reader = Reader(torch.from_numpy(data.form.basis)).eval()
    for parameter in reader.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return reader


@torch.no_grad()
def logits(reader, data, chosen):
    """The logits, a row for each query."""
    return reader(data.batch(chosen)).view(len(chosen), -1).numpy()


def test_a_pair_scores_the_same_alone_and_in_a_batch(reader, data):
    together = logits(reader, data, [(0, [0, 1, 2, 3, 4, 5]), (1, [5, 4, 3, 2, 1, 0]), (2, [0, 0, 0, 4, 2, 1])])
    for row, (query, candidates) in enumerate([(0, [0, 1, 2, 3, 4, 5]), (1, [5, 4, 3, 2, 1, 0])]):
        alone = [logits(reader, data, [(query, [candidate])])[0, 0] for candidate in candidates]
        np.testing.assert_allclose(together[row], alone, atol=2e-5)
    assert len(set(together.round(3).ravel())) > 10


def test_an_empty_passage_has_a_score(reader, data):
    assert np.isfinite(logits(reader, data, [(0, [4])])).all()


def test_what_is_kept_of_a_text_depends_on_nothing_else(data):
    states = DRAWN.standard_normal((40, 384)).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    codes = data.form.codes(states)
    assert np.array_equal(codes[7:8], data.form.codes(states[7:8]))
    assert np.array_equal(codes[::-1], data.form.codes(states[::-1]))
    assert codes.max() == 3
    np.testing.assert_allclose(np.linalg.norm(data.form.values(codes), axis=1), 1, atol=1e-5)


@torch.no_grad()
def test_training_leaves_out_tokens_but_never_a_whole_query(reader, data):
    chosen = [(0, [0, 1]), (1, [2, 3]), (2, [5, 4])]
    for seed in range(20):
        batch = data.batch(chosen, np.random.default_rng(seed))
        assert (batch.query.sum(1) >= torch.tensor([2, 2, 1])).all()
        assert torch.isfinite(reader(batch)).all()
    assert batch.passage.sum() < data.batch(chosen).passage.sum()
