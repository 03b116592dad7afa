"""The sentence-transformers backend, and our export of the same weights: the same vectors, the same scores."""

from __future__ import annotations

import itertools
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sqlrag.errors import InputError, MissingDependencyError, UnknownModelError
from sqlrag.models import Embedder, Reranker
from tests.models.original import REASON, find_original, make_cross_encoder
from tests.models.tiny import make_bi_encoder

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'"
)

QUERY = "Why do people drink coffee in the morning?"


@pytest.fixture(scope="session")
def original():
    """The folder with the original weights."""
    folder = find_original()
    if folder is None:
        pytest.skip(REASON)
    return folder


@pytest.fixture(scope="session")
def cross_encoder(original, tmp_path_factory):
    """A CrossEncoder's folder, made from the original weights."""
    folder = tmp_path_factory.mktemp("cross-encoder") / "saved"
    make_cross_encoder(original, folder)
    return folder


def export(*arguments, **named):
    from sqlrag.models.export.onnx_export import export_onnx

    return export_onnx(*arguments, **named)


def cosines(ours, theirs):
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    return (ours / np.linalg.norm(ours, axis=1, keepdims=True) * theirs).sum(1)


def test_m9_padding_that_a_model_reads(texts, tmp_path):
    """M9: where neighbouring tokens are mixed, padding included, each text is read alone, as it is by an export."""
    saved = make_bi_encoder(tmp_path, "convbert", "mean")
    theirs = sentence_transformers.SentenceTransformer(str(saved), device="cpu")
    ours = Embedder(saved, backend="torch")
    theirs.max_seq_length = ours.max_tokens
    alone, together = theirs.encode(texts, batch_size=1), theirs.encode(texts, batch_size=len(texts))
    assert abs(alone - together).max() > 0.01
    np.testing.assert_allclose(ours.encode_document(texts), alone, atol=2e-5)


def test_the_backend_gives_what_sentence_transformers_gives(original, texts):
    """encode_query and encode_document of both agree; batching by tokens changes nothing that matters."""
    theirs = sentence_transformers.SentenceTransformer(str(original))
    ours = Embedder(original, backend="torch")
    np.testing.assert_allclose(ours.encode_document(texts), theirs.encode_document(texts), atol=2e-6)
    np.testing.assert_allclose(ours.query_vector(QUERY), theirs.encode_query(QUERY), atol=2e-6)
    assert ours.encode_document([]).shape == (0, 384)
    assert (ours.dimension, ours.max_tokens, ours.text_window) == (384, 256, 254)
    assert ours.spec.weights_hash.startswith("53aa51172d142c89")


def test_an_exact_export_has_the_same_vectors(original, texts, tmp_path):
    """fp32 on ONNX Runtime against torch: cosine at least 0.9999 for every text; tokens counted alike."""
    export(original, tmp_path, kind="bi-encoder", name="exact", precision="fp32")
    ours, theirs = Embedder(tmp_path), Embedder(original, backend="torch")
    assert cosines(ours.encode_document(texts), theirs.encode_document(texts)).min() >= 0.9999
    assert ours.token_counts(texts) == theirs.token_counts(texts)


def test_the_bundled_model_is_close_to_the_original(original, texts, embedder):
    """int8: mean cosine at least 0.985 was asked for; the bundled weights keep 0.997, on any processor."""
    theirs = Embedder(original, backend="torch").encode_document(texts)
    found = cosines(embedder.encode_document(texts), theirs)
    assert found.mean() >= 0.997
    assert found.min() >= 0.985


def test_the_bundled_model_is_what_the_script_makes(original, tmp_path, embedder):
    """A new conversion is near the bundled one, which makes up for errors by texts of training."""
    export(original, tmp_path, kind="bi-encoder", name="again")
    again, bundled = (model.encode_document([QUERY, "soup"]) for model in (Embedder(tmp_path), embedder))
    assert cosines(again, bundled).min() >= 0.997


