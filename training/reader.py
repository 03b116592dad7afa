"""The second reranker's network: what a query's tokens find in a passage's kept states, and a reader on top.

A passage is what an index keeps of it: token ids and compact states. A query has its states of the last layer in full.
Each query token gets `interaction`'s measures of its matches (K-NRM's kernels, BM25's counts), which are weighed as in
the first reranker. On top, two blocks in which the query's tokens attend to the passage's states, to each other, and
think about it ("MORES", Gao, Dai and Callan 2020, arXiv:2010.10469); they begin as the embedder's last two layers and
add nothing to the logit until they are trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from interaction import KERNELS, PAIR_MEASURES, WINDOWS, token_measures
from torch import Tensor, nn

DIMENSION = 384
HEADS = 12
HEAD = DIMENSION // HEADS
COMPARED = ("upper", "words")
MEASURES = 3 + sum(1 + len(KERNELS[name]) for name in COMPARED)
NORM = 9.0
"""About the length of the embedder's states: the blocks' weights expect it, what is kept has length one."""
_TOPIC = 16
_HIDDEN = 64
_FAR = -30_000.0


@dataclass
class Batch:
    """Queries with the same number of candidates each; pair `q * candidates + c` is query q's candidate c.

    `query`: `(queries, query tokens)`, the mask; `rare`: how rare each token is; `states`: their unit states,
    `(.., 384)`; `vector`: the queries' embeddings. `passage`: `(pairs, tokens)`, the mask; `kept`: unit compact states,
    `(pairs, tokens, components)`; `vectors`: the passages' embeddings, `(pairs, 384)`. `same`: 1 where a token of the
    query is that of the passage, `words`: the cosine of the two words' embeddings, `(pairs, query tokens, tokens)`.
    """

    query: Tensor
    rare: Tensor
    states: Tensor
    vector: Tensor
    passage: Tensor
    kept: Tensor
    vectors: Tensor
    same: Tensor
    words: Tensor


def piece_measures(query: Tensor, kept: Tensor, passage: Tensor) -> list[Tensor]:
    """Return the cosines, `(pairs,)` each, of a query's sum with a passage's and with its best piece of each length."""
    seen, length = kept * passage.unsqueeze(-1), passage.sum(1, keepdim=True)
    found = [nn.functional.cosine_similarity(query, seen.sum(1), eps=1e-6)]
    place = torch.arange(seen.shape[1])
    for window in WINDOWS:
        step = window // 4
        middle = torch.arange(seen.shape[1] // step + 1) * step
        begin = middle.unsqueeze(1) - window // 2
        # A product with zeros and ones takes a tenth of what pooling takes.
        within = (place >= begin) & (place < begin + window)
        sums = torch.matmul(within.to(seen.dtype), seen)
        cosines = nn.functional.cosine_similarity(query.unsqueeze(1), sums, dim=-1, eps=1e-6)
        # Pieces beyond the end stand there for longer passages of the batch.
        found.append(cosines.masked_fill(middle > length, -1).amax(-1))
    return found


def keys_of(kept: Tensor, same: Tensor, passage: Tensor) -> Tensor:
    """Return what heads look at, `(pairs, tokens + 1, components + query tokens + 2)`: see `Block.look`.

    `same`: `(pairs, query tokens, tokens)`. The last key says nothing: a head need not find anything.
    """
    keys = torch.cat([kept, same.transpose(1, 2), 1 - passage.unsqueeze(-1), torch.zeros_like(kept[..., :1])], -1)
    nothing = torch.zeros_like(keys[:, :1])
    nothing[..., -1] = 1
    return torch.cat([keys, nothing], 1)


class Block(nn.Module):
    """Cross-attention to a passage, self-attention among the query's tokens, and a feed-forward part."""

    def __init__(self, components: int, hidden: int) -> None:
        super().__init__()
        self.cross_query = nn.Linear(DIMENSION, DIMENSION)
        # Keys and values of each head, straight from the compact states.
        self.key = nn.Parameter(torch.zeros(HEADS, HEAD, components))
        self.value = nn.Parameter(torch.zeros(HEADS, components, HEAD))
        self.nothing = nn.Parameter(torch.zeros(HEADS))
        self.same = nn.Parameter(torch.zeros(HEADS))
        self.cross_out = nn.Linear(DIMENSION, DIMENSION)
        self.cross_norm = nn.LayerNorm(DIMENSION, 1e-12)
        self.self_in = nn.Linear(DIMENSION, 3 * DIMENSION)
        self.self_out = nn.Linear(DIMENSION, DIMENSION)
        self.self_norm = nn.LayerNorm(DIMENSION, 1e-12)
        self.up = nn.Linear(DIMENSION, hidden)
        self.down = nn.Linear(hidden, DIMENSION)
        self.norm = nn.LayerNorm(DIMENSION, 1e-12)
        self.dropout = nn.Dropout(0.1)

    def look(self, tokens: Tensor) -> Tensor:
        """Return what each head of each token looks for, `(batch, tokens x heads, components + tokens + 2)`.

        After the components stand how much the head wants the token's own word, what keeps it off tokens that do not
        count, and how much it wants to find nothing: products with what `keys` returns.
        """
        batch, rows, _ = tokens.shape
        asked = self.cross_query(tokens).unflatten(-1, (HEADS, HEAD))
        asked = torch.einsum("blhd,hdc->blhc", asked, self.key) / HEAD**0.5
        own = (torch.eye(rows).view(rows, 1, rows) * self.same.view(1, -1, 1)).expand(batch, -1, -1, -1)
        rest = torch.stack([torch.full_like(self.nothing, _FAR), self.nothing], -1).expand(batch, rows, -1, -1)
        return torch.cat([asked, own.to(asked.dtype), rest.to(asked.dtype)], -1).flatten(1, 2)

    def attend(self, look: Tensor, keys: Tensor) -> Tensor:
        """Return what is found, `(pairs, query tokens, 384)`."""
        likely = torch.softmax(torch.matmul(look, keys.transpose(1, 2)), -1, dtype=look.dtype)
        found = torch.matmul(likely, keys[..., : self.key.shape[2]]).unflatten(1, (-1, HEADS))
        return self.cross_out(torch.einsum("blhc,hcd->blhd", found, self.value).flatten(2))

    def mix(self, tokens: Tensor, query: Tensor) -> Tensor:
        """Let the query's tokens attend to each other."""
        parts = self.self_in(tokens).unflatten(-1, (3, HEADS, HEAD)).permute(2, 0, 3, 1, 4)
        mask = ((1 - query) * _FAR).view(tokens.shape[0], 1, 1, -1).to(tokens.dtype)
        scores = torch.matmul(parts[0] / HEAD**0.5, parts[1].transpose(-1, -2)) + mask
        found = torch.matmul(torch.softmax(scores, -1), parts[2]).transpose(1, 2).flatten(2)
        return self.self_norm(tokens + self.self_out(found))

    def think(self, tokens: Tensor) -> Tensor:
        """Apply the feed-forward part."""
        return self.norm(tokens + self.dropout(self.down(nn.functional.gelu(self.up(tokens)))))


