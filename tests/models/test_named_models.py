"""Which model a name means, and what is said when it means none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sqlrag.errors import InputError, MissingDependencyError, UnknownModelError
from sqlrag.models import (
    DEFAULT_EMBEDDER,
    DEFAULT_RERANKER,
    Embedder,
    ModelSpec,
    Reranker,
    bundled_models,
    load_embedder,
    load_reranker,
)
from tests.conftest import started


@pytest.mark.parametrize("name", [DEFAULT_EMBEDDER, DEFAULT_RERANKER])
def test_a_bundled_model_is_what_its_file_says(name):
    """The hash in sqlrag.json is that of the weights beside it; card and licence are there."""
    spec = bundled_models()[name]
    assert spec.weights_hash == hashlib.sha256((spec.folder / "model.onnx").read_bytes()).hexdigest()
    assert spec.name == name
    assert spec.id == f"{name}@{spec.weights_hash[:12]}"
    assert spec.licence == "Apache-2.0"
    assert "Apache License" in (spec.folder / "LICENSE").read_text(encoding="utf-8")
    assert "Licence" in (spec.folder / "README.md").read_text(encoding="utf-8")


def test_a_model_is_loaded_once_per_process():
    """The default, its name and its folder are one object; an object is passed through."""
    embedder, reranker = load_embedder(), load_reranker()
    assert load_embedder(DEFAULT_EMBEDDER) is embedder
    assert load_embedder(bundled_models()[DEFAULT_EMBEDDER].folder) is embedder
    assert load_embedder(embedder) is embedder
    assert load_reranker(DEFAULT_RERANKER) is reranker
    assert load_reranker(reranker) is reranker


def test_a_folder_of_ones_own_is_a_model(tmp_path, embedder):
    """A copied folder with another name in its sqlrag.json is that model, with the same vectors."""
    shutil.copytree(embedder.spec.folder, tmp_path / "mine")
    values = json.loads((tmp_path / "mine" / "sqlrag.json").read_text())
    (tmp_path / "mine" / "sqlrag.json").write_text(json.dumps(values | {"name": "mine"}))
    mine = Embedder(tmp_path / "mine")
    assert mine.name == "mine"
    assert mine.encode_query("Why?").tobytes() == embedder.encode_query("Why?").tobytes()


def test_prompts_and_window_of_the_specification_are_obeyed(tmp_path, embedder):
    """A model with prompts encodes prompt + text, and its window for the text is smaller."""
    shutil.copytree(embedder.spec.folder, tmp_path / "prompted")
    values = json.loads((tmp_path / "prompted" / "sqlrag.json").read_text())
    values |= {"prompts": {"query": "query: ", "document": "passage: "}, "max_tokens": 64, "normalize": False}
    (tmp_path / "prompted" / "sqlrag.json").write_text(json.dumps(values))
    prompted = Embedder(tmp_path / "prompted")
    assert (prompted.max_tokens, prompted.text_window) == (64, 60)
    for encode, prompt in ((prompted.encode_query, "query: "), (prompted.encode_document, "passage: ")):
        np.testing.assert_allclose(encode("Why?"), embedder.encode_document(prompt + "Why?"), atol=1e-6)


@pytest.mark.parametrize("load", [load_embedder, load_reranker, Embedder, Reranker])
def test_an_unknown_model_is_answered_with_what_there_is(load, tmp_path, monkeypatch):
    """The error lists the bundled models and says what brings or takes other ones, and what that needs."""
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path))
    monkeypatch.setattr("sqlrag.models.named_models.find_spec", lambda _name: None)
    with pytest.raises(UnknownModelError) as error:
        load("BAAI/bge-small-en-v1.5")
    for part in (
        "`sqlrag models pull BAAI/bge-small-en-v1.5`", str(tmp_path), *bundled_models(), 'backend="torch"',
        'pip install "sqlrag[torch]"',
    ):  # fmt: skip
        assert part in str(error.value)
    with pytest.raises(UnknownModelError, match=r"there is no model 'bge-small'.*a Hugging Face name has an owner"):
        load("bge-small")


def test_an_incomplete_folder_says_what_is_missing(tmp_path):
    """A folder without its three files names the missing one and the remedy."""
    with pytest.raises(UnknownModelError, match=r"has no sqlrag\.json.*`sqlrag models export`"):
        load_embedder(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [("not json", "is not a model specification"), ('{"name": "x"}', "weights_hash"), ("[]", "is not a model")],
)
def test_a_broken_specification_is_named(tmp_path, embedder, content, said):
    """A sqlrag.json that cannot be read is an InputError with its path."""
    shutil.copytree(embedder.spec.folder, tmp_path / "broken")
    (tmp_path / "broken" / "sqlrag.json").write_text(content)
    with pytest.raises(InputError, match=r"broken.sqlrag\.json") as error:
        load_embedder(tmp_path / "broken")
    assert said in str(error.value)


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named_at_first_use(tmp_path, embedder, file):
    """Half a download says which file is damaged, it does not crash."""
    shutil.copytree(embedder.spec.folder, tmp_path / "half")
    path = tmp_path / "half" / file
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=file):
        Embedder(tmp_path / "half").encode_query("Why?")


def test_the_kinds_are_not_mixed_up():
    """A cross-encoder is no embedder, and the other way round."""
    with pytest.raises(InputError, match="'reranker-v1' is a cross-encoder; a bi-encoder is needed"):
        load_embedder(DEFAULT_RERANKER)
    with pytest.raises(InputError, match="'all-MiniLM-L6-v2' is a bi-encoder; a cross-encoder is needed"):
        load_reranker(DEFAULT_EMBEDDER)


@pytest.mark.parametrize("model", ["", 5, b"x"], ids=repr)
def test_what_is_no_name_is_named(model):
    """A model is a name or a folder."""
    with pytest.raises(InputError, match="model must be a name or a folder") as error:
        load_embedder(model)
    assert repr(model) in str(error.value)


def test_an_unknown_backend_is_named():
    """There are two backends."""
    with pytest.raises(InputError, match=r"backend must be one of \('onnx', 'torch'\), not 'cuda'"):
        load_embedder(backend="cuda")


def test_the_torch_backend_names_its_extra(monkeypatch):
    """Without sentence-transformers the error says what to install."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "sqlrag\[torch\]"'):
        load_embedder("some/model", backend="torch")