def test_scores_are_those_of_a_cross_encoder(cross_encoder, texts, tmp_path):
    """The torch backend and our fp32 export are within 1e-4 of CrossEncoder.predict; rank is its rank."""
    theirs = sentence_transformers.CrossEncoder(str(cross_encoder))
    export(cross_encoder, tmp_path, kind="cross-encoder", name="exact", precision="fp32")
    expected = theirs.predict([(QUERY, text) for text in texts])
    assert np.ptp(expected) > 0.2, "scores that are all the same would prove nothing"
    for reranker in (Reranker(cross_encoder, backend="torch"), Reranker(tmp_path)):
        np.testing.assert_allclose(reranker.score(QUERY, texts), expected, atol=1e-4)
        assert reranker.max_tokens == 512
        ours = reranker.rank(QUERY, texts, top_k=5, return_documents=True)
        library = theirs.rank(QUERY, texts, top_k=5, return_documents=True)
        assert [set(hit) for hit in ours] == [set(hit) for hit in library]
        assert [hit["text"] for hit in ours] == [hit["text"] for hit in library]
        assert isinstance(ours[0]["score"], float)


@pytest.mark.parametrize(("precision", "error"), [("int8", 0.05), ("int16", 0.003)])
def test_a_rounded_cross_encoder_does_not_depend_on_its_batch(cross_encoder, texts, tmp_path, precision, error):
    """Exported to integers, scores stay near and do not change with what is beside them."""
    export(cross_encoder, tmp_path, kind="cross-encoder", name=precision, precision=precision)
    together = Reranker(tmp_path).score(QUERY, texts)
    alone = Reranker(tmp_path, threads=1)
    assert together.tobytes() == np.array([alone.score(QUERY, [text])[0] for text in texts]).tobytes()
    exact = Reranker(cross_encoder, backend="torch").score(QUERY, texts)
    assert np.abs(together - exact).mean() < error


def test_prompts_come_along(original, texts, tmp_path):
    """A model with prompts: torch and export put the same prompt before a query and before a document."""
    prompts = {"query": "query: ", "document": "passage: "}
    model = sentence_transformers.SentenceTransformer(str(original), prompts=prompts)
    model.save_pretrained(str(tmp_path / "saved"))
    export(tmp_path / "saved", tmp_path / "onnx", kind="bi-encoder", name="prompted", precision="fp32")
    for ours in (Embedder(tmp_path / "onnx"), Embedder(tmp_path / "saved", backend="torch")):
        assert ours.spec.prompts == prompts
        np.testing.assert_allclose(ours.encode_query(texts), model.encode_query(texts), atol=1e-5)
        np.testing.assert_allclose(ours.encode_document(texts), model.encode_document(texts), atol=1e-5)
        assert ours.text_window == 252


def test_other_architectures_and_pooling(original, texts, tmp_path):
    """A DistilBERT has no token types, this one takes the first token and has no Normalize: the lengths are made 1."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    config = DistilBertConfig(dim=48, n_layers=2, n_heads=4, hidden_dim=96)
    DistilBertModel(config).save_pretrained(tmp_path / "distil")
    AutoTokenizer.from_pretrained(str(original)).save_pretrained(tmp_path / "distil")
    first = Transformer(str(tmp_path / "distil"))
    model = sentence_transformers.SentenceTransformer(modules=[first, Pooling(48, pooling_mode="cls")])
    model.max_seq_length = 64
    model.save_pretrained(str(tmp_path / "saved"))
    export(tmp_path / "saved", tmp_path / "onnx", kind="bi-encoder", name="distil", precision="fp32")
    ours = Embedder(tmp_path / "onnx")
    assert (ours.spec.pooling, ours.spec.normalize, ours.max_tokens) == ("cls", False, 64)
    assert cosines(ours.encode_document(texts), model.encode_document(texts)).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(ours.encode_document(texts), axis=1), 1, atol=1e-6)
    export(tmp_path / "saved", tmp_path / "int8", kind="bi-encoder", name="distil8")
    assert cosines(Embedder(tmp_path / "int8").encode_document(texts), model.encode_document(texts)).min() > 0.99


def test_export_names_what_is_not_installed(original, tmp_path, monkeypatch):
    """Without onnx the error says what to install."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r'export needs onnx: pip install "sqlrag\[torch\]"'):
        export(original, tmp_path, kind="bi-encoder", name="x")


def test_a_model_that_cannot_be_loaded_is_named(tmp_path):
    """A folder that is no model: which one, and what would be right."""
    (tmp_path / "config.json").write_text(json.dumps({}))
    for model in (Embedder, Reranker):
        with pytest.raises(UnknownModelError, match=r"cannot load the model .*safetensors"):
            model(tmp_path, backend="torch")


