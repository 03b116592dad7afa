"""Models of other architectures, exported and run: random weights, real code, compared with sentence-transformers."""

from __future__ import annotations

import numpy as np
import pytest

from sqlrag.errors import InputError, ModelFileError
from sqlrag.models import Embedder, Reranker
from sqlrag.models.export.check import add_model
from sqlrag.models.export.pull import export_folder
from tests.models.original import REASON, find_original
from tests.models.tiny import make_bi_encoder, make_transformer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'"
)

QUERY = "Why do people drink coffee in the morning?"


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("architecture", "pooling", "options"),
    [
        ("roberta", "lasttoken", {}),
        ("xlm-roberta", "cls", {"prompts": {"query": "query: ", "document": "passage: "}}),
        ("mpnet", "mean", {"normalize": False, "window": 48}),
        ("distilbert", "max", {}),
    ],
)
def test_a_bi_encoder(architecture, pooling, options, texts, tmp_path):
    """fp32 on ONNX Runtime and the torch backend: the vectors of encode_query and encode_document, all texts.

    One text is longer than every window: where positions begin behind the padding token's number, two of them less
    are tokens.
    """
    saved = make_bi_encoder(tmp_path, architecture, pooling, **options)
    theirs = sentence_transformers.SentenceTransformer(str(saved), device="cpu")
    window = options.get("window", 96)
    theirs.max_seq_length = window  # where the library itself would run out of positions
    spec = export_folder(saved, tmp_path / "out", precision="fp32").spec
    assert (spec.pooling, spec.max_tokens, spec.normalize) == (pooling, window, options.get("normalize", True))
    for ours in (Embedder(tmp_path / "out"), Embedder(saved, backend="torch")):
        assert ours.max_tokens == window
        np.testing.assert_allclose(ours.encode_document(texts), unit(theirs.encode_document(texts)), atol=2e-5)
        np.testing.assert_allclose(ours.encode_query(texts), unit(theirs.encode_query(texts)), atol=2e-5)
        assert max(ours.token_counts(texts)) > window


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gemma3_text", "t5", "albert"])
def test_m15_eight_bits_of_other_families(architecture, texts, tmp_path):
    """M15: embeddinggemma, sentence-t5, paraphrase-albert. Gemma's tables multiply their rows, which int8 has to know.

    The files of a T5 may name no window: it has no table of positions, and then reads 512 tokens.
    """
    saved = make_bi_encoder(tmp_path, architecture, "mean")
    made = export_folder(saved, tmp_path / "out")
    assert (made.manifest.precision, made.manifest.notes) == ("int8", [])
    assert made.spec.max_tokens == (512 if architecture == "t5" else 96)
    theirs = sentence_transformers.SentenceTransformer(str(saved), device="cpu")
    theirs.max_seq_length = made.spec.max_tokens
    expected = unit(theirs.encode(texts, batch_size=1))
    assert (Embedder(tmp_path / "out").encode_document(texts) * expected).sum(1).mean() >= 0.999
    np.testing.assert_allclose(Embedder(saved, backend="torch").encode_document(texts), expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int16", "fp32"])
def test_m18_weights_that_are_too_many_for_one_file(precision, texts, tmp_path, monkeypatch):
    """M18: more than 2 GB; here the bound is 20 kB. The weights are in a file beside the graph, which belongs to it."""
    monkeypatch.setattr("sqlrag.models.export.graph._MOST_IN_ONE_FILE", 20_000)
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    saved = make_bi_encoder(tmp_path, "bert", "mean")
    made = export_folder(saved, tmp_path / "out", precision=precision)
    assert (made.manifest.precision, made.manifest.notes) == (precision, [])
    files = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert files["model.onnx.data"] > files["model.onnx"] / 2
    assert "model.onnx.data" in made.manifest.files
    theirs = unit(sentence_transformers.SentenceTransformer(str(saved), device="cpu").encode(texts[:4]))
    add_model(tmp_path / "out", "tests/large")
    assert (Embedder("tests/large").encode_document(texts[:4]) * theirs).sum(1).min() >= 0.998
    (tmp_path / "out" / "model.onnx.data").unlink()
    with pytest.raises(ModelFileError, match=r"model\.onnx\.data' is missing, so it is not what was exported"):
        Embedder(tmp_path / "out")


@pytest.mark.parametrize(("architecture", "activation"), [("xlm-roberta", "Identity"), ("bert", "Sigmoid")])
def test_a_cross_encoder(architecture, activation, texts, tmp_path):
    """As transformers saves it, or with sentence-transformers' activation: the scores of CrossEncoder.predict.

    In fp32, and in what is exported by default, which is checked to a hundredth of the range.
    """
    folder = make_transformer(tmp_path / "bare", architecture, labels=1)
    theirs = sentence_transformers.CrossEncoder(str(folder), max_length=96, device="cpu")
    if activation == "Identity":
        theirs.activation_fn = torch.nn.Identity()
        folder = tmp_path / "saved"
        theirs.save_pretrained(str(folder))
    expected = theirs.predict([(QUERY, text) for text in texts])
    assert np.ptp(expected) > 0.01
    spec = export_folder(folder, tmp_path / "out", precision="fp32").spec
    assert (spec.kind, spec.activation, spec.max_tokens) == ("cross-encoder", activation.lower(), 96)
    for ours in (Reranker(tmp_path / "out"), Reranker(folder, backend="torch")):
        np.testing.assert_allclose(ours.score(QUERY, texts), expected, atol=1e-4)
    usual = export_folder(folder, tmp_path / "usual")
    assert (usual.manifest.precision, usual.manifest.notes) == ("int16", [])
    np.testing.assert_allclose(Reranker(tmp_path / "usual").score(QUERY, texts), expected, atol=0.01 * np.ptp(expected))


def test_a_long_context_model(texts, tmp_path):
    """ModernBERT with 4,096 positions and local attention: int8 passes the comparison, and long texts are read whole.

    The end of a text of 3,000 tokens counts; what stands behind the window does not; texts longer than 2,048 tokens
    run one after the other, to the same bits as alone.
    """
    saved = make_bi_encoder(tmp_path, "modernbert", "mean")
    made = export_folder(saved, tmp_path / "out")
    assert (made.spec.max_tokens, made.manifest.precision) == (4096, "int8")
    ours = Embedder(tmp_path / "out", threads=2)
    long = " ".join(texts[:8] * 8)
    long = ours.tokenizer.decode(ours.tokenizer.encode(long, add_special_tokens=False).ids[:3000])
    assert 2900 < ours.token_count(long) < 3100
    alone = ours.encode_document(long)
    together = ours.encode_document([long, long + " coffee at the end", "short", long])
    assert together[0].tobytes() == together[3].tobytes() == alone.tobytes()
    assert together[1].tobytes() != alone.tobytes()
    theirs = sentence_transformers.SentenceTransformer(str(saved), device="cpu").encode([long])
    assert float(alone @ unit(theirs)[0]) >= 0.99
    full = ours.encode_document("coffee " * 6000)
    assert ours.encode_document("coffee " * 6000 + "and tea").tobytes() == full.tobytes()


@pytest.fixture(scope="session")
def static_folders(tmp_path_factory):
    """All-MiniLM's input vectors reduced to 64 dimensions, as sentence-transformers and as model2vec save a table."""
    original = find_original()
    if original is None:
        pytest.skip(REASON)
    from safetensors import safe_open
    from safetensors.torch import save_file
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    with safe_open(original / "model.safetensors", "pt") as weights:
        table = weights.get_tensor("embeddings.word_embeddings.weight").float()
    table -= table.mean(0)
    values, axes = torch.linalg.eigh(table.T @ table)
    reduced = (table @ axes[:, values.argsort(descending=True)[:64]]).contiguous()
    folder = tmp_path_factory.mktemp("static")
    tokenizer = Tokenizer.from_file(str(original / "tokenizer.json"))
    tokenizer.no_truncation()
    model = sentence_transformers.SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=reduced), Normalize()], device="cpu"
    )
    model.save_pretrained(str(folder / "sentence-transformers"))
    other = folder / "model2vec"
    other.mkdir()
    save_file({"embeddings": reduced}, other / "model.safetensors")
    tokenizer.save(str(other / "tokenizer.json"))
    (other / "config.json").write_text('{"model_type": "model2vec", "normalize": true}')
    return {"sentence-transformers": folder / "sentence-transformers", "model2vec": other}


