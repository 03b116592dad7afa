"""The reranker as one network with a cross-encoder's inputs: what is exported, and what training computed in parts.

`[CLS] query [SEP] passage [SEP]` goes through all-MiniLM-L6-v2 with a block-diagonal attention mask: neither side sees
the other, each has positions and a [CLS] of its own (the passage's is appended at the end, which attention does not
mind), so both get exactly the states that the first stage's embedder gives them alone. Then come the measures of
`interaction` and the trained parts.
"""

from __future__ import annotations

from typing import Any

import torch
from interaction import COMPARED, pair_measures, token_measures
from measures import SPECIAL
from torch import Tensor, nn

_CLS = 101
_BLOCKED = -30_000.0


class Reranker(nn.Module):
    """From a pair's inputs to its logit.

    `bert`: all-MiniLM-L6-v2, all its layers or the first ones; `trained`: from measures to logits; `scale` and
    `offset`: what makes the logit's sigmoid a probability.
    """

    def __init__(self, bert: Any, trained: nn.Module, scale: float, offset: float) -> None:
        super().__init__()
        self.bert = bert
        self.trained = trained
        self.compared = COMPARED[bert.config.num_hidden_layers]
        self.register_buffer("special", torch.tensor(SPECIAL))
        self.scale, self.offset = scale, offset

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> dict[str, Tensor]:
        """Return `{"logits": (batch,)}` for `(batch, length)` int64 inputs."""
        ids, valid, side = _with_second_cls(input_ids, attention_mask, token_type_ids)
        hidden = self._states(ids, valid, side)
        # The query's tokens stand first: they are the rows of all that is compared.
        rows = ((1 - side) * valid).sum(1).max().item()
        torch._check(rows >= 2)  # noqa: SLF001 - how torch.export is told the range of a number it can't know
        torch._check(rows <= input_ids.shape[1])  # noqa: SLF001
        counted = valid * (1 - (ids.unsqueeze(-1) == self.special).any(-1).long())
        passage = (counted * side).float()
        query = (counted * (1 - side)).float()[:, :rows]
        states = {name: hidden[layer] for name, layer in self.compared.items()}
        states["words"] = self.bert.embeddings.word_embeddings(ids)
        unit = {name: nn.functional.normalize(state, dim=-1) for name, state in states.items()}
        similar = {name: torch.matmul(state[:, :rows], state.transpose(1, 2)) for name, state in unit.items()}
        same = (ids[:, :rows].unsqueeze(2) == ids.unsqueeze(1)).float()
        upper = unit["upper"]
        logits = self.trained(
            token_measures(similar, same, query, passage),
            pair_measures(upper[:, :rows], query, upper, passage),
            ids[:, :rows],
            upper[:, :rows],
            query,
            passage.sum(1),
        )
        return {"logits": logits * self.scale + self.offset}

    def _states(self, ids: Tensor, valid: Tensor, side: Tensor) -> tuple[Tensor, ...]:
        """Return the states before and after each layer, each side's as if it stood alone."""
        count = ((1 - side) * valid).sum(1, keepdim=True)
        place = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        position = place - side * (count - 1)
        position = torch.where(place == ids.shape[1] - 1, 0, position).clamp(0, 511)
        seen = (side.unsqueeze(1) == side.unsqueeze(2)) & (valid.unsqueeze(1) == 1)
        mask = torch.where(seen, 0.0, _BLOCKED).unsqueeze(1)
        return self.bert(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            token_type_ids=torch.zeros_like(ids),
            output_hidden_states=True,
        ).hidden_states


def _with_second_cls(*inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(
        torch.cat([given, torch.full_like(given[:, :1], extra)], 1)
        for given, extra in zip(inputs, (_CLS, 1, 1), strict=True)
    )
