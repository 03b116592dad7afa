"""The state of an index's tables in DuckDB: counts and sums by which two states are compared, block by block of ids."""

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
"""A block has 2^14 ids, whose rows are compared in a tenth of a second."""

_BLOCKS_BITS = 8
"""If ids lie far apart, blocks have more ids, so that there are at most 2^8 blocks."""


@dataclass(frozen=True)
class TableState:
    """What differs after chunks or vectors were inserted or deleted, by sqlrag or by hand."""

    embedder_hash: str
    version: int | None
    bits: int
    """A block has 2^bits ids."""
    blocks: dict[str, str]
    """The counts and sums that sql/duckdb/state.sql returns for each block, by its number."""

    @classmethod
    def of(cls, database: duckdb.DuckDBPyConnection, record: IndexRecord) -> TableState:
        """Return the state that a connection sees. Raises duckdb.CatalogException if a table is missing."""
        ends = [
            f"(SELECT min(id) AS least, max(id) AS most FROM {quote(table)})"
            for table in (record.name, f"{record.name}_embedding")
        ]
        if record.is_over_table:  # only to raise an error if it is missing
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
        """Return the state that `str` made a text of; None for any other text, or for None."""
        try:
            state = cls(**json.loads(text or "null"))
        except (TypeError, ValueError, RecursionError):
            return None
        return state if str(state) == text and state._can_be() else None

    def _can_be(self) -> bool:
        """Check a state that was read from a file: the types of its fields, and the numbers of its blocks."""
        types = (str, int | None, int, dict)
        fields = (self.embedder_hash, self.version, self.bits, self.blocks)
        is_typed = all(isinstance(value, kind) for value, kind in zip(fields, types, strict=True))
        return is_typed and 0 <= self.bits < 64 and all(self._is_block(block) for block in self.blocks)

    def _is_block(self, block: str) -> bool:
        """Tell whether a text is the number of a block."""
        is_number = block.removeprefix("-").isdecimal() and len(block) < 20
        return is_number and -(2**63) <= int(block) << self.bits < 2**63

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def ids(self, block: int) -> range:
        """Return the ids that may be in a block."""
        return range(block << self.bits, (block + 1) << self.bits)

    def changed_blocks(self, before: TableState | None) -> list[int] | None:
        """Return the blocks that differ from those of an earlier state, in order; None if any block may differ.

        Sums are compared only between states of one version, which rows changed by hand do not alter. A file with
        another version may belong to another database, and equal sums prove nothing then.
        """
        if before is None or (before.version, before.bits) != (self.version, self.bits):
            return None
        blocks = {*self.blocks, *before.blocks}
        return sorted(int(block) for block in blocks if self.blocks.get(block) != before.blocks.get(block))
