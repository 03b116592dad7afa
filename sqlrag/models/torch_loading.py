"""Models of sentence-transformers: opened safely, and described by their own files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError, UnknownModelError
from sqlrag.models.hub import fetch, is_hub_name
from sqlrag.models.spec import Kind, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import tokenizers

__all__ = ["describe", "is_static", "open_model", "prompts_of", "quiet", "tokenizer_of"]

# A table of vectors has no positions, and so no window. This one bounds the memory (64 MB at 256 dimensions).
_STATIC_WINDOW = 65_536

# The names of a role's prompt, in the order in which SentenceTransformer looks for them.
_ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}

# Families of models whose prompts are named in their cards, and not in their files. Names are compared without owner.
_CARDS: tuple[tuple[str, str, str], ...] = (
    # The cards of intfloat/e5-small-v2 and intfloat/multilingual-e5-small, FAQ 1: the model was trained with these
    # prefixes and is worse without them.
    (r"(multilingual-)?e5-(small|base|large)(-v2)?", "query: ", "passage: "),
    # The card of BAAI/bge-small-en-v1.5, "Model List": queries for passages have an instruction, passages have none.
    (r"bge-(small|base|large)-en(-v1\.5)?", "Represent this sentence for searching relevant passages: ", ""),
)


def open_model(kind: Kind, model: str, device: str | None = None) -> Any:
    """Load a SentenceTransformer or a CrossEncoder by name or folder, ready to run.

    Only safetensors are read, and no code from the model's repository is run. `device` is torch's name, by default that
    of the best device. Raises MissingDependencyError without the torch extra, UnknownModelError if there is no such
    model.
    """
    try:
        import sentence_transformers
    except ImportError as error:
        msg = 'backend="torch" needs sentence-transformers: pip install "sqlrag[torch]"'
        raise MissingDependencyError(msg) from error
    load = sentence_transformers.SentenceTransformer if kind == "bi-encoder" else sentence_transformers.CrossEncoder
    if is_hub_name(model) and not Path(model).is_dir():
        model = str(fetch(model)[0])
    try:
        _check_weights(model)
        with quiet():
            modules = _model2vec(model)
            if modules:
                opened = load(modules=modules, device=device)
            else:
                opened = load(model, trust_remote_code=False, model_kwargs={"use_safetensors": True}, device=device)
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnknownModelError(
            f"sentence-transformers cannot load the model {model!r} ({first}): give a folder with "
            "safetensors weights, or a name that Hugging Face has, with a network or with the model in its cache"
        ) from error
    return opened.eval()


def describe(kind: Kind, opened: Any, model: str, name: str) -> ModelSpec:
    """Return the specification of an opened model, from its own files.

    Raises InputError for a cross-encoder that is not a reranker, and for a model without a fast tokenizer.
    """
    tokenizer_of(opened, model)
    if kind == "bi-encoder":
        return ModelSpec(
            name=name,
            kind=kind,
            weights_hash=_weights_hash(opened, model),
            max_tokens=_window(opened),
            dimension=_dimension(opened),
            prompts=prompts_of(name, opened.prompts, opened.default_prompt_name),
            normalize=type(opened[-1]).__name__ == "Normalize",
        )
    if opened.num_labels != 1:
        raise InputError(
            f"model {model!r} has {opened.num_labels} outputs per pair; a reranker has one: "
            "choose a cross-encoder with num_labels=1"
        )
    return ModelSpec(
        name=name,
        kind=kind,
        weights_hash=_weights_hash(opened, model),
        max_tokens=_window(opened),
        activation=_activation(opened, model),
    )


def prompts_of(name: str, prompts: Mapping[str, str | None], default: str | None) -> dict[str, str]:
    """Return the prompts of a model by role, "query" and "document"; an empty prompt if there is none.

    `prompts` and `default` are those of `config_sentence_transformers.json`, `name` is the model's name or folder. A
    role has its own prompt, or else the default one unless that belongs to another role. If the files name no prompt at
    all, the model's card decides.
    """
    if not any(prompts.values()):
        return _of_the_card(name)
    roles = {name for names in _ROLES.values() for name in names}
    fallback = (prompts.get(default) or "") if default is not None and default not in roles else ""
    return {
        role: next((text for name in names if (text := prompts.get(name))), fallback) for role, names in _ROLES.items()
    }


def _of_the_card(name: str) -> dict[str, str]:
    for pattern, query, document in _CARDS:
        if re.fullmatch(pattern, PurePath(name).name, re.IGNORECASE):
            return {"query": query, "document": document}
    return {"query": "", "document": ""}


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


def _check_weights(model: str) -> None:
    """Raise OSError for a folder whose weights are a pickle, because reading one can run code."""
    folder = Path(model)
    if folder.is_dir() and not any(folder.rglob("*.safetensors")):
        pickles = [path.name for path in sorted(folder.rglob("*.bin"))]
        found = f"only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "none"
        raise OSError(f"the folder has no *.safetensors: {found}")


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
    limit = getattr(opened[0].auto_model.config, "max_position_embeddings", None)
    if limit is not None and limit > 0:  # XLNet says -1 for any number
        window = min(window, limit)
    for module in opened[0].auto_model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(positions, nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            window = min(window, positions.num_embeddings - (padding + 1 if isinstance(padding, int) else 0))
    return window


def _dimension(opened: Any) -> int:
    # Renamed in sentence-transformers 6.
    get = getattr(opened, "get_embedding_dimension", None) or opened.get_sentence_embedding_dimension
    return int(get())


def _activation(opened: Any, model: str) -> str:
    name = type(opened.activation_fn).__name__.lower()
    if name not in ("sigmoid", "identity"):
        raise InputError(f"model {model!r} has the activation {name!r}; a reranker's is sigmoid or identity")
    return name


def _weights_hash(opened: Any, model: str) -> str:
    """Return the SHA-256 of a folder's safetensors files, or of the tensors if there are none."""
    digest = hashlib.sha256()
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    for path in files:
        digest.update(path.read_bytes())
    if not files:
        for name, tensor in sorted(opened.state_dict().items()):
            digest.update(name.encode())
            # As float32: NumPy has no bfloat16, and float32 holds it exactly.
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
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
