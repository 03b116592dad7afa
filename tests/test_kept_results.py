"""What startup/kept_results.py keeps is what the models compute, and the processes that the tests start use it."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sqlrag
from tests.startup import kept_results

SAMPLE = 20
PROGRAM = "import sqlrag; print(sqlrag.Embedder()._backend.embed(['Bees dance.'], 'document')[0, :3].tolist())"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of results that only the test has."""
    monkeypatch.setenv(kept_results.VARIABLE, str(tmp_path))
    monkeypatch.setattr(kept_results, "_memory", {})
    return tmp_path


def test_kept_results_are_those_of_the_models(passage_files, monkeypatch):
    """A sample of what this run and those before it have kept, bit by bit."""
    with sqlrag.connect(passage_files["sqlite"], read_only=True) as db:
        db.search("How do bees find flowers?")
    embedder, reranker = sqlrag.Embedder(), sqlrag.Reranker()
    vectors, scores = (
        random.sample(list(kept_results.entries(kept_results.folder_of(model.spec, model.spec.folder.parent))), SAMPLE)
        for model in (embedder, reranker)
    )
    monkeypatch.delenv(kept_results.VARIABLE)
    for (role, text), result in vectors:
        assert embedder._backend.embed([text], role).tobytes() == result, (role, text)
    for pair, result in scores:
        assert reranker._backend.score([pair]).tobytes() == result, pair


def test_a_process_uses_them(folder):
    """A result that no model gives is found in a process that the test starts, and not without the variable."""
    sqlrag.Embedder().encode_document("Bees dance.")
    (kept,) = [path for path in folder.rglob("*") if path.is_file()]
    content = bytearray(kept.read_bytes())
    content[4:16] = struct.pack("3f", 7, 8, 9)
    kept.write_bytes(content)
    assert run(os.environ) == "[7.0, 8.0, 9.0]"
    without = {name: value for name, value in os.environ.items() if name != kept_results.VARIABLE}
    assert run(without) != "[7.0, 8.0, 9.0]"


def test_nothing_is_kept_of_a_folder_that_cannot_be_written(folder):
    """The models run where the results can't be kept."""
    shutil.rmtree(folder)
    folder.write_text("in the way", encoding="utf-8")
    vector = sqlrag.Embedder().encode_document("Bees dance.")
    assert np.linalg.norm(vector) == pytest.approx(1)


def run(environment) -> str:
    """Return what the program prints."""
    return subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True).strip()
