"""The chunker: it loses and repeats no text, its offsets are exact, and no chunk is too long."""

from __future__ import annotations

import functools
import itertools
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

import sqlrag
from sqlrag.errors import InputError
from sqlrag.text import chunking
from sqlrag.text.chunking import DEFAULT_MAX_TOKENS, DEFAULT_OVERLAP, Chunk, Chunker
from sqlrag.text.counting import TokenCounter
from tests.sizes import examples

TOKENIZER_JSON = Path(sqlrag.__file__).parent / "models/bundled/all-MiniLM-L6-v2/tokenizer.json"

# Single characters, and parts that splitters stumble over.
PARTS = [
    *("# ", "## Two\n", "\n\n", "\n", "\r\n", "\r", " ", "    ", "\t", "```\n", "> ", "- ", "1. ", "| a |\n|---|\n"),
    *("Hello there. ", "Who? ", "unbelievably ", "x" * 150, "漢字", "。", "👨‍👩‍👧‍👦", "e\u0301", "각", "\0", "\u2028"),
    *("\x1c", "\xa0", "\u200b", "\ufeff", "[", "](http://a.b/c)", "*", "_", "<div>", "&amp;", "---\n", "===\n"),
]
TEXTS = st.lists(st.sampled_from(PARTS) | st.characters(codec="utf-8"), max_size=120).map("".join)


@functools.cache
def bert() -> Tokenizer:
    """Return the bundled embedder's tokenizer, without truncation and padding."""
    loaded = Tokenizer.from_file(str(TOKENIZER_JSON))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def tokens(text: str) -> int:
    """Return the number of tokens that the tokenizer itself sees in a text."""
    return len(bert().encode(text, add_special_tokens=False))


@functools.cache
def counter() -> TokenCounter:
    """Return one counter for all examples: what it remembers must not show."""
    return TokenCounter(bert())


def check(text: str, chunks: list[Chunk], chunker: Chunker) -> None:
    """Assert all that `Chunker.chunks` promises."""
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    done = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start_char : chunk.end_char]
        assert chunk.text == chunk.text.strip() != ""
        assert chunk.ordinal > 200 or tokens(chunk.text) <= chunker.max_tokens or len(chunk.text) == 1
        assert not text[done : chunk.start_char].strip(), "characters are in no chunk"
        assert chunker.overlap or done <= chunk.start_char, "characters are in two chunks"
        done = chunk.end_char
    assert not text[done:].strip(), "characters are in no chunk"
    for before, after in itertools.pairwise(chunks):
        assert before.start_char < after.start_char
        assert before.end_char < after.end_char


@functools.cache
def chunker_of(max_tokens: int, overlap: int) -> Chunker:
    """Return the chunker of these sizes; making one takes longer than using it."""
    return Chunker(TOKENIZER_JSON, max_tokens, overlap)


@pytest.mark.sized
@settings(max_examples=examples(75, 300), deadline=None)
@given(text=TEXTS, sizes=st.sampled_from([(1, 0), (2, 1), (3, 0), (5, 4), (12, 0), (16, 3), (40, 0), (40, 39)]))
def test_nothing_is_lost_or_repeated(text, sizes):
    """Every character is in a chunk, in order, at its offset; without overlap in one; no chunk is too long."""
    chunker = chunker_of(*sizes)
    check(text, chunker.chunks(text), chunker)


@pytest.mark.sized
@settings(max_examples=examples(50, 200), deadline=None)
@given(text=TEXTS, longest=st.integers(2, 60), overlap=st.sampled_from([0, 5]))
@example(text="| a |\n|---|\n각## Two\n1. ", longest=23, overlap=5)  # of two chunks that began at the same place
def test_long_sections_keep_the_promises_where_they_are_cut(text, longest, overlap):
    """The cuts that keep a long text fast lose nothing and shift nothing either."""
    chunker = chunker_of(12, overlap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "_SECTION_CHARS", longest)
        chunks = chunker.chunks(text)
    check(text, chunks, chunker)


def test_chunks_end_where_sections_and_sentences_end():
    """Headings start chunks, paragraphs stay whole where they fit, and sentences where those do not."""
    text = (
        "# Alpha\n\nThe first paragraph is short.\n\n# Beta\n\n"
        "The second paragraph is longer than a chunk. It has three sentences. Each of them is whole.\n"
    )
    assert [chunk.text for chunk in Chunker(TOKENIZER_JSON, 15).chunks(text)] == [
        "# Alpha\n\nThe first paragraph is short.",
        "# Beta\n\nThe second paragraph is longer than a chunk.",
        "It has three sentences. Each of them is whole.",
    ]


