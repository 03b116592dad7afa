"""Try an installed sqlrag: import every module of its own, look for the library, and search on both engines.

    python scripts/try_installed.py

cibuildwheel runs it on each wheel, in an environment that has the wheel and what it requires, and nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module, resources
from pathlib import Path

import sqlrag

NOTES = {
    "migrations": "To roll back a migration, run the downgrade command.",
    "backups": "Every night at two a copy of the database is written to another disk.",
    "tea": "Let green tea steep for two minutes in water that does not boil.",
}
PUBLIC = ("sqlrag.errors", "sqlrag.results", "sqlrag.text", "sqlrag.models", "sqlrag.evaluation", "sqlrag.cli")


def main() -> None:
    """Exit with a message at the first thing that is missing or wrong."""
    for module in PUBLIC:
        import_module(module)
    package = Path(sqlrag.__file__).parent
    if package.is_relative_to(Path(__file__).parents[1]):
        sys.exit(f"{package} is the source, not an installation: run this from another folder, with python -P")
    if not resources.files("sqlrag.sql").joinpath("search.sql").is_file():
        sys.exit("the installation lacks the .sql files")
    if sys.platform != "win32" and not list(package.glob("sqlrag_extension.*")):
        sys.exit("the installation lacks the loadable SQLite extension")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in NOTES.items():
            Path(folder, f"{name}.txt").write_text(text, encoding="utf-8")
        for database in ("notes.db", "notes.duckdb"):
            with sqlrag.connect(Path(folder, database)) as db:
                db.ingest([Path(folder, f"{name}.txt") for name in NOTES])
                hit = db.search("how do I undo a migration?")[0]
            if hit.text != NOTES["migrations"]:
                sys.exit(f"{database}: the best hit is {hit.text!r}")
    print(f"sqlrag {sqlrag.__version__} in {package} finds what it should on both engines")


if __name__ == "__main__":
    main()
