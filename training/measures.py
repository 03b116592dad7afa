"""The measures of many (query, passage) pairs, computed once: training then takes seconds an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from interaction import COMPARED, pair_measures, token_measures
from token_states import LAYERS, Encodings

SPECIAL = (0, 101, 102)
"""[PAD], [CLS] and [SEP] of the vocabulary: tokens that match nothing."""


@dataclass
class Compared:
    """What the states of one depth say.

    `tokens`: `(candidates, query tokens, measures)` float16; `pairs`: `(candidates, PAIR_MEASURES)`; `states`: the
    query's states of the last layer that is run, int8 as in Encodings.
    """

    tokens: torch.Tensor
    pairs: torch.Tensor
    states: torch.Tensor


@dataclass
class Measured:
    """One query and its candidates; `ids`: the query's word pieces without special ones, `depths`: by layers run."""

    depths: dict[int, Compared]
    ids: torch.Tensor
    length: torch.Tensor
    relevance: torch.Tensor
    collection: str
    held_back: bool


@torch.no_grad()
def compare(
    query: int, candidates: list[int], encodings: tuple[Encodings, Encodings], words: torch.Tensor
) -> tuple[dict[int, Compared], torch.Tensor, torch.Tensor]:
    """Return the measures by depth, the query's word pieces and the candidates' lengths in tokens.

    `encodings`: of the queries and of the passages; `words`: unit word embeddings `(vocabulary, dimension)`.
    """
    ids, states = _text(encodings[0], query)
    counted = ~torch.isin(ids, torch.tensor(SPECIAL))
    ids, states = ids[counted], states[counted]
    texts = [_text(encodings[1], number) for number in candidates]
    longest = max(len(text_ids) for text_ids, _ in texts)
    passage_ids = torch.zeros(len(texts), longest, dtype=torch.long)
    passage_states = torch.zeros(len(texts), longest, *states.shape[1:])
    for row, (text_ids, text_states) in enumerate(texts):
        passage_ids[row, : len(text_ids)] = text_ids
        passage_states[row, : len(text_ids)] = text_states
    passage = (~torch.isin(passage_ids, torch.tensor(SPECIAL))).float()
    query_mask = torch.ones(len(texts), len(ids))
    same = (ids.view(1, -1, 1) == passage_ids.unsqueeze(1)).float()
    by_layer = {
        layer: torch.matmul(passage_states[:, :, place], states[:, place].T).transpose(1, 2)
        for place, layer in enumerate(LAYERS)
    }
    spelled = torch.matmul(words[passage_ids], words[ids].T).transpose(1, 2)
    depths = {}
    for depth, compared in COMPARED.items():
        similar = {name: by_layer[layer] for name, layer in compared.items()} | {"words": spelled}
        place = LAYERS.index(depth)
        pairs = pair_measures(
            states[:, place].expand(len(texts), -1, -1), query_mask, passage_states[:, :, place], passage
        )
        depths[depth] = Compared(
            token_measures(similar, same, query_mask, passage).half(),
            pairs,
            (states[:, place] * 127).round().to(torch.int8),
        )
    return depths, ids, passage.sum(1)


def _text(encodings: Encodings, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    begin, end = encodings.start[number : number + 2]
    ids = torch.from_numpy(encodings.ids[begin:end].astype(np.int64))
    return ids, torch.from_numpy(encodings.states[begin:end].astype(np.float32)) / 127


def save_measured(measured: list[Measured], path: Path) -> None:
    """Write as plain tensors, numbers and texts, so that reading runs no code."""
    torch.save(
        [{**vars(one), "depths": {depth: vars(found) for depth, found in one.depths.items()}} for one in measured], path
    )


def load_measured(path: Path) -> list[Measured]:
    """Read what save_measured wrote."""
    rows = torch.load(path, weights_only=True)
    return [
        Measured(**{**row, "depths": {depth: Compared(**found) for depth, found in row["depths"].items()}})
        for row in rows
    ]
