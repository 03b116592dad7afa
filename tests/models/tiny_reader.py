"""A reranker that reads states: a graph that compares words and vectors, on the bundled embedder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import sqlrag
from sqlrag.models.manifest import file_hash
from sqlrag.models.reading import CONSTANTS, INPUTS
from sqlrag.models.spec import MODEL_FILE, TOKENIZER_FILE, ModelSpec

VOCABULARY, COMPONENTS = 30_522, 96


def make_tiny_reader(folder: Path, seed: int = 0) -> Path:
    """Make a model folder; readers of different seeds round states differently."""
    from onnx import TensorProto, helper, numpy_helper, save

    embedder = sqlrag.Embedder()
    size, drawn = embedder.dimension, np.random.default_rng(seed)
    basis, _ = np.linalg.qr(drawn.standard_normal((size, COMPONENTS)))
    steps = {COMPONENTS: 0.05, size: 0.02}
    values = [basis, *(np.full(n, value) for n, step in steps.items() for value in (0, step))]
    words = drawn.integers(-127, 127, (VOCABULARY, 4), np.int8)
    scale = 1 / np.linalg.norm(words.astype(np.float32), axis=1)
    arrays = [*(np.asarray(value, np.float32) for value in [*values, np.ones(VOCABULARY)]), words, scale]
    shapes = {
        "query": ["l"], "states": ["l", size], "vector": [size], "rare": ["l"], "codes": ["n", "p", COMPONENTS // 4],
        "passage": ["n", "p"], "vectors": ["n", size], "same": ["n", "l", "p"], "words": ["n", "l", "p"],
    }  # fmt: skip
    kinds = {"codes": TensorProto.UINT8}
    inputs = [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shapes[name]) for name in INPUTS]
    nodes = [
        helper.make_node("MatMul", ["vectors", "vector"], ["cosine"]),
        helper.make_node("Cast", ["codes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "last"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "small"], ["spread"]),
        helper.make_node("ReduceMean", ["same"], ["found"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["cosine", "spread"], ["near"]),
        helper.make_node("Add", ["near", "found"], ["logit"]),
        *(helper.make_node("Identity", [f"{name}_"], [name]) for name in CONSTANTS),
    ]
    kept = {f"{name}_": np.asarray(array) for name, array in zip(CONSTANTS, arrays, strict=True)}
    kept |= {"last": np.array([1, 2], np.int64), "small": np.array(1e-5, np.float32)}
    outputs = [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])]
    outputs += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kept[f"{name}_"].dtype), None)
        for name in CONSTANTS
    ]
    held = [numpy_helper.from_array(array, name) for name, array in kept.items()]
    graph = helper.make_graph(nodes, "reader", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    save(model, folder / MODEL_FILE)
    shutil.copy(embedder.spec.folder / TOKENIZER_FILE, folder)
    hashed = file_hash(folder / MODEL_FILE)
    ModelSpec(folder.name, "cross-encoder", hashed, max_tokens=512, encoder=embedder.id, folder=folder).save(folder)
    return folder
