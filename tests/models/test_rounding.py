"""Weights as bytes: no pair of them overflows, on no processor, and errors are made up for."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from sqlrag.models.export.rounding import round_weights
from sqlrag.models.named_models import bundled_models

NO_ONNX = "the torch extra is not installed: pip install 'sqlrag[torch]'"


def layer(inputs, outputs=48, seed=0):
    """Weights with a few large ones beside each other, and inputs that go together."""
    drawn = np.random.default_rng(seed)
    weight = drawn.normal(size=(inputs, outputs)) * drawn.choice([0.1, 1], (inputs, outputs), p=[0.9, 0.1])
    hidden = drawn.normal(size=(4 * inputs, 16)) @ drawn.normal(size=(16, inputs)) + drawn.normal(size=(1, inputs))
    return weight.astype(np.float32), hidden + 0.1 * drawn.normal(size=hidden.shape)


def largest_pair(codes) -> int:
    """The largest sum of two neighbours' weights of the same sign."""
    codes = codes[: len(codes) // 2 * 2].astype(int)
    one, other = codes[0::2], codes[1::2]
    return int(np.where(np.sign(one) == np.sign(other), np.abs(one + other), 0).max(initial=0))


@pytest.mark.parametrize("inputs", [2, 7, 64, 300])
@pytest.mark.parametrize("known", [True, False])
def test_no_pair_overflows(inputs, known):
    weight, hidden = layer(inputs)
    codes, scale = round_weights(weight, hidden.T @ hidden if known else None)
    assert codes.dtype == np.int8
    assert np.abs(codes.astype(int)).max() <= 127
    assert largest_pair(codes) <= 128
    error = np.abs(hidden @ (codes * scale - weight)).mean() / np.abs(hidden @ weight).mean()
    assert error < 0.03


def test_errors_are_made_up_for():
    weight, hidden = layer(300)

    def error(products) -> float:
        codes, scale = round_weights(weight, products)
        return float(np.linalg.norm(hidden @ (codes * scale - weight)))

    assert error(hidden.T @ hidden) < 0.7 * error(None)


def test_an_empty_output_and_an_idle_input_stay_finite():
    weight, hidden = layer(64)
    weight[:, 3], hidden[:, 5] = 0, 0
    codes, scale = round_weights(weight, hidden.T @ hidden)
    assert np.isfinite(scale).all()
    assert not codes[:, 3].any()


@pytest.mark.torch
def test_this_processors_products_are_exact():
    """The largest activations meet weights at the bound: what any processor may cut off is cut off here if at all."""
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    drawn = np.random.default_rng(0)
    codes, _ = round_weights(drawn.choice([-1.0, 1.0], (384, 96)).astype(np.float32) * drawn.uniform(0.5, 1, (384, 96)))
    signs = np.where(codes.T > 0, 255, 0)
    given = np.concatenate([signs, 255 - signs]).astype(np.uint8)
    helper = onnx.helper
    node = helper.make_node("MatMulInteger", ["given", "codes", "zero"], ["product"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("given", onnx.TensorProto.UINT8, [None, 384])],
        [helper.make_tensor_value_info("product", onnx.TensorProto.INT32, None)],
        [
            onnx.numpy_helper.from_array(codes, "codes"),
            onnx.numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = (given.astype(np.int64) - 128) @ codes.astype(np.int64)
    np.testing.assert_array_equal(session.run(None, {"given": given})[0], expected)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "reranker-v1", "reranker-v1-small"])
def test_the_bundled_models_overflow_on_no_processor(name):
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    folder = bundled_models()[name].folder
    tables = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(folder / "model.onnx").graph.initializer}
    rounded = [table for name, table in tables.items() if name.endswith(".weight_quantized")]
    assert len(rounded) in (36, 18)
    assert max(map(largest_pair, rounded)) <= 128
