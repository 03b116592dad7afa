"""A cross-encoder in two parts: a bi-encoder gives the states of query and text, a reader compares them.

What a text says does not depend on the query. So a text is encoded once and rounded to what can be kept of it
(`sqlrag.models.kept`); a kept text then costs a tenth of the time. The score is the same, to the bit, whether a text
was kept or is encoded now, and whatever is scored beside it:

- Candidates are read in blocks of BLOCK, the last filled up with copies, and a query is padded to a multiple of ROWS
  tokens: a product's kernel goes through twelve rows at a time, and a sum can depend on which of these its row is.
- The texts of a block are padded to a multiple of WIDTH tokens: a sum over them takes several at a time, and what is
  left over at the end in another order.
- Words are compared by products of integers below 2^24, which floats hold exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import ModelFileError
from sqlrag.models.kept import Form, Kept, joined, product, read_kept
from sqlrag.models.onnx import OnnxSession, activated, onnxruntime_version
from sqlrag.models.spec import MODEL_FILE, TOKENIZER_FILE
from sqlrag.models.tokenizer import ModelTokenizer, windows

if TYPE_CHECKING:
    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

    from sqlrag.models.spec import ModelSpec

__all__ = ["BLOCK", "CONSTANTS", "INPUTS", "OnnxReader"]

INPUTS = ("query", "states", "vector", "rare", "codes", "passage", "vectors", "same", "words")
"""What a reader's graph takes, for one query and its candidates; the shapes stand in `OnnxReader._asked` and `_fed`."""
CONSTANTS = (
    "kept_basis", "kept_centre", "kept_step", "kept_vector_centre", "kept_vector_step",
    "rare_words", "word_table", "word_scale",
)  # fmt: skip
"""Further outputs of the graph, which do not depend on its inputs: the form, how rare each word piece is, `(words,)`,
and the table of word embeddings, int8, with what brings each row to length one."""
BLOCK = 8
WIDTH = 32
ROWS = 12


