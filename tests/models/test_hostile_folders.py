"""Model folders from strangers: whatever is in them, one clear error of sqlrag's, and no file outside is looked at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqlrag.errors import Error, InputError, ModelFileError
from sqlrag.models import Embedder, Reranker, tokenizer_check
from sqlrag.models.cached_models import BUNDLED
from sqlrag.models.detect import kind_of
from sqlrag.models.manifest import MANIFEST_FILE, Manifest
from sqlrag.models.named_models import resolve

TEXTS = ["Bees dance.", "ü 🌋 東京 " + "one more word " * 300]

SPECS: dict[str, dict[str, Any]] = {
    "no name": {"name": None},
    "max_tokens is a text": {"max_tokens": "256"},
    "max_tokens of -1": {"max_tokens": -1},
    "max_tokens of 1": {"max_tokens": 1},
    "max_tokens beyond the graph's": {"max_tokens": 4096},
    "max_tokens of 2^63": {"max_tokens": 2**63},
    "max_tokens is true": {"max_tokens": True},
    "max_tokens is infinite": {"max_tokens": float("inf")},
    "no dimension": {"dimension": None},
    "another dimension": {"dimension": 5},
    "dimension of 2^63": {"dimension": 2**63},
    "dimension is a list": {"dimension": [384]},
    "prompts are a list": {"prompts": []},
    "prompts are a number": {"prompts": 5},
    "a prompt is a number": {"prompts": {"query": 5}},
    "weights_hash is a number": {"weights_hash": 5},
    "normalize is a text": {"normalize": "yes"},
    "pooling is a list": {"pooling": []},
}


def in_tokenizer(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """Return what changes a tokenizer.json."""

    def changed(text: str) -> str:
        values = json.loads(text)
        change(values)
        return json.dumps(values)

    return changed


def template(**special: object) -> dict[str, object]:
    """Return a post-processor with one special token."""
    parts = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    token = {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]} | special
    return {"type": "TemplateProcessing", "single": parts, "pair": parts, "special_tokens": {"[CLS]": token}}


TOKENIZERS: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "100,000 brackets": lambda _: "[" * 100_000,
    "no vocabulary": in_tokenizer(lambda v: v["model"].update(vocab={})),
    "ids beyond the graph's": in_tokenizer(lambda v: v["model"]["vocab"].update(bees=2**31)),
    "special tokens beyond the graph's": in_tokenizer(lambda v: v.update(post_processor=template(ids=[2**31]))),
    "a special token that is not there": in_tokenizer(
        lambda v: v.update(post_processor=template() | {"special_tokens": {}})
    ),
    "more special tokens than the window": in_tokenizer(
        lambda v: v.update(post_processor=template(ids=[101] * 300, tokens=["[CLS]"] * 300))
    ),
    "no model": in_tokenizer(lambda v: v.pop("model")),
    "a text that grows beyond memory": in_tokenizer(
        lambda v: v.update(normalizer={"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"Regex": "."}, "content": "e" * 10_000}] * 9})
    ),
}  # fmt: skip


def folder_of(tmp_path: Path, model: str = "all-MiniLM-L6-v2") -> Path:
    """Return a folder with the files of a bundled model."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    for name in ("model.onnx", "sqlrag.json", "tokenizer.json"):
        os.symlink(BUNDLED / model / name, folder / name)
    return folder


def put(path: Path, content: str) -> None:
    """Put a file in the place of a link."""
    path.unlink(missing_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; a gigabyte is filled sooner than four."""
    monkeypatch.setattr(tokenizer_check, "MEMORY", 1 << 30)
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))


def refused(folder: Path, *words: str) -> None:
    """Load and use it: one error of sqlrag's, on a line that names the folder or the model."""
    with pytest.raises(Error) as error:
        Embedder(folder).encode_document(TEXTS)
    assert "stranger" in str(error.value) or "MiniLM" in str(error.value) or "model None" in str(error.value)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("values", SPECS.values(), ids=SPECS)
def test_low_a_specification(tmp_path, values):
    """sqlrag.json with values of other types, or of another model."""
    folder = folder_of(tmp_path)
    spec = json.loads((folder / "sqlrag.json").read_text())
    put(folder / "sqlrag.json", json.dumps(spec | values))
    refused(folder)


@pytest.mark.parametrize("change", TOKENIZERS.values(), ids=TOKENIZERS)
def test_low_a_tokenizer(tmp_path, change):
    """tokenizer.json that is broken, of another model, or takes more memory than there is: this process goes on."""
    folder = folder_of(tmp_path)
    put(folder / "tokenizer.json", change((folder / "tokenizer.json").read_text()))
    refused(folder)


def test_low_a_tokenizer_without_an_end(tmp_path, monkeypatch):
    """One that takes for ever, by a regular expression perhaps, does so in the process that tries it."""
    monkeypatch.setattr(tokenizer_check, "SECONDS", 0.5)
    monkeypatch.setattr(tokenizer_check, "_TRIED", "import time; time.sleep(100)")
    refused(folder_of(tmp_path), "a text takes it more than 0.5 s")


def test_low_a_tokenizer_is_tried_once(tmp_path, monkeypatch):
    """What could be used is remembered by its content; a bundled one is never tried."""
    folder = folder_of(tmp_path)
    assert Embedder(folder).token_count("bees dance") == 2
    monkeypatch.setattr(tokenizer_check, "_TRIED", "raise SystemExit('tried again')")
    assert Embedder(folder).token_count("bees dance") == 2
    assert Embedder().token_count("bees dance") == 2
    put(folder / "tokenizer.json", (folder / "tokenizer.json").read_text() + " ")
    with pytest.raises(InputError, match="tried again"):
        Embedder(folder).token_count("bees dance")


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, "half", "the other kind's"])
def test_low_a_graph(tmp_path, content):
    """model.onnx that is none, or of a cross-encoder."""
    folder = folder_of(tmp_path)
    if isinstance(content, bytes):
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").write_bytes(content)
    elif content == "half":
        whole = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    else:
        (folder / "model.onnx").unlink()
        os.symlink(BUNDLED / "reranker-v1-small" / "model.onnx", folder / "model.onnx")
    refused(folder)


