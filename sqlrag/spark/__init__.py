"""The same statement on Spark SQL, over an index in shards, each of which is a sqlrag database in SQLite.

Public are `register`, which gives a session the functions of SQL; `build`, `append`, `delete`, `sync`, `compact` and
`vacuum`, which make and change an index from DataFrames; `search`, for many questions at once; `export` and `pull`,
from and to a database of one machine. They need the extra `spark`. No module of this room is public.
"""

from sqlrag.spark.build import Change, append, build, delete, sync
from sqlrag.spark.copies import export
from sqlrag.spark.questions import search
from sqlrag.spark.session import register
from sqlrag.spark.upkeep import compact, pull, vacuum

__all__ = ["Change", "append", "build", "compact", "delete", "export", "pull", "register", "search", "sync", "vacuum"]
