"""The two engines. `base` and `functions` hold what both do; `sqlite` and `duckdb` hold only what differs.

Nothing here is public: SQL functions are called in SQL, and everything else through `sqlrag.Database`.
"""