def test_low_a_reranker_s_graph_gives_vectors(tmp_path):
    """A bi-encoder in the place of a cross-encoder."""
    folder = folder_of(tmp_path, "reranker-v1-small")
    (folder / "model.onnx").unlink()
    shutil.copy(BUNDLED / "all-MiniLM-L6-v2" / "model.onnx", folder / "model.onnx")
    with pytest.raises(ModelFileError, match="numbers for a pair: its graph is no cross-encoder"):
        Reranker(folder).score("who dances?", TEXTS)


OF_MANIFEST = {"name": "x", "source": "/x", "revision": "r", "precision": "int8", "check": {}}
MANIFESTS: dict[str, object] = {
    "a list": [],
    "files are a list": OF_MANIFEST | {"files": []},
    "a hash is a number": OF_MANIFEST | {"files": {"model.onnx": 5}},
    "a source that is a number": OF_MANIFEST | {"source": 5, "files": {"model.onnx": "0"}},
    "an absolute path": OF_MANIFEST | {"files": {"/etc/passwd": "0" * 64}},
    "a path out of the folder": OF_MANIFEST | {"files": {"../../../../../../../../etc/passwd": "0" * 64}},
    "a device": OF_MANIFEST | {"files": {"/dev/zero": "0" * 64}},
    "the folder": OF_MANIFEST | {"files": {".": "0" * 64}},
    "a NUL": OF_MANIFEST | {"files": {"a\0b": "0"}},
    "a long name": OF_MANIFEST | {"files": {"a" * 5_000: "0"}},
    "100,000 brackets": "[" * 100_000,
    "three megabytes": "x" * 3_000_000,
}


@pytest.mark.parametrize(
    "manifest", [*MANIFESTS.values(), "[" * 100_000, "x" * 3_000_000], ids=[*MANIFESTS, "deep", "large"]
)
def test_low_a_manifest_names_files_of_the_folder_only(tmp_path, manifest, monkeypatch):
    """What a manifest says is checked before a file is opened, and nothing of a file outside is shown."""
    folder = folder_of(tmp_path)
    put(folder / MANIFEST_FILE, manifest if isinstance(manifest, str) else json.dumps(manifest))
    monkeypatch.setattr("sqlrag.models.manifest.file_hash", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(ModelFileError, match=r"manifest\.json' is damaged") as error:
        resolve(folder, "bi-encoder")
    assert len(str(error.value)) < 600


def test_low_a_link_out_of_the_folder_shows_nothing_of_its_file(tmp_path):
    """A model's file may be a link; of what is in it, no error says a thing."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the password of the lighthouse keeper")
    folder = folder_of(tmp_path)
    (folder / "model.onnx").unlink()
    os.symlink(secret, folder / "model.onnx")
    Manifest(**OF_MANIFEST, files={"model.onnx": "0" * 64}).save(folder)  # type: ignore[arg-type]
    with pytest.raises(ModelFileError) as error:
        resolve(folder, "bi-encoder")
    from hashlib import sha256

    assert sha256(secret.read_bytes()).hexdigest()[:6] not in str(error.value)


CONFIGS = {
    "a number": '{"architectures": [5]}',
    "no list": '{"architectures": 5}',
    "an object": '{"architectures": {}}',
    "labels": '{"architectures": ["AForSequenceClassification"], "id2label": 5}',
    "a type": '{"model_type": []}',
    "100,000 brackets": "[" * 100_000,
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_low_a_config(tmp_path, config):
    """config.json of a folder that sentence-transformers might have saved."""
    put(tmp_path / "config.json", config)
    with pytest.raises(Error):
        kind_of(tmp_path)
