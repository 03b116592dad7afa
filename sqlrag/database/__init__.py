"""`connect` and `Database`: one file with texts and their indexes in it, whichever engine holds it.

Public are the names in `__all__`; `connection` and `index_methods` are two files of the one class.
"""

from sqlrag.database.connection import LONGEST_TEXT, Database, connect

__all__ = ["LONGEST_TEXT", "Database", "connect"]
