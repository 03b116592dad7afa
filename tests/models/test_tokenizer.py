"""Counting and cutting: exact, and quick on texts of any length."""

from __future__ import annotations

import functools
import random
import time

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrag.models import ModelSpec, bundled_models
from sqlrag.models.tokenizer import ModelTokenizer, cut_pair
from tests.sizes import examples

SPEC: ModelSpec = bundled_models()["all-MiniLM-L6-v2"]
PATH = SPEC.folder / "tokenizer.json"
OURS = ModelTokenizer(PATH)

WORDS = [
    "the",
    "Coffee",
    "naïve",
    "東京",
    "😀",
    "don't,",
    "3.14",
    "antidisestablishmentarianism",
    "\n\n",
    "x-ray",
    "ﬁne",
    "é",
]


@functools.cache
def native(max_tokens: int) -> tokenizers.Tokenizer:
    """The library's own tokenizer with its own truncation: what sentence-transformers uses."""
    tokenizer = tokenizers.Tokenizer.from_file(str(PATH))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, strategy="longest_first")
    return tokenizer


def words(seed: int, count: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


@pytest.mark.parametrize("count", [0, 1, 100, 300, 3000])
def test_inputs_are_those_of_the_library(count):
    """Ids, types and mask of a text, cut or not, equal those of the library's truncation."""
    text = words(count, count)
    ours, theirs = OURS.singles([text], 256)[0], native(256).encode(text)
    assert (ours.ids, ours.type_ids, ours.attention_mask) == (
        theirs.ids,
        theirs.type_ids,
        theirs.attention_mask,
    )


@pytest.mark.parametrize("sides", [(3, 40), (3, 3000), (3000, 3), (400, 401), (3000, 3001), (3001, 3000), (0, 0)])
def test_pairs_are_those_of_the_library(sides):
    """A pair is cut as the library cuts it, its longer side first, also where both are far too long."""
    query, document = words(1, sides[0]), words(2, sides[1])
    ours, theirs = OURS.pairs([(query, document)], 512)[0], native(512).encode(query, document)
    assert (ours.ids, ours.type_ids) == (theirs.ids, theirs.type_ids)


def test_pairs_that_share_a_query_do_not_disturb_each_other():
    """A pair that needs cutting leaves the shared query whole for the next."""
    query = words(3, 250)
    pairs = [(query, words(4, 20)), (query, words(5, 3000)), (query, words(4, 20))]
    expected = [native(512).encode(*pair).ids for pair in pairs]
    assert [encoding.ids for encoding in OURS.pairs(pairs, 512)] == expected


@given(first=st.integers(0, 40), second=st.integers(0, 40), room=st.integers(2, 30))
@settings(deadline=None)
def test_the_cut_of_a_pair_is_the_librarys(first, second, room):
    """`cut_pair` keeps as many tokens of each side as "longest_first", for all lengths."""
    tokenizer = native(room + 3)
    encoding = tokenizer.encode("a " * first, "b " * second)
    kept = [sum(token == side for token in encoding.tokens) for side in "ab"]
    assert list(cut_pair(first, second, room)) == kept


@given(st.text(alphabet=st.sampled_from(list("ab é東😀,.\n\t -'\u0301\u200d")), max_size=400), st.integers(1, 40))
@pytest.mark.sized
@settings(deadline=None, max_examples=examples(50, 200))
def test_a_prefix_gives_the_same_first_tokens(text, tokens):
    """The prefix that is tokenized in place of a long text begins with the same tokens, wherever it ends."""
    text = text * 20
    whole = OURS.loaded.encode(text, add_special_tokens=False).ids
    prefix = OURS._enough(text, tokens)
    assert OURS.loaded.encode(prefix, add_special_tokens=False).ids[:tokens] == whole[:tokens]


@pytest.mark.parametrize("text", ["", " ", "Hello, world", words(6, 50_000), "東京" * 50_000], ids=len)
def test_counts_are_exact(text):
    """The count of a text taken in pieces is that of the whole text."""
    assert OURS.counts([text, "two words"]) == [len(OURS.loaded.encode(text, add_special_tokens=False)), 2]


@pytest.mark.parametrize("unit", ["lorem ipsum dolor sit amet ", "x-", "x", "\u200d", " "], ids=repr)
def test_megabytes_are_cut_at_once(unit):
    """A megabyte, with or without words in it, becomes a model's input within seconds, and the right one."""
    text = unit * (1_000_000 // len(unit))
    start = time.perf_counter()
    encoding = OURS.singles([text], 256)[0]
    assert time.perf_counter() - start < 20
    assert encoding.ids == native(256).encode(text).ids


def test_five_megabytes_of_words_cost_no_more_than_a_page():
    """Only as much of a long text is read as fits into the window."""
    start = time.perf_counter()
    assert len(OURS.pairs([("a question", "lorem ipsum dolor " * 280_000)], 512)[0].ids) == 512
    assert time.perf_counter() - start < 1


def test_counting_five_megabytes_takes_seconds():
    """Counting must read everything, and still does not take minutes."""
    start = time.perf_counter()
    assert OURS.counts(["lorem ipsum dolor " * 280_000]) == [280_000 * OURS.counts(["lorem ipsum dolor"])[0]]
    assert time.perf_counter() - start < 60