def _padded(tokens: int, to: int) -> int:
    """Return the next multiple of `to`, at least one time."""
    return max(1, -(-tokens // to)) * to


@dataclass(frozen=True)
class _Constants:
    form: Form
    rare: NDArray[np.float32]
    words: NDArray[np.int8]
    scale: NDArray[np.float32]


class OnnxReader:
    """A cross-encoder of two graphs: pairs in, scores out.

    `encoder` is the specification of the bi-encoder, a BERT, whose last hidden state it reads.
    """

    def __init__(self, spec: ModelSpec, encoder: ModelSpec, threads: int | None = None) -> None:
        self.spec, self.encoder = spec, encoder
        folder = encoder.folder or Path()
        self.tokenizer = ModelTokenizer(folder / TOKENIZER_FILE)
        self._encoding = OnnxSession(folder / MODEL_FILE, threads)
        self._reading = OnnxSession((spec.folder or Path()) / MODEL_FILE, threads, INPUTS)

    def conditions(self) -> tuple[str, ...]:
        """Return the encoder's and the tokenizer's hash, the version of the library, and the kind of processor."""
        import platform  # which imports subprocess

        version = f"onnxruntime {onnxruntime_version()}"
        return self.encoder.weights_hash, self.tokenizer.digest, version, platform.machine()

    @property
    def form(self) -> bytes:
        """What all that is kept for this model begins with."""
        return self._constants.form.digest

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[bytes]]:
        """Return the encoder's vector of each text, as its `OnnxEncoder` does, and what can be kept of it."""
        import numpy as np

        vectors = np.empty((len(texts), self.encoder.dimension or 0), np.float32)
        blobs = []
        for start, end in windows(texts):
            found = [both for both in self._encoded(texts[start:end], None) if both is not None]
            vectors[start:end] = [vector for vector, _ in found]
            blobs += [blob for _, blob in found]
        return vectors, blobs

    def score(
        self, pairs: Sequence[tuple[str, str]], until: float | None = None, kept: Mapping[str, bytes] | None = None
    ) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32: the logit, through the model's activation.

        `kept`: what `encode` returned for some of the texts; one that cannot be read is encoded as if there were
        none. With `until` (`time.monotonic`) texts are encoded in their order, and after that time none but the first.
        The score of a pair whose text was not encoded is NaN.
        """
        import numpy as np

        logits = np.full(len(pairs), np.nan)
        for start, end in windows(pairs):
            window = pairs[start:end]
            texts = self._texts([text for _, text in window], kept or {}, until)
            by_query: dict[str, list[int]] = {}
            for place, (query, text) in enumerate(window):
                if text in texts:
                    by_query.setdefault(query, []).append(place)
            for query, places in by_query.items():
                logits[[start + place for place in places]] = self._read(query, [texts[window[at][1]] for at in places])
        return activated(logits, self.spec)

    def _texts(self, texts: Sequence[str], kept: Mapping[str, bytes], until: float | None) -> dict[str, Kept]:
        found: dict[str, Kept] = {}
        for text in dict.fromkeys(texts):
            read = self._kept_again(kept[text]) if text in kept else None
            if read is not None:
                found[text] = read
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for text, both in zip(missing, self._encoded(missing, until), strict=True):
            read = None if both is None else self._kept_again(both[1])
            if read is not None:
                found[text] = read
        return found

    def _kept_again(self, blob: bytes) -> Kept | None:
        return read_kept(self._constants.form, blob, len(self._constants.words))

    def _encoded(self, texts: Sequence[str], until: float | None) -> list[tuple[NDArray[np.float32], bytes] | None]:
        """Return the vector of each text and what can be kept of it, None for one that there was no time for."""
        import numpy as np

        form, ids = self._constants.form, dict[int, list[int]]()
        prompt = self.encoder.prompts.get("document", "")

        def encode(place: int) -> tokenizers.Encoding:
            (encoding,) = self.tokenizer.singles([prompt + texts[place]], self.encoder.max_tokens)
            ids[place] = encoding.ids[1:-1]
            return encoding

        def finish(output: NDArray[np.float32]) -> tuple[NDArray[np.float32], bytes, bytes]:
            hidden = self._checked(output)
            vector = np.asarray(hidden.mean(axis=0, dtype=np.float32), np.float32)
            return vector, *form.rounded(hidden, vector)

        order = list(range(len(texts)))
        if until is None:
            order.sort(key=lambda place: -len(texts[place]))
        found = self._encoding.run(order, encode, finish, until)
        return [
            None if parts is None else (parts[0], joined(form, ids[place], *parts[1:]))
            for place, parts in enumerate(found)
        ]

    def _checked(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a last hidden state without its batch. Raises ModelFileError if it is of another encoder."""
        dimension = self._constants.form.basis.shape[0]
        if hidden.ndim != 3 or hidden.shape[0] != 1 or hidden.shape[1] < 2 or hidden.shape[2] != dimension:
            raise ModelFileError(
                f"model {self.encoder.name!r} gives states of the shape {hidden.shape}, and {self.spec.name!r} reads "
                f"{dimension} numbers a token: it belongs to another encoder"
            )
        states: NDArray[np.float32] = hidden[0]
        return states

    def _read(self, query: str, texts: Sequence[Kept]) -> NDArray[np.float64]:
        """Return the logits of a query's texts."""
        import numpy as np

        asked, ids = self._asked(query)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place].ids))
        blocks = [order[begin : begin + BLOCK] for begin in range(0, len(order), BLOCK)]

        def fed(number: int) -> dict[str, NDArray[Any]]:
            block = blocks[number]
            filled = block + block[:1] * (BLOCK - len(block))
            return asked | self._fed([texts[place] for place in filled], ids)

        found = self._reading.run(range(len(blocks)), fed, lambda logits: logits)
        logits = np.empty(len(texts), np.float64)
        for block, values in zip(blocks, found, strict=True):
            if values.shape != (BLOCK,):
                raise ModelFileError(f"model {self.spec.name!r} gives {values.shape} numbers for {BLOCK} texts")
            logits[block] = values[: len(block)]
        return logits

    def _asked(self, query: str) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
        """Return a query's part of the inputs, its l tokens padded, and its word pieces."""
        import numpy as np

        text = self.encoder.prompts.get("query", "") + query
        (encoding,) = self.tokenizer.singles([text], self.encoder.max_tokens)
        hidden = self._checked(self._encoding.run([0], lambda _: encoding, lambda output: output)[0])
        mean, own = hidden.mean(0, dtype=np.float32), hidden[1:-1]
        rows = _padded(len(own), ROWS)
        ids, states = np.zeros(rows, np.int64), np.zeros((rows, hidden.shape[1]), np.float32)
        ids[: len(own)] = encoding.ids[1:-1]
        states[: len(own)] = own / (np.linalg.norm(own, axis=-1, keepdims=True) + 1e-12)
        counted = (np.arange(rows) < len(own)).astype(np.float32)
        asked = {
            "query": counted,  # (l,)
            "states": states,  # (l, dimension)
            "vector": mean / (np.linalg.norm(mean) + 1e-12),  # (dimension,)
            "rare": self._constants.rare[ids] * counted,  # (l,)
        }
        return asked, ids

    def _fed(self, texts: Sequence[Kept], ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the texts' part of the inputs, their tokens padded to the longest."""
        import numpy as np

        longest = _padded(max(len(text.ids) for text in texts), WIDTH)
        own = np.zeros((len(texts), longest), np.int64)
        codes = np.zeros((len(texts), longest, self._constants.form.basis.shape[1] // 4), np.uint8)
        counted = np.zeros(own.shape, np.float32)
        for row, text in enumerate(texts):
            count = len(text.ids)
            own[row, :count], codes[row, :count], counted[row, :count] = text.ids, text.states, 1
        return {
            "codes": codes,  # (n, tokens, components / 4)
            "passage": counted,  # (n, tokens)
            "vectors": np.stack([text.vector for text in texts]),  # (n, dimension)
            "same": (ids[:, None] == own[:, None, :]).astype(np.float32),  # (n, l, tokens)
            "words": self._spelled(ids, own),  # (n, l, tokens)
        }

    def _spelled(self, ids: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosines of the words' embeddings; each word is compared once."""
        import numpy as np

        table, scale = self._constants.words, self._constants.scale
        different, places = np.unique(own, return_inverse=True)
        products = product(table[different].astype(np.float32), table[ids].astype(np.float32).T)
        cosines = products.T * scale[ids][:, None] * scale[different]
        return np.ascontiguousarray(np.moveaxis(cosines[:, places.reshape(own.shape)], 0, 1))

    @cached_property
    def _constants(self) -> _Constants:
        found = self._reading.constants(CONSTANTS)
        return _Constants(Form(*found[:5]), *found[5:])
