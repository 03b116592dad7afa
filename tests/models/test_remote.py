"""Models at remote endpoints, served by this machine, which misbehave; and objects of the user's own."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from click.testing import CliRunner

import sqlrag
from sqlrag.cli import cli
from sqlrag.errors import InputError, ModelFileError, ModelMismatchError, ServerError, UnknownModelError
from sqlrag.models import Embedder, Reranker
from sqlrag.models.named_models import PROVIDERS
from sqlrag.models.remote import _PROVIDERS
from tests.conftest import PASSAGES

KEY = "sk-test-0123456789"


class Endpoint:
    """Embeddings in OpenAI's form and reranking in Cohere's, made by the bundled models.

    `faults` are what the next requests get instead: a status, "half" of an answer, "few" results, or "wide" vectors.
    """

    def __init__(self) -> None:
        self.faults: list[int | str] = []
        self.asked: list[tuple[str, dict, str]] = []
        embedder, reranker, endpoint = Embedder(), Reranker(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append((self.path, asked, self.headers.get("Authorization", "")))
                fault = endpoint.faults.pop(0) if endpoint.faults else None
                if isinstance(fault, int):
                    said = {"error": {"message": f"no more for {self.headers.get('Authorization')}"}}
                    return self._send(fault, json.dumps(said).encode())
                if self.path.endswith("/embeddings"):
                    vectors = embedder.encode_document(asked["input"])[:, : asked.get("dimensions", 384)]
                    vectors = np.tile(vectors, 2) if fault == "wide" else vectors
                    answer = {"data": [{"index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)][::-1]}
                else:
                    scores = reranker.score(asked["query"], asked["documents"]).tolist()
                    ranked = sorted(enumerate(scores), key=lambda one: -one[1])
                    answer = {"results": [{"index": i, "relevance_score": score} for i, score in ranked]}
                if fault == "few":
                    answer = {name: values[:-1] for name, values in answer.items()}
                content = json.dumps(answer).encode()
                return self._send(200, content[: len(content) // 2] if fault == "half" else content)

            def _send(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def _server():
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def endpoint(_server, monkeypatch):
    """The endpoint with nothing asked, a key, and no waits between tries."""
    _server.asked.clear()
    _server.faults.clear()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", _server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("sqlrag.models.endpoint._FIRST_WAIT", 0.001)
    return _server


@pytest.mark.parametrize("engine_name", ["sqlite", "duckdb"])
def test_an_index_of_a_remote_model(endpoint, engine_name, tmp_path):
    """Named, it answers as any model; the database says so, holds no key, and is not opened without the name."""
    path = tmp_path / f"remote.{'db' if engine_name == 'sqlite' else 'duckdb'}"
    name = "openai:text-embedding-3-small"
    recorded = f"{name}@{endpoint.url}"
    with sqlrag.connect(path, embedder=name) as db:
        db.ingest(PASSAGES)
        assert db.search("coffee in the morning", top_n=1)[0].text.lower().count("coffee")
        assert db.info()[0].embedder == recorded
    assert {asked[2] for asked in endpoint.asked} == {f"Bearer {KEY}"}
    assert KEY.encode() not in path.read_bytes()
    endpoint.asked.clear()
    with sqlrag.connect(path) as db, pytest.raises(UnknownModelError, match="nothing is sent there unless you name"):
        db.search("coffee")
    with pytest.raises(ModelMismatchError, match="but the database has"):
        sqlrag.connect(path, embedder="openai:text-embedding-3-large")
    with sqlrag.connect(path) as db, pytest.raises(ModelMismatchError):
        db.ingest(PASSAGES, embedder="all-MiniLM-L6-v2")
    assert all(asked[1]["input"] == ["sqlrag"] for asked in endpoint.asked)
    done = CliRunner().invoke(cli, ["search", str(path), "coffee", "--embedder", name, "--json"], prog_name="sqlrag")
    assert json.loads(done.stdout)[0]["rank_after"] == 1


def test_an_ingest_says_what_it_sends(endpoint, tmp_path):
    """Where to, how much and for how much money, before anything is sent."""
    name = "openai:m?price=0.02"
    arguments = ["ingest", str(tmp_path / "x.db"), str(PASSAGES), "--embedder", name]
    done = CliRunner().invoke(cli, arguments, prog_name="sqlrag")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith("The texts are sent to openai:m: 0.0 MB of files, about ")
    assert "tokens, 0.00 dollars. What is indexed already is not sent again." in done.stderr
    local = str(tmp_path / "local.db")
    with sqlrag.connect(local) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
        db.execute("INSERT INTO review VALUES (1, 'Loud', 'It boils fast.'), (2, NULL, 'Lovely tea.')")
    for arguments in (
        ["index", local, "review", "--template", "{title}: {body}", "--name", "b"],
        ["index", local, "review.title", "review.body", "--name", "a", "--embedder", name],
        ["reindex", local, "--index", "b", "--model", name],
    ):
        done = CliRunner().invoke(cli, arguments, prog_name="sqlrag")
        assert done.exit_code == 0, done.stderr
        assert done.stderr.startswith("The texts are sent to openai:m: 0.0 MB of text, about 7 tokens") == (
            name in arguments and arguments[0] == "index"
        )
        assert ("The texts are sent to openai:m" in done.stderr) == (name in arguments)


def test_a_remote_reranker(endpoint, monkeypatch, texts):
    """Cohere's and Jina's form: results come best first, and are put back in the order of the documents."""
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    ours = Reranker(f"cohere:rerank-v3.5@{endpoint.url}")
    found, expected = ours.score("coffee", texts), Reranker().score("coffee", [text or " " for text in texts])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert endpoint.asked[0][1]["top_n"] == len(set(texts))
    with pytest.raises(InputError, match="can't be a bi-encoder: that is openai:MODEL or ollama:MODEL or jina:MODEL"):
        Embedder("cohere:embed-v4")
    assert Reranker(f"jina:m@{endpoint.url}").rank("tea", ["rain", "green tea"])[0]["corpus_id"] == 1


def test_settings_of_a_name(endpoint):
    """Dimensions are a part of the model's name; how fast it may be asked is not."""
    ours = Embedder("openai:m?dimensions=64&rpm=100000&batch=2&price=0.02")
    assert (ours.dimension, ours.name) == (64, f"openai:m@{endpoint.url}?dimensions=64")
    assert ours.encode_document(["a", "b", "c", "d", ""]).shape == (5, 64)
    assert [len(asked[1]["input"]) for asked in endpoint.asked] == [1, 2, 2, 1]
    for wrong, said in {
        "openai:": "names no model",
        "openai:m?speed=9": "sets 'speed': it may set dimensions, rpm",
        "openai:m?dimensions=-1": "it takes a number above 0",
        "openai:m@ftp://x": "is no address of an endpoint",
        "openai:m@http://example.com/v1": "would send your key unencrypted",
    }.items():
        with pytest.raises(InputError, match=said):
            Embedder(wrong)


