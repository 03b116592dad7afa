"""A database as a small JSON API, with its own description: `sqlrag serve DB --http`."""
