"""The functions that clients call: SQL's for the extension, and the models themselves for sqlrag's own commands."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.engines.sqlite.functions import scalar_functions, table_functions
from sqlrag.errors import InputError, UnknownModelError
from sqlrag.models.loaded import load_embedder, load_reranker
from sqlrag.models.named_models import named_model
from sqlrag.serve.model_server.protocol import LONGEST_TEXT, as_table

if TYPE_CHECKING:
    from sqlrag.engines.functions import Functions
    from sqlrag.models.reranker import Reranker
    from sqlrag.models.spec import ModelSpec

__all__ = ["ModelFunction", "Models", "SQLFunction", "sql_functions"]


@dataclass(frozen=True)
class SQLFunction:
    """An SQL function as the extension declares and calls it.

    `kind`: "scalar" or "table". `asks`: whether it reads the client's database.
    """

    name: str
    kind: str
    columns: Sequence[str]
    parameters: Sequence[str]
    required: int
    function: Callable[..., Any]
    asks: bool = True

    def answer(self, arguments: Sequence[Any]) -> bytes:
        """Return the result as a table. Raises InputError for a wrong number of arguments."""
        if not self.required <= len(arguments) <= len(self.parameters):
            wanted = ", ".join(self.parameters)
            raise InputError(f"{self.name}({wanted}) needs {self.required} at least: got {len(arguments)} arguments")
        if self.kind == "scalar":
            return as_table(1, [(self.function(*arguments),)])
        missing = [None] * (len(self.parameters) - len(arguments))
        return as_table(len(self.columns), self.function(*arguments, *missing))


@dataclass(frozen=True)
class ModelFunction:
    """A function that runs a model, as sqlrag's own commands call it: with its name, its hash and any number of texts.

    It reads no database and is not declared by `functions`: in SQL there is no such function.
    """

    name: str
    function: Callable[..., Sequence[Any]]
    asks = False

    def answer(self, arguments: Sequence[Any]) -> bytes:
        """Return the result as a table of one column. Raises InputError for arguments of other types."""
        model, weights_hash, *more = (*arguments, None, None)[: max(len(arguments), 2)]
        if not isinstance(model, str) or not isinstance(weights_hash, str):
            raise InputError(f"{self.name}() takes the name of a model and the hash of its weights first")
        return as_table(1, [(value,) for value in self.function(model, weights_hash, *more)])


def sql_functions(functions: Functions) -> list[SQLFunction]:
    """Return the SQL functions of a connection, and `functions`, which lists them."""
    scalars = [
        SQLFunction(name, "scalar", (), list(inspect.signature(function).parameters), counts[0], function)
        for name, counts, function in scalar_functions(functions)
    ]
    tables = [
        SQLFunction(one.name, "table", one.columns, one.parameters, one.required, one.rows)
        for one in table_functions(functions)
    ]
    found = scalars + tables
    declared = [(one.name, one.kind, ",".join(one.columns), ",".join(one.parameters), one.required) for one in found]
    columns = ("name", "kind", "columns", "parameters", "required")
    return [*found, SQLFunction("functions", "table", columns, (), 0, lambda: declared, asks=False)]


class Models:
    """The models as clients call them. `own_reranker`: the server's, a name or a folder."""

    def __init__(self, own_reranker: str | None) -> None:
        self._own_reranker = own_reranker

    def functions(self) -> list[ModelFunction]:
        """Return the functions that run a model."""
        return [ModelFunction("model_embed", self.embed), ModelFunction("model_score", self.score)]

    def embed(self, name: str, weights_hash: str, role: object = None, *texts: object) -> Sequence[bytes]:
        """Return the vectors of texts, float32. `role`: "query" or "document"."""
        if role not in ("query", "document"):
            raise InputError(f"model_embed(): role is {role!r:.40}: it is 'query' or 'document'")
        spec, checked = _spec(name, weights_hash), _texts("model_embed", texts)
        embedder = load_embedder(spec)
        if role == "document":
            return embedder.document_bytes(checked)
        return [embedder.query_bytes(text) for text in checked]

    def score(self, name: str, weights_hash: str, seconds: object = None, *texts: object) -> Sequence[float | None]:
        """Return the scores of pairs, query and text after each other; None for those not begun in `seconds`."""
        if seconds is not None and not isinstance(seconds, float):
            raise InputError(f"model_score(): seconds is {seconds!r:.40}: it is a REAL, or NULL for no limit")
        if len(texts) % 2:
            raise InputError(f"model_score() takes pairs of query and text: got {len(texts)} texts")
        until = None if seconds is None else time.monotonic() + seconds
        checked = _texts("model_score", texts)
        pairs = list(zip(checked[::2], checked[1::2], strict=True))
        scores = self._reranker(name, weights_hash).pair_scores(pairs, until)
        return [None if math.isnan(score) else score for score in scores]

    def _reranker(self, name: str, weights_hash: str) -> Reranker:
        own = load_reranker(self._own_reranker)
        if (own.name, own.spec.weights_hash) == (name, weights_hash):
            return own  # which may be of a folder that is not found by its name
        return load_reranker(_spec(name, weights_hash))


def _spec(name: str, weights_hash: str) -> ModelSpec:
    """Return the specification of a bundled or pulled model. Raises UnknownModelError if its weights are others."""
    spec = named_model(name, weights_hash)
    if spec.weights_hash != weights_hash:
        raise UnknownModelError(
            f"the model server's {name!r} has the weights {spec.weights_hash[:12]}, not {weights_hash[:12]}"
        )
    return spec


def _texts(function: str, values: Sequence[object]) -> list[str]:
    texts = []
    for value in values:
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise InputError(f"{function}() takes texts of {LONGEST_TEXT:,} characters at most")
        texts.append(value)
    return texts
