"""Train the second reranker on the lists that lists.py made.

    python training/lists.py --data ../shared/data --cache CACHE
    python training/train_reader.py WEIGHTS --cache CACHE --run RUN [--steps N] [--minutes M]

WEIGHTS is the embedder's original folder (how to get it stands in convert_embedder.py); RUN a folder, where a run that
was stopped goes on from its last checkpoint. `RUN/log.jsonl` has the quality on held-back lists by pairs trained on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from compact import fitted, read_form, save_form
from kept_states import States, encode, read_states
from lists import PASSAGE_TOKENS, QUERY_TOKENS, Lists
from numpy.typing import NDArray
from reader import Batch, Reader
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sqlrag.engines.measures import MEASURES
from sqlrag.models.kept import Form

COMPONENTS = 96
CANDIDATES = 12
LISTS = 16
"""Lists of a step; they are gone through in MICRO at a time, of similar length."""
MICRO = 8
RATE, FAST = 1e-4, 1e-3
WARM_UP = 200
KEPT = 0.998
"""How much of the averaged weights stays at each step."""
COMMON_SCALE = 0.1
SHARES = {
    "graded": 0.18, "squad": 0.13, "squad keywords": 0.10, "squad lower": 0.07, "qed": 0.09, "acl": 0.11,
    "medquad": 0.07, "headings": 0.09, "nfcorpus": 0.08, "cloze": 0.07, "pubmedqa": 0.01,
}  # fmt: skip
"""How often each collection is drawn from."""
DROPPED = 0.1
"""How many tokens of passages, and of every other query, training leaves out: the few graded lists come often."""
MOST_QUERY_TOKENS = 40
HELD_BACK_EACH = 40
"""Held-back lists of each collection (all of the graded ones) that checkpoints are compared on."""
VOCABULARY = 30_522


@dataclass
class Texts:
    """Token ids and what is kept of many texts: compact codes of passages, or queries' states in int8.

    `vectors`: the embeddings, those of passages rounded as they are kept.
    """

    start: NDArray[np.int64]
    ids: NDArray[np.uint16]
    kept: NDArray[Any]
    vectors: NDArray[np.float32]

    def of(self, number: int, most: int) -> tuple[NDArray[np.uint16], NDArray[Any]]:
        """Return a text's ids and what is kept of it, of its first tokens."""
        begin, end = self.start[number : number + 2]
        end = min(end, begin + most)
        return self.ids[begin:end], self.kept[begin:end]


class Data:
    """Lists with all that a batch is made of.

    `words`: unit word embeddings, `(vocabulary, 384)`; `rare`: how rare each word piece is, `(vocabulary,)`.
    """

    def __init__(self, lists: Lists, queries: Texts, passages: Texts, form: Form, words: Tensor, rare: Tensor) -> None:
        self.lists, self.queries, self.passages, self.form = lists, queries, passages, form
        self.words, self.rare = words, rare

    def batch(self, chosen: list[tuple[int, list[int]]], drawn: np.random.Generator | None = None) -> Batch:
        """Return a batch of queries and the candidates of each, as many for each query.

        With `drawn`, tokens that it draws are left out.
        """
        rows = [self.queries.of(query, MOST_QUERY_TOKENS) for query, _ in chosen]
        ids, query = _padded([ids for ids, _ in rows])
        states = torch.zeros(*ids.shape, rows[0][1].shape[1])
        for row, (_, kept) in enumerate(rows):
            states[row, : len(kept)] = torch.from_numpy(kept.astype(np.float32) / 127)
        found = [self.passages.of(number, PASSAGE_TOKENS) for _, candidates in chosen for number in candidates]
        passage_ids, passage = _padded([ids for ids, _ in found])
        codes = np.zeros((*passage_ids.shape, found[0][1].shape[1]), np.uint8)
        for row, (_, kept) in enumerate(found):
            codes[row, : len(kept)] = kept
        if drawn is not None:
            passage *= torch.from_numpy(drawn.random(passage.shape, np.float32) > DROPPED)
            left = torch.from_numpy(
                drawn.random(query.shape, np.float32) > DROPPED * drawn.integers(2, size=(len(query), 1))
            )
            query *= torch.where((query * left).sum(1, keepdim=True) > 1, left, True)
        by_query = passage_ids.view(len(chosen), -1, passage_ids.shape[1])
        return Batch(
            query,
            self.rare[ids] * query,
            states,
            torch.from_numpy(self.queries.vectors[[number for number, _ in chosen]]),
            passage,
            torch.from_numpy(self.form.values(codes)) * passage.unsqueeze(-1),
            torch.from_numpy(self.passages.vectors[[number for _, candidates in chosen for number in candidates]]),
            (ids.view(len(chosen), 1, -1, 1) == by_query.unsqueeze(2)).float().flatten(0, 1),
            torch.cat([self._spelled(*pair) for pair in zip(ids, by_query, strict=True)]),
        )

    def _spelled(self, ids: Tensor, passage_ids: Tensor) -> Tensor:
        """Return the cosines of words, `(candidates, query tokens, tokens)`; each word is compared once."""
        different, places = torch.unique(passage_ids, return_inverse=True)
        return (self.words[ids] @ self.words[different].T)[:, places].transpose(0, 1)