def test_overlap_repeats_the_end_of_the_chunk_before():
    """With overlap, a chunk starts inside the one before it, at a natural boundary, by at most so many tokens."""
    text = "One is here. Two is here. Three is here. Four is here. Five is here. Six is here."
    assert [chunk.text for chunk in Chunker(TOKENIZER_JSON, 13, 4).chunks(text)] == [
        "One is here. Two is here.",
        "Two is here. Three is here. Four is here.",
        "Four is here. Five is here. Six is here.",
    ]
    words = "one two three four five six seven eight nine"
    assert [chunk.text for chunk in Chunker(TOKENIZER_JSON, 5, 2).chunks(words)] == [
        "one two three",
        "two three four five six",
        "five six seven eight nine",
    ]


def test_headings_open_chunks_and_code_has_none():
    """Headings in a row stay together, with what follows; a comment in fenced code is no heading."""
    text = "before\n\n# A\n\n## A.1\n\ntext\n\n```sh\n# comment\n```\n\n# B\n"
    assert [chunk.text for chunk in Chunker(TOKENIZER_JSON).chunks(text)] == [
        "before",
        "# A\n\n## A.1\n\ntext\n\n```sh\n# comment\n```",
        "# B",
    ]


def test_a_long_heading_is_cut_like_any_text():
    """A heading that fills a chunk by itself leaves no room beside it, and loses nothing."""
    text = "# " + "heading " * 30 + "\n\nbody " * 3
    chunks = Chunker(TOKENIZER_JSON, 10).chunks(text)
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()


def test_a_section_that_is_cut_is_cut_at_the_best_boundary_in_its_second_half(monkeypatch):
    """A very long section is cut after a blank line if there is one, else after a line, a sentence, a word."""
    monkeypatch.setattr(chunking, "_SECTION_CHARS", 40)
    chunker = Chunker(TOKENIZER_JSON)
    for boundary in ["\n\n", "\n", ". ", "。", " ", ""]:
        text = "x" * 22 + " " + "x" * 7 + boundary + "y" * 9 + "z" * 30
        start = 30 + len(boundary) if boundary else 23
        assert chunker.chunks(text)[1].start_char == start, repr(boundary)


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t \u2003" * 100, "\x1c\x1d"])
def test_blank_text_has_no_chunks(text):
    """Where there is nothing to read there is nothing to embed."""
    assert Chunker(TOKENIZER_JSON).chunks(text) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 1_000_000, id="1 MB without a space"),
        pytest.param("a" * 10_000_000, id="10 MB without a space", marks=pytest.mark.slow),
        pytest.param("ab+/" * 25_000, id="base64"),
        pytest.param("漢字" * 20_000, id="Chinese without a stop"),
        pytest.param("👨‍👩‍👧‍👦" * 10_000, id="emoji with joiners"),
        pytest.param("\0" * 100_000, id="NULs"),
        pytest.param("#" * 20_000, id="hashes"),
        pytest.param(">" * 20_000, id="quotes in quotes"),
        pytest.param(" " * 1_000_000 + "a" + "\n" * 1_000_000 + "b", id="whitespace"),
        pytest.param("Windows writes this.\r\nAnd this.\r\n\r\n" * 5_000, id="CRLF"),
    ],
)
def test_pathological_text_is_cut_in_linear_time(text):
    """What no person wrote is cut as well, completely, and does not stall an ingestion."""
    chunker = Chunker(bert())
    started = time.process_time()
    chunks = chunker.chunks(text)
    assert time.process_time() - started < 20
    check(text, chunks, chunker)
    assert max(len(chunk.text) for chunk in chunks) <= 65 * DEFAULT_MAX_TOKENS


def test_the_time_is_linear_in_the_text():
    """Eight times the text takes about eight times as long, not sixty-four times."""
    paragraph = "Retrieval finds candidates. A cross-encoder reads each of them with the question.\n\n" * 300

    def seconds(text: str) -> float:
        started = time.process_time()
        Chunker(TOKENIZER_JSON).chunks(text)
        return time.process_time() - started

    seconds(paragraph)
    assert seconds(paragraph * 32) < 20 * seconds(paragraph * 4)


