"""The reranker's network, as training/ builds it: what it computes does not depend on what stands beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models.original import REASON, find_original

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
pytest.importorskip("scipy", reason="training needs scipy, which the torch extra brings")
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

PAIRS = [
    ("what is a vector?", "a list of numbers"),
    ("statins and breast cancer survival", "Statins, an established drug group, could delay recurrence. " * 6),
    ("", "an empty query is a query"),
    ("an empty text is a text", ""),
]


@pytest.fixture(scope="module", params=[6, 3])
def network(request):
    """The network with weights of its own start, of each depth."""
    original = find_original()
    if original is None:
        pytest.skip(REASON)
    from structure import Reranker
    from transformers import AutoModel
    from weighing import Weighing

    bert = AutoModel.from_pretrained(original, attn_implementation="eager", num_hidden_layers=request.param)
    torch.manual_seed(0)
    trained = Weighing(torch.rand(bert.config.vocab_size) * 10, request.param)
    torch.nn.init.normal_(trained.finer[-1].weight)
    return Reranker(bert, trained, 0.5, -3.0).eval()


@pytest.fixture(scope="module")
def tokenizer():
    """The tokenizer of the original weights."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_original())


def logits(network, tokenizer, pairs) -> np.ndarray:
    """The logits of pairs in one padded batch."""
    inputs = tokenizer([q for q, _ in pairs], [t for _, t in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        return network(**{name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")})[
            "logits"
        ].numpy()


def test_a_pair_scores_the_same_alone_and_in_a_batch(network, tokenizer):
    """Padding, and other pairs with longer queries, change nothing; empty sides have a score."""
    together = logits(network, tokenizer, PAIRS)
    alone = [logits(network, tokenizer, [pair])[0] for pair in PAIRS]
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert len({round(float(one), 3) for one in alone}) == len(PAIRS)


def test_each_side_gets_the_states_that_it_gets_alone(network, tokenizer):
    """Query and passage are encoded as the embedder encodes them: with a [CLS] and positions of their own."""
    query, text = PAIRS[1]
    from structure import _with_second_cls

    pair = tokenizer(query, text, return_tensors="pt")
    with torch.no_grad():
        side_by_side = network._states(
            *_with_second_cls(pair["input_ids"], pair["attention_mask"], pair["token_type_ids"])
        )[-1][0]
        first = network.bert(**tokenizer(query, return_tensors="pt")).last_hidden_state[0]
        second = network.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(side_by_side[: len(first)], first, atol=1e-4)
    np.testing.assert_allclose(side_by_side[len(first) : -1], second[1:], atol=1e-4)
    np.testing.assert_allclose(side_by_side[-1], second[0], atol=1e-4)


def test_candidates_are_drawn_from_what_was_returned():
    """A positive passage that no stage returned is not trained on, and neither is a query without any."""
    from candidates import BM25, draw

    drawn = np.random.default_rng(0)
    chosen, grades = draw([5, 6, 7, 8], [7, 99], 3, drawn)
    assert (chosen[0], grades) == (7, [1.0, 0.0, 0.0])
    assert set(chosen) <= {5, 6, 7, 8}
    assert draw([5, 6], [99], 3, drawn) == ([], [])
    found = BM25(["the cat sat", "a dog ran", "a cat and a cat"]).top_k("cat", 3)
    assert found.tolist() in ([2, 0], [0, 2])
