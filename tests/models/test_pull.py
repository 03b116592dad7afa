"""Models brought into the cache: exported once, compared, whole or not there at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sqlrag
from sqlrag.cli import cli
from sqlrag.errors import InputError, ModelFileError, ModelMismatchError, UnknownModelError
from sqlrag.models import Embedder, Reranker
from sqlrag.models.cached_models import cached_models, find_cached, folder_of, models_folder
from sqlrag.models.detect import kind_of
from sqlrag.models.export.atomic_folder import atomic_folder
from sqlrag.models.export.pull import export_folder, pull
from sqlrag.models.export.verification import Reference
from sqlrag.models.manifest import MANIFEST_FILE, Manifest, file_hash
from sqlrag.models.spec import ModelSpec
from tests.conftest import PASSAGES
from tests.models.tiny import make_bi_encoder, make_transformer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'"
)

NAME = "tests/tiny-embedder"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def embedder_folder(tmp_path_factory):
    """A tiny SentenceTransformer with prompts and without Normalize."""
    prompts = {"query": "query: ", "document": "passage: "}
    return make_bi_encoder(tmp_path_factory.mktemp("tiny"), "bert", "cls", normalize=False, prompts=prompts)


@pytest.fixture(scope="session")
def hub(embedder_folder, tmp_path_factory):
    """A Hugging Face cache that holds the tiny model under a name, as a download leaves it."""
    hub = tmp_path_factory.mktemp("hub")
    repository = hub / f"models--{NAME.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    for path in sorted(embedder_folder.rglob("*")):
        if path.is_file():
            blob = repository / "blobs" / file_hash(path)
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(path.read_bytes())
            link = snapshot / path.relative_to(embedder_folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return hub


@pytest.fixture(scope="session")
def pulled_cache(hub, tmp_path_factory):
    """A cache into which the tiny model was pulled by its name, offline, in a process of its own."""
    cache = tmp_path_factory.mktemp("cache")
    done = sqlrag_process(["models", "pull", NAME, "--json"], cache, hub)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["new"] is True
    return cache


@pytest.fixture
def cache(pulled_cache, monkeypatch):
    """That cache, used by this process. Tests only read it."""
    monkeypatch.setenv("SQLRAG_CACHE", str(pulled_cache))
    return pulled_cache


@pytest.fixture
def own_cache(pulled_cache, tmp_path, monkeypatch):
    """A copy of it that a test may change."""
    import shutil

    shutil.copytree(pulled_cache, tmp_path / "cache")
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def invoke(*arguments):
    return CliRunner().invoke(cli, list(arguments), prog_name="sqlrag")


def sqlrag_process(arguments, cache, hub, **environment):
    return subprocess.run(
        [sys.executable, "-m", "sqlrag", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        env=os.environ
        | {"SQLRAG_CACHE": str(cache), "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
        | environment,
    )


def test_a_name_is_pulled_from_hugging_faces_cache_without_a_network(cache, embedder_folder):
    """The manifest has source, commit, versions, the hash of each file and the comparison with fp32."""
    spec = find_cached(NAME)
    manifest = Manifest.load(spec.folder)
    assert spec.folder == models_folder() / "tests--tiny-embedder"
    assert (manifest.source, manifest.revision, manifest.precision) == (NAME, COMMIT, "int8")
    assert manifest.files == {name: file_hash(spec.folder / name) for name in manifest.files}
    assert set(manifest.files) == {"model.onnx", "sqlrag.json", "tokenizer.json"}
    assert manifest.check["cosine_mean"] >= 0.99
    assert {name for name, version in manifest.made_by.items() if version} >= {"sqlrag", "torch", "onnxruntime"}
    assert [note for note in manifest.notes if "ranks by the cosine" in note or "'query: '" in note] == manifest.notes
    assert (spec.kind, spec.dimension, spec.max_tokens, spec.pooling) == ("bi-encoder", 32, 96, "cls")
    assert spec.prompts == {"query": "query: ", "document": "passage: "}
    assert {path.name for path in models_folder().iterdir() if path.name.startswith(".")} <= {".tokenizers"}


def test_a_pulled_model_is_what_sentence_transformers_computes(cache, embedder_folder, texts):
    """Prompts, pooling and window are the model's own; the vectors have unit length although it has no Normalize."""
    theirs = sentence_transformers.SentenceTransformer(str(embedder_folder), device="cpu")
    for ours, at_least in ((Embedder(NAME), 0.99), (Embedder(embedder_folder, backend="torch"), 0.999999)):
        for mine, other in (
            (ours.encode_document(texts), theirs.encode_document(texts)),
            (ours.encode_query(texts), theirs.encode_query(texts)),
        ):
            np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)
            assert (mine * other / np.linalg.norm(other, axis=1, keepdims=True)).sum(1).min() >= at_least


