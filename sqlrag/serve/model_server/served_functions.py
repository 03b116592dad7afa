"""The functions that clients call: SQL's for the extension, and the models themselves for sqlrag's own commands."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlrag.engines.sqlite.functions import scalar_functions, table_functions
from sqlrag.errors import InputError, UnknownModelError
from sqlrag.models.loaded import load_embedder, load_reranker
from sqlrag.models.named_models import named_model
from sqlrag.serve.model_server.protocol import LONGEST_TEXT, as_table

if TYPE_CHECKING:
    from sqlrag.engines.functions import Functions
    from sqlrag.models.spec import ModelSpec

__all__ = ["ModelFunctions", "SQLFunction", "sql_functions"]


@dataclass(frozen=True)
class SQLFunction:
    """An SQL function as the extension declares and calls it. `kind`: "scalar" or "table"."""

    name: str
    kind: str
    columns: Sequence[str]
    parameters: Sequence[str]
    required: int
    function: Callable[..., Any]

    def answer(self, arguments: Sequence[Any]) -> bytes:
        """Return the result as a table. Raises InputError for a wrong number of arguments."""
        if not self.required <= len(arguments) <= len(self.parameters):
            wanted = ", ".join(self.parameters)
            raise InputError(f"{self.name}({wanted}) needs {self.required} at least: got {len(arguments)} arguments")
        if self.kind == "scalar":
            return as_table(1, [(self.function(*arguments),)])
        missing = [None] * (len(self.parameters) - len(arguments))
        return as_table(len(self.columns), self.function(*arguments, *missing))


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
    return [*found, SQLFunction("functions", "table", columns, (), 0, lambda: declared)]


class ModelFunctions:
    """The functions that run a model, for sqlrag's own commands.

    They read no database, and `functions` does not list them: in SQL they do not exist. `own_reranker`: the server's, a
    name or a folder.
    """

    names = ("model_embed", "model_score")

    def __init__(self, own_reranker: str | None) -> None:
        self._own_reranker = own_reranker

    def answer(self, function: str, arguments: Sequence[Any]) -> bytes:
        """Return a table of one column: a row for each text or pair. Raises InputError for arguments of other types.

        `arguments`: the model's name and its identity, a setting, and the texts. A BLOB is what is kept of the text
        before it.
        """
        name, identity, setting, *texts = (*arguments, None, None, None)[: max(len(arguments), 3)]
        if not isinstance(name, str) or not isinstance(identity, str):
            raise InputError(f"{function}() takes the name of a model and its identity first")
        kept = {text: blob for text, blob in pairwise(texts) if isinstance(text, str) and isinstance(blob, bytes)}
        if function == "model_score":
            texts = [text for text in texts if not isinstance(text, bytes)]
        if any(not isinstance(text, str) or len(text) > LONGEST_TEXT for text in texts):
            raise InputError(f"{function}() takes texts of {LONGEST_TEXT:,} characters at most")
        if function == "model_embed":
            return as_table(1, [(vector,) for vector in _embed(name, identity, setting, texts)])
        return as_table(1, [(score,) for score in self._score(name, identity, setting, texts, kept)])

    def _score(
        self, name: str, identity: str, seconds: object, texts: Sequence[str], kept: Mapping[str, bytes]
    ) -> list[float | None]:
        """Return the scores of pairs, a query and a text in turn; None for those that were not begun in `seconds`."""
        if seconds is not None and not isinstance(seconds, float):
            raise InputError(f"model_score(): seconds is {seconds!r:.40}: it is a REAL, or NULL for no limit")
        if len(texts) % 2:
            raise InputError(f"model_score() takes pairs of query and text: got {len(texts)} texts")
        until = None if seconds is None else time.monotonic() + seconds
        reranker = load_reranker(self._own_reranker)
        if (reranker.name, reranker.spec.identity) != (name, identity):  # a folder cannot be found by its name
            reranker = load_reranker(_spec(name, identity))
        scores = reranker.pair_scores(list(zip(texts[::2], texts[1::2], strict=True)), until, kept)
        return [None if math.isnan(score) else score for score in scores]


def _embed(name: str, identity: str, role: object, texts: Sequence[str]) -> list[bytes]:
    """Return the vectors of texts, float32."""
    if role not in ("query", "document"):
        raise InputError(f"model_embed(): role is {role!r:.40}: it is 'query' or 'document'")
    embedder = load_embedder(_spec(name, identity))
    return embedder.document_bytes(texts) if role == "document" else [embedder.query_bytes(text) for text in texts]


def _spec(name: str, identity: str) -> ModelSpec:
    """Return the specification of a bundled or pulled model. Raises UnknownModelError if its identity differs."""
    spec = named_model(name, identity)
    if spec.identity != identity:
        raise UnknownModelError(f"the model server has {spec.id}, not {name}@{identity[:12]}")
    return spec
