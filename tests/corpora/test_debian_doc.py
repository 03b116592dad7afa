"""Real files of many kinds, of Debian's documentation: none is lost, and every offset is right.

Two thousand files with SQLRAG_WHOLE, else a tenth of them; benchmarks/files.py prints the seconds a megabyte by kind.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from sqlrag.models import Embedder
from sqlrag.text.chunking import CONTEXT_TOKENS, Chunker
from sqlrag.text.documents import Document, cleaned, kind_of_metadata
from sqlrag.text.file_search import find_sources
from sqlrag.text.loading import read_documents
from tests.sizes import WHOLE

FOLDER = Path("/usr/share/doc")
MOST = 2000 if WHOLE else 200

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark():
    """The functions of benchmarks/files.py, which is no package."""
    path = Path(__file__).parents[2] / "benchmarks/files.py"
    spec = importlib.util.spec_from_file_location("files_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(benchmark, tmp_path_factory) -> Path:
    if sum(1 for path in FOLDER.rglob("*") if path.is_file()) < MOST:
        pytest.skip(f"{FOLDER} has fewer than {MOST} files: apt-get install git sqlite3-doc")
    folder = tmp_path_factory.mktemp("debian")
    benchmark.copied(FOLDER, MOST, folder)
    return folder


def test_every_file_is_accounted_for(benchmark, folder):
    """It is read, unreadable, of another kind, or ignored, and in one of these alone."""
    assert benchmark.unaccounted(folder, find_sources(folder)) == []


def test_nothing_is_lost_or_repeated(benchmark, folder):
    """Each chunk is the text at its offsets, together they are the text, and what is unreadable says how to read it."""
    chunker = Chunker(Embedder().tokenizer, 200, 0, CONTEXT_TOKENS)
    problems, documents = [], 0
    for source in find_sources(folder).sources:
        for item in read_documents(source):
            if not isinstance(item, Document):
                assert item.reason
                continue
            documents += 1
            document = cleaned(item)
            chunks = chunker.chunks(document.text, document.title, kind_of_metadata(document.metadata))
            problems += [f"{document.uri}: {wrong}"] if (wrong := benchmark.problem(document, chunks)) else []
            problems += [
                f"{document.uri}: {chunk.context!r}"
                for chunk in chunks
                if chunk.context and not (chunk.context.endswith("\n") and chunk.context.strip())
            ]
    assert problems == []
    assert documents > MOST * 0.8
