"""What runs embedders and rerankers that are objects of the user's own (`protocol`)."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, ModelFileError
from sqlrag.models.cached_models import BUNDLED
from sqlrag.models.spec import MOST_DIMENSIONS, TOKENIZER_FILE, Kind, ModelSpec
from sqlrag.models.tokenizer import ModelTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models.spec import Role

__all__ = ["OwnEncoder", "OwnScorer"]

_WINDOW = 8192
# Tokens are counted by the tokenizer of the default model, because an object has none.
_COUNTING = BUNDLED / "all-MiniLM-L6-v2" / TOKENIZER_FILE


class _Own:
    def __init__(self, model: Any, kind: Kind, dimension: int | None) -> None:
        name = getattr(model, "name", None)
        if not isinstance(name, str) or not name:
            raise InputError(f"{type(model).__name__}.name is {name!r}: it takes a text, which an index records")
        self._model = model
        self.tokenizer = ModelTokenizer(_COUNTING)
        self.spec = ModelSpec(
            name=name,
            kind=kind,
            weights_hash=hashlib.sha256(f"{kind} {name}".encode()).hexdigest(),
            max_tokens=int(getattr(model, "max_tokens", _WINDOW)),
            dimension=dimension,
            precision="own",
            activation="identity",
        )


class OwnEncoder(_Own):
    """The backend of an embedder that is an object."""

    def __init__(self, model: Any) -> None:
        dimension = getattr(model, "dimension", None)
        if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= MOST_DIMENSIONS:
            raise InputError(
                f"{type(model).__name__}.dimension is {dimension!r}: it takes a whole number from 1 to "
                f"{MOST_DIMENSIONS:,}"
            )
        super().__init__(model, "bi-encoder", dimension)

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension) float32. Raises ModelFileError for anything else."""
        import numpy as np

        vectors = np.array(self._model.embed(list(texts), role), np.float32)
        expected = (len(texts), self.spec.dimension)
        if vectors.shape != expected or not np.isfinite(vectors).all():
            raise ModelFileError(f"{self.spec.name}.embed() gives the shape {vectors.shape}, or NaN, not {expected}")
        return vectors


class OwnScorer(_Own):
    """The backend of a reranker that is an object."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, "cross-encoder", None)

    def conditions(self) -> tuple[str, ...]:
        """Return what a score depends on besides the pair: nothing that is known."""
        return ()

    def score(self, pairs: Sequence[tuple[str, str]], until: float | None = None) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32; NaN for those of queries that were not begun before `until`."""
        import numpy as np

        scores = np.full(len(pairs), np.nan, np.float32)
        places: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(pairs):
            places.setdefault(query, []).append(place)
        for number, (query, mine) in enumerate(places.items()):
            if number and until is not None and time.monotonic() >= until:
                break
            found = np.array(self._model.score(query, [pairs[place][1] for place in mine]), np.float32)
            if found.shape != (len(mine),) or not np.isfinite(found).all():
                raise ModelFileError(
                    f"{self.spec.name}.score() gives the shape {found.shape}, or NaN, not ({len(mine)},)"
                )
            scores[mine] = found
        return scores
