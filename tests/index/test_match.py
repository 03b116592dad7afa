"""What a person types as an FTS5 expression: never an error, and suited to the tokenizer."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlrag.errors import InputError
from sqlrag.store.full_text import TOKENIZERS, check_tokenizer, match_expression
from sqlrag.store.highlight import matching_words
from sqlrag.text.words import further_words, indexed_words, placed_words, search_text
from tests.sizes import examples

HOSTILE = ['"', "''", "NOT", "a AND", "NEAR(", "a*", "^a", "text:a", "-a", "a -b", "{a}", "\0", "(", "a\0b", "🐝", "_"]

# Words, FTS5's own signs, and every script: NUL and lone surrogates too.
TEXTS = st.one_of(
    st.text(),
    st.text(st.characters()),
    st.lists(st.sampled_from([*HOSTILE, "the", "how", "AND", "日本語の文", "हिन्दी", "e\u0301", "ß"])).map(" ".join),
)


def table(tokenizer: str, *texts: str) -> apsw.Connection:
    """Return a connection with a full text of these texts, and of the further words of each, from rowid 1."""
    connection = apsw.Connection(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE t USING fts5 (text, words, tokenize = '{TOKENIZERS[tokenizer]}')")
    rows = [(text, further_words(text, pairs=tokenizer != "trigram")) for text in texts]
    connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    return connection


def found(connection: apsw.Connection, tokenizer: str, text: str) -> list[int]:
    """Return the rowids that a text finds."""
    sql = "SELECT rowid FROM t WHERE t MATCH ? ORDER BY rowid"
    return [row[0] for row in connection.execute(sql, (match_expression(text, tokenizer),))]


@pytest.fixture(scope="module", params=TOKENIZERS)
def filled(request):
    """A full text for each tokenizer."""
    return request.param, table(request.param, "the bees dance", "日本語の文", "हिन्दी", "naïve", "a\0b", "NOT AND (")


@given(text=TEXTS)
@example(text="\ud800")
@example(text="a " * 60_000)
@example(text="語" * 120_000)
@pytest.mark.sized
@settings(max_examples=examples(80, 400), deadline=None)
def test_any_text_is_a_safe_query(filled, text):
    """No text is a syntax error, whatever the tokenizer."""
    tokenizer, connection = filled
    assert set(found(connection, tokenizer, text)) <= {1, 2, 3, 4, 5, 6}


@given(word=st.text(st.characters(categories=["L", "Nd"]), min_size=3, max_size=12))
@pytest.mark.sized
@settings(max_examples=examples(60, 300), deadline=None)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_word_finds_itself(tokenizer, word):
    """A row is found by a word that stands in it, in any script that FTS5 knows."""
    connection = table(tokenizer, word, "quite another text")
    quoted = list(connection.execute("SELECT rowid FROM t WHERE t MATCH ?", (f'"{word}"',)))
    # FTS5 knows the letters of Unicode 6.1 only. NFKC makes two words of some: Ŀ is an L and a dot.
    if (1,) in quoted and search_text(word).isalnum():
        assert 1 in found(connection, tokenizer, word)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_function_words_of_a_question_are_left_out(tokenizer):
    """They find nothing when other words remain."""
    connection = table(tokenizer, "How does the sun rise? To what end is it?", "a bee dances")
    assert found(connection, tokenizer, "how does the bee find it?") == [2]


SAME = {
    "of function words alone": ("to be, or not to be", '"to" OR "be" OR "or" OR "not"'),
    "of function words alone, English": ("what is the", '"what" OR "is" OR "the"'),
    "French: gold is no conjunction": ("le prix de l'or", '"le" OR "prix" OR "de" OR "l" OR "or"'),
    "Dutch: a leg is no participle": ("een been is gebroken", '"een" OR "been" OR "is" OR "gebroken"'),
    "German": ("was ist an der Börse los", '"was" OR "ist" OR "an" OR "der" OR "Börse" OR "los"'),
    "a word twice": ("Bee bee bees", '"Bee" OR "bees"'),
    "nothing": (" ?! ", '""'),
    "a name of two parts": ("snake_case", '"snake_case"'),
    "Hindi, marks and all": ("हिन्दी में", '"हिन्दी" OR "में"'),
    "a decomposed letter": ("re\u0301sume\u0301", '"r\u00e9sum\u00e9"'),
}


@pytest.mark.parametrize("name", SAME)
def test_what_stays(name):
    """All words of a text that is not an English question stay, each once."""
    text, expression = SAME[name]
    assert match_expression(text, "unicode61") == expression


def test_capitals_are_no_function_words():
    """An acronym that looks like one stays."""
    assert match_expression("what does the WHO say about IT?", "porter") == '"WHO" OR "say" OR "IT"'


def test_trigram_finds_parts_of_words_and_none_that_are_shorter():
    """Words are substrings there; one of two characters cannot match, and does not hide the others."""
    connection = table("trigram", "a honeybee", "an ox", "surrogateescape")
    assert found(connection, "trigram", "bee") == [1]
    assert found(connection, "trigram", "escape ox") == [3]
    assert found(connection, "trigram", "ox") == []
    assert match_expression("ox", "trigram") == '""'


def test_scripts_without_spaces():
    """Trigram finds a phrase inside a sentence of Chinese, Japanese or Thai that asks for more than the phrase."""
    connection = table("trigram", "明日の東京の天気は晴れです。", "大阪は雨です。", "วันนี้อากาศดีมาก")
    assert found(connection, "trigram", "東京の天気はどうですか?") == [1]
    assert found(connection, "trigram", "อากาศเป็นอย่างไร") == [3]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_diacritics_and_case(tokenizer):
    """Letters are found without their accents, and with them however they are written."""
    connection = table(tokenizer, "Ein Café in Zürich", "nothing of it")
    for text in ("cafe", "CAFÉ", "cafe\u0301", "zurich", "ZÜRICH", "zu\u0308rich"):
        assert found(connection, tokenizer, text) == [1], text


def test_only_porter_knows_word_stems():
    """unicode61 takes words as they are."""
    assert found(table("porter", "the sailors sailed"), "porter", "sailing") == [1]
    assert found(table("unicode61", "the sailors sailed"), "unicode61", "sailing") == []


@pytest.mark.parametrize("name", ["icu", "", None, 7, "Porter", "porter'); DROP TABLE chunks; --"])
def test_a_tokenizer_that_there_is_not(name):
    """The error names those that there are."""
    with pytest.raises(InputError, match=r"tokenizer is .*: it is one of 'porter', 'unicode61', 'trigram'"):
        check_tokenizer(name)


MARKED = [
    ("dancing bees", "👩‍👩‍👧 Dances, bee🐝s 🐝", ["Dances", "bee"]),
    (
        "cafe",
        "café cafe\u0301 \uff23\uff21\uff26\uff25\u0301 cafés",
        ["café", "cafe\u0301", "\uff23\uff21\uff26\uff25\u0301", "cafés"],
    ),
    ("office", "the oﬃce of\u00adfice of\u200bfice", ["oﬃce", "of\u00adfice", "of\u200bfice"]),
    ("Istanbul Straße", "İstanbul ISTANBUL STRASSE straße", ["İstanbul", "ISTANBUL", "straße"]),
    ("information", "informa-\r\ntion, information", ["informa-\r\ntion", "information"]),
    ("東京の天気はどうですか?", "🌞明日の東京の天気は晴れです。", ["東京の天気は", "です"]),
    ("हिन्दी", "मैं हिन्दी बोलता हूँ", ["हिन्दी"]),
    ("가", "ㄱㅏ 나 \u1100\u1161", ["ㄱㅏ", "\u1100\u1161"]),
    ("bees", "a\0bees\x02bees\x03bees\ud800", ["bees", "bees", "bees"]),
    ("what is it?", "nothing", []),
]


@pytest.mark.parametrize(("question", "text", "words"), MARKED, ids=[question for question, _, _ in MARKED])
def test_the_words_that_match(question, text, words):
    """Marks are around what the full text has found, accents, joiners and broken words included, and nothing else."""
    first, second = matching_words(question, [text, f"\n{text}"], "porter")
    assert [text[start:end] for start, end in first] == words
    assert [(start - 1, end - 1) for start, end in second] == first


@given(text=TEXTS, question=TEXTS, tokenizer=st.sampled_from(list(TOKENIZERS)))
@example(text="a\u0301-\nb\u0301-\ncd 宽 行车宽", question="ab cd 行车", tokenizer="porter")
@pytest.mark.sized
@settings(max_examples=examples(60, 400), deadline=None)
def test_marks_are_in_order_and_inside(text, question, tokenizer):
    """Whatever the text, what is searched for marks is what is indexed, and marks neither overlap nor go astray."""
    words, places = placed_words(text)
    assert words.split() == indexed_words(text).split()
    assert len(words) == len(places)
    (spans,) = matching_words(question, [text], tokenizer)
    ends = [end for span in spans for end in span]
    assert ends == sorted(ends)
    assert all(0 <= start < end <= len(text) for start, end in spans)
