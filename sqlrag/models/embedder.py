"""The bi-encoder: texts to vectors, with sentence-transformers' names and semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlrag.errors import InputError
from sqlrag.models.model import Backend, Model, as_text, as_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

    from sqlrag.models.spec import Role

__all__ = ["Embedder", "Encoder"]

_QUERY_VECTORS = 1024


class Encoder(Backend, Protocol):
    """The backend of a bi-encoder."""

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension) float32, of any length."""


class Embedder(Model["Encoder", bytes]):
    """A bi-encoder: it turns texts into vectors. Several threads may share it.

    All vectors have unit length, because an index ranks by the distance of unit vectors. A model that was trained for
    the dot product of longer vectors is therefore ranked by the cosine.

    Parameters:
        model: A bundled model or a pulled one by its name (None: the bundled default), a model folder, a folder that
            sentence-transformers saved, or a specification; with `backend="torch"` any Hugging Face name or folder; a
            remote endpoint's (`openai:MODEL`), or an object of your own (`sqlrag.models.TextEncoder`).
        backend: "onnx", or "torch".
        threads: How many texts are encoded side by side; by default one per usable CPU. It changes the speed, never a
            vector.

    Raises:
        UnknownModelError: There is no such model.
        InputError: The model is a cross-encoder, or an argument is wrong.
        MissingDependencyError: The torch extra is needed and not installed.

    Examples:
        >>> embedder = sqlrag.Embedder()
        >>> embedder
        <Embedder all-MiniLM-L6-v2@...>
        >>> question = embedder.encode_query("How long does green tea steep?")
        >>> texts = embedder.encode_document(["Let it steep for two minutes.", "Copies are written to another disk."])
        >>> int((texts @ question).argmax())
        0
    """

    kind = "bi-encoder"
    _results_kept = _QUERY_VECTORS

    @property
    def texts_encoded(self) -> int:
        """The number of texts that the model has encoded for this embedder."""
        return self._done

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return self.spec.dimension or 0

    @property
    def text_window(self) -> int:
        """How many tokens of a document's own text fit into the window."""
        tokenizer = self._backend.tokenizer
        prompt = self.spec.prompts.get("document", "")
        return self.max_tokens - tokenizer.special_tokens(pair=False) - tokenizer.counts([prompt])[0]

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The model's tokenizer, without truncation and padding."""
        return self._backend.tokenizer.loaded

    def encode_query(self, text: str | Iterable[str]) -> NDArray[np.float32]:
        """Return the vector of a query, or those of several queries.

        Text beyond the model's window is cut off, as sentence-transformers does.

        Parameters:
            text: A query, or several.

        Returns:
            For one query (dimension,) float32, for several (n, dimension).

        Raises:
            InputError: `text` is neither a text nor a sequence of texts.

        Examples:
            >>> sqlrag.Embedder().encode_query(["How long does tea steep?", "When are backups made?"]).shape
            (2, 384)
        """
        return self._encode(text, "query")

    def encode_document(self, text: str | Iterable[str]) -> NDArray[np.float32]:
        """Return the vector of a document, or those of several documents.

        Text beyond the model's window is cut off, as sentence-transformers does.

        Parameters:
            text: A document, or several.

        Returns:
            For one document (dimension,) float32, for several (n, dimension).

        Raises:
            InputError: `text` is neither a text nor a sequence of texts.

        Examples:
            >>> sqlrag.Embedder().encode_document("Every night a copy is written to another disk.").shape
            (384,)
        """
        return self._encode(text, "document")

    def query_vector(self, text: str) -> NDArray[np.float32]:
        """Return the vector of one query, from memory if it was among the last 1,024.

        Parameters:
            text: The query.

        Returns:
            (dimension,) float32. The array is read-only, because it is shared.

        Raises:
            InputError: `text` is not a text.

        Examples:
            >>> embedder = sqlrag.Embedder()
            >>> bool((embedder.query_vector("tea") == embedder.query_vector("tea")).all()), embedder.texts_encoded
            (True, 1)
        """
        import numpy as np

        return np.frombuffer(self.query_bytes(text), np.float32)

    def query_bytes(self, text: str) -> bytes:
        """Return `query_vector(text)` as the bytes of its float32 numbers.

        Parameters:
            text: The query.

        Returns:
            4 * dimension bytes.

        Raises:
            InputError: `text` is not a text.

        Examples:
            >>> len(sqlrag.Embedder().query_bytes("tea"))
            1536
        """
        text = as_text(text, "query")
        vector = self._recent.get(text)
        if vector is None:
            (vector,) = self._vectors([text], "query")
            self._recent.put([(text, vector)])
        return vector

    def document_bytes(self, texts: Iterable[str]) -> list[bytes]:
        """Return the vector of each document as the bytes of its float32 numbers.

        Parameters:
            texts: The documents.

        Returns:
            4 * dimension bytes for each document.

        Raises:
            InputError: `texts` is not a sequence of texts.

        Examples:
            >>> [len(vector) for vector in sqlrag.Embedder().document_bytes(["tea", "coffee"])]
            [1536, 1536]
        """
        return self._vectors(as_texts(texts, "document"), "document")

    def made(self, vector: bytes) -> bool:
        """Return whether `query_vector` or `query_bytes` has returned these very numbers lately.

        Parameters:
            vector: The bytes of a float32 vector.

        Returns:
            Whether it is the vector of one of the last 1,024 queries.

        Raises:
            InputError: `vector` is not bytes.

        Examples:
            >>> embedder = sqlrag.Embedder()
            >>> embedder.made(embedder.query_bytes("tea")), embedder.made(bytes(1536))
            (True, False)
        """
        if not isinstance(vector, (bytes, bytearray, memoryview)):
            raise InputError(f"vector is a {type(vector).__name__}: it is the bytes of a vector")
        return self._recent.holds(bytes(vector))

    def token_count(self, text: str) -> int:
        """Return the number of a text's own tokens: without special tokens, and with nothing cut off.

        Parameters:
            text: The text.

        Returns:
            The number of tokens.

        Raises:
            InputError: `text` is not a text.

        Examples:
            >>> sqlrag.Embedder().token_count("Let green tea steep.")
            5
        """
        return self._backend.tokenizer.counts([as_text(text, "text")])[0]

    def token_counts(self, texts: Iterable[str]) -> list[int]:
        """Return `token_count` of each text.

        Parameters:
            texts: The texts.

        Returns:
            The number of tokens of each text.

        Raises:
            InputError: `texts` is not a sequence of texts.

        Examples:
            >>> sqlrag.Embedder().token_counts(["tea", "green tea"])
            [1, 2]
        """
        return self._backend.tokenizer.counts(as_texts(texts, "texts"))

    def _encode(self, text: str | Iterable[str], role: Role) -> NDArray[np.float32]:
        if isinstance(text, str):
            vector: NDArray[np.float32] = self._run([as_text(text, role)], role)[0]
            return vector
        return self._run(as_texts(text, role), role)

    def _vectors(self, texts: list[str], role: Role) -> list[bytes]:
        return [vector.tobytes() for vector in self._run(texts, role)]

    def _run(self, texts: list[str], role: Role) -> NDArray[np.float32]:
        vectors = unit(self._backend.embed(texts, role))
        self._count(len(texts))
        return vectors


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring each vector to length 1, in place.

    A vector of zeros, which a static model returns for a text without tokens, has no direction. It becomes
    (1, 1, …)/√n: that is about as far from any text as texts about different things are from each other, while zeros
    would be nearer than those.
    """
    import numpy as np

    for vector in vectors:
        length = np.sqrt(np.dot(vector, vector))
        if length > 1e-12:
            np.divide(vector, length, out=vector)
        else:
            vector[:] = 1 / np.sqrt(len(vector))
    return vectors
