"""Models of sentence-transformers: opened safely, and described by their own files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import Error, InputError, MissingDependencyError, ModelFileError, UnknownModelError
from sqlrag.models.conventions import card_names, prompts_of, read_settings
from sqlrag.models.detect import kind_of
from sqlrag.models.hub import fetch, is_hub_name
from sqlrag.models.spec import IN_GRAPH, MOST_TOKENS, POOLINGS, USUAL_WINDOW, Kind, ModelSpec
from sqlrag.models.weights import check_weights, source_hash, weight_files
from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import tokenizers

__all__ = ["describe", "is_static", "needs_code", "open_model", "quiet", "remote_code", "source_folder", "tokenizer_of"]

# A table of vectors has no positions, and so no window. This one bounds the memory (64 MB at 256 dimensions).
_STATIC_WINDOW = 65_536


_OF_SENTENCEPIECE = (
    "Its tokenizer is a sentencepiece model, which needs the packages sentencepiece and protobuf to be read: "
    'pip install "sqlrag[torch]" has them; otherwise save the model once with a tokenizer.json'
)

_one_at_a_time = threading.Lock()
renew_locks(sys.modules[__name__])


def open_model(kind: Kind, model: str, device: str | None = None) -> Any:
    """Load a SentenceTransformer or a CrossEncoder by name or folder, ready to run.

    Only safetensors are read, and no code from the model's repository is run. `device` is torch's name, by default that
    of the best device. Raises MissingDependencyError without the torch extra, UnknownModelError if there is no such
    model, InputError for one of the other kind, ModelFileError if weights are missing or damaged.
    """
    try:
        import sentence_transformers
    except ImportError as error:
        msg = 'backend="torch" needs sentence-transformers: pip install "sqlrag[torch]"'
        raise MissingDependencyError(msg) from error
    load = sentence_transformers.SentenceTransformer if kind == "bi-encoder" else sentence_transformers.CrossEncoder
    folder = source_folder(model)
    kind_of(folder, kind)
    _check_weights(folder)
    with quiet(), _loading_reports() as reports:
        try:
            modules = _model2vec(str(folder))
            if modules:
                opened = load(modules=modules, device=device)
            else:
                opened = load(
                    str(folder),
                    trust_remote_code=False,
                    local_files_only=True,
                    model_kwargs={"use_safetensors": True},
                    device=device,
                )
        except Exception as error:  # the libraries raise anything
            raise _not_loaded(folder, model, error) from error
    _check_complete(kind, folder, model, opened, reports)
    _check_words(folder, opened)
    return opened.eval()


def source_folder(model: str) -> Path:
    """Return the folder with a model's files: the model itself, or what Hugging Face has under its name.

    Raises UnknownModelError.
    """
    if is_hub_name(model) and not Path(model).is_dir():
        return fetch(model)[0]
    return Path(model)


def _not_loaded(folder: Path, model: str, error: Exception) -> Error:
    """Return why a model can't be loaded, in one line."""
    config = read_settings(folder / "config.json")
    if remote_code(config, folder):
        return InputError(needs_code(model))
    if problem := _damage(folder, config):
        return ModelFileError(f"the model {model!r} can't be read: {problem}. Download it again, whole")
    said = " ".join(str(error).split())
    first = (said[:200] + "…" if len(said) > 200 else said) or type(error).__name__
    if not list(folder.rglob("tokenizer.json")) and list(folder.rglob("*.model")):
        first = _OF_SENTENCEPIECE
    elif "ignore_mismatched_sizes" in said:
        first = "its weights have other shapes than its config.json says: they are of another model"
    elif known := re.search(r"does not recognize this architecture|model type `[^`]*`", said):
        first = (
            f"its type {config.get('model_type')!r} is not known to the installed transformers: update it, "
            f"pip install -U transformers ({known[0]})"
        )
    return UnknownModelError(
        f"sentence-transformers cannot load the model {model!r} ({first}): give a folder with "
        "safetensors weights, or a name that Hugging Face has, with a network or with the model in its cache"
    )


def _damage(folder: Path, config: Mapping[str, Any]) -> str:
    """Return what is wrong with the small files of a model that cannot be loaded, "" if nothing is known."""
    from tokenizers import Tokenizer

    modules = [one for one in read_settings(folder / "modules.json", list) if isinstance(one, dict)]
    for one in modules:
        path = str(one.get("path", ""))
        if path and not str(one.get("type")).endswith("Normalize") and not (folder / path).is_dir():
            return f"its modules.json names the folder {path!r}, which is not there"
    first = next((str(one.get("path", "")) for one in modules if str(one.get("type")).endswith("Transformer")), "")
    if not config and not (folder / first / "config.json").is_file():
        return "its config.json is missing"
    try:
        for tokenizer in folder.rglob("tokenizer.json"):
            Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exceptions
        return f"its tokenizer.json is damaged ({error})"
    return ""


