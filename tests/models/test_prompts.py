"""Which prompt a model's files, or its card, put before a query and a document."""

from __future__ import annotations

import pytest

from sqlrag.models.torch_loading import prompts_of

BGE = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize(
    ("name", "prompts", "default", "query", "document"),
    [
        ("own/model", {"query": "q: ", "document": "d: "}, None, "q: ", "d: "),
        ("own/model", {"query": "q: ", "document": "", "passage": "p: "}, None, "q: ", "p: "),
        ("own/model", {"query": "q: ", "document": "", "corpus": "c: "}, "query", "q: ", "c: "),
        ("own/model", {"query": "q: "}, "query", "q: ", ""),
        ("own/model", {"task": "t: "}, "task", "t: ", "t: "),
        ("own/model", {"task": "t: "}, None, "", ""),
        ("own/model", {"query": None, "document": ""}, None, "", ""),
        ("intfloat/e5-small-v2", {}, None, "query: ", "passage: "),
        ("intfloat/multilingual-e5-base", {"query": "", "document": ""}, None, "query: ", "passage: "),
        ("BAAI/bge-small-en-v1.5", {}, None, BGE, ""),
        ("/models/bge-large-en", {}, None, BGE, ""),
        ("BAAI/bge-small-en-v1.5", {"query": "mine: "}, None, "mine: ", ""),
        ("BAAI/bge-m3", {}, None, "", ""),
        ("BAAI/bge-reranker-base", {}, None, "", ""),
        ("own/my-e5-small-v2-tuned", {}, None, "", ""),
        ("intfloat/multilingual-e5-large-instruct", {}, None, "", ""),
    ],
)
def test_prompts(name, prompts, default, query, document):
    """A role's own prompt, else the default one that is no other role's, else what the card says."""
    assert prompts_of(name, prompts, default) == {"query": query, "document": document}
