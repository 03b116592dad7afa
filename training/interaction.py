"""What a query's tokens find in a passage: the measures that the reranker weighs.

For each query token, from the similarities of its states to the passage's: the best match, how many matches of each
strength (kernel pooling, "K-NRM", Xiong et al. 2017, arXiv:1706.06613), and exact matches as BM25 counts them. Late
interaction over contextual token vectors is ColBERT's (Khattab and Zaharia 2020, arXiv:2004.12832).
"""

from __future__ import annotations

import torch
from torch import Tensor

KERNELS = {"upper": (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), "lower": (0.9, 0.7, 0.5), "words": (0.7, 0.5)}
"""Centres of the kernels: for the last layer's states, for a middle layer's, for the words' own embeddings."""
WIDTH = 0.07
WINDOWS = (16, 48)
"""Lengths, in tokens, of the pieces of a passage that are compared with the whole query."""
PAIR_MEASURES = 1 + len(WINDOWS)
COMPARED = {6: {"upper": 6, "lower": 3}, 3: {"upper": 3}}
"""Which layers' states are compared, by the number of layers that are run."""
# BM25's constants; the average length is that of a chunk of sqlrag.
_K1, _B, _LENGTH = 1.2, 0.75, 150.0


def measure_count(layers: int) -> int:
    """Return how many measures a query token has with so many layers."""
    return 3 + sum(1 + len(KERNELS[name]) for name in (*COMPARED[layers], "words"))


def token_measures(similar: dict[str, Tensor], same: Tensor, query: Tensor, passage: Tensor) -> Tensor:
    """Return the measures of each query token, `(batch, query tokens, measures)`.

    `similar`: cosines `(batch, query tokens, passage tokens)` by the names of KERNELS, `same`: 1 where the two tokens
    are the same word piece, `query` and `passage`: masks `(batch, tokens)`, 1 for tokens that count.
    """
    seen = passage.unsqueeze(1)
    found = []
    for name, cosines in similar.items():
        found.append((cosines * seen + (seen - 1)).amax(-1).clamp(min=-1))
        for centre in KERNELS[name]:
            kernel = torch.exp(-((cosines - centre) ** 2) / (2 * WIDTH**2)) * seen
            found.append(torch.log1p(kernel.sum(-1)))
    same = same * seen
    count = same.sum(-1)
    length = passage.sum(-1, keepdim=True)
    found.append(torch.log1p(count))
    found.append(count / (count + _K1 * (1 - _B + _B * length / _LENGTH)))
    # A token whose neighbour matches beside it: part of a phrase.
    pairs = same[:, :-1, :-1] * same[:, 1:, 1:] * query[:, 1:].unsqueeze(-1)
    phrase = torch.nn.functional.pad(pairs.amax(-1), (0, 1))
    found.append(torch.maximum(phrase, torch.nn.functional.pad(phrase[:, :-1], (1, 0))))
    return torch.stack(found, -1) * query.unsqueeze(-1)


def pair_measures(query_states: Tensor, query: Tensor, states: Tensor, passage: Tensor) -> Tensor:
    """Return the cosines of a query's mean with the passage's and with its best windows', `(batch, PAIR_MEASURES)`.

    `query_states`, `states`: `(batch, tokens, dimension)`; `query`, `passage`: masks.
    """
    vector = (query_states * query.unsqueeze(-1)).sum(1)
    vector = vector / (vector.norm(dim=-1, keepdim=True) + 1e-6)
    seen = states * passage.unsqueeze(-1)
    found = [_cosine(vector, seen.sum(1))]
    place = torch.arange(states.shape[1], device=states.device)
    for window in WINDOWS:
        # A window over the edge is a shorter one. A product with zeros and ones takes a tenth of what pooling takes.
        step = window // 4
        begin = torch.arange(states.shape[1] // step + 1, device=states.device).unsqueeze(1) * step - window // 2
        within = (place >= begin) & (place < begin + window)
        sums = torch.matmul(within.float() / window, seen)
        cosines = _cosine(vector.unsqueeze(1), sums)
        found.append(cosines.amax(-1))
    return torch.stack(found, -1)


def _cosine(query: Tensor, vectors: Tensor) -> Tensor:
    return (query * vectors).sum(-1) / (vectors.norm(dim=-1) + 1e-6)