def test_a_pulled_model_stays_as_it_is(cache, hub):
    """Pulling again does nothing, and needs neither torch nor a network nor Hugging Face's cache."""
    started = time.perf_counter()
    done = sqlrag_process(["models", "pull", NAME], cache, hub / "nothing")
    assert time.perf_counter() - started < 30
    assert (done.returncode, done.stderr) == (0, "")
    assert "was there already" in done.stdout


@pytest.mark.parametrize("engine_name", ["sqlite", "duckdb"])
def test_a_database_remembers_a_pulled_model(cache, engine_name, tmp_path):
    """Connected by name once; afterwards the database opens its model itself, and SQL may name it."""
    path = tmp_path / f"other.{'db' if engine_name == 'sqlite' else 'duckdb'}"
    with sqlrag.connect(path, embedder=NAME) as db:
        db.ingest(PASSAGES)
        expected = [hit.id for hit in db.search("coffee in the morning", top_n=5)]
    with sqlrag.connect(path) as db:
        assert db.embedder.name == NAME
        assert [hit.id for hit in db.search("coffee in the morning", top_n=5)] == expected
        statement = "SELECT id FROM vector_top_k('chunks', embed('coffee', :model), 5)"
        assert len(db.execute(statement, {"model": NAME}).fetchall()) == 5
        with pytest.raises(UnknownModelError, match=r"a query may name .*'tests/tiny-embedder'"):
            db.execute("SELECT embed('coffee', :model)", {"model": str(cache)}).fetchall()


@pytest.mark.parametrize("engine_name", ["sqlite", "duckdb"])
def test_indexes_of_one_database_have_models_of_their_own(cache, engine_name, tmp_path):
    """A second index takes another model; each is asked with its own, and a vector of the other one is refused."""
    path = tmp_path / f"two.{'db' if engine_name == 'sqlite' else 'duckdb'}"
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES)
        db.ingest(PASSAGES, "tiny", embedder=NAME)
        with pytest.raises(ModelMismatchError, match="'chunks' was made with all-MiniLM-L6-v2"):
            db.ingest(PASSAGES, embedder=NAME)
    with sqlrag.connect(path) as db:
        assert {one.index: one.embedder for one in db.info()} == {"chunks": "all-MiniLM-L6-v2", "tiny": NAME}
        assert db.embedder.name == "all-MiniLM-L6-v2"
        for index in ("chunks", "tiny"):
            rows = db.execute("SELECT id FROM vector_top_k(:index, 'coffee', 5)", {"index": index}).fetchall()
            assert len(rows) == 5
        with pytest.raises(InputError, match="384 dimensions"):
            db.execute("SELECT id FROM vector_top_k('tiny', embed('coffee'), 5)").fetchall()


def test_a_database_whose_model_is_gone_says_how_to_get_it(cache, tmp_path, monkeypatch):
    """Without the cache the error names the model and the command."""
    with sqlrag.connect(tmp_path / "x.db", embedder=NAME) as db:
        db.ingest(PASSAGES)
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "empty"))
    with (
        sqlrag.connect(tmp_path / "x.db") as db,
        pytest.raises(UnknownModelError, match="'tests/tiny-embedder', which is neither bundled nor pulled: `sqlrag"),
    ):
        db.search("coffee")


def test_a_changed_file_is_named(own_cache):
    """A cached model that is not what was exported is refused; pulling it again is what the error says."""
    path = find_cached(NAME).folder / "model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(
        ModelFileError, match=r"model\.onnx' does not have the SHA.*`sqlrag models pull tests/tiny-embedder"
    ):
        Embedder(NAME)
    path.unlink()
    assert find_cached(NAME) is None


def test_a_damaged_model_is_made_again(own_cache, hub):
    """`pull` of a damaged model is a repair."""
    path = find_cached(NAME).folder / "tokenizer.json"
    path.write_text("{}")
    done = sqlrag_process(["models", "pull", NAME], own_cache, hub)
    assert (done.returncode, done.stderr) == (0, "")
    assert Embedder(NAME).encode_query("coffee").shape == (32,)


