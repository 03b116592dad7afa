"""From files to chunks: loading documents, and cutting their text for the models."""