def test_same_text_same_chunks():
    """Chunks depend on text and sizes alone: not on the tokenizer's truncation, and not on how it was given."""
    text = "Some words that make a sentence. " * 400
    cut = Tokenizer.from_file(str(TOKENIZER_JSON))
    cut.enable_truncation(16)
    cut.enable_padding(length=16)
    expected = Chunker(TOKENIZER_JSON).chunks(text)
    assert Chunker(str(TOKENIZER_JSON)).chunks(text) == Chunker(bert()).chunks(text) == expected
    assert Chunker(cut).chunks(text) == expected
    assert len(cut.encode("word " * 50)) == 16, "the caller's tokenizer was changed"


def test_defaults_fit_the_window():
    """A chunk of the default size and the two special tokens fit into the embedder's 256."""
    assert 0 <= DEFAULT_OVERLAP < DEFAULT_MAX_TOKENS <= 254


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0, and should be at least 1"),
        ({"max_tokens": 12.5}, "max_tokens is 12.5, and should be a whole number of tokens"),
        ({"max_tokens": True}, "max_tokens is True, and should be a whole number"),
        ({"overlap": -1}, "overlap is -1, and should be at least 0"),
        ({"max_tokens": 50, "overlap": 50}, "overlap is 50 tokens and max_tokens 50: overlap must be the smaller one"),
    ],
)
def test_sizes_that_cannot_be_are_named(arguments, message):
    """Each wrong size is an InputError with its name, its value and what would be right."""
    with pytest.raises(InputError, match=message):
        Chunker(TOKENIZER_JSON, **arguments)


def test_what_is_no_tokenizer_is_named(tmp_path):
    """A missing or damaged tokenizer.json is an InputError with its path."""
    with pytest.raises(InputError, match=r"nowhere\.json.*No such file"):
        Chunker(tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"bad\.json.*not a tokenizer"):
        Chunker(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("ab\ud83d", r"lone surrogate, U\+D83D, at character 2"), (b"bytes", "text is bytes"), (None, "text is NoneType")],
)
def test_what_is_no_text_is_named(text, message):
    """Half an emoji, bytes and None are InputErrors, not crashes in a library."""
    with pytest.raises(InputError, match=message):
        Chunker(TOKENIZER_JSON).chunks(text)


@pytest.mark.sized
@settings(max_examples=examples(100, 500), deadline=None)
@given(text=TEXTS | st.text(st.characters(codec="utf-8", categories=["Cc", "Cf", "Mn", "Zs", "Zl", "Zp", "Lo", "Po"])))
def test_counting_by_word_is_exact(text):
    """The sum over words is what the tokenizer says of the whole, whatever characters stand in it."""
    assert counter()(text) == tokens(text)


def test_other_tokenizers_are_asked_for_the_whole():
    """Where a word's tokens depend on the space before it, nothing is summed up."""
    bytewise = Tokenizer(models.BPE({"a": 0, " ": 1, " a": 2, "?": 3}, [(" ", "a")], unk_token="?"))
    assert TokenCounter(bytewise)("a a a") == 3

    text = "a a a a a a"
    assert [chunk.text for chunk in Chunker(bytewise, 3).chunks(text)] == ["a a a", "a a a"]


def test_a_chunk_knows_its_tokens(monkeypatch):
    """They are the tokenizer's, and no text is tokenized twice, as a candidate or as a chunk."""
    text = "# Ferries\n\n" + "The ferry leaves at noon, naïve café 😀 東京. " * 30
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenized: list[str] = []
    plain = TokenCounter._tokenized

    def noted(self, one):
        tokenized.append(one)
        return plain(self, one)

    monkeypatch.setattr(TokenCounter, "_tokenized", noted)
    for tokenizer in (bert(), words):
        tokenized.clear()
        chunks = Chunker(tokenizer, 20).chunks(text)
        expected = [len(tokenizer.encode(chunk.text, add_special_tokens=False)) for chunk in chunks]
        assert [chunk.tokens for chunk in chunks] == expected
        assert len(tokenized) == len(set(tokenized))
    assert tokenized, "words are only remembered for BERT's tokenizers"


def test_an_added_token_of_two_words_is_one_token():
    """Such a tokenizer is asked for the whole text: the words alone would have other tokens."""
    tokenizer = Tokenizer.from_str(bert().to_str())
    tokenizer.add_tokens(["ferry boat"])
    assert TokenCounter(tokenizer)("the ferry boat leaves") == 3