def needs_code(model: str) -> str:
    """Return the error message for a model that only code of its own repository can run."""
    return (
        f"model {model!r} runs code of its repository, which sqlrag does not. If the repository has an ONNX file, "
        f"`sqlrag models pull {model} --onnx` needs none of it. Otherwise take a model without such code: "
        "Alibaba-NLP/gte-modernbert-base or intfloat/multilingual-e5-base as embedder, "
        "Alibaba-NLP/gte-reranker-modernbert-base or BAAI/bge-reranker-v2-m3 as reranker"
    )


def remote_code(config: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a model's classes are in its repository, and not in the installed libraries."""
    import transformers

    classes = config.get("auto_map")
    named = [str(name) for name in classes.values()] if isinstance(classes, dict) else []
    modules = [str(one.get("type")) for one in read_settings(folder / "modules.json", list) if isinstance(one, dict)]
    return any(not hasattr(transformers, name.rsplit(".", 1)[-1]) for name in named) or any(
        not one.startswith("sentence_transformers.") for one in modules
    )


@contextmanager
def _loading_reports() -> Iterator[list[dict[str, Any]]]:
    """Collect what transformers reports of each checkpoint that it loads in this block.

    transformers draws weights that a checkpoint lacks at random and logs a warning.
    """
    from transformers import PreTrainedModel

    reports: list[dict[str, Any]] = []
    original = PreTrainedModel.__dict__["from_pretrained"]

    def from_pretrained(cls: Any, *arguments: Any, **named: Any) -> Any:
        wanted = named.pop("output_loading_info", False)
        opened, report = original.__get__(None, cls)(*arguments, output_loading_info=True, **named)
        reports.append(report)
        return (opened, report) if wanted else opened

    with _one_at_a_time:
        PreTrainedModel.from_pretrained = classmethod(from_pretrained)
        try:
            yield reports
        finally:
            PreTrainedModel.from_pretrained = original


def _check_complete(kind: Kind, folder: Path, model: str, opened: Any, reports: list[dict[str, Any]]) -> None:
    """Raise ModelFileError if weights of a model are not in its files, because they would be random numbers."""
    missing: list[str] = []
    for report in reports:
        missing += sorted(report.get("missing_keys") or ())
        missing += sorted(str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys") or ())
    if kind == "bi-encoder":
        # A vector comes from the tokens. Many checkpoints lack the layer that BERT's own training put behind them.
        missing = [name for name in missing if not re.search(r"(^|\.)pooler\.", name)]
    if not missing:
        return
    if remote_code(read_settings(folder / "config.json"), folder):
        raise InputError(needs_code(model))
    parts = set(opened[0].auto_model.state_dict()) if hasattr(opened[0], "auto_model") else set()
    head = [
        name for name in missing if re.match(r"classifier|score|classification_head|pooler|head\.|logits_proj", name)
    ]
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    if kind == "cross-encoder" and len(head) == len(missing):
        raise ModelFileError(
            f"model {model!r} is no cross-encoder, or its head is not in its files ({shown}): its scores would be "
            "random numbers. Take a model that was trained as a reranker"
        )
    raise ModelFileError(
        f"{len(missing)} of {len(parts) or 'its'} weights of the model {model!r} are not in its files ({shown}): "
        "they would be random numbers. Download the model again, or take another"
    )


def _check_words(folder: Path, opened: Any) -> None:
    """Raise ModelFileError for a tokenizer that knows few of the words that the model has vectors for.

    If the files of a tokenizer are missing, transformers makes an empty one of the model's type.
    """
    if is_static(opened) or not hasattr(opened[0], "auto_model"):
        return
    try:
        known, words = len(opened.tokenizer), opened[0].auto_model.get_input_embeddings().weight.shape[0]
    except (AttributeError, TypeError, RuntimeError):  # a model of another kind, which is refused elsewhere
        return
    if 2 * known < words:
        how = "Download the model again, whole"
        if list(folder.rglob("*.model")):
            how = _OF_SENTENCEPIECE
        raise ModelFileError(
            f"the tokenizer of {str(folder)!r} knows {known:,} of the {words:,} words of the model: its files are not "
            f"all there, or not read. {how}"
        )


def describe(kind: Kind, opened: Any, model: str, name: str) -> ModelSpec:
    """Return the specification of an opened model, from its own files.

    Raises InputError for a cross-encoder that is not a reranker, and for a model without a fast tokenizer.
    """
    if not is_static(opened) and not hasattr(opened[0], "auto_model"):
        names = [type(module).__name__ for module in opened]
        raise InputError(f"model {model!r} has the modules {names}: sqlrag takes one Transformer, or a static table")
    tokenizer_of(opened, model)
    folder = source_folder(model)
    common: dict[str, Any] = {
        "name": name, "kind": kind, "weights_hash": source_hash(folder), "max_tokens": _window(opened),
        "precision": "fp32",
    }  # fmt: skip
    if kind == "bi-encoder":
        full, cut = _dimensions(opened)
        return ModelSpec(
            **common,
            dimension=cut,
            full_dimension=full if full > cut else None,
            prompts=prompts_of([name, *card_names(folder), model], opened.prompts, opened.default_prompt_name),
            normalize=type(opened[-1]).__name__ == "Normalize",
            formerly=(_former_hash(folder),),
            **_pooling(opened),
        )
    if opened.num_labels != 1:
        raise InputError(
            f"model {model!r} has {opened.num_labels} outputs per pair; a reranker has one: "
            "choose a cross-encoder with num_labels=1"
        )
    return ModelSpec(**common, activation=_activation(opened, model))


def _pooling(opened: Any) -> dict[str, Any]:
    """Return the pooling of a SentenceTransformer: one of POOLINGS if it does no more, otherwise the graph's own."""
    modules = [type(module).__name__ for module in opened if type(module).__name__ != "Normalize"]
    if modules == ["StaticEmbedding"]:
        return {"pooling": "mean"}
    if modules == ["Transformer", "Pooling"] and opened[1].include_prompt and opened[1].pooling_mode in POOLINGS:
        return {"pooling": opened[1].pooling_mode}
    return {"pooling": IN_GRAPH, "include_prompt": all(getattr(one, "include_prompt", True) for one in opened)}


def is_static(opened: Any) -> bool:
    """Return whether a SentenceTransformer is a table of token vectors and nothing else."""
    return type(opened[0]).__name__ == "StaticEmbedding"


def tokenizer_of(opened: Any, model: str) -> tokenizers.Tokenizer:
    """Return the tokenizer that makes an opened model's input. Raises InputError for a slow one."""
    from tokenizers import Tokenizer

    if is_static(opened):
        # A table has no special tokens, so the tokenizer's template is not applied.
        return Tokenizer.from_str(json.dumps(json.loads(opened[0].tokenizer.to_str()) | {"post_processor": None}))
    tokenizer: Tokenizer | None = getattr(opened.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise InputError(f"model {model!r} has no fast tokenizer (tokenizer.json), which counting tokens needs")
    return tokenizer


def _check_weights(folder: Path) -> None:
    """Raise ModelFileError or UnknownModelError for a folder whose weights cannot be read without risk.

    A pickle can run code when it is read.
    """
    check_weights(folder)
    if not weight_files(folder):
        pickles = [path.name for path in weight_files(folder, ".bin")]
        found = f"only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "none"
        raise UnknownModelError(
            f"sentence-transformers cannot load the model {str(folder)!r}: the folder has no *.safetensors: {found}"
            + (
                ". `sqlrag models pull NAME --allow-bin` reads its numbers, and nothing else (torch.load with "
                "weights_only=True)"
                if pickles
                else ""
            )
        )


def _model2vec(model: str) -> list[Any]:
    """Return the modules of a folder that model2vec saved without a modules.json; none for any other folder."""
    config = Path(model) / "config.json"
    if not config.is_file() or (Path(model) / "modules.json").is_file():
        return []
    values = json.loads(config.read_text(encoding="utf-8"))
    if values.get("model_type") != "model2vec":
        return []
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    table = StaticEmbedding.load(model)
    return [table, Normalize()] if values.get("normalize") else [table]


def _window(opened: Any) -> int:
    """Return how many tokens the model reads: as many as its files say, but not more than it has positions for.

    The positions of RoBERTa's family begin after the padding token's number, so 514 positions are 512 tokens.
    """
    from torch import nn

    if is_static(opened):
        return _STATIC_WINDOW
    window = int(opened.max_seq_length or opened.tokenizer.model_max_length)
    if window > MOST_TOKENS:  # the files name none, and T5 has no table of positions
        window = USUAL_WINDOW
    limit = getattr(opened[0].auto_model.config, "max_position_embeddings", None)
    if limit is not None and limit > 0:  # XLNet says -1 for any number
        window = min(window, limit)
    for module in opened[0].auto_model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(positions, nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            window = min(window, positions.num_embeddings - (padding + 1 if isinstance(padding, int) else 0))
    return window


def _dimensions(opened: Any) -> tuple[int, int]:
    """Return the length of the vector that the model makes, and the length to which it is cut."""
    # Renamed in sentence-transformers 6.
    get = getattr(opened, "get_embedding_dimension", None) or opened.get_sentence_embedding_dimension
    cut = int(get())
    before, opened.truncate_dim = getattr(opened, "truncate_dim", None), None
    try:
        return int(get() or cut), cut
    finally:
        opened.truncate_dim = before


def _activation(opened: Any, model: str) -> str:
    name = type(opened.activation_fn).__name__.lower()
    if name not in ("sigmoid", "identity"):
        raise InputError(f"model {model!r} has the activation {name!r}; a reranker's is sigmoid or identity")
    return name


def _former_hash(folder: Path) -> str:
    """Return the hash by which indexes of earlier versions know the weights: that of the folder's own safetensors."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and messages off the terminal. Errors are raised as exceptions."""
    from transformers.utils import logging as bars

    before, shown = logging.root.manager.disable, bars.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    bars.disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(before)
        if shown:
            bars.enable_progress_bar()
