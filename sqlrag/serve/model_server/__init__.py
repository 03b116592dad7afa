"""`sqlrag serve`: one process that holds the models, and its clients; docs/protocol.md says what they say."""
