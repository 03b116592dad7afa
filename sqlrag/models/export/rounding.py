"""Round the weights of a linear layer to integers of 8 bits whose products overflow on no processor.

On a processor without an instruction that adds products of bytes in 32 bits (VNNI), ONNX Runtime adds the products of
two neighbouring inputs in 16 bits, and saturates what does not fit
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). An activation is at most 255, so that
nothing saturates if the weights of two neighbours have different signs, or a sum of at most 128. ONNX Runtime advises
7 bits for all weights, which costs a bit of each. The bound for pairs costs one only where two large weights are
neighbours.

If the correlation of the inputs is known, weights are rounded one input after the other, and the weights that are not
yet rounded compensate for each error ("GPTQ", Frantar et al. 2022, arXiv:2210.17323).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["round_weights"]

_LARGEST = 127
_LARGEST_PAIR = 128
# Added to the diagonal, as a share of its mean, so that weights follow only what the inputs show clearly.
_DAMPING = 0.01
# How many inputs are rounded before their errors are passed on to all others, in one product.
_BLOCK = 128


def round_weights(
    weight: NDArray[np.float32], products: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a weight `(in, out)` as integers, and the scale of each output.

    `products` are those of the layer's inputs with each other, summed over tokens, `(in, in)`. Without them each weight
    is rounded to the nearest integer.
    """
    rest = weight.astype(np.float64)
    scale = _scale(rest)
    codes = np.rint(rest / scale) if products is None else _one_after_the_other(rest, scale, products)
    return codes.astype(np.int8), scale.astype(np.float32)


def _one_after_the_other(
    rest: NDArray[np.float64], scale: NDArray[np.float64], products: NDArray[np.float64]
) -> NDArray[np.float64]:
    inputs = len(rest)
    order = np.argsort(-np.diag(products), kind="stable")
    damped = products + np.eye(inputs) * (_DAMPING * np.trace(products) / inputs + 1e-12)
    passed_on = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest = rest[order]
    codes: NDArray[np.float64] = np.zeros_like(rest)  # in their own order
    for begin in range(0, inputs, _BLOCK):
        end = min(inputs, begin + _BLOCK)
        errors = np.empty((end - begin, rest.shape[1]))
        for step in range(begin, end):
            place = order[step]
            neighbour = codes[place ^ 1] if place ^ 1 < inputs else np.zeros(rest.shape[1])
            code = np.rint(rest[step] / scale)
            # The code of a neighbour that is not yet rounded is 0.
            high = np.minimum(_LARGEST, _LARGEST_PAIR - neighbour.clip(min=0))
            low = np.maximum(-_LARGEST, -_LARGEST_PAIR - neighbour.clip(max=0))
            codes[place] = code.clip(low, high)
            error = (rest[step] - codes[place] * scale) / passed_on[step, step]
            rest[step + 1 : end] -= np.outer(passed_on[step, step + 1 : end], error)
            errors[step - begin] = error
        rest[end:] -= passed_on[begin:end, end:].T @ errors
    return codes


def _scale(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each output the smallest scale at which each of its weights and each pair fits."""
    largest: NDArray[np.float64] = np.maximum(np.abs(weight).max(0) / _LARGEST, 1e-30)
    even = len(weight) // 2 * 2
    pairs = weight[:even].reshape(-1, 2, weight.shape[1])
    for sign in (1, -1):
        together = (sign * pairs).clip(min=0).sum(1)
        # Both may be rounded up.
        largest = np.maximum(largest, together.max(0, initial=0) / (_LARGEST_PAIR - 1))
    return largest
