"""What a Python worker of Spark's keeps between tasks: models, each loaded once, and open shards."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT, Functions
from sqlrag.engines.options import ConnectionOptions
from sqlrag.engines.sqlite.engine import SQLiteEngine
from sqlrag.errors import ModelMismatchError, NotADatabaseError
from sqlrag.models.named_models import named_model
from sqlrag.spark.bm25 import register_bm25
from sqlrag.spark.cache import Cache
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import Shard
from sqlrag.spark.shards import stored
from sqlrag.store.encoders import Encoders
from sqlrag.store.registry import IndexRecord
from sqlrag.store.top_k import reranked

if TYPE_CHECKING:
    import apsw

    from sqlrag.models import Embedder, Reranker
    from sqlrag.models.spec import ModelSpec
    from sqlrag.store.top_k import Index, Matching

__all__ = ["Gathered", "Located", "Models", "Open", "functions_with", "open_shard", "task_cpus"]

MOST_OPEN = 64
"""How many shards a worker keeps open."""


@dataclass(frozen=True)
class Models:
    """The models of a session: names, and hashes that the models of an executor must have."""

    embedder: str | None = None
    embedder_hash: str | None = None
    reranker: str | None = None
    reranker_hash: str | None = None
    rerank_limit: int = DEFAULT_RERANK_LIMIT


@dataclass(frozen=True)
class Located:
    """A shard with everything that a task needs to open it, as one text in the view of shards."""

    folder: str
    record: IndexRecord
    shard: Shard
    models: Models
    cache: Cache = field(default_factory=Cache)

    def text(self) -> str:
        """Return this as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    @lru_cache(maxsize=4 * MOST_OPEN)
    def of(cls, text: str) -> Located:
        """Return what `text` has written."""
        values = json.loads(text)
        return cls(
            values["folder"],
            IndexRecord(**values["record"]),
            Shard.of(values["shard"]),
            Models(**values["models"]),
            Cache(**values["cache"]),
        )


class Open:
    """A shard that this worker has open."""

    def __init__(self, located: Located) -> None:
        path, self._lock = located.cache.take(Folder(located.folder), located.shard, located.record)
        try:
            self.record = located.record
            self.name = located.shard.name
            self.encoders = task_encoders(located.models, located.record)
            options = ConnectionOptions(read_only=True, must_exist=True, rerank_limit=located.models.rerank_limit)
            self.engine = SQLiteEngine(path, self.encoders, options)
            self._check(located, path)
        except BaseException:
            self._let_go()
            raise
        register_bm25(self.engine.connection)

    def _check(self, located: Located, path: str) -> None:
        if not stored(self.engine, located.shard.name):
            raise NotADatabaseError(f"{path} is not the file that the manifest names: it is another shard, or database")
        found = self.engine.indexes.record(located.record.name)
        if found.embedder_hash != located.record.embedder_hash:
            raise ModelMismatchError(f"{path} was made with {found.embedder}, not with the model of the manifest")

    @property
    def index(self) -> Index:
        """The index of the shard, for reading."""
        return self.engine.indexes.open(self.record.name)

    @property
    def functions(self) -> Functions:
        """The SQL functions over this shard."""
        return self.engine.functions

    def vector(self, query: str | bytes) -> bytes:
        """Return the vector of a question."""
        return query if isinstance(query, bytes) else self.encoders.embedder_of(self.record).query_bytes(query)

    def matching(self, expression: str | None, params: str | None) -> Matching | None:
        """Return what a filter lets through. Raises FilterError."""
        return self.functions.matching(self.index, expression, params)

    def close(self) -> None:
        """Close the file, whose copy may be removed then."""
        self.engine.close()
        self._let_go()

    def _let_go(self) -> None:
        lock: IO[bytes] | None = self._lock
        if lock is not None:
            lock.close()


class Gathered:
    """Candidates of several shards, for the second stage of `search`: what an index says of its own."""

    def __init__(self, record: IndexRecord, distances: dict[int, float]) -> None:
        self.record = record
        self._distances = distances

    def states(self, _ids: Sequence[int]) -> dict[int, bytes]:
        """Return nothing: states are made anew."""
        return {}

    def distances(self, _vector: bytes, _ids: Sequence[int]) -> dict[int, float]:
        """Return the distances that the shards have found."""
        return self._distances

    def reranked(self, scores: Sequence[tuple[float | None, float]], weight: float) -> list[int]:
        """Return the places of candidates in their order after the second stage."""
        return reranked(_calculator(), scores, weight)