def test_pickled_weights_are_not_opened(original, tmp_path):
    """Weights as a pickle can run code when they are read: only safetensors are."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((original / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnknownModelError, match="safetensors"):
        Embedder(tmp_path, backend="torch")


def test_a_classifier_is_no_reranker(original, tmp_path):
    """A cross-encoder with several outputs has no one score."""
    model = sentence_transformers.CrossEncoder(str(original), num_labels=3)
    model.save_pretrained(str(tmp_path))
    with pytest.raises(InputError, match="has 3 outputs per pair; a reranker has one"):
        Reranker(tmp_path, backend="torch")


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
def test_a_batch_changes_nothing_in_fp32(original, cross_encoder, texts, monkeypatch, pairs):
    """One text at a time, in small batches, in one batch, in any order: within 1e-6; batches hold what was asked."""
    from sqlrag.models import torch as backend

    run = Reranker(cross_encoder, backend="torch")._backend if pairs else Embedder(original, backend="torch")._backend
    seen = []
    forward = run.model.forward
    monkeypatch.setattr(run.model, "forward", lambda batch: (seen.append(batch["input_ids"].shape), forward(batch))[1])
    compute = (lambda some: run.score([(QUERY, text) for text in some])) if pairs else (
        lambda some: run.embed(some, "document"))  # fmt: skip
    compute(texts)  # the first time, the model is asked whether it reads padding
    assert run._reads_padding is False
    found = []
    for budget in (1, 1_024, 100_000):
        monkeypatch.setattr(backend, "_CPU_TOKENS", budget)
        seen.clear()
        found.append(compute(texts))
        assert all(rows * columns <= budget or rows == 1 for rows, columns in seen)
    assert len(seen) == 1
    found.append(compute(texts[::-1])[::-1])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-6)


def test_a_budget(cross_encoder, texts, monkeypatch):
    """Until the time is over, in their order, at least the first; the rest are NaN and are not remembered."""
    ticks = itertools.count()
    monkeypatch.setattr("sqlrag.models.torch.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    reranker = Reranker(cross_encoder, backend="torch")
    found = reranker.score_until(QUERY, texts, 3)
    np.testing.assert_allclose(found[:4], Reranker(cross_encoder, backend="torch").score(QUERY, texts[:4]), atol=1e-6)
    assert np.isnan(found[4:]).all()
    assert reranker.pairs_scored == 4


def test_what_decides_a_score_is_in_its_fingerprint(cross_encoder):
    """The same model opened twice has the same; with other numbers, window or backend it has another."""
    one, other = (Reranker(cross_encoder, backend="torch") for _ in range(2))
    assert one.fingerprint == other.fingerprint
    other._backend.model.to(torch.bfloat16)
    assert one.fingerprint != other.fingerprint


def test_sixteen_bits_are_near(original, cross_encoder, texts):
    """bfloat16, the coarser of the two that a GPU gets: cosine 0.99 and more, scores within 0.05, float32 comes out."""
    from sqlrag.models.torch import TorchEncoder, TorchScorer

    exact = TorchEncoder(str(original), device="cpu").embed(texts, "document")
    near = TorchEncoder(str(original), device="cpu", dtype="bfloat16").embed(texts, "document")
    assert (near.dtype, exact.dtype) == (np.float32, np.float32)
    assert 0.99 <= cosines(near, exact).min() < 1 - 1e-6
    pairs = [(QUERY, text) for text in texts]
    exact, near = (
        TorchScorer(str(cross_encoder), device="cpu", dtype=dtype).score(pairs) for dtype in (None, "bfloat16")
    )
    assert np.abs(near - exact).max() < 0.05


def test_what_overflows_float16_goes_on_wider(original, texts):
    """A model whose numbers leave float16's range is run in bfloat16 from then on, not answered with NaN."""
    from sqlrag.models.torch import TorchEncoder

    encoder = TorchEncoder(str(original), device="cpu", dtype="float16")
    with torch.no_grad():
        encoder.model[0].auto_model.encoder.layer[0].intermediate.dense.bias.fill_(60_000)
    vectors = encoder.embed(texts[:2], "document")
    assert np.isfinite(vectors).all()
    assert next(encoder.model.parameters()).dtype == torch.bfloat16
