"""The bi-encoder: texts to vectors, with sentence-transformers' names and semantics."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from sqlrag.errors import InputError
from sqlrag.models.inputs import as_text, as_texts
from sqlrag.models.recent_cache import RecentCache
from sqlrag.models.registry import open_encoder
from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

    from sqlrag.models.spec import ModelSpec, Role
    from sqlrag.models.tokenizer import ModelTokenizer

__all__ = ["Embedder", "Encoder"]

_QUERY_VECTORS = 1024


class Encoder(Protocol):
    """What a backend offers for a bi-encoder."""

    spec: ModelSpec
    tokenizer: ModelTokenizer

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension) float32, of whatever length."""


class Embedder:
    """A bi-encoder, safe to use from several threads.

    `model`: a bundled name (None: the default), the name of a pulled model, a folder, ours or
    sentence-transformers', or a specification; with `backend="torch"` any Hugging Face name or folder. `threads`:
    texts encoded side by side (None: one per usable CPU); it changes the speed only, never a vector.

    Vectors have unit length whatever the model, because an index ranks by the distance between unit vectors. A model
    that was trained for the dot product of longer vectors is thus ranked by the cosine.

    Raises UnknownModelError, InputError, and MissingDependencyError where the torch extra is needed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec | None = None,
        *,
        backend: str = "onnx",
        threads: int | None = None,
    ) -> None:
        self._encoder: Encoder = open_encoder(model, backend, threads)
        self._queries: RecentCache[bytes] = RecentCache(_QUERY_VECTORS)
        self._lock = threading.Lock()
        renew_locks(self)
        self.texts_encoded = 0

    def __repr__(self) -> str:
        return f"<Embedder {self.id}>"

    @property
    def spec(self) -> ModelSpec:
        """The model's specification."""
        return self._encoder.spec

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def id(self) -> str:
        """The model's name and the start of its weights' hash."""
        return self.spec.id

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return self.spec.dimension or 0

    @property
    def max_tokens(self) -> int:
        """The model's window in tokens, including special tokens."""
        return self.spec.max_tokens

    @property
    def text_window(self) -> int:
        """How many tokens of a document's own text fit into the window."""
        tokenizer = self._encoder.tokenizer
        prompt = self.spec.prompts.get("document", "")
        return self.max_tokens - tokenizer.special_tokens(pair=False) - tokenizer.counts([prompt])[0]

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The model's tokenizer, without truncation and padding."""
        return self._encoder.tokenizer.loaded

    def encode_query(self, text: str | Iterable[str]) -> NDArray[np.float32]:
        """Encode one query to (dimension,) float32, or several to (n, dimension).

        Text behind the model's window is cut off, as sentence-transformers does. Raises InputError for
        anything but text.
        """
        return self._encode(text, "query")

    def encode_document(self, text: str | Iterable[str]) -> NDArray[np.float32]:
        """Encode one document to (dimension,) float32, or several to (n, dimension); see `encode_query`."""
        return self._encode(text, "document")

    def query_vector(self, text: str) -> NDArray[np.float32]:
        """Return `encode_query(text)` for one query, from memory if it was among the last 1,024.

        The vector is shared: read-only, (dimension,) float32.
        """
        import numpy as np

        return np.frombuffer(self.query_bytes(text), np.float32)

    def query_bytes(self, text: str) -> bytes:
        """Return `query_vector(text)` as bytes, float32."""
        text = as_text(text, "query")
        vector = self._queries.get(text)
        if vector is None:
            (vector,) = self._vectors([text], "query")
            self._queries.put([(text, vector)])
        return vector

    def document_bytes(self, texts: Iterable[str]) -> list[bytes]:
        """Return the vector of each document as bytes, float32; see `encode_document`."""
        return self._vectors(as_texts(texts, "document"), "document")

    def made(self, vector: bytes) -> bool:
        """Whether `query_vector` has lately returned these very float32 bytes. Raises InputError for anything else."""
        if not isinstance(vector, (bytes, bytearray, memoryview)):
            raise InputError(f"vector is a {type(vector).__name__}: it is the bytes of a vector")
        return self._queries.holds(bytes(vector))

    def token_count(self, text: str) -> int:
        """Return the number of the text's own tokens: no special tokens, nothing cut off."""
        return self._encoder.tokenizer.counts([as_text(text, "text")])[0]

    def token_counts(self, texts: Iterable[str]) -> list[int]:
        """Return `token_count` of each text."""
        return self._encoder.tokenizer.counts(as_texts(texts, "texts"))

    def _encode(self, text: str | Iterable[str], role: Role) -> NDArray[np.float32]:
        if isinstance(text, str):
            vector: NDArray[np.float32] = self._run([as_text(text, role)], role)[0]
            return vector
        return self._run(as_texts(text, role), role)

    def _vectors(self, texts: list[str], role: Role) -> list[bytes]:
        return [vector.tobytes() for vector in self._run(texts, role)]

    def _run(self, texts: list[str], role: Role) -> NDArray[np.float32]:
        vectors = _unit(self._encoder.embed(texts, role))
        with self._lock:
            self.texts_encoded += len(texts)
        return vectors


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring each vector to length 1, in place.

    A vector of zeros (a static model's of a text without tokens) has no direction: it becomes (1, 1, …)/√n, which is
    about as far from all texts as they are from texts about something else; zeros would be nearer than those.
    """
    import numpy as np

    for vector in vectors:
        length = np.sqrt(np.dot(vector, vector))
        if length > 1e-12:
            np.divide(vector, length, out=vector)
        else:
            vector[:] = 1 / np.sqrt(len(vector))
    return vectors
