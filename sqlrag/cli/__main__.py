"""`python -m sqlrag.cli` is the program `sqlrag`."""

from sqlrag.cli import cli

cli(prog_name="sqlrag")