def test_a_kill_leaves_nothing_half_made(hub, tmp_path):
    """Killed in the midst of an export: the cache lists no model, and the next pull works."""
    cache = tmp_path / "cache"
    environment = os.environ | {"SQLRAG_CACHE": str(cache), "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "sqlrag", "models", "pull", NAME],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(cache.glob("models/.making-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    assert list(cache.glob("models/.making-*")), "it was killed before it began"
    assert not list(cache.glob("models/[!.]*"))
    listed = json.loads(sqlrag_process(["models", "list", "--json"], cache, hub).stdout)["models"]
    assert {model["place"] for model in listed} == {"bundled"}


def test_two_that_make_the_same_folder_both_end_well(tmp_path):
    """Many at once, each writing two files: at the end one whole folder stands there, and nothing beside it."""
    final, failed = tmp_path / "models" / "one", []

    def make(number: int) -> None:
        try:
            for turn in range(20):
                with atomic_folder(final) as folder:
                    for name in ("a", "b"):
                        (folder / name).write_text(f"{number} {turn}")
        except OSError as error:
            failed.append(error)

    makers = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert failed == []
    assert (final / "a").read_text() == (final / "b").read_text()
    assert [path.name for path in final.parent.iterdir()] == ["one"]


def test_a_folder_by_its_path_is_exported_once(embedder_folder, tmp_path, monkeypatch):
    """`connect(embedder=FOLDER)` exports it to the cache, found again by the hash of its files."""
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    first = Embedder(embedder_folder)
    made = first.spec.folder / MANIFEST_FILE
    state = made.stat().st_mtime_ns
    assert Embedder(embedder_folder).spec.folder == first.spec.folder
    assert made.stat().st_mtime_ns == state
    assert first.spec.folder == folder_of("saved", Manifest.load(first.spec.folder).revision)
    with pytest.raises(InputError, match="is a bi-encoder by its files; a cross-encoder is needed here"):
        Reranker(embedder_folder)


def test_int8_that_loses_too_much_becomes_fp32(embedder_folder, tmp_path, monkeypatch):
    """Where int8 fails the comparison, the export is fp32 and says why; where that fails too, there is none."""
    monkeypatch.setattr(Reference, "accepts", lambda _self, _measured, precision: precision == "fp32")
    said = []
    made = export_folder(embedder_folder, tmp_path / "out", tell=said.append)
    assert made.manifest.precision == "fp32"
    assert made.manifest.check["cosine_min"] >= 0.9999
    assert "int8 is too far from the original weights: cosine_mean" in made.manifest.notes[0]
    assert any("int8 is too far" in line for line in said)
    monkeypatch.setattr(Reference, "accepts", lambda *_: False)
    with pytest.raises(ModelFileError, match=r"can't be exported: fp32 is too far .*Run it with --backend torch"):
        export_folder(embedder_folder, tmp_path / "none", precision="fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_precision_is_made_again(embedder_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path))
    assert pull(embedder_folder, precision="int8").manifest.precision == "int8"
    assert not pull(embedder_folder).new
    assert not pull(embedder_folder, precision="int8").new
    made = pull(embedder_folder, precision="fp32")
    assert made.new
    assert made.manifest.precision == "fp32"
    assert made.spec.weights_hash == ModelSpec.load(made.spec.folder).weights_hash
    assert not pull(embedder_folder, precision="fp32").new
    assert not pull(embedder_folder).new


def test_a_precision_that_was_tried_in_vain_is_not_tried_again(embedder_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path))
    monkeypatch.setattr(Reference, "accepts", lambda _self, _measured, precision: precision == "fp32")
    assert pull(embedder_folder, precision="int8").manifest.precision == "fp32"
    assert not pull(embedder_folder, precision="int8").new


def test_the_comparison_can_fail(cache, embedder_folder, tmp_path):
    """An export whose pooling, or whose weights, are others is found out."""
    import shutil

    spec = find_cached(NAME)
    reference = Reference(embedder_folder, "bi-encoder", NAME)
    assert reference.accepts(reference.measure(spec.folder), "int8")
    shutil.copytree(spec.folder, tmp_path / "wrong")
    replace(spec, pooling="mean").save(tmp_path / "wrong")
    assert not reference.accepts(reference.measure(tmp_path / "wrong"), "int8")


def test_offline_the_error_says_what_helps(tmp_path):
    """Nothing in Hugging Face's cache and no network: which folder, which command."""
    done = sqlrag_process(["models", "pull", "BAAI/bge-small-en-v1.5"], tmp_path / "cache", tmp_path / "hub")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    for part in ("'BAAI/bge-small-en-v1.5'", "HF_HUB_OFFLINE", str(tmp_path / "hub"), "BAAI--bge-small-en-v1.5",
                 "`sqlrag models pull BAAI/bge-small-en-v1.5` where there is a network"):  # fmt: skip
        assert part in done.stderr
    assert not (tmp_path / "cache").exists()


def test_the_torch_backend_takes_a_name_without_a_network(hub, tmp_path, embedder_folder):
    """From Hugging Face's cache; a name that is not there is an error at once."""
    code = """if True:
        import sys
        from sqlrag.models import Embedder
        print(Embedder(sys.argv[1], backend="torch").spec)
    """
    environment = os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    for name, said in ((NAME, f"name='{NAME}'"), ("no/such-model", "'no/such-model' is not in Hugging Face's cache")):
        done = subprocess.run(
            [sys.executable, "-c", code, name], env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert (done.returncode == 0) == (name == NAME)
        assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", "bge-small"], "have an owner, as in sentence-transformers/bge-small"),
        (["pull", "."], "is no model: it has neither modules.json nor config.json"),
        (["pull", "a/b", "--precision", "int4"], "'int4' is not one of"),
        (["pull", "../x"], "is neither a folder nor a Hugging Face name"),
        (["export", "no-such-folder", "out"], "'no-such-folder' does not exist"),
        (["export", ".", "full"], "is there and not empty"),
        (["bench", "no-such"], "there is no model 'no-such'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, message):
    """What is wrong, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    result = invoke("models", *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "cache").exists()


def test_pickled_weights_are_refused(embedder_folder, tmp_path):
    """A folder with pytorch_model.bin only: the error says why."""
    import shutil

    shutil.copytree(embedder_folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pytorch_model\.bin, a pickle, which can run code.*--allow-bin"):
        export_folder(tmp_path / "pickled", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_kinds_are_told_by_the_files(tmp_path):
    """M14: a causal language model may be either, unless its card names the task. --kind never overrules the files."""
    bare = make_transformer(tmp_path / "bare", "bert")
    assert kind_of(bare) == "bi-encoder"  # without a head
    with pytest.raises(InputError, match="is a bi-encoder by its files; a cross-encoder is needed"):
        kind_of(bare, "cross-encoder")
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen3ForCausalLM"]}))
    with pytest.raises(InputError, match="do not say whether it is a bi-encoder or a cross-encoder"):
        export_folder(bare, tmp_path / "out")
    (bare / "README.md").write_text("---\npipeline_tag: text-ranking\n---\n")
    assert kind_of(bare) == "cross-encoder"
    three = make_transformer(tmp_path / "three", "bert", labels=3)
    with pytest.raises(InputError, match="a classifier with 3 labels; a reranker has one"):
        export_folder(three, tmp_path / "out")
    one = make_transformer(tmp_path / "one", "bert", labels=1)
    with pytest.raises(InputError, match="is a cross-encoder by its files; a bi-encoder is needed"):
        export_folder(one, tmp_path / "out", kind="bi-encoder")
    assert not (tmp_path / "out").exists()


def test_models_are_listed(cache):
    """Bundled and pulled ones with what they are; a folder that is no model is left out."""
    listed = json.loads(invoke("models", "list", "--json").stdout)
    assert listed["folder"] == str(models_folder())
    assert [(model["name"], model["place"], model["default"]) for model in listed["models"]] == [
        ("all-MiniLM-L6-v2", "bundled", True),
        ("reranker-v1", "bundled", True),
        ("reranker-v1-small", "bundled", False),
        (NAME, "pulled", False),
    ]
    tiny = listed["models"][-1]
    assert (tiny["kind"], tiny["dimension"], tiny["window"], tiny["source"]) == ("bi-encoder", 32, 96, NAME)
    assert tiny["bytes"] > 10_000
    assert NAME in invoke("models", "list").stdout
    assert [spec.name for spec in cached_models()] == [NAME]


def test_bench_measures_both_backends(cache, hub):
    """Tokens a second of ONNX Runtime and, where the original weights are at hand, of torch."""
    done = sqlrag_process(["models", "bench", NAME, "--texts", "3", "--json"], cache, hub)
    assert done.returncode == 0, done.stderr
    [speed] = json.loads(done.stdout)
    assert (speed["model"], speed["unit"], speed["note"]) == (NAME, "tokens/s", "")
    assert min(speed["onnx"], speed["torch"]) > 0
    assert speed["ratio"] == pytest.approx(speed["onnx"] / speed["torch"])
    done = sqlrag_process(["models", "bench", NAME, "--texts", "3", "--json"], cache, hub / "nothing")
    [speed] = json.loads(done.stdout)
    assert speed["torch"] is None
    assert speed["note"] == f"torch: {NAME} is not in Hugging Face's cache"


def test_the_cache_is_where_systems_keep_caches(monkeypatch, tmp_path):
    """SQLRAG_CACHE, then the system's own variable or place."""
    monkeypatch.delenv("SQLRAG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for platform, expected in (
        ("linux", tmp_path / "xdg"),
        ("win32", tmp_path / "local"),
        ("darwin", tmp_path / "Library" / "Caches"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert models_folder() == expected / "sqlrag" / "models"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert models_folder() == Path.home() / ".cache" / "sqlrag" / "models"
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "mine"))
    assert models_folder() == tmp_path / "mine" / "models"
