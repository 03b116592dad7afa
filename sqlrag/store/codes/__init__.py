"""One-bit codes of vectors: how they are made, kept in blocks, and searched."""
