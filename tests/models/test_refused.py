"""What users' models would do in silence: random weights, other conventions, another kind. All is right, or refused."""

from __future__ import annotations

import json
import shutil
from contextlib import closing

import numpy as np
import pytest

import sqlrag
from sqlrag.errors import InputError, ModelFileError, ModelMismatchError, UnknownModelError
from sqlrag.models import Embedder, Reranker
from sqlrag.models.detect import kind_of
from sqlrag.models.export.check import add_model
from sqlrag.models.export.pull import Options, export_folder
from sqlrag.models.named_models import named_model
from sqlrag.serve.untrusted import open_limited
from tests.conftest import PASSAGES
from tests.models.tiny import make_bi_encoder, make_reranker, make_transformer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'"
)


@pytest.fixture(scope="module")
def bi_encoder(tmp_path_factory):
    return make_bi_encoder(tmp_path_factory.mktemp("bi"), "bert", "cls")


@pytest.fixture(scope="module")
def exported(bi_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "out"
    export_folder(bi_encoder, folder, precision="fp32", name="tests/exported")
    return folder


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return make_transformer(tmp_path_factory.mktemp("cross") / "saved", "bert", labels=1)


def without(folder, out, *parts):
    """Copy a model without the weights whose names contain one of the parts."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not any(part in name for part in parts)}
    assert len(kept) < len(weights)
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    return out


def changed(folder, out, **values):
    """Copy a model with other values in its config.json."""
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | values))
    return out


def test_s1_missing_weights_are_named(bi_encoder, tmp_path):
    """S1: half a checkpoint; a pooler that no vector needs may be missing."""
    half = without(bi_encoder, tmp_path / "half", "layer.1.attention")
    for use in (lambda: export_folder(half, tmp_path / "out"), lambda: Embedder(half, backend="torch")):
        with pytest.raises(ModelFileError, match=r"10 of \d+ weights of the model .* are not in its files \(encod"):
            use()
    assert not (tmp_path / "out").exists()
    Embedder(without(bi_encoder, tmp_path / "unpooled", "pooler"), backend="torch")


def test_s1_m10_code_of_a_repository(bi_encoder, tmp_path):
    """S1, M10: jina's own BERT loaded as BERT has random weights; what such a model needs is code of its repository."""
    classes = {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"}
    jina = changed(without(bi_encoder, tmp_path / "jina", "position_embeddings"), tmp_path / "code", auto_map=classes)
    for use in (lambda: export_folder(jina, tmp_path / "out"), lambda: Embedder(jina, backend="torch")):
        with pytest.raises(InputError, match=r"runs code of its repository, which sqlrag does not.* --onnx"):
            use()


def test_m12_a_cross_encoder_without_its_head(cross_encoder, tmp_path):
    headless = without(cross_encoder, tmp_path / "headless", "classifier")
    with pytest.raises(ModelFileError, match=r"is no cross-encoder, or its head is not in its files \(classifi"):
        Reranker(headless, backend="torch")


def test_m3_files_that_are_not_whole(bi_encoder, tmp_path):
    """M3: a download that broke off, and a pointer of Git LFS."""
    broken = tmp_path / "broken"
    shutil.copytree(bi_encoder, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"is not whole \(it has [\d,]+ bytes instead of [\d,]+\): download it"):
        Embedder(broken, backend="torch")
    for name in ("model.safetensors", "tokenizer.json"):
        pointer = tmp_path / name.partition(".")[0]
        shutil.copytree(bi_encoder, pointer)
        (pointer / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        with pytest.raises(ModelFileError, match="is a pointer of Git LFS, not the file itself: run `git lfs pull`"):
            export_folder(pointer, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "its config.json is missing. Download it again"),
        ("tokenizer.json", '{"a": 1}', r"its tokenizer\.json is damaged \("),
        ("1_Pooling", None, "its modules.json names the folder '1_Pooling', which is not there"),
    ],
)
def test_m3_small_files_that_are_missing_or_damaged(*, bi_encoder, tmp_path, name, content, said):
    """M3: which of them it is, and not what a library says of it."""
    broken = tmp_path / "broken"
    shutil.copytree(bi_encoder, broken)
    if (broken / name).is_dir():
        shutil.rmtree(broken / name)
    elif content is None:
        (broken / name).unlink()
    else:
        (broken / name).write_text(content)
    with pytest.raises(ModelFileError, match=said):
        Embedder(broken, backend="torch")


def test_m3_weights_of_another_shape_and_dimensions_that_are_not_there(bi_encoder, tmp_path):
    """M3: a config.json of another model; more dimensions than a vector has."""
    other = changed(bi_encoder, tmp_path / "other", vocab_size=300)
    with pytest.raises(UnknownModelError, match=r"its weights have other shapes than its config\.json says"):
        Embedder(other, backend="torch")
    with pytest.raises(InputError, match="dimensions is 500, but 'saved' has 32"):
        export_folder(bi_encoder, tmp_path / "out", options=Options(precision="fp32", dimensions=500))
    assert not (tmp_path / "out").exists()


def test_m16_tokenizers_that_are_not_there(bi_encoder, tmp_path):
    """M16: without its files, or with a sentencepiece model alone, a tokenizer may be empty, and every word unknown."""
    bare = tmp_path / "bare"
    shutil.copytree(bi_encoder, bare)
    for path in bare.glob("*tok*"):
        path.unlink()
    for use in (lambda: Embedder(bare, backend="torch"), lambda: export_folder(bare, tmp_path / "out")):
        with pytest.raises(ModelFileError, match=r"knows \d of the 600 words of the model: .* Download the model"):
            use()
    (bare / "spiece.model").write_bytes(b"words")
    with pytest.raises(ModelFileError, match="Its tokenizer is a sentencepiece model, which needs the packages sent"):
        Embedder(bare, backend="torch")


def test_s2_one_identity_for_one_model(bi_encoder, exported, tmp_path):
    """S2: torch and an export agree, whatever the folder is called; another pooling or window is another model."""
    renamed = tmp_path / "renamed"
    shutil.copytree(bi_encoder, renamed)
    identity = Embedder(exported).spec.identity
    assert Embedder(bi_encoder, backend="torch").spec.identity == identity
    assert Embedder(renamed, backend="torch").spec.identity == identity
    (renamed / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 32, "pooling_mode": "mean"}')
    assert Embedder(renamed, backend="torch").spec.identity != identity


@pytest.mark.parametrize("engine_name", ["sqlite", "duckdb"])
def test_s2_s6_made_by_torch_and_searched_without(bi_encoder, exported, engine_name, tmp_path, monkeypatch):
    """S2, S6: ingest on a GPU, search on a CPU. An exported folder is found by its name once it was added."""
    path = tmp_path / f"torch.{'db' if engine_name == 'sqlite' else 'duckdb'}"
    with sqlrag.connect(path, embedder=str(bi_encoder), backend="torch") as db:
        db.ingest(PASSAGES)
        expected = [hit.id for hit in db.search("coffee", top_n=3)]
    with sqlrag.connect(path, embedder=str(exported)) as db:
        assert [hit.id for hit in db.search("coffee", top_n=3)] == expected
    with closing(open_limited(str(path), models={"embedder": str(exported)})) as served:
        assert served.run(lambda db: [hit.id for hit in db.search("coffee", top_n=3)]) == expected
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    with sqlrag.connect(path) as db, pytest.raises(UnknownModelError, match="neither bundled nor pulled"):
        db.search("coffee")
    assert add_model(exported, "own/name").identity == named_model("own/name").identity
    with sqlrag.connect(path) as db:
        assert [hit.id for hit in db.search("coffee", top_n=3)] == expected
    other = export_folder(bi_encoder, tmp_path / "other", options=Options(precision="fp32", window=24)).spec
    with pytest.raises(ModelMismatchError, match="but the database has"):
        sqlrag.connect(path, embedder=str(other.folder))


def test_s2_an_index_of_an_earlier_version(exported, tmp_path):
    """S2: today's hash of an index is known to the model that replaces the one which made it."""
    from dataclasses import replace

    from sqlrag.models.export.pull import _same_vectors
    from sqlrag.models.spec import ModelSpec

    spec = ModelSpec.load(exported)
    former = replace(spec, precision="", weights_hash="0" * 64, formerly=())
    assert former.identity == "0" * 64
    assert _same_vectors(former, spec) == ("0" * 64,)
    assert _same_vectors(replace(former, pooling="mean"), spec) == ()
    assert replace(spec, formerly=("0" * 64,)).made("0" * 64)


def test_s5_the_kind_is_checked_by_torch(bi_encoder, cross_encoder, tmp_path):
    """S5, M13: random scores of a model of another kind are refused, with what the model is."""
    with pytest.raises(InputError, match="is a bi-encoder by its files; a cross-encoder is needed"):
        Reranker(bi_encoder, backend="torch")
    with pytest.raises(InputError, match="is a cross-encoder by its files; a bi-encoder is needed"):
        Embedder(cross_encoder, backend="torch")
    bare = make_transformer(tmp_path / "bare", "bert")
    colbert = changed(bare, tmp_path / "colbert", architectures=["HF_ColBERT"])
    with pytest.raises(InputError, match=r"is a late-interaction model \(ColBERT\)"):
        Embedder(colbert, backend="torch")
    splade = changed(bare, tmp_path / "splade", architectures=["BertForMaskedLM"])
    (splade / "README.md").write_text("---\ntags:\n- splade\n---\n")
    with pytest.raises(InputError, match=r"is a sparse encoder \(SPLADE\)"):
        Embedder(splade, backend="torch")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "own/base"}')
    with pytest.raises(InputError, match="is a PEFT adapter for own/base, not a whole model: merge the two"):
        kind_of(adapter)
    gguf = tmp_path / "gguf"
    gguf.mkdir()
    (gguf / "model.gguf").touch()
    with pytest.raises(InputError, match=r"in the form of llama\.cpp \(GGUF\)"):
        kind_of(gguf)


