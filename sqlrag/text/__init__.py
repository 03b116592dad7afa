"""From files to chunks: loading documents, and splitting their text for the models.

Public are the names in `__all__`.
"""

from __future__ import annotations

from sqlrag.text.chunking import Chunk, Chunker
from sqlrag.text.documents import Document, Unreadable

__all__ = ["Chunk", "Chunker", "Document", "Unreadable"]
