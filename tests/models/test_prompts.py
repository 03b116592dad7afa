"""Which prompt a model's files, or its card, put before a query and a document."""

from __future__ import annotations

import pytest

from sqlrag.models.conventions import card_names, prompts_of

INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
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
        ("intfloat/multilingual-e5-large-instruct", {}, None, INSTRUCT, ""),
        ("nomic-ai/nomic-embed-text-v1.5", {}, None, "search_query: ", "search_document: "),
    ],
)
def test_prompts(name, prompts, default, query, document):
    """A role's own prompt, else the default one that is no other role's, else what the card says."""
    assert prompts_of([name], prompts, default) == {"query": query, "document": document}


def test_m19_a_renamed_folder_keeps_its_prompts(tmp_path):
    """M19: the card in a folder names the model, whatever the folder is called."""
    (tmp_path / "README.md").write_text("---\ntags:\n- mteb\nmodel-index:\n- name: e5-small-v2\n---\n")
    (tmp_path / "config.json").write_text("{}")
    assert card_names(tmp_path) == ["e5-small-v2"]
    assert prompts_of(["my-model", *card_names(tmp_path)], {}, None)["document"] == "passage: "
