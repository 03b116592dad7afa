"""A statement that is interrupted ends between two rows of ours: DuckDB gives a function 2,048 of them at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

import sqlrag
from sqlrag.errors import Error, SQLError, TimeLimitError
from sqlrag.models.tokenizer import ModelTokenizer
from sqlrag.serve.untrusted import open_limited

pytestmark = pytest.mark.usefixtures("real_models")

ROWS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2047) SELECT i FROM n) AS t",
    "duckdb": "range(2048) AS t(i)",
}
LONG = "(SELECT substr(hex(zeroblob(40000)), 1, 70000))"
STATEMENTS = {
    "embed": "SELECT count(embed({long} || i)) AS n FROM {rows}",
    "embed_document": "SELECT count(embed_document({long} || i)) AS n FROM {rows}",
    "token_count": "SELECT sum(token_count({long} || i)) AS n FROM {rows}",
    "chunk_text": "SELECT count(*) AS n FROM {rows}, chunk_text({long} || i)",
    "rerank_score, many questions": "SELECT sum(rerank_score('question ' || i, {long})) AS n FROM {rows} WHERE i < 900",
    "rerank_score, one question": "SELECT sum(rerank_score('a question', {long} || i)) AS n FROM {rows} WHERE i < 900",
}


def sql_of(function, engine):
    """Return a statement of minutes."""
    long = (
        "(' ' || repeat('one word ', 8000))"
        if engine == "duckdb"
        else "replace(hex(zeroblob(8000)), '00', 'one word ')"
    )
    return STATEMENTS[function].format(long=long, rows=ROWS[engine])


@pytest.fixture
def encoded(monkeypatch):
    """What has gone through a tokenizer since the test began."""
    seen = []
    counts, singles, pairs = ModelTokenizer.counts, ModelTokenizer.singles, ModelTokenizer.pairs
    for name, method in (("counts", counts), ("singles", singles), ("pairs", pairs)):

        def counting(self, texts, *more, method=method):
            seen.extend(texts)
            return method(self, texts, *more)

        monkeypatch.setattr(ModelTokenizer, name, counting)
    return seen


@pytest.mark.parametrize("function", STATEMENTS)
def test_x3_a_batch_is_stopped_at_the_time_limit(engine, passage_files, encoded, function):
    """Long before its rows have been through the model."""
    guarded = open_limited(str(passage_files[engine]), seconds=60)
    with contextlib.closing(guarded):
        guarded.rows("SELECT rerank_score('a', 'b') AS a, embed('c') IS NULL AS b")
        guarded.seconds = 0.2
        with pytest.raises(TimeLimitError, match=r"^stopped after 0\.2 s: "):
            guarded.rows(sql_of(function, engine))
        guarded.seconds = 60
        assert guarded.rows("SELECT token_count('one two') AS n").rows == [{"n": 2}]
    assert len(encoded) < 900


@pytest.mark.parametrize("function", ["token_count", "embed"])
def test_x11_a_statement_has_its_time(engine, passage_files, encoded, function):
    """As in Datasette, which calls no interrupt(): our functions look at the clock between two texts."""
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        db.execute("SELECT embed('c')").fetchall()
        db._engine.functions.stop.seconds = 0.2
        with pytest.raises(SQLError, match="interrupted"):
            db.execute(sql_of(function, engine)).fetchall()
    assert len(encoded) < 900


@pytest.mark.parametrize("function", ["embed_document", "rerank_score, one question"])
def test_f19_interrupt_ends_a_batch(engine, passage_files, function, monkeypatch):
    """A single call of interrupt() from another thread, once the batch has begun; the next statement runs."""
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        db.execute("SELECT rerank_score('a', 'b'), embed('c')").fetchall()
        before = db.embedder.texts_encoded, db.reranker.pairs_scored
        interrupting = threading.Thread(target=db.interrupt)
        encode = ModelTokenizer._encode

        def beginning(self, texts):
            if interrupting.ident is None:
                interrupting.start()
                interrupting.join()
            return encode(self, texts)

        monkeypatch.setattr(ModelTokenizer, "_encode", beginning)
        with pytest.raises((Error, KeyboardInterrupt)):
            db.execute(sql_of(function, engine)).fetchall()
        assert db.embedder.texts_encoded - before[0] < 900
        assert db.reranker.pairs_scored - before[1] < 900
        assert len(db.search("bees")) == 3


def test_f19_ctrl_c_ends_a_batch(engine, passage_files, monkeypatch):
    """DuckDB runs our functions in threads of its own, which Ctrl-C does not reach; the handler is as it was."""
    handler = signal.getsignal(signal.SIGINT)
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        db.execute("SELECT rerank_score('a', 'b'), embed('c')").fetchall()
        before, pressed = db.reranker.pairs_scored, threading.Event()
        encode = ModelTokenizer._encode

        def beginning(self, texts):
            if not pressed.is_set():
                pressed.set()
                os.kill(os.getpid(), signal.SIGINT)
            return encode(self, texts)

        monkeypatch.setattr(ModelTokenizer, "_encode", beginning)
        with pytest.raises(KeyboardInterrupt):
            db.execute(sql_of("rerank_score, one question", engine)).fetchall()
        assert db.reranker.pairs_scored - before < 900
        assert signal.getsignal(signal.SIGINT) is handler
        assert len(db.search("bees")) == 3
