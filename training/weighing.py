"""The trained part of the reranker: how much each of a query's tokens, and each way of matching it, counts."""

from __future__ import annotations

import torch
from interaction import PAIR_MEASURES, measure_count
from torch import Tensor, nn

DIMENSION = 384
_TOPIC = 16
_HIDDEN = 64


class Weighing(nn.Module):
    """From the measures of `interaction` to a logit.

    It starts as cosine plus the plain average of the best matches, which reranks well without any training, and
    learns what to add: `importance` weighs the query's tokens, `linear` and `finer` the measures of each.
    `idf`: how rare each word piece is, `(vocabulary,)`; `layers`: how many layers the states come from.
    """

    def __init__(self, idf: Tensor, layers: int) -> None:
        super().__init__()
        self.layers = layers
        measures = measure_count(layers)
        self.register_buffer("idf", idf)
        self.importance = nn.Linear(DIMENSION + 1, 1)
        self.topic = nn.Linear(DIMENSION, _TOPIC)
        self.linear = nn.Linear(measures, 1, bias=False)
        self.finer = nn.Sequential(
            nn.Linear(measures + _TOPIC + 2, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1, bias=False)
        )
        self.pair = nn.Linear(PAIR_MEASURES, 1)
        with torch.no_grad():
            self.importance.weight.zero_()
            self.importance.weight[0, -1] = 0.3
            self.importance.bias.zero_()
            self.linear.weight.zero_()
            self.linear.weight[0, 0] = 12
            self.finer[-1].weight.zero_()
            self.pair.weight.zero_()
            self.pair.weight[0, 0] = 12
            self.pair.bias.zero_()

    def forward(
        self, tokens: Tensor, pairs: Tensor, ids: Tensor, states: Tensor, query: Tensor, length: Tensor
    ) -> Tensor:
        """Return the logits `(batch,)`.

        `tokens`: `(batch, query tokens, measures)`, `pairs`: `(batch, PAIR_MEASURES)`, `ids`, `states`, `query`: the
        query's word pieces, unit states and mask, `length`: tokens of the passage, `(batch,)`.
        """
        idf = self.idf[ids].unsqueeze(-1)
        weight = nn.functional.softplus(self.importance(torch.cat([states * 4, idf], -1))).squeeze(-1) * query
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-6)
        longer = torch.log(length.view(-1, 1, 1) / 100 + 0.1).expand(*ids.shape, 1)
        seen = torch.cat([tokens, idf / 8, longer, self.topic(states * 4)], -1)
        found = (self.linear(tokens) + self.finer(seen)).squeeze(-1)
        return (found * weight).sum(-1) + self.pair(pairs).squeeze(-1)
