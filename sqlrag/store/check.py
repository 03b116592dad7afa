"""Checking an index in a SQLite file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlrag.errors import NotADatabaseError
from sqlrag.store.codes.blocks import Block, CodeBlocks, layout_of
from sqlrag.store.codes.quantization import encode
from sqlrag.store.names import in_main, quote
from sqlrag.store.precision import kept_parts
from sqlrag.store.registry import Registry
from sqlrag.store.schema_check import SHADOWS
from sqlrag.store.source_table import key_expression, source_of
from sqlrag.store.statements import statement
from sqlrag.store.states import KeptStates
from sqlrag.store.stored_vectors import Vectors, joined, stored_blocks, vec0_vectors
from sqlrag.store.vec0_layout import damaged, places_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models import Embedder
    from sqlrag.store.registry import Connection, IndexRecord

__all__ = [
    "check_index",
    "code_problems",
    "foreign_vectors",
    "full_text_is_sound",
    "gone",
    "lost_parts",
    "not_unit",
    "states_problems",
    "vector_problems",
    "vector_tables",
]

ROUNDING = {"float32": 1e-3, "int8": 0.1}
"""How much the squared length of a stored unit vector may differ from 1."""

LOOKED_AT = 64
"""The most vectors that are computed again for a comparison: half a second."""

_FACTOR = 1e-5
"""By which share a factor may differ from the same computed again: its sum may have another order."""

ALIKE = 0.9
"""The least cosine between a vector and the same computed again. Rounding costs a hundredth of the rest to 1."""


def check_index(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with an index in a SQLite file, a line each; empty when it is sound."""
    name = record.name
    lost = lost_parts(connection, record)
    problems = gone(record, lost)
    if not all("_after_" in part for part in lost):
        return problems  # without the table nothing more can be checked
    misplaced = _misplaced(connection, record)
    problems += misplaced or _wrong_vectors(connection, record)
    problems += states_problems(connection, record)
    if not connection.readonly("main") and not full_text_is_sound(connection, record):
        problems.append(f"{name}: the full text does not match the chunks")
    source = connection.execute("SELECT 1 FROM main.sqlite_schema WHERE name = ?", (record.source_table,)).fetchall()
    if source and not record.is_over_table:  # the index file of a DuckDB database has only the index
        sql = (
            f"SELECT count(*) FROM {in_main(name)} WHERE source_id NOT IN "
            f"(SELECT {key_expression(source_of(record))} FROM {in_main(record.source_table)})"
        )
        ((orphans,),) = connection.execute(sql)
        problems += [f"{name}: {orphans} chunks have no row in {record.source_table}"] if orphans else []
    return problems