def _padded(rows: list[NDArray[np.uint16]]) -> tuple[Tensor, Tensor]:
    ids = np.zeros((len(rows), max(2, *(len(row) for row in rows))), np.int64)
    mask = np.zeros(ids.shape, np.float32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def fitted_form(parts: list[Path], path: Path) -> Form:
    """Return the compact form, fitted to the first parts once."""
    if not path.exists():
        drawn, read = np.random.default_rng(0), [read_states(part) for part in parts[:20]]
        states = np.concatenate([drawn.permutation(part.states)[:4_000] for part in read]).astype(np.float32)
        vectors = np.concatenate([part.vectors for part in read])
        save_form(fitted(states / np.linalg.norm(states, axis=1, keepdims=True), vectors, COMPONENTS), path)
    return read_form(path)


def gathered(parts: list[Path], name: str, cache: Path, form: Form | None) -> Texts:
    """Return the texts of several parts, rounded by the form if there is one; kept for the next run."""
    path = cache / f"{name}.npz"
    if not path.exists():
        starts, rows = [np.zeros(1, np.int64)], []
        for part in map(read_states, parts):
            starts.append(part.start[1:] + starts[-1][-1])
            kept = part.states if form is None else form.codes(_unit(part))
            rows.append(
                (part.ids, kept, part.vectors if form is None else form.vectors(form.vector_codes(part.vectors)))
            )
        ids, kept, vectors = (np.concatenate(column) for column in zip(*rows, strict=True))
        np.savez(path, start=np.concatenate(starts), ids=ids, kept=kept, vectors=vectors)
    with np.load(path) as found:
        return Texts(found["start"], found["ids"], found["kept"], found["vectors"])


def _unit(part: States) -> NDArray[np.float32]:
    states = part.states.astype(np.float32)
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def read_data(cache: Path, weights: Path) -> Data:
    """Return what to train on."""
    lists = Lists.read(cache / "lists.json")
    name = f"corpus-{COMPONENTS}"
    if (cache / f"{name}.npz").exists() and (cache / "queries.npz").exists():
        form = read_form(cache / f"form-{COMPONENTS}.safetensors")
        passages, queries = gathered([], name, cache, form), gathered([], "queries", cache, None)
    else:
        texts = json.loads((cache / "texts.json").read_text(encoding="utf-8"))
        parts = encode(texts, PASSAGE_TOKENS, cache, "corpus")
        form = fitted_form(parts, cache / f"form-{COMPONENTS}.safetensors")
        passages = gathered(parts, name, cache, form)
        queries = gathered(encode(lists.queries, QUERY_TOKENS, cache, "queries"), "queries", cache, None)
    frequency = np.zeros(VOCABULARY)
    for begin, end in zip(passages.start[:-1], passages.start[1:], strict=True):
        frequency[np.unique(passages.ids[begin:end])] += 1
    rare = np.log((len(passages.start)) / (frequency + 0.5))
    return Data(lists, queries, passages, form, word_vectors(weights), torch.tensor(rare, dtype=torch.float32))


class Drawing:
    """Draws lists to train on: a collection by its share, one of its lists, and candidates of its pool."""

    def __init__(self, lists: Lists, left_out: str) -> None:
        self.lists = lists
        self.by_collection: dict[str, list[int]] = defaultdict(list)
        for number, (collection, held_back) in enumerate(zip(lists.collections, lists.held_back, strict=True)):
            grades = lists.grades[number]
            if not held_back and 0 < sum(grades) < len(grades) and not (left_out and left_out in collection.split()):
                self.by_collection[collection.split()[0] if "graded" in collection else collection].append(number)
        self.names = [name for name in SHARES if self.by_collection[name]]
        shares = np.array([SHARES[name] for name in self.names])
        self.shares = shares / shares.sum()

    def draw(self, drawn: np.random.Generator) -> tuple[int, list[int], list[float]]:
        """Return a list's number, CANDIDATES of its candidates (some twice if it has fewer) and their grades."""
        numbers = self.by_collection[self.names[drawn.choice(len(self.names), p=self.shares)]]
        number = numbers[drawn.integers(len(numbers))]
        candidates, grades = np.array(self.lists.candidates[number]), np.array(self.lists.grades[number])
        if len(candidates) > CANDIDATES:
            good = drawn.permutation(np.flatnonzero(grades > 0))[: CANDIDATES // 3]
            # Evenly from the pool, not from its top: "similar" must not come to mean "irrelevant".
            others = drawn.permutation(np.flatnonzero(grades == 0))[: CANDIDATES - len(good)]
            chosen = np.concatenate([good, others])
        else:
            chosen = np.arange(len(candidates))
        return number, candidates[chosen].tolist(), grades[chosen].tolist()


def list_loss(scores: Tensor, grades: Tensor, calibration: Tensor) -> Tensor:
    """Return the loss of lists `(lists, candidates)`: their order, and how far scores are from probabilities.

    A grade below zero marks a place that is not filled. The order's target is a share of what the grades gain.
    """
    filled = grades >= 0
    gains = torch.where(filled, torch.exp2(3 * grades.clamp(min=0)) - 1, 0)
    target = gains / gains.sum(1, keepdim=True)
    order = -(target * torch.log_softmax(scores.masked_fill(~filled, -1e4), 1)).sum(1)
    common = nn.functional.binary_cross_entropy_with_logits(
        scores * calibration[0] + calibration[1], grades.clamp(min=0), filled.float(), reduction="sum"
    )
    return order.sum() + COMMON_SCALE * common


def train_step(
    model: Reader, data: Data, drawing: Drawing, drawn: np.random.Generator, calibration: Tensor
) -> tuple[float, int]:
    """Add up the gradients of LISTS lists; return their mean loss and how many pairs they have."""
    lists = [drawing.draw(drawn) for _ in range(LISTS)]
    lists.sort(key=lambda one: len(data.queries.of(one[0], MOST_QUERY_TOKENS)[0]))
    total, count = 0.0, 0
    for begin in range(0, LISTS, MICRO):
        chosen = lists[begin : begin + MICRO]
        width = max(len(candidates) for _, candidates, _ in chosen)
        grades = torch.full((MICRO, width), -1.0)
        filled = []
        for row, (number, candidates, known) in enumerate(chosen):
            grades[row, : len(known)] = torch.tensor(known)
            filled.append((number, candidates + candidates[:1] * (width - len(candidates))))
            count += len(candidates)
        scores = model(data.batch(filled, drawn)).view(MICRO, width)
        loss = list_loss(scores, grades, calibration) / LISTS
        loss.backward()
        total += loss.item()
    return total, count


@torch.no_grad()
def evaluated(model: Reader, data: Data, numbers: list[int]) -> dict[str, float]:
    """Return nDCG@10 of lists, by collection; that of the graded ones also by what their passages come from."""
    model.eval()
    found = defaultdict(list)
    for number in numbers:
        scores = model(data.batch([(number, data.lists.candidates[number])]))
        grades = torch.tensor(data.lists.grades[number])
        ranked = enumerate((grades[scores.argsort(descending=True, stable=True)] * 3).tolist(), start=1)
        value = MEASURES["ndcg"].of(ranked, 10) or 0.0
        collection = data.lists.collections[number]
        found[collection.split()[0] if "graded" in collection else collection].append(value)
        if "graded" in collection:
            found[collection].append(value)
    model.train()
    return {name: fmean(values) for name, values in found.items()}


def held_back(lists: Lists, each: int = HELD_BACK_EACH) -> list[int]:
    """Return the held-back lists that checkpoints are compared on."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, (collection, kept) in enumerate(zip(lists.collections, lists.held_back, strict=True)):
        if kept and 0 < sum(lists.grades[number]) < len(lists.grades[number]):
            found[collection].append(number)
    return [number for name, numbers in found.items() for number in (numbers if "graded" in name else numbers[:each])]


def word_vectors(weights: Path) -> Tensor:
    """Return the embedder's unit word embeddings, `(vocabulary, 384)`."""
    return nn.functional.normalize(
        load_file(weights / "model.safetensors")["embeddings.word_embeddings.weight"], dim=-1
    )


def last_layers(weights: Path, count: int) -> list[dict[str, Tensor]]:
    """Return the weights of the embedder's last layers by their names in a layer."""
    state = load_file(weights / "model.safetensors")
    prefixes = [f"encoder.layer.{number}." for number in range(6 - count, 6)]
    return [
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for prefix in prefixes
    ]


def use_what_is_spare() -> None:
    """Use two threads or more only where no other process wants the processors: at a barrier all wait for the last."""
    own, processors = torch.get_num_threads(), os.cpu_count() or 1
    idle = int(processors - max(0.0, os.getloadavg()[0] - own) + 0.5)
    wanted = max(1, min(processors, idle))
    if wanted != own:
        torch.set_num_threads(wanted)


@dataclass
class Settings:
    """What a run is; kept in its folder, so that a run that goes on is the same."""

    blocks: int = 2
    hidden: int = 1_536
    left_out: str = ""
    seed: int = 0
    rate: float = RATE


class Run:
    """A training that can be stopped at any time."""

    def __init__(self, folder: Path, weights: Path, data: Data, settings: Settings) -> None:
        self.folder, self.data, self.settings = folder, data, settings
        torch.manual_seed(settings.seed)
        self.model = Reader(torch.from_numpy(data.form.basis), settings.blocks, settings.hidden)
        if settings.blocks and settings.hidden == 1_536:
            self.model.begin_as(last_layers(weights, settings.blocks))
        self.model.half = True
        self.calibration = nn.Parameter(torch.tensor([0.3, -6.0]))
        fast = [*self.model.trained_alone(), self.calibration]
        given = {id(parameter) for parameter in fast}
        blocks = [one for one in self.model.blocks.parameters() if id(one) not in given]
        given |= {id(one) for one in blocks}
        small = [one for one in self.model.parameters() if id(one) not in given]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": blocks, "lr": settings.rate, "weight_decay": 0.01},
                {"params": small, "lr": FAST, "weight_decay": 0.01},
                {"params": fast, "lr": 10 * FAST, "weight_decay": 0},
            ]
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.mean = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.step, self.pairs, self.seconds = 0, 0, 0.0
        self.drawn = np.random.default_rng(settings.seed)
        if (folder / "checkpoint.pt").exists():
            self._read()

    def train(self, steps: int, seconds: float, every: int, spare: bool) -> None:
        """Train until so many steps or seconds have gone by, with an evaluation and a checkpoint now and then.

        `spare`: on as many processors as others leave idle.
        """
        drawing = Drawing(self.data.lists, self.settings.left_out)
        chosen, began, losses = held_back(self.data.lists), time.monotonic(), []
        saved = time.monotonic()
        if not self.step:
            self._report(chosen, [])
        while self.step < steps and time.monotonic() - began < seconds:
            started = time.monotonic()
            if spare:
                use_what_is_spare()
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * min(1.0, (self.step + 1) / WARM_UP)
            self.optimizer.zero_grad()
            loss, count = train_step(self.model, self.data, drawing, self.drawn, self.calibration)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.step, self.pairs = self.step + 1, self.pairs + count
            losses.append(loss)
            kept = min(KEPT, (self.step + 1) / (self.step + 10))
            with torch.no_grad():
                for name, value in self.model.named_parameters():
                    self.mean[name].lerp_(value, 1 - kept)
            self.seconds += time.monotonic() - started
            if self.step % every == 0:
                self._report(chosen, losses)
                losses = []
            if time.monotonic() - saved > 300:
                self._write()
                saved = time.monotonic()
        self._write()

    def averaged(self) -> Reader:
        """Return the model with the averaged weights in place of the last ones."""
        model = self.model
        self._last = {name: value.detach().clone() for name, value in model.named_parameters()}
        self._load(self.mean)
        return model

    def _load(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                value.copy_(values[name])

    def _report(self, chosen: list[int], losses: list[float]) -> None:
        reached = evaluated(self.averaged(), self.data, chosen)
        self.write_model()
        self._load(self._last)
        row = {
            "step": self.step,
            "pairs": self.pairs,
            "seconds": round(self.seconds),
            "loss": round(fmean(losses), 4) if losses else None,
            **{name: round(value, 4) for name, value in reached.items()},
        }
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if not name.startswith("graded ")}, flush=True)

    def write_model(self) -> None:
        """Write the model as it is now, for evaluate_reader.py."""
        state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        form = {f"form.{name}": torch.from_numpy(value) for name, value in vars(self.data.form).items()}
        path = self.folder / "model.safetensors"
        told = {name: str(value) for name, value in dataclasses.asdict(self.settings).items()}
        save_file(
            {**state, **form, "rare": self.data.rare}, path.with_suffix(".new"), told | {"pairs": str(self.pairs)}
        )
        path.with_suffix(".new").rename(path)

    def _write(self) -> None:
        path = self.folder / "checkpoint.pt"
        torch.save(
            {
                "model": dict(self.model.named_parameters()),
                "mean": self.mean,
                "calibration": self.calibration,
                "optimizer": self.optimizer.state_dict(),
                "counts": [self.step, self.pairs, self.seconds],
                "drawn": json.dumps(self.drawn.bit_generator.state),
            },
            path.with_suffix(".new"),
        )
        os.replace(path.with_suffix(".new"), path)

    def _read(self) -> None:
        found = torch.load(self.folder / "checkpoint.pt", weights_only=True)
        self._load(found["model"])
        self.mean = found["mean"]
        with torch.no_grad():
            self.calibration.copy_(found["calibration"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.step, self.pairs, self.seconds = found["counts"]
        self.drawn.bit_generator.state = json.loads(found["drawn"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="sentence-transformers folder with model.safetensors")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run: checkpoint, log and model")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=10**9)
    parser.add_argument("--every", type=int, default=500, help="steps from one evaluation to the next")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as other processes leave idle")
    for name in dataclasses.fields(Settings):
        parser.add_argument(f"--{name.name.replace('_', '-')}", type=type(name.default), default=name.default)
    arguments = parser.parse_args()
    torch.set_num_threads(max(1, arguments.threads))
    arguments.run.mkdir(parents=True, exist_ok=True)
    told = arguments.run / "settings.json"
    if told.exists():
        settings = Settings(**json.loads(told.read_text()))
    else:
        settings = Settings(**{name.name: getattr(arguments, name.name) for name in dataclasses.fields(Settings)})
        told.write_text(json.dumps(dataclasses.asdict(settings)))
    run = Run(arguments.run, arguments.weights, read_data(arguments.cache, arguments.weights), settings)
    run.train(arguments.steps, 60 * arguments.minutes, arguments.every, arguments.threads == 0)


if __name__ == "__main__":
    main()
