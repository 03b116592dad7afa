"""Embedder: the vector of a text, whatever is computed beside it."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from sqlrag.errors import InputError
from sqlrag.models import Embedder
from sqlrag.models.embedder import _QUERY_VECTORS


def test_a_vector_does_not_depend_on_what_is_beside_it(embedder, texts):
    """Alone, in any order, in any batch: the same bits."""
    together = embedder.encode_document(texts)
    alone = np.array([embedder.encode_document(text) for text in texts])
    assert together.tobytes() == alone.tobytes()
    order = random.Random(0).sample(range(len(texts)), len(texts))
    shuffled = embedder.encode_document([texts[i] for i in order])
    assert shuffled.tobytes() == together[order].tobytes()
    assert embedder.encode_document(texts[3:7] * 2).tobytes() == np.tile(together[3:7], (2, 1)).tobytes()


def test_a_vector_does_not_depend_on_the_number_of_threads(embedder, texts):
    """One thread and two: the same bits."""
    assert Embedder(threads=1).encode_document(texts).tobytes() == embedder.encode_document(texts).tobytes()


def test_callers_in_several_threads_get_the_same_vectors(embedder, texts):
    """Four threads that use one Embedder at once: the same bits as one."""
    expected = embedder.encode_document(texts).tobytes()
    found = []
    callers = [
        threading.Thread(target=lambda: found.append(embedder.encode_document(texts).tobytes())) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [expected] * 4


def test_vectors_are_float32_of_unit_length(embedder, texts):
    """Shape, type and length of what encode_query and encode_document return."""
    vectors = embedder.encode_document(texts)
    assert vectors.shape == (len(texts), embedder.dimension) == (len(texts), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.encode_query("Why?").shape == (384,)
    assert embedder.encode_document([]).shape == (0, 384)


def test_meaning_orders_the_texts(embedder):
    """The text that answers the question is nearer than the one that shares its words."""
    query = embedder.encode_query("how long does a piece of code take?")
    answer, decoy = embedder.encode_document(
        ["Measure execution time of small snippets.", "The code of conduct takes a piece of everyone's patience."]
    )
    assert query @ answer > query @ decoy


def test_query_vectors_are_remembered_within_bounds(monkeypatch):
    """A repeated query costs nothing; after as many others as are remembered it is encoded again, to the same bits."""
    assert _QUERY_VECTORS == 1024
    monkeypatch.setattr(Embedder, "_results_kept", 50)
    embedder = Embedder()
    first = embedder.query_vector("What is a cache?")
    assert embedder.texts_encoded == 1
    assert embedder.query_vector("What is a cache?").tobytes() == first.tobytes()
    assert embedder.texts_encoded == 1
    assert embedder.encode_query("What is a cache?").tobytes() == first.tobytes()
    assert embedder.made(first.tobytes())
    for number in range(50):
        embedder.query_vector(str(number))
    assert not embedder.made(first.tobytes())
    before = embedder.texts_encoded
    assert embedder.query_vector("What is a cache?").tobytes() == first.tobytes()
    assert embedder.texts_encoded == before + 1


def test_a_shared_query_vector_cannot_be_changed(embedder):
    """Who writes into a remembered vector gets an error instead of a spoilt memory."""
    with pytest.raises(ValueError, match="read-only"):
        embedder.query_vector("Why?")[0] = 1


def test_a_vector_of_another_model_is_not_taken_for_ones_own(embedder):
    """`made` knows the exact bytes, not near ones."""
    vector = embedder.query_vector("Why?").copy()
    assert embedder.made(vector.tobytes())
    vector[0] = np.nextafter(vector[0], np.float32(1))
    assert not embedder.made(vector.tobytes())


def test_the_count_of_encoded_texts_is_exact(texts):
    """Every text that ran through the model is counted, once."""
    embedder = Embedder()
    embedder.encode_document(texts)
    embedder.encode_query("Why?")
    embedder.query_vector("Why not?")
    assert embedder.texts_encoded == len(texts) + 2


def test_a_text_is_cut_at_the_window(embedder):
    """254 tokens fit; what stands behind them changes nothing, what stands before does."""
    assert (embedder.max_tokens, embedder.text_window) == (256, 254)
    full = "word " * 254
    assert embedder.token_count(full) == 254
    vector = embedder.encode_document(full)
    assert embedder.encode_document(full + "entirely different things").tobytes() == vector.tobytes()
    assert embedder.encode_document("word " * 253).tobytes() != vector.tobytes()


@pytest.mark.parametrize("call", ["encode_query", "encode_document", "token_count", "query_vector"])
@pytest.mark.parametrize("value", [5, None, b"bytes", 2.5], ids=repr)
def test_what_is_no_text_is_named(embedder, call, value):
    """Any other type is an InputError that shows the value."""
    with pytest.raises(InputError, match="must be a") as error:
        getattr(embedder, call)(value)
    assert repr(value) in str(error.value)


def test_what_is_no_text_in_a_list_is_named_by_its_place(embedder):
    """The error of a list says which item, and shows long values shortened."""
    with pytest.raises(InputError, match=r"document\[1\] must be a str, not int: 7"):
        embedder.encode_document(["fine", 7])
    with pytest.raises(InputError) as error:
        embedder.token_counts([["x" * 1000]])
    assert len(str(error.value)) < 200


def test_a_lone_surrogate_is_a_text(embedder):
    """What UTF-8 cannot hold counts as the replacement character, it does not crash."""
    assert embedder.encode_query("a \ud800 b").tobytes() == embedder.encode_query("a \ufffd b").tobytes()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_a_wrong_number_of_threads_is_named(threads):
    """`threads` is a whole number from 1."""
    with pytest.raises(InputError, match=f"threads must be a whole number from 1.*{threads!r}"):
        Embedder(threads=threads)
