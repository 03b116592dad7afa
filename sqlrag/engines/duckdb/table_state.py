"""The state of an index's tables in DuckDB: what tells one from another, and in which blocks of ids two differ."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlrag.store.names import quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["TableState"]

_BITS = 14
"""A block has 2^14 ids: its rows are compared in a tenth of a second."""

_BLOCKS_BITS = 8
"""... or more, so that there are at most 2^8 of them however far apart the ids lie."""


@dataclass(frozen=True)
class TableState:
    """Changes whenever chunks or vectors come or go, by sqlrag's hand or another."""

    embedder_hash: str
    version: int | None
    bits: int
    """A block has 2^bits ids."""
    blocks: dict[str, str]
    """Counts and sums of each block, as sql/duckdb/state.sql has them, by its number."""

    @classmethod
    def of(cls, database: duckdb.DuckDBPyConnection, record: IndexRecord) -> TableState:
        """Return the present state. Raises duckdb.CatalogException where a table is gone."""
        ends = [
            f"(SELECT min(id) AS least, max(id) AS most FROM {quote(table)})"
            for table in (record.name, f"{record.name}_embedding")
        ]
        if record.is_over_table:  # nothing of it counts, but that it is there
            ends.append(f"(SELECT NULL AS least, NULL AS most FROM {quote(f'{record.name}_rows')} LIMIT 0)")
        sql = f"""
            SELECT (SELECT max(version) FROM sqlrag_indexes WHERE name = ?), min(least), max(most)
            FROM   ({" UNION ALL ".join(ends)})
        """
        ((version, least, most),) = database.execute(sql, [record.name]).fetchall()
        bits = _BITS if least is None else max(_BITS, (most - least).bit_length() - _BLOCKS_BITS)
        blocks = database.execute(statement("duckdb/state", index=record.name, bits=bits)).fetchall()
        return cls(record.embedder_hash, version, bits, {str(block): sums for block, sums in blocks})

    @classmethod
    def parsed(cls, text: str | None) -> TableState | None:
        """Return the state that a text is of; None for one that this sqlrag does not write, or none."""
        try:
            state = cls(**json.loads(text or "null"))
        except (TypeError, ValueError, RecursionError):
            return None
        return state if str(state) == text and state._can_be() else None

    def _can_be(self) -> bool:
        """Tell whether a state read from a file has the types that its fields are declared with."""
        types = (str, int | None, int, dict)
        fields = (self.embedder_hash, self.version, self.bits, self.blocks)
        is_typed = all(isinstance(value, kind) for value, kind in zip(fields, types, strict=True))
        return is_typed and 0 <= self.bits < 64 and all(self._is_block(block) for block in self.blocks)

    def _is_block(self, block: str) -> bool:
        """Tell whether a text is the number of a block of ids."""
        is_number = block.removeprefix("-").isdecimal() and len(block) < 20
        return is_number and -(2**63) <= int(block) << self.bits < 2**63

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def ids(self, block: int) -> range:
        """Return the ids that may be in a block."""
        return range(block << self.bits, (block + 1) << self.bits)

    def changed_blocks(self, before: TableState | None) -> list[int] | None:
        """Return which blocks differ from those of an earlier state, in order; None where all may.

        Rows changed by hand leave the version as it is. Of another version the file may be another database's, and
        equal sums say nothing.
        """
        if before is None or (before.version, before.bits) != (self.version, self.bits):
            return None
        blocks = {*self.blocks, *before.blocks}
        return sorted(int(block) for block in blocks if self.blocks.get(block) != before.blocks.get(block))
