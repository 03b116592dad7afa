"""Models from a hub on the loopback interface: fetched, resumed, checked, refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sqlrag.cli import cli
from sqlrag.errors import InputError, MissingDependencyError, ModelFileError, UnknownModelError
from sqlrag.models import Embedder, Reranker
from sqlrag.models.cached_models import find_cached
from sqlrag.models.export.check import check_model, remove_model
from sqlrag.models.export.pull import Options, export_folder, pull
from sqlrag.models.hub import hub_name
from tests.models.hub import COMMIT, Hub
from tests.models.tiny import make_bi_encoder, make_transformer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="the torch extra is not installed: pip install 'sqlrag[torch]'")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="the torch extra is not installed: pip install 'sqlrag[torch]'"
)

NAME = "tests/tiny"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A tiny bi-encoder and a tiny cross-encoder, as they are saved."""
    folder = tmp_path_factory.mktemp("sources")
    bi = make_bi_encoder(folder / "bi", "bert", "cls", prompts={"query": "query: ", "document": "passage: "})
    return {"bi": bi, "cross": make_transformer(folder / "cross", "bert", labels=1)}


@pytest.fixture(scope="module")
def exports(sources, tmp_path_factory):
    """Their fp32 exports: graphs as others publish them."""
    folder = tmp_path_factory.mktemp("exports")
    return {kind: export_folder(path, folder / kind, precision="fp32").spec for kind, path in sources.items()}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub, and empty caches: Hugging Face's and sqlrag's."""
    from huggingface_hub import constants

    hub = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(
        constants.HUGGINGFACE_CO_URL_TEMPLATE.split("/{")[0], hub.url
    )
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr("sqlrag.models.download._SECONDS", 2.0)
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.close()


def without_torch(monkeypatch):
    """Let the packages of the torch extra be missing where a pull looks for them."""
    monkeypatch.setattr("sqlrag.models.export.plan.find_spec", lambda _: None)


def onnx_repository(folder, source, spec, *, modules: bool) -> Path:
    """Make a repository with an ONNX file and no other weights, with or without sentence-transformers' own files."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    if not modules:
        for path in [*folder.glob("*sentence*"), folder / "modules.json"]:
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / "1_Pooling", ignore_errors=True)
    (folder / "onnx").mkdir()
    shutil.copyfile(spec.folder / "model.onnx", folder / "onnx" / "model.onnx")
    return folder


def test_a_name_is_pulled(hub, sources):
    """Size first, then the export; the small files are asked for once, and no weights again at the second pull."""
    hub.repositories[NAME] = sources["bi"]
    said, steps = [], []
    made = pull(NAME, tell=said.append, more=lambda done, total: steps.append((done, total)))
    size = (sources["bi"] / "model.safetensors").stat().st_size
    assert said[0] == f"fetching {NAME}: {size / 1e6:,.1f} MB in 1 file"
    assert steps[-1] == (size, size)
    assert (made.manifest.revision, made.spec.prompts["query"]) == (COMMIT, "query: ")
    hub.asked.clear()
    assert not pull(NAME).new
    assert hub.asked == []
    assert remove_model(NAME) > 0
    assert find_cached(NAME) is None


def test_one_command_pulls_a_pair(hub, sources, tmp_path):
    """Both models of another language by one command; what is said of one model is refused for two."""
    hub.repositories |= {"tests/bi": sources["bi"], "tests/cross": sources["cross"]}
    run = CliRunner().invoke
    refused = run(cli, ["models", "pull", "tests/bi", "tests/cross", "--query-prompt", "x"], prog_name="sqlrag")
    assert "--query-prompt is said of one model: pull them one by one" in refused.stderr
    done = run(cli, ["models", "pull", "tests/bi", "tests/cross", "--json"], prog_name="sqlrag")
    assert [(one["name"], one["kind"]) for one in json.loads(done.stdout)] == [
        ("tests/bi", "bi-encoder"), ("tests/cross", "cross-encoder")
    ]  # fmt: skip
    (tmp_path / "a.txt").write_text("東京タワーは高い")
    database = str(tmp_path / "pair.db")
    assert run(cli, ["ingest", database, str(tmp_path / "a.txt"), "--embedder", "tests/bi"]).exit_code == 0
    found = run(cli, ["search", database, "タワー", "--reranker", "tests/cross", "--json"])
    assert json.loads(found.stdout)[0]["title"] == "a.txt"