@pytest.mark.parametrize("saved_by", ["sentence-transformers", "model2vec"])
def test_a_static_model(static_folders, saved_by, texts, tmp_path):
    """A table of token vectors goes the same way: exported, compared, run; int8 is a quarter of it.

    M11: an empty text has a vector of unit length that is far from all others, as is documented.
    """
    theirs = sentence_transformers.SentenceTransformer(str(static_folders["sentence-transformers"]), device="cpu")
    words = [text for text in texts if text.strip()]
    expected = theirs.encode(words)
    made = export_folder(static_folders[saved_by], tmp_path / "out")
    assert (made.manifest.precision, made.spec.dimension, made.spec.pooling) == ("int8", 64, "mean")
    assert (tmp_path / "out" / "model.onnx").stat().st_size < 30_522 * 64 * 1.2
    for ours, least in ((Embedder(tmp_path / "out"), 0.999), (Embedder(static_folders[saved_by], backend="torch"), 1)):
        vectors = ours.encode_document(words)
        assert (vectors * expected).sum(1).min() >= least - 1e-5
        assert ours.token_count(words[0]) == len(theirs.tokenizer.encode(words[0], add_special_tokens=False).ids)
        # No tokens, no direction: far from everything, and still of unit length.
        np.testing.assert_allclose(ours.encode_document(["", "\n\t "]), np.full((2, 64), 1 / 8), atol=1e-6)
        long = "coffee " * 5000
        assert ours.encode_document(long) @ ours.encode_document("coffee") >= 0.99


