"""The torch backend: any model of sentence-transformers, by name or folder, on CPU or GPU.

Texts are tokenized once, sorted by length, and run in batches that are bounded by their number of tokens, padding
included. On a CPU the numbers are float32, and the other texts of a batch change a vector or score by less than 1e-6.
On a GPU they have 16 bits (bfloat16 if the weights are stored that way, otherwise float16), and a batch may change the
third decimal.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import Error
from sqlrag.models.tokenizer import ModelTokenizer, windows
from sqlrag.models.torch_loading import describe, open_model, tokenizer_of
from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

    from sqlrag.models.spec import Kind, Role

__all__ = ["TorchEncoder", "TorchScorer"]

# Tokens of a batch, padding included. A GPU must be filled; a CPU loses time to padding and to leaving its cache.
_GPU_TOKENS = 65_536
_CPU_TOKENS = 1_024
# How many texts are sorted by length together.
_GPU_WINDOW = 8_192
_CPU_WINDOW = 512
# The share by which an output differs beside a longer text, from which on padding counts. 16-bit numbers differ less.
_PADDING_COUNTS = 0.005
# How many pairs a GPU scores at a time if there is a time limit.
_GPU_PAIRS = 8


class _Model:
    """An opened model with its tokenizer."""

    def __init__(self, kind: Kind, model: str, name: str | None, device: str | None, dtype: str | None) -> None:
        # This imports sentence-transformers, and names the extra to install if it is missing.
        self.model = open_model(kind, model, device)
        import torch

        self.tokenizer = ModelTokenizer(tokenizer_of(self.model, model))
        self.spec = describe(kind, self.model, model, name or _short_name(model))
        self._torch = torch
        self._lock = threading.Lock()
        self._process = os.getpid()
        # Whether padding changes what the model gives for a text: FNet, ConvBERT and MobileBERT mix neighbouring
        # tokens, padding included. Each text of such a model is read alone.
        self._reads_padding: bool | None = None
        renew_locks(self)
        self._on_cpu = self.model.device.type == "cpu"
        self._precision(dtype)
        # Models with a chat template, or that use the logits of the last position, prepare their own input.
        first = self.model[0]
        plain = getattr(first, "transformer_task", None) in ("feature-extraction", "sequence-classification")
        self._plain = plain and "message" not in first.modality_config
        # A cross-encoder's prompt is a part of the pair, which only its own code puts together.
        self._prompt = self.model.prompts.get(self.model.default_prompt_name) or "" if kind == "cross-encoder" else ""
        self._plain = self._plain and not self._prompt

    def _precision(self, dtype: str | None) -> None:
        """Use numbers of type `dtype`, by default float32 on a CPU and 16 bits on a GPU."""
        stored = next(self.model.parameters()).dtype
        if dtype is None:
            dtype = "float32" if self._on_cpu else "bfloat16" if stored == self._torch.bfloat16 else "float16"
        self.model.to(getattr(self._torch, dtype))

    def run(self, key: str, inputs: Sequence[tokenizers.Encoding], raw: Sequence[Any], prompt: str) -> Any:
        """Return `features[key]` of each input, in the order of the inputs, as one float32 tensor on the CPU.

        `raw` and `prompt` are the same inputs as text, for models that tokenize their own input. A model that overflows
        float16 continues in bfloat16, which has the range of float32.
        """
        if self._process != os.getpid():
            raise Error(
                f"{self.spec.name}: torch's threads are not there in a forked child: open the model, or the database, "
                "again after the fork, or start processes by 'spawn'"
            )
        outputs = self._run(key, inputs, raw, prompt)
        if not self._torch.isfinite(outputs).all() and next(self.model.parameters()).dtype == self._torch.float16:
            self.model.to(self._torch.bfloat16)
            outputs = self._run(key, inputs, raw, prompt)
        return outputs

    def _run(self, key: str, inputs: Sequence[tokenizers.Encoding], raw: Sequence[Any], prompt: str) -> Any:
        lengths = [len(one) for one in inputs]
        batches = list(token_batches(lengths, _CPU_TOKENS if self._on_cpu else _GPU_TOKENS))
        if self._reads_padding is None and len(set(lengths)) > 1:
            short, long = min(lengths), max(lengths)
            pair = [lengths.index(short), lengths.index(long)]
            alone, together = (self._run_batches([one], key, inputs, raw, prompt)[0] for one in (pair[:1], pair))
            self._reads_padding = bool((alone - together).norm() > _PADDING_COUNTS * alone.norm())
        if self._reads_padding:
            batches = [[place] for place in range(len(inputs))]
        outputs = self._run_batches(batches, key, inputs, raw, prompt)
        places = self._torch.empty(len(inputs), dtype=self._torch.long)
        places[[place for batch in batches for place in batch]] = self._torch.arange(len(inputs))
        return outputs[places]

    def _run_batches(
        self,
        batches: Sequence[list[int]],
        key: str,
        inputs: Sequence[tokenizers.Encoding],
        raw: Sequence[Any],
        prompt: str,
    ) -> Any:
        """Return `features[key]` of the inputs at these places, in their order."""
        torch = self._torch
        outputs = []
        with torch.inference_mode():
            for batch in batches:
                if self._plain:
                    features = self._features([inputs[place] for place in batch], prompt)
                else:
                    features = self.model.preprocess([raw[place] for place in batch], prompt=prompt or None)
                features = {
                    name: value.to(self.model.device, non_blocking=True) if torch.is_tensor(value) else value
                    for name, value in features.items()
                }
                # Copying waits for the GPU, so the outputs stay there until the last batch.
                outputs.append(self.model(features)[key].float())
            return torch.cat(outputs).cpu()

    def _features(self, inputs: Sequence[tokenizers.Encoding], prompt: str) -> dict[str, Any]:
        """Return a batch padded at its end, which gives every architecture the right positions and attention."""
        torch = self._torch
        longest = max(len(one) for one in inputs)
        network = self.model[0].auto_model
        padding = self.model.tokenizer.pad_token_id or 0
        ids = torch.tensor([one.ids + [padding] * (longest - len(one)) for one in inputs])
        mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in inputs])
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        kinds = getattr(network.config, "type_vocab_size", 0)
        if kinds and "token_type_ids" in self.model.tokenizer.model_input_names:
            types = [one.type_ids + [0] * (longest - len(one)) for one in inputs]
            features["token_type_ids"] = torch.tensor(types)
        if prompt:
            features["prompt_length"] = self._prompt_length(prompt)
        return features

    def _prompt_length(self, prompt: str) -> int:
        """Return how many tokens belong to the prompt, for models that exclude it from the mean."""
        encoding = self.tokenizer.singles([prompt], self.spec.max_tokens)[0]
        return len(encoding) - sum(encoding.special_tokens_mask[-1:])


class TorchEncoder(_Model):
    """A SentenceTransformer as an encoder: texts in, vectors out.

    `name` is the model's name, by default that of its folder or on Hugging Face. `device` and `dtype` are torch's
    names; the default is a GPU with 16 bits if there is one.
    """

    def __init__(
        self, model: str, name: str | None = None, *, device: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__("bi-encoder", model, name, device, dtype)

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors as the model pools them, (n, dimension) float32."""
        import numpy as np

        prompt = self.spec.prompts[role]
        vectors = np.empty((len(texts), self.spec.dimension or 0), np.float32)
        with self._lock:
            for start, end in windows(texts, _CPU_WINDOW if self._on_cpu else _GPU_WINDOW):
                window = list(texts[start:end])
                inputs = self.tokenizer.singles([prompt + text for text in window], self.spec.max_tokens)
                found = self.run("sentence_embedding", inputs, window, prompt).numpy()
                vectors[start:end] = found[:, : self.spec.dimension]
        return vectors


