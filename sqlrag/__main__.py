"""`python -m sqlrag` is the command `sqlrag`."""

from sqlrag.cli import main

main()
