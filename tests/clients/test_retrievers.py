"""The retrievers for LangChain and LlamaIndex, used as these libraries use theirs."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from sqlrag.errors import InputError

QUESTION = "why do bees dance?"


@pytest.fixture
def hits(passages):
    """What the retrievers must find."""
    return passages.search(QUESTION, top_k=10, top_n=2)


@pytest.fixture
def langchain():
    """The retriever for LangChain."""
    pytest.importorskip("langchain_core", reason='langchain-core is not here: pip install "sqlrag[langchain]"')
    from sqlrag.integrations.langchain import SqlragRetriever

    return SqlragRetriever


@pytest.fixture
def llama_index():
    """The retriever for LlamaIndex."""
    pytest.importorskip("llama_index.core", reason='llama-index-core is not here: pip install "sqlrag[llama-index]"')
    from sqlrag.integrations.llama_index import SqlragRetriever

    return SqlragRetriever


def test_langchain(langchain, passages, hits):
    """Documents in the order of both stages, with what is known of each."""
    documents = langchain(database=passages, top_k=10, top_n=2).invoke(QUESTION)
    assert [(document.page_content, document.id) for document in documents] == [(hit.text, str(hit.id)) for hit in hits]
    assert documents[0].metadata == {
        "topic": "nature", "year": 2019, "source": hits[0].uri, "title": "Bees", "source_id": 1, "chunk_id": hits[0].id,
        "score": hits[0].score, "rank_before": hits[0].rank_before, "rank_after": 1,
    }  # fmt: skip


def test_langchain_in_a_chain(langchain, passages):
    """It is a Runnable: piped, in batches of threads, and awaited."""
    retriever = langchain(database=passages, top_n=1)
    chain = retriever | (lambda documents: documents[0].metadata["title"])
    questions = [QUESTION, "how do plants make oxygen?"] * 3
    assert chain.batch(questions) == ["Bees", "Photosynthesis"] * 3
    assert asyncio.run(chain.ainvoke(QUESTION)) == "Bees"


def test_llama_index(llama_index, passages, hits):
    """Nodes with scores in the order of both stages; a model is shown where they are from, not their scores."""
    nodes = llama_index(passages, top_k=10, top_n=2).retrieve(QUESTION)
    assert [(node.text, node.score, node.node_id) for node in nodes] == [
        (hit.text, hit.score, str(hit.id)) for hit in hits
    ]
    node = nodes[0].node
    assert (node.metadata["title"], node.metadata["year"], node.ref_doc_id) == ("Bees", 2019, "1")
    assert (node.start_char_idx, node.end_char_idx) == (hits[0].start_char, hits[0].end_char)
    shown = node.get_content(metadata_mode="llm")
    assert "title: Bees" in shown
    assert "score" not in shown


def test_llama_index_awaited(llama_index, passages):
    """Its asynchronous side works too."""
    nodes = asyncio.run(llama_index(passages, top_n=1).aretrieve(QUESTION))
    assert nodes[0].metadata["title"] == "Bees"


def test_filters_and_errors(langchain, llama_index, passages):
    """A filter comes before the top-k, as everywhere; what is wrong is our error."""
    condition = "(metadata ->> 'topic') <> 'nature'"
    for retriever in (
        langchain(database=passages, index="chunks", top_n=3, filter=condition),
        llama_index(passages, "chunks", top_n=3, filter=condition),
    ):
        found = retriever.invoke(QUESTION) if hasattr(retriever, "invoke") else retriever.retrieve(QUESTION)
        assert len(found) == 3
        assert "nature" not in [one.metadata["topic"] for one in found]
    with pytest.raises(InputError, match="top_n is 3"):
        langchain(database=passages, top_k=2, top_n=3).invoke(QUESTION)


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index", "llama-index")],
)
def test_without_the_extra(module, library, extra):
    """Who has not installed the library learns how to."""
    code = f"import sys; sys.modules['{library}'] = None; import sqlrag.integrations.{module}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f'pip install "sqlrag[{extra}]"' in ran.stderr.splitlines()[-1]