class TorchScorer(_Model):
    """A CrossEncoder as a scorer: pairs in, scores out. The arguments are those of TorchEncoder."""

    def __init__(
        self, model: str, name: str | None = None, *, device: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__("cross-encoder", model, name, device, dtype)

    def conditions(self) -> tuple[str, ...]:
        """Return the tokenizer's hash, and everything that decides how torch computes."""
        activation = type(self.model.activation_fn).__name__
        dtype = str(next(self.model.parameters()).dtype)
        return (
            self.tokenizer.digest,
            f"torch {self._torch.__version__}",
            self.model.device.type,
            dtype,
            activation,
            self._prompt,
        )

    def score(self, pairs: Sequence[tuple[str, str]], until: float | None = None) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32.

        With `until` (`time.monotonic`) a few pairs are begun at a time, in their order, and after that time none but
        the first few. The score of a pair that was not begun is NaN.
        """
        import numpy as np

        if until is None:
            scores: NDArray[np.float32] = self.model.activation_fn(self.logits(pairs)).numpy()
            return scores
        scores = np.full(len(pairs), np.nan, np.float32)
        for start, end in windows(pairs, 1 if self._on_cpu else _GPU_PAIRS):
            if start and time.monotonic() >= until:
                break
            scores[start:end] = self.score(pairs[start:end])
        return scores

    def logits(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """Return the pairs' scores before the activation, a float32 tensor of (n,)."""
        found = self._torch.empty(len(pairs))
        with self._lock:
            for start, end in windows(pairs, _CPU_WINDOW if self._on_cpu else _GPU_WINDOW):
                window = [list(pair) for pair in pairs[start:end]]
                inputs = self.tokenizer.pairs(pairs[start:end], self.spec.max_tokens)
                found[start:end] = self.run("scores", inputs, window, self._prompt).reshape(-1)
        return found


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group the positions of sequences of similar length into batches of at most `budget` tokens, padding included.

    The longest sequences come first, so that a lack of memory shows at once. A sequence longer than the budget is a
    batch of its own.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        longest = lengths[batch[0]] if batch else lengths[place]
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _short_name(model: str) -> str:
    """Return the last part of a folder's path, or a Hugging Face name as it is."""
    return Path(model).resolve().name if Path(model).exists() else model
