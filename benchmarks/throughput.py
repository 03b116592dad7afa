"""Embedding and reranking against sentence-transformers' defaults: the same weights, the same texts, the same run.

    python benchmarks/throughput.py [FOLDER] [--write]

FOLDER holds all-MiniLM-L6-v2 as sentence-transformers has it; without it, Hugging Face is asked. Needs the torch extra.
The cross-encoder is made from the same weights with a head of random numbers: it costs what a trained one costs. The
two sides take turns, text by text alike; figures are medians over the rounds, texts are docstrings of the standard
library. Cold start is a new process that imports, loads and embeds one question.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import sqlrag
from sqlrag.cli.standard_library import harvest
from sqlrag.models.export.onnx_export import export_onnx

ROUNDS = 5
TEXTS = 200
CANDIDATES = 25

COLD_OURS = "import sqlrag; sqlrag.Embedder().encode_query('how long does it take?')"
COLD_THEIRS = (
    "import sys; from sentence_transformers import SentenceTransformer; "
    "SentenceTransformer(sys.argv[1], device='cpu').encode('how long does it take?')"
)


def seconds(function, *arguments) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def taking_turns(rounds: list[tuple], ours, theirs) -> tuple[float, float]:
    """Return the median seconds of both sides over the rounds; each has run once before."""
    times = [(seconds(ours, *arguments), seconds(theirs, *arguments)) for arguments in rounds]
    return median(one for one, _ in times), median(other for _, other in times)


def cold(program: str, *arguments: str) -> float:
    """Return the median seconds of a program in a new process."""
    command = [sys.executable, "-c", program, *arguments]
    return median(seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3))


def main() -> None:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--write", action="store_true", help="write benchmarks/throughput.md")
    arguments = parser.parse_args()
    long_enough = [document.text for document in harvest() if 400 < len(document.text) < 900]
    embedder, bi_encoder = sqlrag.Embedder(), SentenceTransformer(arguments.folder, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        cross_encoder = CrossEncoder(arguments.folder, num_labels=1, max_length=512, device="cpu")
        cross_encoder.save_pretrained(f"{folder}/saved")
        export_onnx(f"{folder}/saved", f"{folder}/int8", kind="cross-encoder", name="int8", precision="int8")
        reranker = sqlrag.Reranker(Path(folder) / "int8")
        bundled = sqlrag.Reranker()
        small = sqlrag.Reranker("reranker-v1-small")
        batches = [(long_enough[start : start + TEXTS],) for start in range(0, TEXTS * ROUNDS, TEXTS)]
        questions = [f"how do I use number {number}?" for number in range(ROUNDS)]
        asked = [
            (question, long_enough[CANDIDATES * number : CANDIDATES * (number + 1)])
            for number, question in enumerate(questions)
        ]
        for text in ("warm", "up"):
            embedder.encode_document([text]), bi_encoder.encode([text])
            (
                reranker.score(text, [text]),
                bundled.score(text, [text]),
                small.score(text, [text]),
                cross_encoder.predict([(text, text)]),
            )
        embed = taking_turns(batches, embedder.encode_document, bi_encoder.encode)
        tokens = median(sum(embedder.token_counts(batch)) for (batch,) in batches)
        rerank = taking_turns(
            asked, reranker.score, lambda question, texts: cross_encoder.predict([(question, text) for text in texts])
        )
        pair_tokens = median(sum(embedder.token_counts(texts)) / len(texts) for _, texts in asked)
        ours, smaller = taking_turns(asked, bundled.score, small.score)
        query = taking_turns([(question,) for question in questions * 4], embedder.encode_query, bi_encoder.encode)
    cold_start = cold(COLD_OURS), cold(COLD_THEIRS, arguments.folder)
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}"
        for package in ("onnxruntime", "sentence-transformers", "torch")
    )
    rows = [
        (f"embed {TEXTS} texts, tokens/s", f"{tokens / embed[0]:,.0f}", f"{tokens / embed[1]:,.0f}", embed),
        ("embed one question, ms", f"{query[0] * 1000:.1f}", f"{query[1] * 1000:.1f}", query),
        (
            f"rerank {CANDIDATES} pairs of {pair_tokens:.0f} tokens, ms",
            f"{rerank[0] * 1000:.0f}",
            f"{rerank[1] * 1000:.0f}",
            rerank,
        ),
        ("cold start: import, load, one question, s", f"{cold_start[0]:.2f}", f"{cold_start[1]:.2f}", cold_start),
    ]
    table = "\n".join([
        "# Throughput against sentence-transformers' defaults",
        "",
        f"`python benchmarks/throughput.py` on {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), "
        f"Python {platform.python_version()},",
        f"{versions}. The same weights on both sides: all-MiniLM-L6-v2,",
        "and a cross-encoder of the same size; int8 on ONNX Runtime here, fp32 on torch there. Medians of one run.",
        "",
        "| | sqlrag | sentence-transformers | times as fast |",
        "| --- | --: | --: | --: |",
        *[f"| {what} | {one} | {other} | {pair[1] / pair[0]:.1f} |" for what, one, other, pair in rows],
        "",
        f"The bundled reranker-v1, which compares tokens, takes {ours * 1000:.0f} ms for the same pairs,",
        f"reranker-v1-small {smaller * 1000:.0f} ms.",
        "",
    ])  # fmt: skip
    print(table)
    if arguments.write:
        (Path(__file__).parent / "throughput.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
