"""Models of remote endpoints, by their names: `openai:MODEL`, `ollama:MODEL`, `jina:MODEL`, `cohere:MODEL`.

Nothing is sent anywhere unless such a name is given by the one who opens the database. What a database records is no
such name: a file from a stranger can't send texts, or a key, to an address of its choice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sqlrag.errors import InputError
from sqlrag.models.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models.spec import Kind, Role

__all__ = ["EmbeddingsEndpoint", "RerankEndpoint", "open_remote"]


@dataclass(frozen=True)
class _Provider:
    """Where the models of a name are, if the name has no address, and the environment variables that say it."""

    address: str
    address_variable: str = ""
    key_variable: str = ""
    embeds: bool = False
    reranks: bool = False
    suffix: str = ""


_PROVIDERS = {
    "openai": _Provider("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY", embeds=True),
    "ollama": _Provider("http://127.0.0.1:11434", "OLLAMA_HOST", "OLLAMA_API_KEY", embeds=True, suffix="/v1"),
    "jina": _Provider("https://api.jina.ai/v1", "", "JINA_API_KEY", embeds=True, reranks=True),
    "cohere": _Provider("https://api.cohere.com/v2", "", "COHERE_API_KEY", reranks=True),
}
# What a name may set behind a question mark, with the type of its value.
_SETTINGS = {"dimensions": int, "rpm": float, "batch": int, "timeout": float, "price": float}
_BATCH_TEXTS = 96
_BATCH_CHARS = 200_000
# Longer texts are cut, as every model's window cuts them: 8,192 tokens of eight characters.
_MOST_CHARS = 65_536


def open_remote(name: str, kind: Kind) -> EmbeddingsEndpoint | RerankEndpoint:
    """Return a model at an endpoint: `PROVIDER:MODEL`, perhaps with `@ADDRESS` and `?dimensions=256&rpm=300`.

    The key is that of the environment. Raises InputError for a name that cannot be used.
    """
    provider_name, _, rest = name.partition(":")
    provider = _PROVIDERS[provider_name]
    rest, _, query = rest.partition("?")
    model, _, address = rest.partition("@")
    settings = _settings(name, query)
    if not model:
        raise InputError(f"{name!r} names no model: it is {provider_name}:MODEL")
    wanted = "embeds" if kind == "bi-encoder" else "reranks"
    if not getattr(provider, wanted):
        able = " or ".join(f"{one}:MODEL" for one, values in _PROVIDERS.items() if getattr(values, wanted))
        raise InputError(f"{name!r} can't be a {kind}: that is {able}")
    given = os.environ.get(provider.address_variable, "") if provider.address_variable and not address else address
    base = (given if "://" in given else f"http://{given}") if given else provider.address
    base = base.rstrip("/")
    if provider.suffix and not base.endswith(provider.suffix):
        base += provider.suffix
    key = os.environ.get(provider.key_variable, "")
    if not key and not given and base.startswith("https://"):
        raise InputError(f"{name!r} needs a key: set {provider.key_variable} in the environment")
    path = "/embeddings" if kind == "bi-encoder" else "/rerank"
    endpoint = Endpoint(base + path, key, seconds=settings.get("timeout", 60.0), rate=settings.get("rpm"))
    # Without what changes no vector. Another address may have another model of the same name.
    settled = f"{provider_name}:{model}" + (f"@{base}" if given else "")
    if settings.get("dimensions"):
        settled += f"?dimensions={settings['dimensions']}"
    opened = EmbeddingsEndpoint if kind == "bi-encoder" else RerankEndpoint
    return opened(settled, model, endpoint, settings)


def _settings(name: str, query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _SETTINGS:
            raise InputError(f"{name!r} sets {key!r}: it may set {', '.join(_SETTINGS)}")
        try:
            found[key] = _SETTINGS[key](value)
        except ValueError:
            found[key] = 0
        if not found[key] > 0:
            raise InputError(f"{name!r} sets {key} to {value!r}: it takes a number above 0")
    return found


class _Remote:
    """A model at an endpoint. `name` is what an index records, `price` dollars for a million tokens, if it is known."""

    def __init__(self, name: str, model: str, endpoint: Endpoint, settings: dict[str, Any]) -> None:
        self.name = name
        self.endpoint = endpoint
        self.price: float | None = settings.get("price")
        self._model = model
        self._batch = int(settings.get("batch", _BATCH_TEXTS))
        self._dimensions: int | None = settings.get("dimensions")

    def _batches(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        found, start, chars = [], 0, 0
        for place, text in enumerate(texts):
            length = min(len(text), _MOST_CHARS)
            if place > start and (place - start >= self._batch or chars + length > _BATCH_CHARS):
                found.append((start, place))
                start, chars = place, 0
            chars += length
        return [*found, (start, len(texts))] if texts else []


class EmbeddingsEndpoint(_Remote):
    """An embedder that answers as OpenAI's does: `POST …/embeddings` with `model` and `input`."""

    def __init__(self, name: str, model: str, endpoint: Endpoint, settings: dict[str, Any]) -> None:
        super().__init__(name, model, endpoint, settings)
        self.dimension = 0
        # One short text says how long a vector is, and at once whether the key and the name are right.
        self.dimension = int(self.embed(["sqlrag"], "query").shape[1])

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension) float32. Raises ServerError, InputError."""
        import numpy as np

        parts = [self._ask(texts[start:end], role) for start, end in self._batches(texts)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    def _ask(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        import numpy as np

        # An empty text is an error to most endpoints.
        payload: dict[str, Any] = {
            "model": self._model,
            "input": [text[:_MOST_CHARS] or " " for text in texts],
            "encoding_format": "float",
        }
        if self._dimensions:
            payload["dimensions"] = self._dimensions
        if self.name.startswith("jina:"):
            payload["task"] = "retrieval.query" if role == "query" else "retrieval.passage"
            del payload["encoding_format"]

        def read(answer: Any) -> NDArray[np.float32]:
            found = {int(one["index"]): one["embedding"] for one in answer["data"]}
            if sorted(found) != list(range(len(texts))):
                raise ValueError(f"{len(found)} vectors for {len(texts)} texts")
            vectors = np.array([found[place] for place in range(len(texts))], np.float32)
            if vectors.ndim != 2 or not np.isfinite(vectors).all():
                raise ValueError("vectors of different lengths, or not of numbers")
            return vectors

        vectors: NDArray[np.float32] = self.endpoint.ask(payload, read)
        expected = self.dimension or self._dimensions
        if expected and vectors.shape[1] != expected:
            raise InputError(
                f"{self.endpoint.host} gives vectors of {vectors.shape[1]} numbers for {self.name}, not of {expected}: "
                "is it still the same model?"
            )
        return vectors


class RerankEndpoint(_Remote):
    """A reranker that answers as Cohere's and Jina's do: `POST …/rerank` with `model`, `query` and `documents`."""

    def score(self, query: str, documents: Sequence[str]) -> NDArray[np.float32]:
        """Return the documents' scores, (n,) float32. Raises ServerError, InputError."""
        import numpy as np

        parts = [self._ask(query, documents[start:end]) for start, end in self._batches(documents)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _ask(self, query: str, documents: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        payload: dict[str, Any] = {
            "model": self._model,
            "query": query[:_MOST_CHARS] or " ",
            "documents": [text[:_MOST_CHARS] or " " for text in documents],
            "top_n": len(documents),
        }
        if self.name.startswith("jina:"):
            payload["return_documents"] = False

        def read(answer: Any) -> NDArray[np.float32]:
            found = {int(one["index"]): float(one["relevance_score"]) for one in answer["results"]}
            if sorted(found) != list(range(len(documents))):
                raise ValueError(f"{len(found)} scores for {len(documents)} documents")
            scores = np.array([found[place] for place in range(len(documents))], np.float32)
            if not np.isfinite(scores).all():
                raise ValueError("scores that are not numbers")
            return scores

        scores: NDArray[np.float32] = self.endpoint.ask(payload, read)
        return scores