@pytest.mark.parametrize("faults", [[429, 429], [500, 503], ["half"], ["few"], [529, "half", "few"]])
def test_what_may_be_over_soon_is_tried_again(endpoint, faults):
    ours = Embedder("openai:m")
    endpoint.faults[:] = faults
    assert ours.encode_query("coffee").shape == (384,)
    assert endpoint.faults == []


@pytest.mark.parametrize(
    ("faults", "error", "said"),
    [
        ([429] * 6, ServerError, r"did not answer in 6 tries; the last time: 429: no more for Bearer …"),
        (["few"] * 6, ServerError, r"an answer that is not as it should be \(0 vectors for 1 texts\)"),
        ([401], InputError, r"refuses the request, 401: no more for Bearer …: is the key in the environment the right"),
        ([404], InputError, r"is the name of the model, and the address, right\?"),
        (["wide"], InputError, r"gives vectors of 768 numbers for openai:m@.*, not of 384"),
    ],
    ids=["429 for ever", "half answers", "401", "404", "wrong dimensions"],
)
def test_what_is_wrong_is_one_line(endpoint, faults, error, said):
    """What the server said last, without the key."""
    ours = Embedder("openai:m")
    endpoint.faults[:] = faults
    with pytest.raises(error, match=said) as raised:
        ours.encode_query("coffee")
    assert KEY not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_a_key_or_a_server(monkeypatch):
    """Nothing is asked without a key, and nobody who is not there answers."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("sqlrag.models.endpoint._FIRST_WAIT", 0.001)
    with pytest.raises(InputError, match="needs a key: set OPENAI_API_KEY in the environment"):
        Embedder("openai:m")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9 did not answer in 6 tries; the last time: .*refused"):
        Embedder("ollama:nomic-embed-text")
    assert set(_PROVIDERS) == set(PROVIDERS)


class Letters:
    """An embedder and a reranker of one's own: how often each letter stands in a text."""

    name = "letters"
    dimension = 26

    def embed(self, texts, role):
        return [[text.lower().count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]

    def score(self, query, documents):
        return [sum(text.count(letter) for letter in query) for text in documents]


@pytest.mark.parametrize("engine_name", ["sqlite", "duckdb"])
def test_objects_of_ones_own(engine_name, tmp_path):
    """`connect` takes them as it takes names; what they return is checked."""
    path = tmp_path / f"own.{'db' if engine_name == 'sqlite' else 'duckdb'}"
    with sqlrag.connect(path, embedder=Letters(), reranker=Letters()) as db:
        db.ingest(PASSAGES)
        hits = db.search("zebra", top_n=2)
        assert (db.info()[0].embedder, db.info()[0].reranker) == ("letters", "letters")
        assert hits[0].score >= hits[1].score >= 1
    with sqlrag.connect(path) as db, pytest.raises(UnknownModelError, match="'letters', which is neither bundled"):
        db.search("zebra")


def test_an_object_that_returns_something_else(monkeypatch):
    monkeypatch.setattr(Letters, "embed", lambda *_: [[1.0]])
    with pytest.raises(ModelFileError, match=r"letters\.embed\(\) gives the shape \(1, 1\), or NaN, not \(1, 26\)"):
        Embedder(Letters()).encode_query("a")
    monkeypatch.setattr(Letters, "dimension", 0)
    with pytest.raises(InputError, match=r"Letters\.dimension is 0: it takes a whole number from 1"):
        Embedder(Letters())