@lru_cache(maxsize=1)
def _calculator() -> apsw.Connection:
    import apsw

    return apsw.Connection(":memory:")


_open: OrderedDict[str, Open] = OrderedDict()


def open_shard(text: str) -> Open:
    """Return a shard, opened if this worker does not have it open."""
    found = _open.pop(text, None) or Open(Located.of(text))
    _open[text] = found
    while len(_open) > MOST_OPEN:
        _open.popitem(last=False)[1].close()
    return found


def task_cpus() -> int:
    """Return how many CPUs Spark gives a task (`spark.task.cpus`); 1 outside of one."""
    with suppress(ImportError):
        from pyspark import TaskContext

        if (task := TaskContext.get()) is not None:
            return max(1, int(task.cpus()))
    return 1


class _TaskEncoders(Encoders):
    """Models with as many threads as Spark gives a task."""

    @staticmethod
    def _load_embedder(model: Any = None, backend: str = "onnx") -> Embedder:
        from sqlrag.models import Embedder

        return model if isinstance(model, Embedder) else _loaded(Embedder, _key(model), backend)

    @staticmethod
    def _load_reranker(model: Any = None, backend: str = "onnx") -> Reranker:
        from sqlrag.models import Reranker

        return model if isinstance(model, Reranker) else _loaded(Reranker, _key(model), backend)


def _key(model: Any) -> Any:
    """Return what `named_model` finds a model by; None for the bundled one."""
    return (model.name, model.identity) if hasattr(model, "identity") else model


@lru_cache(maxsize=8)
def _loaded(opened_as: Any, key: Any, backend: str) -> Any:
    model = named_model(*key) if isinstance(key, tuple) else key
    return opened_as(model, backend=backend, threads=task_cpus())


@lru_cache(maxsize=32)
def task_encoders(models: Models, record: IndexRecord | None = None) -> Encoders:
    """Return the models of a session, or of an index. Raises ModelMismatchError if this machine has other ones."""
    name, wanted = (record.embedder, record.embedder_hash) if record else (models.embedder, models.embedder_hash)
    encoders = _TaskEncoders(None, models.reranker)
    encoders.use_recorded(name)
    if name and wanted:
        check_embedder(encoders.embedder.spec, name, wanted)
    return encoders


def check_embedder(spec: ModelSpec, name: str, wanted: str) -> None:
    """Raise ModelMismatchError if an embedder is not the one that made vectors."""
    if not spec.made(wanted):
        raise _other("embedder", spec.id, name, wanted)


def check_reranker(encoders: Encoders, models: Models) -> None:
    """Raise ModelMismatchError if the reranker of this machine is not the driver's."""
    if models.reranker_hash and encoders.reranker.spec.identity != models.reranker_hash:
        raise _other("reranker", encoders.reranker.id, models.reranker, models.reranker_hash)


def _other(what: str, here: str, name: str | None, wanted: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"the {what} of this machine is {here}, that of the index or of the driver {name or 'the bundled one'}"
        f"@{wanted[:12]}: install the same version of sqlrag on driver and executors, and ship pulled models to them "
        "(docs/spark.md, Models)"
    )


_functions: dict[Models, tuple[Functions, int | None]] = {}


def functions_with(models: Models) -> Functions:
    """Return the scalar functions of a session; in each stage of Spark's they count pairs anew."""
    stage = _stage()
    functions, counted_for = _functions.get(models) or (_scalar_functions(models), None)
    if stage != counted_for:
        functions.begin_statement()
    _functions[models] = (functions, stage)
    return functions


def _scalar_functions(models: Models) -> Functions:
    return Functions(_NoIndexes(), task_encoders(models), models.rerank_limit)  # type: ignore[arg-type]


class _NoIndexes:
    """In place of the indexes, which scalar functions do not ask."""

    @staticmethod
    def names() -> Sequence[str]:
        """Return none."""
        return ()


def _stage() -> int | None:
    from pyspark import TaskContext

    task = TaskContext.get()
    return task.stageId() if task is not None else None
