# Everything a person types here. Needs make, Python 3.12 and, for the tests, Node 20 and Java 17 with Maven.
# Set-up stays inside this folder (.venv, node_modules, home, .env) and is quick when nothing changed.

.PHONY: help demo dev test test-long lint bench bench-long lock clean core tests-core home
.DEFAULT_GOAL := help
.NOTPARALLEL:

BIN := .venv/bin
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
UV_VERSION := 0.13.9
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-cache-dir --quiet

# What stands in .venv is known by the text it was made from; a stamp holds that text.
CORE_TEXT := { pwd; cat pyproject.toml requirements.lock; }
DEV_TEXT := { pwd; cat pyproject.toml requirements.lock requirements-dev.lock; }

help:
	@echo "make demo       a first run from nothing: set-up, three months of real orders, every table, where they are"
	@echo "make dev        Dagster's UI with sensor and automation on http://127.0.0.1:3000"
	@echo "make test       set-up of the tests, then all but the long ones"
	@echo "make tests-core only sets up what the tests need, for pytest by hand"
	@echo "make test-long  the long ones too"
	@echo "make lint       ruff and pyright"
	@echo "make bench      the figures, against hand-written Polars and peers, into docs/figures.md (half an hour)"
	@echo "make bench-long those of 10 M order lines, of merges, histories, change events, and of a landing of 100,000 files"
	@echo "make lock       remakes the lock files from pyproject.toml"
	@echo "make clean      removes what set-up made; the lake in home/ stays"

demo: core home
	@$(BIN)/lakehouse demo

dev: core home
	@ready="$$($(BIN)/python -m resources.dagster_home --export)" || exit 1; eval "$$ready"; exec $(BIN)/dagster dev -w workspace.yaml

test: tests-core
	@$(BIN)/python -m pytest -m "not long" $(PARALLEL)

test-long: tests-core
	@$(BIN)/python -m pytest --hypothesis-profile=long $(PARALLEL)

lint: tests-core
	@if [ ! -x node_modules/.bin/pyright ]; then echo "make lint: pyright comes from npm, and npm is missing: install Node 20" >&2; exit 1; fi
	@status=0; $(BIN)/ruff check . || status=1; $(BIN)/ruff format --check . || status=1; \
	node_modules/.bin/pyright || status=1; exit $$status

bench: tests-core
	@$(BIN)/python -m benchmarks

bench-long: tests-core
	@$(BIN)/python -m benchmarks documents lines landing history cdc --size 10_000_000 --rounds 1
	@$(BIN)/python -m benchmarks merges --size 40_000_000 --rounds 3

# The stamp is written last, so that a broken-off set-up begins again.
core: .venv/bin/python
	@if $(CORE_TEXT) | cmp -s - .venv/core.text || $(DEV_TEXT) | cmp -s - .venv/dev.text; then exit 0; fi; set -e; \
	echo "setting up .venv from requirements.lock (a minute or so, once)"; rm -f .venv/dev.text; \
	$(PIP) install --require-hashes --no-deps -r requirements.lock; \
	$(PIP) install --no-deps --no-build-isolation -e .; \
	$(CORE_TEXT) > .venv/core.text

# Both halves at once: one waits for a package index, the other for npm and Maven.
tests-core: .venv/bin/python
	@.ci/tools & tools=$$!; if $(DEV_TEXT) | cmp -s - .venv/dev.text; then wait $$tools; exit; fi; set -e; \
	echo "setting up .venv from requirements-dev.lock (two minutes or so, once)"; rm -f .venv/core.text; \
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock; \
	$(PIP) install --no-deps --no-build-isolation -e .; \
	$(DEV_TEXT) > .venv/dev.text; wait $$tools

# Asks each candidate to run: a pyenv shim or a stub may stand there and fail.
.venv/bin/python: .FORCE
	@if $@ -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then exit 0; fi; \
	for candidate in "$$PYTHON" python3.12 "$$(pyenv prefix 3.12 2>/dev/null)/bin/python3.12" \
	    $$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.12*/bin/python3.12 2>/dev/null) python3 python; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; \
	  then rm -rf .venv; exec "$$candidate" -m venv .venv; fi; \
	done; \
	echo "No Python 3.12 that runs (and has venv) was found: looked for python3.12, pyenv's 3.12, python3 and python." >&2; \
	echo "Get it by one of: apt install python3.12 python3.12-venv · brew install python@3.12 · pyenv install 3.12" >&2; \
	echo "or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1

.FORCE:

# Dagster's home exists before Dagster looks for it; .env tells it to a `dagster` or `dg` that is called by hand.
home:
	@$(BIN)/python -m resources.dagster_home > /dev/null
	@[ -e .env ] || echo 'DAGSTER_HOME=$${LAKEHOUSE_HOME:-$(CURDIR)/home}/dagster' > .env

lock: .venv/bin/python
	@set -e; [ -x build/lock/bin/uv ] || { $(BIN)/python -m venv build/lock; build/lock/bin/pip install --quiet --no-cache-dir uv==$(UV_VERSION); }; \
	compile="build/lock/bin/uv pip compile pyproject.toml --quiet --no-cache --universal --python-version 3.12 --generate-hashes"; \
	$$compile --group build --custom-compile-command "make lock" -o requirements.lock; \
	$$compile --group build --group dev --extra azure --extra databricks --extra postgres --extra spark --custom-compile-command "make lock" -c requirements.lock -o requirements-dev.lock; \
	build/lock/bin/uv pip compile benchmarks/peers.in --quiet --no-cache --universal --python-version 3.12 --generate-hashes --custom-compile-command "make lock" -c requirements.lock -o benchmarks/peers.lock; \
	npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --cache build/npm-cache

clean:
	rm -rf .venv node_modules build dist .pytest_cache .ruff_cache .hypothesis
	find lakehouse resources lakehouse_tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