@pytest.mark.parametrize("head", ["logit", "words"])
def test_s3_m6_rerankers_with_a_chat_template(head, texts, tmp_path):
    """S3, M6: Qwen3-Reranker, as a classifier and as a causal model whose words are the score."""
    folder = make_reranker(tmp_path / "saved", head)
    theirs = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    theirs.max_seq_length = 96
    expected = theirs.predict([("coffee", text) for text in texts], batch_size=1)
    assert np.ptp(expected) > 0.01
    spec = export_folder(folder, tmp_path / "out", kind="cross-encoder", precision="fp32").spec
    assert (spec.template[0], spec.max_tokens) == ("judge this\nquery: ", 96)
    for ours in (Reranker(tmp_path / "out"), Reranker(folder, backend="torch")):
        np.testing.assert_allclose(ours.score("coffee", texts), expected, atol=1e-4)


def test_s4_a_cross_encoders_prompt(cross_encoder, texts, tmp_path):
    """S4: torch puts it before the query, as the model was trained; an export says that torch does."""
    theirs = sentence_transformers.CrossEncoder(
        str(cross_encoder), prompts={"rank": "rank these: "}, default_prompt_name="rank", device="cpu"
    )
    theirs.max_seq_length = 96
    theirs.save_pretrained(str(tmp_path / "saved"))
    expected = theirs.predict([("coffee", text) for text in texts], batch_size=1)
    np.testing.assert_allclose(
        Reranker(tmp_path / "saved", backend="torch").score("coffee", texts), expected, atol=1e-4
    )
    with pytest.raises(InputError, match=r"has the prompt 'rank these: '.*--backend torch"):
        export_folder(tmp_path / "saved", tmp_path / "out")


def test_m8_deberta(texts, tmp_path):
    """M8: mxbai-rerank-xsmall; its table of relative positions is a weight that is read whole, and stays one."""
    folder = make_transformer(tmp_path / "saved", "deberta-v2", labels=1)
    made = export_folder(folder, tmp_path / "out", precision="int8")
    assert (made.manifest.precision, made.manifest.notes) == ("int8", [])
    assert made.manifest.check["order"] >= 0.9