class Reader(nn.Module):
    """From a batch to logits. `basis`, `(384, components)`, is that of the compact states."""

    def __init__(self, basis: Tensor, blocks: int = 2, hidden: int = 1_536) -> None:
        super().__init__()
        # The blocks in bfloat16, the measures as they are: for training.
        self.half = False
        self.register_buffer("basis", basis)
        self.importance = nn.Linear(DIMENSION + 1, 1)
        self.topic = nn.Linear(DIMENSION, _TOPIC)
        self.linear = nn.Linear(MEASURES, 1, bias=False)
        self.finer = nn.Sequential(
            nn.Linear(MEASURES + _TOPIC + 2, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1, bias=False)
        )
        self.pair = nn.Linear(1 + PAIR_MEASURES, 1)
        self.blocks = nn.ModuleList(Block(basis.shape[1], hidden) for _ in range(blocks))
        self.measured = nn.Linear(MEASURES + 2, DIMENSION)
        self.found = nn.Linear(DIMENSION, 1)
        self.whole = nn.Sequential(nn.Linear(DIMENSION, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1, bias=False))
        with torch.no_grad():
            self.importance.weight.zero_()
            self.importance.weight[0, -1] = 0.3
            self.importance.bias.zero_()
            for zero in (self.linear, self.finer[-1], self.pair, self.measured, self.found, self.whole[-1]):
                zero.weight.zero_()
            self.linear.weight[0, 0] = 12
            self.pair.weight[0, 0] = 12
            self.pair.bias.zero_()
            self.measured.bias.zero_()

    def begin_as(self, layers: list[dict[str, Tensor]]) -> None:
        """Start the blocks as the embedder's last layers, given by their names in BERT."""
        with torch.no_grad():
            for block, layer in zip(self.blocks, layers, strict=True):
                parts = [layer[f"attention.self.{name}.weight"] for name in ("query", "key", "value")]
                biases = [layer[f"attention.self.{name}.bias"] for name in ("query", "key", "value")]
                block.cross_query.weight.copy_(parts[0])
                block.cross_query.bias.copy_(biases[0])
                kept = self.basis * NORM
                block.key.copy_((parts[1] @ kept).view(HEADS, HEAD, -1))
                block.value.copy_((parts[2] @ kept).view(HEADS, HEAD, -1).transpose(1, 2))
                block.self_in.weight.copy_(torch.cat(parts))
                block.self_in.bias.copy_(torch.cat(biases))
                for linear, norm in ((block.cross_out, block.cross_norm), (block.self_out, block.self_norm)):
                    linear.weight.copy_(layer["attention.output.dense.weight"])
                    linear.bias.copy_(layer["attention.output.dense.bias"])
                    norm.weight.copy_(layer["attention.output.LayerNorm.weight"])
                    norm.bias.copy_(layer["attention.output.LayerNorm.bias"])
                for name, linear in (("intermediate", block.up), ("output", block.down)):
                    linear.weight.copy_(layer[f"{name}.dense.weight"])
                    linear.bias.copy_(layer[f"{name}.dense.bias"])
                block.norm.weight.copy_(layer["output.LayerNorm.weight"])
                block.norm.bias.copy_(layer["output.LayerNorm.bias"])

    def trained_alone(self) -> list[nn.Parameter]:
        """Return the parameters that are only multiplied with measures: they learn ten times as fast."""
        return [*self.linear.parameters(), *self.pair.parameters()]

    @torch.no_grad()
    def measures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the measures of tokens and those of pairs."""
        each = batch.passage.shape[0] // batch.query.shape[0]
        query = batch.query.repeat_interleave(each, 0)
        states = nn.functional.normalize(batch.states @ self.basis, dim=-1).repeat_interleave(each, 0)
        upper = torch.matmul(states, batch.kept.transpose(1, 2))
        tokens = token_measures({"upper": upper, "words": batch.words}, batch.same, query, batch.passage)
        cosine = (batch.vector.repeat_interleave(each, 0) * batch.vectors).sum(-1)
        pieces = piece_measures((states * query.unsqueeze(-1)).sum(1), batch.kept, batch.passage)
        return tokens, torch.stack([cosine, *pieces], -1)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits, `(pairs,)`."""
        tokens, pairs = self.measures(batch)
        each = batch.passage.shape[0] // batch.query.shape[0]
        rare = batch.rare.unsqueeze(-1)
        weight = nn.functional.softplus(self.importance(torch.cat([batch.states * 4, rare], -1))).squeeze(-1)
        weight = weight * batch.query
        weight = (weight / (weight.sum(-1, keepdim=True) + 1e-6)).repeat_interleave(each, 0)
        topic = self.topic(batch.states * 4).repeat_interleave(each, 0)
        rare = rare.repeat_interleave(each, 0)
        longer = torch.log(batch.passage.sum(1).view(-1, 1, 1) / 100 + 0.1).expand(*rare.shape)
        seen = torch.cat([tokens, rare / 8, longer], -1)
        found = (self.linear(tokens) + self.finer(torch.cat([seen, topic], -1))).squeeze(-1)
        logits = (found * weight).sum(-1) + self.pair(pairs).squeeze(-1)
        if self.blocks:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                read = self.read(batch, seen).float()
            logits = logits + (self.found(read).squeeze(-1) * weight).sum(-1)
            logits = logits + self.whole((read * weight.unsqueeze(-1)).sum(1)).squeeze(-1)
        return logits

    def read(self, batch: Batch, seen: Tensor) -> Tensor:
        """Return the query's tokens after having read the passage, `(pairs, query tokens, 384)`."""
        each = batch.passage.shape[0] // batch.query.shape[0]
        tokens = self.blocks[0].mix(batch.states * NORM, batch.query)
        query = batch.query.repeat_interleave(each, 0)
        look = self.blocks[0].look(tokens).repeat_interleave(each, 0)
        tokens = tokens.repeat_interleave(each, 0) + self.measured(seen)
        keys = keys_of(batch.kept, batch.same, batch.passage).to(look.dtype)
        for number, block in enumerate(self.blocks):
            if number:
                tokens = block.mix(tokens, query)
                look = block.look(tokens)
            found = block.attend(look, keys)
            tokens = block.think(block.cross_norm(tokens + found))
        return tokens
