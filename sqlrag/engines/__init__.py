"""The two engines: what both do is in `base` and `functions`, what is a dialect in `sqlite` and `duckdb`."""
