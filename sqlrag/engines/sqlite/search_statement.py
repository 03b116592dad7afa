"""The statement of `Database.search` for a SQLite database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlrag.engines.sqlite.functions import SEARCH
from sqlrag.store.names import in_main, literal, quote
from sqlrag.store.source_table import key_condition, source_of
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = ["statement_for"]


def statement_for(record: IndexRecord, *, with_source: bool) -> str:
    """Return the statement for an index; `with_source`: with the columns of the source that are a hit's metadata."""
    if not record.is_live:
        return statement("search", index=record.name, main="main", search=SEARCH)
    if not with_source:
        return statement("search_rows", index=record.name, main="main", search=SEARCH)
    source = source_of(record)
    columns = {literal(name): f"source.{quote(name)}" for name in json.loads(record.filters)}
    # JSON has no BLOBs.
    pairs = ", ".join(f"{key}, iif(typeof({c}) = 'blob', hex({c}), {c})" for key, c in columns.items())
    return statement(
        "search_table",
        index=record.name,
        main="main",
        search=SEARCH,
        table=in_main(source.table),
        is_source=key_condition(source, "chunk.source_id", "source."),
        metadata=f"json_object({pairs})",
    )
