"""Train what the bundled reranker adds to the embedder's token states.

    python training/train_reranker.py --data ../shared/data --cache CACHE --out trained.safetensors [--layers 3]

1. The bundled embedder's states of all passages and queries (once; kept in CACHE, some 7 GB).
2. For each query the 25 passages that vectors and the 25 that BM25 return, and `interaction`'s measures of them.
3. `Weighing`, trained on the pools with a softmax over each query's candidates.
4. A scale and an offset for its logit, fitted to the held-back queries, so that the score is a probability there.

Compared are only held-back training queries and NFCorpus' dev split; no evaluation set is read here.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import onnx
import torch
from candidates import BM25, draw, vector_top_k
from interaction import COMPARED
from measures import Measured, compare, load_measured, save_measured
from pairs import Collection, read_collections
from rich.progress import track
from safetensors.torch import save_file
from token_states import BUNDLED, encode
from torch import Tensor
from weighing import Weighing

from sqlrag.engines.measures import MEASURES

POOL = 25
"""Passages that each of the two stages gives a query: the default top_k of a search."""
TRAINED_ON = 16
COMMON_SCALE = 0.1
"""How much the loss asks for scores that compare between queries."""
MOST_QUERIES = 9_000
"""Training queries of a collection; 9,000 parameters do not ask for more."""
PASSAGE_TOKENS, QUERY_TOKENS = 256, 64
BATCH, EPOCHS, RATE = 32, 1.2, 2e-3
VOCABULARY = 30_522


def measured_pools(collection: Collection, words: Tensor, cache: Path) -> list[Measured]:
    """Return the measures of each query's pool: all of it for held-back queries, a sample of it for the others."""
    path = cache / f"{collection.name}-measured.pt"
    if path.exists():
        return load_measured(path)
    passages = encode(collection.passages, PASSAGE_TOKENS, cache, f"{collection.name}-passages")
    queries = encode(collection.queries, QUERY_TOKENS, cache, f"{collection.name}-queries")
    nearest = vector_top_k(queries.vectors, passages.vectors, POOL)
    lexical, drawn = BM25(collection.passages), np.random.default_rng(0)
    found = []
    trained = np.cumsum(~np.array(collection.held_back))
    pools = list(zip(collection.queries, collection.positives, strict=True))
    for number, (query, positives) in enumerate(track(pools, f"{collection.name}: measures")):
        if trained[number] > MOST_QUERIES and not collection.held_back[number]:
            continue
        pool = list(dict.fromkeys([*nearest[number].tolist(), *lexical.top_k(query, POOL).tolist()]))
        held_back = collection.held_back[number]
        chosen, grades = draw(pool, positives, 2 * POOL if held_back else TRAINED_ON, drawn)
        if chosen:
            compared = compare(number, chosen, (queries, passages), words)
            found.append(Measured(*compared, torch.tensor(grades), collection.name, held_back))
    save_measured(found, path)
    return found


def collate(measured: list[Measured], layers: int, device: str) -> list[Tensor]:
    """Return a batch of queries as the arguments of Weighing: the pairs of all, padded to the longest query."""
    longest = max(1, *(len(one.ids) for one in measured))
    columns: list[list[Tensor]] = [[] for _ in range(6)]
    for one in measured:
        count, missing = len(one.relevance), longest - len(one.ids)
        compared = one.depths[layers]
        padded = (
            torch.nn.functional.pad(compared.tokens.float(), (0, 0, 0, missing)),
            compared.pairs,
            torch.nn.functional.pad(one.ids, (0, missing)).expand(count, -1),
            torch.nn.functional.pad(compared.states.float() / 127, (0, 0, 0, missing)).expand(count, -1, -1),
            torch.nn.functional.pad(torch.ones(len(one.ids)), (0, missing)).expand(count, -1),
            one.length,
        )
        for column, part in zip(columns, padded, strict=True):
            column.append(part)
    return [torch.cat(column).to(device) for column in columns]


def logits(model: Weighing, measured: list[Measured], device: str) -> list[Tensor]:
    """Return each query's logits."""
    found: list[Tensor] = []
    with torch.no_grad():
        for begin in range(0, len(measured), 64):
            batch = measured[begin : begin + 64]
            found += model(*collate(batch, model.layers, device)).cpu().split([len(one.relevance) for one in batch])
    return found


def ndcg_at_10(scores: Tensor, grades: Tensor) -> float:
    """Return nDCG@10 of a pool in the order of its scores."""
    ranked = enumerate(grades[scores.argsort(descending=True)].tolist(), start=1)
    return MEASURES["ndcg"].of(ranked, 10) or 0.0


def summary(measured: list[Measured], scores: list[Tensor]) -> str:
    """Return nDCG@10 of the pools, per collection and over them."""
    by_collection = defaultdict(list)
    for one, score in zip(measured, scores, strict=True):
        by_collection[one.collection].append(ndcg_at_10(score, one.relevance))
    means = {name: fmean(values) for name, values in by_collection.items()}
    return " ".join(f"{name} {value:.4f}" for name, value in (*means.items(), ("mean", fmean(means.values()))))


