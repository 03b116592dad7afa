"""The sentence-transformers backend: any bi-encoder or cross-encoder, by name or folder, on CPU or GPU."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError, UnknownModelError
from sqlrag.models.spec import ModelSpec
from sqlrag.models.tokenizer import ModelTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

    from sqlrag.models.spec import Role

__all__ = ["TorchEncoder", "TorchScorer"]

# Tokens in a batch, padding included: a GPU wants to be filled, a CPU loses by padding and leaving its cache.
_GPU_TOKENS = 65_536
_CPU_TOKENS = 1_024
# Only to group texts by length: English has about four characters to a token.
_CHARS_PER_TOKEN = 4
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


class TorchEncoder:
    """A SentenceTransformer as an encoder: texts in, vectors out."""

    def __init__(self, model: str) -> None:
        self.model = _open("SentenceTransformer", model)
        self.tokenizer = ModelTokenizer(_fast_tokenizer(self.model, model))
        self.spec = ModelSpec(
            name=_short_name(model),
            kind="bi-encoder",
            weights_hash=_weights_hash(self.model, model),
            max_tokens=_window(self.model),
            dimension=_dimension(self.model),
            prompts={
                "query": _prompt(self.model, "query"),
                "document": _prompt(self.model, *_DOCUMENT_PROMPTS),
            },
            normalize=type(self.model[-1]).__name__ == "Normalize",
        )
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension) float32."""
        import numpy as np

        encode = self.model.encode_query if role == "query" else self.model.encode_document
        vectors = np.empty((len(texts), self.spec.dimension or 0), np.float32)
        for batch in _batches([len(text) for text in texts], self.spec.max_tokens, self.model):
            # Hugging Face's tokenizers fail when two threads use one ("Already borrowed").
            with self._lock:
                vectors[batch] = encode([texts[i] for i in batch], batch_size=len(batch), show_progress_bar=False)
        return vectors


class TorchScorer:
    """A CrossEncoder as a scorer: pairs in, scores out."""

    def __init__(self, model: str) -> None:
        self.model = _open("CrossEncoder", model)
        if self.model.num_labels != 1:
            msg = (
                f"model {model!r} has {self.model.num_labels} outputs per pair; a reranker has one: "
                "choose a cross-encoder with num_labels=1"
            )
            raise InputError(msg)
        self.tokenizer = ModelTokenizer(_fast_tokenizer(self.model, model))
        self.spec = ModelSpec(
            name=_short_name(model),
            kind="cross-encoder",
            weights_hash=_weights_hash(self.model, model),
            max_tokens=_window(self.model),
            activation=_activation(self.model, model),
        )
        self._lock = threading.Lock()

    def score(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32."""
        import numpy as np

        scores = np.empty(len(pairs), np.float32)
        lengths = [len(query) + len(text) for query, text in pairs]
        for batch in _batches(lengths, self.spec.max_tokens, self.model):
            with self._lock:
                scores[batch] = self.model.predict(
                    [list(pairs[i]) for i in batch], batch_size=len(batch), show_progress_bar=False
                )
        return scores


def _open(class_name: str, model: str) -> Any:
    """Load a model by name or folder: safetensors only, no code from the model's repository."""
    try:
        import sentence_transformers
    except ImportError as error:
        msg = 'backend="torch" needs sentence-transformers: pip install "sqlrag[torch]"'
        raise MissingDependencyError(msg) from error
    load = getattr(sentence_transformers, class_name)
    try:
        opened = load(model, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = (
            f"sentence-transformers cannot load the model {model!r} ({first}): give a folder with "
            "safetensors weights, or a name that Hugging Face has, with a network or with the model in its cache"
        )
        raise UnknownModelError(msg) from error
    return opened.eval()


def _fast_tokenizer(opened: Any, model: str) -> tokenizers.Tokenizer:
    tokenizer: tokenizers.Tokenizer | None = getattr(opened.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        msg = f"model {model!r} has no fast tokenizer (tokenizer.json), which counting tokens needs"
        raise InputError(msg)
    return tokenizer


def _window(opened: Any) -> int:
    return int(opened.max_seq_length or opened.tokenizer.model_max_length)


def _dimension(opened: Any) -> int:
    # Renamed in sentence-transformers 6.
    get = getattr(opened, "get_embedding_dimension", None) or opened.get_sentence_embedding_dimension
    return int(get())


def _prompt(opened: Any, *names: str) -> str:
    """Return the prompt before a text: the first of `names` that the model has, or its default."""
    for name in (*names, opened.default_prompt_name):
        if name in opened.prompts:
            return opened.prompts[name] or ""
    return ""


def _activation(opened: Any, model: str) -> str:
    name = type(opened.activation_fn).__name__.lower()
    if name not in ("sigmoid", "identity"):
        msg = f"model {model!r} has the activation {name!r}; a reranker's is sigmoid or identity"
        raise InputError(msg)
    return name


def _short_name(model: str) -> str:
    """Return the last part of a folder, or the whole of a Hugging Face name."""
    return Path(model).resolve().name if Path(model).exists() else model


def _weights_hash(opened: Any, model: str) -> str:
    """Return the SHA-256 of the safetensors files of a folder, else of the tensors themselves."""
    digest = hashlib.sha256()
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    for path in files:
        digest.update(path.read_bytes())
    if not files:
        for name, tensor in sorted(opened.state_dict().items()):
            digest.update(name.encode())
            # As float32: NumPy has no bfloat16, and float32 holds it exactly.
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _batches(lengths: list[int], window: int, opened: Any) -> Iterator[list[int]]:
    """Group texts of like length so that each batch, padded, has about as many tokens as suit the device."""
    budget = _CPU_TOKENS if opened.device.type == "cpu" else _GPU_TOKENS
    batch: list[int] = []
    # The longest first: what does not fit into memory fails at once.
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = min(window, lengths[batch[0] if batch else number] // _CHARS_PER_TOKEN + 1)
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
