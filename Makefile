# `make demo` and `make test` do all the set-up: they need Python >= 3.10, make and a package index, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-all check bench clean help

help:
	@echo "make demo    install into $(VENV) and search the Python standard library by meaning"
	@echo "make test    install what the tests need, then lint, check types and run the tests"
	@echo "make test-all   the slow tests too, those that need torch or ../shared/data, where they are, and more random examples"
	@echo "make bench   where the time of the statement goes, and the corpora whole; the other benchmarks: benchmarks/README.md"
	@echo "make clean   remove $(VENV), and what the demo and the tests made"

# The stamps tell make what is installed already: a second call starts at once.
$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "sqlrag needs Python 3.10 or newer: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py $(wildcard extension/*.[ch])
	@echo "Installing sqlrag into $(VENV) (about 550 MB, a minute or two) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/sqlrag demo

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file of tests stays in one process, since its tests share databases; tests/conftest.py puts the longest files first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: check
	$(PYTEST) -m "not slow and not data and not torch"

test-all: check
	SQLRAG_LONG=1 $(PYTEST)

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/statement.py --write
	SQLRAG_WHOLE=1 $(BIN)/python -m pytest -rA tests/corpora

clean:
	rm -rf $(VENV) .kept_results build sqlrag.egg-info sqlrag/sqlrag_extension.* python-stdlib.db python-stdlib.db-wal python-stdlib.db-shm
