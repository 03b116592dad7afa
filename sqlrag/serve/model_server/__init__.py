"""`sqlrag serve`: one process that holds the models, and its clients. docs/protocol.md has the protocol."""