def query_loss(scores: Tensor, relevance: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return the loss of one query's candidates: their order, and how far their scores are from probabilities.

    The order alone (softmax cross-entropy) leaves each query a scale of its own; a threshold needs a common one.
    """
    order = torch.logsumexp(scores, 0) - torch.logsumexp(scores[relevance > 0], 0)
    common = torch.nn.functional.binary_cross_entropy_with_logits(scores * scale + offset, relevance, reduction="sum")
    return order + COMMON_SCALE * common


def train(model: Weighing, measured: list[Measured], held_back: list[Measured], device: str) -> None:
    """Train on batches of queries, each collection as often as the 0.6th power of its size."""
    by_collection = defaultdict(list)
    for one in measured:
        by_collection[one.collection].append(one)
    names = list(by_collection)
    share = np.array([len(by_collection[name]) ** 0.6 for name in names])
    plain = [p for name, p in model.named_parameters() if name.startswith(("linear", "pair"))]
    others = [p for name, p in model.named_parameters() if not name.startswith(("linear", "pair"))]
    calibration = torch.tensor(0.3, requires_grad=True), torch.tensor(-6.0, requires_grad=True)
    plain += calibration
    optimizer = torch.optim.AdamW(
        [{"params": plain, "lr": 10 * RATE, "weight_decay": 0}, {"params": others, "lr": RATE, "weight_decay": 0.01}]
    )
    steps = int(EPOCHS * len(measured) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    drawn, losses = np.random.default_rng(0), []
    for step in range(steps):
        chosen = (by_collection[names[number]] for number in drawn.choice(len(names), BATCH, p=share / share.sum()))
        batch = [one[drawn.integers(len(one))] for one in chosen]
        scores = model(*collate(batch, model.layers, device)).split([len(one.relevance) for one in batch])
        loss = torch.stack(
            [
                query_loss(score, one.relevance.to(device), *calibration)
                for score, one in zip(scores, batch, strict=True)
            ]
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 300 == 0 or step == steps - 1:
            reached = summary(held_back, logits(model, held_back, device))
            print(f"{step + 1}/{steps} loss {fmean(losses[-300:]):.4f} |", reached, flush=True)


def calibrate(model: Weighing, held_back: list[Measured], device: str) -> tuple[float, float]:
    """Return scale and offset that make the sigmoid of the logit a probability on the held-back pools (Platt, 1999).

    Each collection counts the same, so that no kind of text decides.
    """
    scores = torch.cat(logits(model, held_back, device))
    grades = torch.cat([one.relevance for one in held_back])
    sizes = defaultdict(int)
    for one in held_back:
        sizes[one.collection] += len(one.relevance)
    weight = torch.cat([torch.full((len(one.relevance),), 1 / sizes[one.collection]) for one in held_back])
    scale, offset = torch.tensor(1.0, requires_grad=True), torch.tensor(-float(scores.mean()), requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            scores * scale + offset, grades, weight, reduction="sum"
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    likely = torch.sigmoid(scores * scale + offset).detach()
    for low, high in ((0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 0.9), (0.9, 1.01)):
        within = (likely >= low) & (likely < high)
        pairs = float(weight[within].sum() / weight.sum())
        relevant = float((grades * weight)[within].sum() / weight[within].sum())
        print(f"score {low:.2f} to {high:.2f}: {pairs:.3f} of the pairs, of these {relevant:.2f} relevant")
    return scale.item(), offset.item()


def word_vectors() -> Tensor:
    """Return the unit word embeddings of the bundled embedder, `(vocabulary, dimension)`."""
    tables = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(BUNDLED / "model.onnx").graph.initializer}
    table = next(table for table in tables.values() if table.shape == (VOCABULARY, 384) and table.dtype == np.int8)
    return torch.nn.functional.normalize(torch.from_numpy(table.astype(np.float32)), dim=-1)


def inverse_document_frequency(collections: list[Collection], cache: Path) -> Tensor:
    """Return how rare each word piece is in the training passages, `(vocabulary,)`."""
    frequency, total = np.zeros(VOCABULARY), 0
    for collection in collections:
        encodings = encode(collection.passages, PASSAGE_TOKENS, cache, f"{collection.name}-passages")
        for begin, end in zip(encodings.start[:-1], encodings.start[1:], strict=True):
            frequency[np.unique(encodings.ids[begin:end])] += 1
        total += len(encodings)
    return torch.tensor(np.log((total + 1) / (frequency + 0.5)), dtype=torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, choices=tuple(COMPARED), default=6, help="3 makes the faster student")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    collections, words = read_collections(arguments.data), word_vectors()
    measured = [one for collection in collections for one in measured_pools(collection, words, arguments.cache)]
    held_back = [one for one in measured if one.held_back]
    training = [one for one in measured if not one.held_back]
    print(f"{len(training):,} queries to train on, {len(held_back):,} held back")
    print("cosine |", summary(held_back, [one.depths[6].pairs[:, 0] for one in held_back]))
    device = arguments.device
    model = Weighing(inverse_document_frequency(collections, arguments.cache), arguments.layers).to(device)
    print("untrained |", summary(held_back, logits(model, held_back, device)), flush=True)
    train(model, training, held_back, device)
    scale, offset = calibrate(model, held_back, device)
    state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    save_file({**state, "scale": torch.tensor(scale), "offset": torch.tensor(offset)}, arguments.out)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{arguments.out}: {parameters:,} parameters, scale {scale:.4f}, offset {offset:.4f}")


if __name__ == "__main__":
    main()
