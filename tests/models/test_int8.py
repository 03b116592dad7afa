"""Rounding to 8 bits: what is done to a network before it changes nothing but how much is lost."""

from __future__ import annotations

import onnxruntime
import pytest

NO_TORCH = "the torch extra is not installed: pip install 'sqlrag[torch]'"
torch = pytest.importorskip("torch", reason=NO_TORCH)
pytest.importorskip("onnxscript", reason=NO_TORCH)

from sqlrag.models.export import int8  # noqa: E402
from sqlrag.models.export.graph import quantize_graph, write_graph  # noqa: E402

pytestmark = pytest.mark.torch


class Layer(torch.nn.Module):
    """One linear layer that sees every token."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        torch.manual_seed(inputs)
        self.linear = torch.nn.Linear(inputs, 24)

    def forward(self, hidden):
        return {"product": self.linear(hidden)}


def outliers(inputs: int, seed: int) -> dict[str, torch.Tensor]:
    """Tokens of which each has one large channel, each another one: no scale of the channels helps there."""
    hidden = torch.randn(1, 400, inputs, generator=torch.Generator().manual_seed(seed))
    hidden[0, torch.arange(400), torch.arange(400) % inputs] *= 30
    return {"hidden": hidden}


def error_of_int8(inputs: int, path, *, rotate: bool) -> float:
    """Export a layer, run it, and return how far it is from what it was, as a share."""
    network, given = Layer(inputs), outliers(inputs, 1)
    exact = network(**given)["product"].detach()
    rounded = int8.prepare(network, [given], [outliers(inputs, 2)], rotate=rotate)
    write_graph(network, given, path, "product")
    quantize_graph(path, rounded)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"hidden": given["hidden"].numpy()})[0])
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("inputs", [384, 48, 7])
@pytest.mark.parametrize("rotate", [False, True])
def test_a_prepared_layer_is_the_same_function(inputs, rotate):
    """But for its weights, rounded, in floats; widths that 32 does not divide are rotated in smaller pieces."""
    network, given = Layer(inputs), outliers(inputs, 1)
    exact = network(**given)["product"].detach()
    int8.prepare(network, [given], [outliers(inputs, 2)], rotate=rotate)
    assert (network(**given)["product"] - exact).norm() < 0.05 * exact.norm()


def test_rotation_spreads_what_stands_out(tmp_path):
    """Where each token has a large channel of its own, nearly half of the error is gone."""
    plain, rotated = (error_of_int8(384, tmp_path / f"{rotate}.onnx", rotate=rotate) for rotate in (False, True))
    assert rotated < 0.6 * plain
