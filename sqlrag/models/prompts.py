"""Which texts stand before a query and before a document."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["prompts_of"]

# In this order, as SentenceTransformer.encode_query and encode_document look for them.
_ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}

# Families whose files name no prompts, only their cards do. A name is compared without its owner.
_CARDS: tuple[tuple[str, str, str], ...] = (
    # The cards of intfloat/e5-small-v2 and intfloat/multilingual-e5-small, FAQ 1: without the prefixes the model is
    # worse, because it was trained with them.
    (r"(multilingual-)?e5-(small|base|large)(-v2)?", "query: ", "passage: "),
    # The card of BAAI/bge-small-en-v1.5, "Model List": an instruction for queries that look for passages, none for
    # the passages.
    (r"bge-(small|base|large)-en(-v1\.5)?", "Represent this sentence for searching relevant passages: ", ""),
)


def prompts_of(name: str, prompts: Mapping[str, str | None], default: str | None) -> dict[str, str]:
    """Return the prompts of a model, `{"query", "document"}`, "" where there is none.

    `prompts` and `default` are those of `config_sentence_transformers.json`. A role takes its own prompt; else the
    default one, unless that is another role's; else, where the files name no prompt at all, what the model's card
    says. `name`: the model's name or folder.
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
