"""A database as the retriever of another library; each module needs the extra of its name."""