def states_problems(connection: Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with what is kept for a reranker, a line each: chunks without it take longer to rerank."""
    states = KeptStates(connection, record)
    if not states.exists():
        return []
    missing = len(states.missing(b""))
    line = f"{record.name}: of {missing} chunks no states are kept: sqlrag reindex --states-only keeps them"
    return [line] if missing else []


def gone(record: IndexRecord, parts: Iterable[str]) -> list[str]:
    """Return a line for each table or trigger of an index that somebody has dropped, with the remedy."""
    return [f"{record.name}: {part} is gone: sqlrag check --repair makes the index anew" for part in parts]


def _misplaced(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with the places of vectors in vec0's tables."""
    import apsw

    problems = []
    for table, size in vector_tables(connection, record).items():
        try:
            places = places_of(connection, table, size)
        except apsw.SQLError as error:  # one of vec0's own tables has other columns
            problems.append(f"{record.name}: {damaged(record.name)} ({error})")
            continue
        if places.blocks:
            problems.append(f"{record.name}: {damaged(record.name)}")
        elif places.wrong:
            problems.append(
                f"{record.name}: {places.wrong} vectors lie under another id than vec0 has for them ({table})"
            )
    return problems


def _wrong_vectors(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with vectors that lie in the right places."""
    problems = []
    parts = kept_parts(record, layout_of(connection, record))
    sql = statement("index/check", index=record.name, items="chunks", **parts)
    problems += [f"{record.name}: {count} {what}" for what, count in connection.execute(sql) if count]
    return problems + vector_problems(connection, record, vec0_vectors(connection, record))


def vector_problems(connection: Connection, record: IndexRecord, vectors: Vectors) -> list[str]:
    """Return what is wrong with the vectors of an index and with their codes, a line each."""
    wrong = sum(int(not_unit(some, record).sum()) for _, some in vectors())
    what = f"{record.name}: {wrong} vectors are not of unit length in {record.dimension} dimensions"
    return [*([what] if wrong else []), *code_problems(connection, record, vectors)]


def code_problems(connection: Connection, record: IndexRecord, stored: Vectors) -> list[str]:
    """Return what is wrong with the codes of an index, a line each.

    A code whose vector is gone is no problem: a search leaves it out, and the next write removes it.
    """
    import numpy as np

    if layout_of(connection, record) != "codes":
        return []
    try:
        blocks = list(CodeBlocks(connection, record).all())
    except NotADatabaseError as error:
        return [f"{record.name}: {error}"]
    ids = np.concatenate([np.empty(0, np.int64), *(block.ids for block in blocks)])
    if (ids[1:] <= ids[:-1]).any():
        return [f"{record.name}: {damaged(record.name)}"]
    found = Block.joined(blocks) if blocks else None
    missing = other = 0
    for some, vectors in joined(stored()):
        with np.errstate(all="ignore"):  # a stranger's vectors may have any numbers
            codes, factors = encode(vectors)
        has_code = np.isin(some, ids)
        missing += int((~has_code).sum())
        if found is not None and has_code.any():
            there = found.part(np.searchsorted(ids, some[has_code]))
            same = (there.codes == codes[has_code]).all(axis=1)
            same &= np.isclose(there.factors, factors[has_code], rtol=_FACTOR, atol=0)
            other += int((~same).sum())
    lines = {
        "vectors have no code, so that no search finds them": missing,
        "codes are not those of their vectors": other,
    }
    return [f"{record.name}: {count} {what}" for what, count in lines.items() if count]


def foreign_vectors(connection: apsw.Connection, record: IndexRecord, embedder: Embedder) -> tuple[int, int]:
    """Compare a sample of vectors with their chunks' texts; return how many differ, and the size of the sample.

    A vector may be sound and lie in the right place, and still be that of another text. Only the model can tell.
    """
    import numpy as np

    taken = [pair for block in stored_blocks(connection, record) for pair in _some(*block)]
    taken = taken[:: -(-len(taken) // LOOKED_AT) or 1]
    passage = "context || text" if record.context else "text"
    find = f"SELECT id, {passage} FROM {in_main(record.name)} WHERE id IN (SELECT value FROM main.json_each(?))"
    texts = dict(connection.execute(find, (json.dumps([id_ for id_, _ in taken]),)))
    pairs = [(texts[id_], vector) for id_, vector in taken if isinstance(texts.get(id_), str)]
    if not pairs:
        return 0, 0
    vectors = embedder.encode_document([text for text, _ in pairs])
    alike = np.einsum("ij,ij->i", vectors, np.stack([vector for _, vector in pairs]))
    return int((~(alike >= ALIKE)).sum()), len(pairs)


def _some(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> list[tuple[int, NDArray[np.float32]]]:
    """Return a few vectors of a block with their ids, at equal distances, from the first on."""
    places = range(0, len(ids), max(1, len(ids) // 4))
    return [(int(ids[place]), vectors[place]) for place in places]


def vector_tables(connection: Connection, record: IndexRecord) -> dict[str, int]:
    """Return the vec0 table of an index with the bytes of a vector in it."""
    kept = kept_parts(record, layout_of(connection, record))["kept"]
    return {kept: record.dimension if record.vectors == "int8" else 4 * record.dimension}


def lost_parts(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return the tables and triggers of an index that somebody has dropped."""
    name = record.name
    (kept,) = vector_tables(connection, record)
    needed = [name, f"{name}_fts", kept, *(f"{name}_after_{event}" for event in ("insert", "delete", "update"))]
    if Registry(connection).look().is_current and layout_of(connection, record) != "cells":
        needed += [f"{name}_codes", f"{name}_gone"]
    if kept == f"{name}_vec" and not record.is_over_table:
        needed.append(f"{name}_vector_after_delete")
    for kind, table in (("vec0", kept), ("fts5", f"{name}_fts")):
        # Earlier versions of sqlite-vec have no table `info`, and it is never read.
        needed += [f"{table}_{part}" for part in SHADOWS[kind] if part != "info"]
    defined = dict(connection.execute("SELECT lower(name), sql FROM main.sqlite_schema"))
    there = set(defined)
    earlier = (f"{name}_after_delete", f"{name}_vectors")  # the triggers that did it before schema 2
    if any(f"DELETE FROM {name}_vec " in (defined.get(trigger.lower()) or "") for trigger in earlier):
        there.add(f"{name}_vector_after_delete".lower())
    return [part for part in needed if part.lower() not in there]


def full_text_is_sound(connection: apsw.Connection, record: IndexRecord) -> bool:
    """Tell whether the full text matches the chunks. The database must be open for writing."""
    import apsw

    words = quote(f"{record.name}_fts")
    try:
        # https://www.sqlite.org/fts5.html#the_integrity_check_command; 1 compares with the chunk table too
        connection.execute(f"INSERT INTO main.{words} ({words}, rank) VALUES ('integrity-check', 1)")
        sql = statement("index/check_full_text", index=record.name)
        return not list(connection.execute(sql))
    except (apsw.CorruptError, apsw.SQLError):  # the latter for a configuration or a structure that it cannot read
        return False


def not_unit(vectors: NDArray[np.float32], record: IndexRecord) -> NDArray[np.bool_]:
    """Tell which stored vectors, (n, dimension), are not of unit length; (n,) bool."""
    import numpy as np

    with np.errstate(all="ignore"):
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        wrong: NDArray[np.bool_] = ~(np.abs(lengths - 1.0) < ROUNDING[record.vectors])  # NaN too
    return wrong
