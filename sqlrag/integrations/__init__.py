"""Databases in other libraries: retrievers for LangChain and LlamaIndex, a plugin for Datasette.

Public are `langchain.SqlragRetriever` and `llama_index.SqlragRetriever`, which need the extras of these names, and the
entry point `datasette`. `retrieval` is private.
"""
