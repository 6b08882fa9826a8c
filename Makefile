# One entry point, here and in CI. Each target makes the virtual environment that it needs, once.
#   make demo    the product in half a minute        make check   format, lint, types, layers
#   make test    tests and doctests                  make bench   beside Polars and DuckDB (20 M rows)
#   make soak    1,000 kills and other long proofs   make clean   remove what the others made

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Parallel test processes: one a core. PYTEST_WORKERS=0 runs in one process.
PYTEST_WORKERS ?= auto
DEMO  ?=
BENCH ?=

.PHONY: demo test check format coverage docs bench soak build clean

demo: $(VENV)/.installed
	$(BIN)/arrowstream demo $(DEMO)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal --doctest-modules tests arrowstream

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-dev
	$(BIN)/python bench/run.py $(BENCH)

soak: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m soak -s

build: $(VENV)/.installed-dev
	$(BIN)/python -m build

clean:
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

# The stamps make a second run instant; a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml hatch_build.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# --group needs pip 25.1; an environment made by hand may have an older one.
$(VENV)/.installed-dev: pyproject.toml hatch_build.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable '.[follow,http,s3,snappy]' --group dev
	@touch $(VENV)/.installed $@
