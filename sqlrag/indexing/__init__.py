"""Filling an index and keeping it up to date: ingest, sync, reindex, repair.

Nothing here is public: call the methods of `sqlrag.Database`.
"""