def test_m2_an_onnx_file_is_taken_without_torch(*, hub, sources, exports, texts, tmp_path, monkeypatch):
    """M2: the files that popular repositories have beside their weights, with pooling and prompts of the files."""
    without_torch(monkeypatch)
    hub.repositories[NAME] = onnx_repository(tmp_path / "repository", sources["bi"], exports["bi"], modules=True)
    made = pull(NAME)
    assert (made.spec.pooling, made.spec.dimension, made.spec.precision) == ("cls", 32, "fp32")
    assert made.manifest.notes[0].startswith("onnx/model.onnx (fp32) as the repository has it")
    theirs = sentence_transformers.SentenceTransformer(str(sources["bi"]), device="cpu")
    theirs.max_seq_length = 96
    np.testing.assert_allclose(Embedder(NAME).encode_query(texts), theirs.encode_query(texts), atol=2e-5)
    np.testing.assert_allclose(Embedder(NAME).encode_document(texts), theirs.encode_document(texts), atol=2e-5)


def test_m2_a_conversion_without_modules_takes_those_of_its_base(hub, sources, exports, texts, tmp_path):
    """M2: Xenova/* name the model that they were made from; without that name the pooling has to be said."""
    hub.repositories[NAME] = sources["bi"]
    bare = onnx_repository(tmp_path / "repository", sources["bi"], exports["bi"], modules=False)
    config = json.loads((bare / "config.json").read_text())
    hub.repositories["tests/converted"] = bare
    with pytest.raises(InputError, match=r"do not say how token vectors become one: say it with --pooling"):
        pull("tests/converted")
    assert pull("tests/converted", options=Options(pooling="cls", precision="fp32")).spec.pooling == "cls"
    (bare / "config.json").write_text(json.dumps(config | {"_name_or_path": NAME}))
    hub.repositories["tests/named"] = bare
    made = pull("tests/named")
    assert (made.spec.pooling, made.spec.prompts["document"]) == ("cls", "passage: ")
    assert f"those of {NAME}, from which it was made" in made.manifest.notes[1]
    assert not any(path.endswith("model.safetensors") for _, path, _ in hub.asked)


def test_m2_a_reranker_is_taken_without_torch(*, hub, sources, exports, texts, tmp_path, monkeypatch):
    without_torch(monkeypatch)
    hub.repositories[NAME] = onnx_repository(tmp_path / "repository", sources["cross"], exports["cross"], modules=False)
    made = pull(NAME, options=Options(window=96))
    assert (made.spec.kind, made.spec.activation, made.spec.output) == ("cross-encoder", "sigmoid", "logits")
    theirs = sentence_transformers.CrossEncoder(str(sources["cross"]), max_length=96, device="cpu")
    expected = theirs.predict([("coffee", text) for text in texts])
    np.testing.assert_allclose(Reranker(NAME).score("coffee", texts), expected, atol=1e-4)


def test_m1_pickled_weights_are_read_on_the_users_word(hub, sources, texts, tmp_path):
    """M1: BAAI/bge-m3 and older models; a file with more than numbers in it is refused."""
    folder = tmp_path / "pickled"
    shutil.copytree(sources["bi"], folder)
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    hub.repositories[NAME] = folder
    with pytest.raises(InputError, match=r"only pytorch_model\.bin, a pickle.*--allow-bin"):
        pull(NAME)
    made = pull(NAME, options=Options(allow_bin=True))
    theirs = sentence_transformers.SentenceTransformer(str(sources["bi"]), device="cpu").encode_query(texts[:8])
    assert (Embedder(NAME).encode_query(texts[:8]) * theirs).sum(1).min() >= 0.99
    assert "pytorch_model.bin is a pickle: of it only numbers are read" in made.manifest.notes
    torch.save({"weights": print}, folder / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="holds something else than weights"):
        export_folder(folder, tmp_path / "out", options=Options(allow_bin=True))