def test_the_bundled_reranker_runs_beside_a_torch_embedder():
    """It exists as ONNX only; with the torch backend it is the same model."""
    assert load_reranker(backend="torch").id == load_reranker().id


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


def test_loading_is_lazy():
    """Importing the models and asking for one opens neither ONNX Runtime nor a tokenizer nor numpy."""
    code = (
        "import sys; from sqlrag.models import load_embedder; load_embedder().id; "
        "print([m for m in ('onnxruntime', 'tokenizers', 'numpy', 'torch') if m in sys.modules])"
    )
    assert run(code) == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_can_go_on():
    """A child process after a fork computes the same vectors with threads of its own."""
    code = """if True:
        import os, sys
        from sqlrag.models import Embedder
        embedder = Embedder(threads=2)
        texts = ["one", "two", "three"]
        here = embedder.encode_document(texts).tobytes()
        child = os.fork()
        if child == 0:
            os._exit(0 if embedder.encode_document(texts).tobytes() == here else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run(code) == "0"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows delivers Ctrl-C to the whole console")
def test_ctrl_c_stops_a_long_run():
    """An interrupt ends encoding within seconds: nobody waits for the thousands of texts behind it."""
    code = """if True:
        from sqlrag.models import Embedder
        embedder = Embedder(threads=2)
        embedder.encode_query("load")
        print("go", flush=True)
        embedder.encode_document(["word " * 250] * 5000)
    """
    with started([sys.executable, "-c", code]) as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(1.5)
        start = time.perf_counter()
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
        assert "KeyboardInterrupt" in error
        assert time.perf_counter() - start < 10


def test_a_specification_survives_its_file(tmp_path, embedder):
    """save and load are inverse, but for the folder."""
    shutil.copytree(embedder.spec.folder, tmp_path / "copy")
    embedder.spec.save(tmp_path / "copy")
    loaded = ModelSpec.load(tmp_path / "copy")
    assert {**vars(loaded), "folder": None} == {**vars(embedder.spec), "folder": None}


def test_an_unknown_way_of_pooling_is_refused():
    """A specification that this version cannot follow is refused, not guessed at."""
    with pytest.raises(InputError, match=r"pooling must be one of \('mean', 'cls', .*\), not 'weightedmean'"):
        ModelSpec(name="x", kind="bi-encoder", weights_hash="", max_tokens=8, pooling="weightedmean")
