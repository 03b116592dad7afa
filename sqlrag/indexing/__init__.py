"""Bringing texts into an index and keeping it in step: ingest, sync, reindex, repair."""