def test_m3_m19_what_is_said_of_a_model(hub, sources, texts):
    """M3, M19: dimensions, window and prompts of the user's word are those of the vectors."""
    hub.repositories[NAME] = sources["bi"]
    asked = Options(precision="fp32", dimensions=16, window=24, prompts={"query": "find: "})
    made = pull(NAME, options=asked)
    assert (made.spec.dimension, made.spec.full_dimension, made.spec.max_tokens) == (16, 32, 24)
    theirs = sentence_transformers.SentenceTransformer(str(sources["bi"]), device="cpu", truncate_dim=16)
    theirs.max_seq_length = 24
    expected = theirs.encode(texts, prompt="find: ")
    np.testing.assert_allclose(
        Embedder(NAME).encode_query(texts), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=2e-5
    )
    assert not pull(NAME, options=asked).new
    assert pull(NAME, options=Options(precision="fp32")).new


def test_m4_a_download_that_breaks_off_is_continued(hub, sources):
    """M4: one line; the next pull asks for the rest."""
    hub.repositories[NAME] = sources["bi"]
    hub.faults["model.safetensors"] = "cut"
    with pytest.raises(
        UnknownModelError, match=r"the download of 'tests/tiny' broke off .*pull it again, and it contin"
    ):
        pull(NAME)
    hub.faults.clear()
    hub.asked.clear()
    assert pull(NAME).new
    half = (sources["bi"] / "model.safetensors").stat().st_size // 2
    assert next(one for one in hub.asked if "safetensors" in one[1] and one[2])[2] == f"bytes={half}-"


@pytest.mark.parametrize(
    ("fault", "where", "said"),
    [
        (429, "/api/", "answers 429 (too many requests). Try again in 17 s"),
        (503, "/resolve/", "answers 503 (the hub has a problem of its own). Try again in 17 s"),
        (403, "/api/", "is a gated model: accept its terms"),
        (401, "/api/", "has no model 'tests/tiny', or it is private or gated"),
        (404, "/api/", "has no model 'tests/tiny', or it is private or gated"),
        ("html", "/api/", "answers with something else than Hugging Face does: is there a login page"),
        ("wrong", "model.safetensors", "does not have the SHA-256"),
    ],
)
def test_m4_m5_m17_a_hub_that_misbehaves(*, hub, sources, monkeypatch, fault, where, said):
    """M4, M5, M17: one line that says what the hub said, and when to try again."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.repositories[NAME] = sources["bi"]
    hub.faults[where] = fault
    done = CliRunner().invoke(cli, ["models", "pull", NAME], prog_name="sqlrag")
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert find_cached(NAME) is None


def test_m4_an_endpoint_without_a_scheme(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "hub.example.com")
    with pytest.raises(InputError, match=r"HF_ENDPOINT is 'hub\.example\.com': it starts with https"):
        pull(NAME)


def test_m20_a_pasted_address(hub, sources):
    """M20: the address of a model's page, with a revision or without, is its name."""
    page = "https://huggingface.co/BAAI/bge-m3"
    assert hub_name(page) == hub_name(page + "?library=x") == hub_name(page + "/") == ("BAAI/bge-m3", None)
    assert hub_name(page + "/tree/refs") == ("BAAI/bge-m3", "refs")
    assert hub_name("hf.co/BAAI/bge-m3/blob/main/README.md") == ("BAAI/bge-m3", "main")
    assert hub_name("BAAI/bge-m3") == ("BAAI/bge-m3", None)


def test_check_says_what_a_pull_would_do(hub, sources, exports, tmp_path, monkeypatch):
    """Kind, size, road, prompts and licence; no weights are asked for."""
    hub.repositories[NAME] = sources["bi"]
    found = check_model(NAME, kind=None, revision=None, options=Options())
    assert (found["kind"], found["road"], found["dimension"], found["window"]) == ("bi-encoder", "export", 32, 96)
    assert found["bytes"] == (sources["bi"] / "model.safetensors").stat().st_size
    assert "prompts: query 'query: ', document 'passage: '" in found["notes"]
    done = CliRunner().invoke(cli, ["models", "check", NAME], prog_name="sqlrag")
    assert "would download" in done.stdout
    assert not any("safetensors" in path for _, path, _ in hub.asked)
    without_torch(monkeypatch)
    assert "that needs torch" in " ".join(check_model(NAME, kind=None, revision=None, options=Options())["notes"])
    with pytest.raises(MissingDependencyError, match=r'pip install "sqlrag\[torch\]"'):
        pull(NAME)
    assert not any("safetensors" in path for _, path, _ in hub.asked)
