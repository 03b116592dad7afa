"""How a model's vectors are made, read from its files without loading it: prompts, pooling, window, dimension."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError
from sqlrag.models.spec import POOLINGS, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Conventions", "base_model", "card_header", "card_names", "prompts_of", "read_conventions", "read_settings"]

# The names of a role's prompt, in the order in which SentenceTransformer looks for them.
_ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}

_BGE = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
# Families of models whose prompts are named in their cards, and not in their files. Names are compared without owner.
_CARDS: tuple[tuple[str, str, str], ...] = (
    # The cards of intfloat/e5-small-v2 and intfloat/multilingual-e5-small, FAQ 1: the model was trained with these
    # prefixes and is worse without them.
    (r"(multilingual-)?e5-(small|base|large)(-v2)?", "query: ", "passage: "),
    # The card of intfloat/multilingual-e5-large-instruct: queries have an instruction, documents have none.
    (r"multilingual-e5-large-instruct|e5-mistral-7b-instruct", _INSTRUCT, ""),
    # The card of BAAI/bge-small-en-v1.5, "Model List": queries for passages have an instruction, passages have none.
    (r"bge-(small|base|large)-en(-v1\.5)?", _BGE, ""),
    (r"bge-(small|base|large)-zh(-v1\.5)?", "为这个句子生成表示以用于检索相关文章：", ""),  # noqa: RUF001 - its own words
    # The card of nomic-ai/nomic-embed-text-v1.5, "Usage": every text has a prefix that names its task.
    (r"nomic-embed-text-v1(\.5)?", "search_query: ", "search_document: "),
)

# What sentence-transformers wrote before `pooling_mode` was one word.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


@dataclass(frozen=True)
class Conventions:
    """What the files say of a bi-encoder.

    `pooling` is None where they do not say it. `modules` are the names of sentence-transformers' modules, `truncate` is
    the dimension to which vectors are cut.
    """

    prompts: dict[str, str]
    pooling: str | None
    include_prompt: bool
    normalize: bool
    max_tokens: int | None
    truncate: int | None
    modules: tuple[str, ...]


def prompts_of(names: Iterable[str], prompts: Mapping[str, str | None], default: str | None) -> dict[str, str]:
    """Return the prompts of a model by role, "query" and "document"; an empty prompt if there is none.

    `prompts` and `default` are those of `config_sentence_transformers.json`, `names` are those by which the model is
    known. A role has its own prompt, or else the default one unless that belongs to another role. If the files name no
    prompt at all, the model's card decides.
    """
    if not any(prompts.values()):
        return _of_the_card(names)
    roles = {name for names in _ROLES.values() for name in names}
    fallback = (prompts.get(default) or "") if default is not None and default not in roles else ""
    return {
        role: next((text for name in names if (text := prompts.get(name))), fallback) for role, names in _ROLES.items()
    }


def _of_the_card(names: Iterable[str]) -> dict[str, str]:
    for name in names:
        for pattern, query, document in _CARDS:
            if re.fullmatch(pattern, PurePath(name).name, re.IGNORECASE):
                return {"query": query, "document": document}
    return {"query": "", "document": ""}


def card_header(folder: Path) -> str:
    """Return the header of a folder's model card, "" if there is none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    return head[1] if head else ""


def card_names(folder: Path) -> list[str]:
    """Return the names that a folder's own files give the model: a renamed folder still has its card."""
    found = re.search(r"^model-index:\s*\n-\s*name:\s*(\S+)", card_header(folder), re.MULTILINE)
    named = read_settings(folder / "config.json").get("_name_or_path")
    return [name for name in (found[1] if found else None, named) if isinstance(name, str) and name]


def base_model(folder: Path) -> str | None:
    """Return the hub name of the model that a folder's card or configuration names as its base, None without one."""
    found = re.search(r"^base_model:\s*(?:\n\s*-\s*)?([\w./-]+)", card_header(folder), re.MULTILINE)
    named = found[1] if found else read_settings(folder / "config.json").get("_name_or_path")
    return named if isinstance(named, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", named) else None


def read_conventions(folder: Path, names: Iterable[str]) -> Conventions:
    """Return what a folder's files say of a bi-encoder. Raises InputError for files that are damaged."""
    settings = read_settings(folder / "config_sentence_transformers.json")
    modules = read_settings(folder / "modules.json", list)
    try:
        kinds = tuple(str(one["type"]).rsplit(".", 1)[-1] for one in modules)
        first = next((folder / one["path"] for one in modules if str(one["type"]).endswith("Transformer")), folder)
        pooled = next((folder / one["path"] for one in modules if str(one["type"]).endswith("Pooling")), None)
    except (KeyError, TypeError) as error:
        raise InputError(f"{str(folder / 'modules.json')!r} is not as sentence-transformers writes it") from error
    pooling = read_settings(pooled / "config.json") if pooled else {}
    prompts = settings.get("prompts")
    truncate = settings.get("truncate_dim")
    return Conventions(
        prompts=prompts_of(names, prompts if isinstance(prompts, dict) else {}, settings.get("default_prompt_name")),
        pooling=_mode(pooling),
        include_prompt=pooling.get("include_prompt") is not False,
        normalize="Normalize" in kinds,
        max_tokens=_window(folder, first),
        truncate=truncate if isinstance(truncate, int) else None,
        modules=kinds,
    )


def _mode(pooling: Mapping[str, Any]) -> str | None:
    if not pooling:
        return None
    mode = pooling.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else [name for flag, name in _POOLING_FLAGS.items() if pooling.get(flag)]
    return modes[0] if len(modes) == 1 and modes[0] in POOLINGS else "+".join(map(str, modes)) or None


def _window(folder: Path, first: Path) -> int | None:
    """Return the number of tokens that the model reads: the least of what its files name."""
    config = read_settings(folder / "config.json")
    window = next(
        (
            size
            for path in (first, folder)
            for size in [read_settings(path / "sentence_bert_config.json").get("max_seq_length")]
            if isinstance(size, int)
        ),
        None,
    ) or read_settings(folder / "tokenizer_config.json").get("model_max_length")
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if (
        isinstance(positions, int)
        and positions > 0
        and re.match("(xlm-)?roberta|camembert|mpnet", str(config.get("model_type")))
    ):
        positions -= 2  # they begin behind the number of the padding token
    known = [size for size in (window, positions) if isinstance(size, int) and 0 < size < 1 << 30]
    return min(known, default=None)


def read_settings(path: Path, kind: type = dict) -> Any:
    """Return a JSON file as an object (or list), empty if there is none. Raises InputError if it is not JSON."""
    if not path.is_file():
        return kind()
    try:
        values = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON: {error}") from error
    return values if isinstance(values, kind) else kind()