def test_a_static_model_finds_meaning(static_folders, tmp_path):
    """In a database, through SQL: the passage that shares the question's words comes first."""
    import sqlrag
    from tests.conftest import PASSAGES

    export_folder(static_folders["sentence-transformers"], tmp_path / "out", precision="fp32")
    with sqlrag.connect(tmp_path / "static.db", embedder=str(tmp_path / "out")) as db:
        db.ingest(PASSAGES)
        [[text]] = db.execute(
            "SELECT c.text FROM vector_top_k('chunks', :q, 1) AS hit JOIN chunks AS c ON c.id = hit.id",
            {"q": "coffee caffeine morning"},
        ).fetchall()
    assert "coffee" in text.lower()


@pytest.mark.parametrize("behind", ["dense", "two poolings", "weighted mean", "prompt left out of the mean"])
def test_modules_behind_the_transformer(behind, texts, tmp_path):
    """M7: Dense behind the pooling (embeddinggemma, LaBSE, GTR) and other poolings are parts of the graph.

    A dimension to which the files cut the vectors (Matryoshka, M3) is kept.
    """
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    first = sentence_transformers.SentenceTransformer(str(make_bi_encoder(tmp_path, "bert")), device="cpu")[0]
    modules = {
        "dense": [Pooling(32, "mean"), Dense(32, 24), Dense(24, 32, bias=False)],
        "two poolings": [Pooling(32, ("cls", "mean"))],
        "weighted mean": [Pooling(32, "weightedmean")],
        "prompt left out of the mean": [Pooling(32, "mean", include_prompt=False)],
    }[behind]
    theirs = sentence_transformers.SentenceTransformer(
        modules=[first, *modules], prompts={"query": "search for it: ", "document": ""}, device="cpu", truncate_dim=24
    )
    theirs.save_pretrained(str(tmp_path / "own"))
    made = export_folder(tmp_path / "own", tmp_path / "out", precision="fp32")
    assert made.spec.dimension == 24
    theirs.max_seq_length = made.spec.max_tokens
    for ours in (Embedder(tmp_path / "out"), Embedder(tmp_path / "own", backend="torch")):
        np.testing.assert_allclose(ours.encode_document(texts), unit(theirs.encode_document(texts)), atol=2e-5)
        np.testing.assert_allclose(ours.encode_query(texts), unit(theirs.encode_query(texts)), atol=2e-5)
        assert ours.spec.identity == made.spec.identity


def test_modules_that_are_not_exported_are_named(tmp_path):
    """Which modules, and that torch runs them."""
    from sentence_transformers.sentence_transformer.modules import CNN, Pooling

    first = sentence_transformers.SentenceTransformer(str(make_bi_encoder(tmp_path, "bert")), device="cpu")[0]
    theirs = sentence_transformers.SentenceTransformer(
        modules=[first, CNN(32, 16, [1]), Pooling(16, "mean")], device="cpu"
    )
    theirs.save_pretrained(str(tmp_path / "cnn"))
    with pytest.raises(InputError, match=r"modules \['Transformer', 'CNN', 'Pooling'\].*backend=\"torch\""):
        export_folder(tmp_path / "cnn", tmp_path / "out")
    ours = Embedder(tmp_path / "cnn", backend="torch").encode_document(["coffee", "tea"])
    np.testing.assert_allclose(ours, unit(theirs.encode(["coffee", "tea"])), atol=1e-5)
