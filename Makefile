# Everything a contributor or a user types. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# Some shells and images forbid Python to keep what it compiled; every start of ours then compiles 4,700 modules again:
# 2.5 s of CPU a process with Dagster in it, of 5.5.
unexport PYTHONDONTWRITEBYTECODE

# The first Python 3.11–3.13 there is; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)

RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode
COMPILE := $(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links

.PHONY: help install run test soak lint format bench docs locks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv: requirements/bootstrap.lock
	@test -n "$(PYTHON)" || { echo "Azak needs Python 3.11, 3.12 or 3.13 on the PATH; install one, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@echo "→ creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

$(RUN_STAMP): $(BIN)/uv requirements/base.lock pyproject.toml
	@echo "→ installing from requirements/base.lock"
	@$(UV) --require-hashes -r requirements/base.lock
	@$(UV) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements/dev.lock
	@echo "→ installing from requirements/dev.lock"
	@$(UV) --require-hashes -r requirements/dev.lock
	@touch $@

install: $(RUN_STAMP) ## install into .venv from the hashed lock

PORT ?= 3000

run: $(RUN_STAMP) ## start everything and open the Dagster UI (PORT=3001 for another port); Ctrl-C stops it
	@exec $(BIN)/azak up --port $(PORT)

# Where tests of a pace stand; they run alone, and to collect all others would take as long.
TIMED := tests/sources/test_sources_collect.py tests/warehouse/calls/test_rate_limit.py

# By another name: make runs a line with its own name in it in a dry run too.
LINT := $(MAKE) --no-print-directory lint

test: $(DEV_STAMP) ## install, then lint, types, import rules, dbt tests and pytest
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; trap 'kill "$$lint"; exit 130' INT TERM; \
	$(LINT) >"$$log" 2>&1 & lint=$$!; \
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 10 -m 'not soak and not timing'; tests=$$?; \
	wait "$$lint"; linted=$$?; cat "$$log"; \
	[ "$$linted" -eq 0 ] || echo "make lint failed: see above"; \
	exit $$((tests ? tests : linted))
	$(BIN)/pytest -m timing $(TIMED)

soak: $(DEV_STAMP) ## kill runs and steps everywhere, 10,000 damaged answers a question, the recorded January twice (over an hour)
	$(BIN)/pytest -n 2 --dist loadfile --durations 20 -m soak

lint: $(DEV_STAMP) ## ruff, mypy, import rules and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint azak_dbt/models azak_dbt/tests

format: $(DEV_STAMP) ## rewrite files in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix azak_dbt/models azak_dbt/tests

bench: $(DEV_STAMP) ## measure the bars of speed; results in benchmarks/results
	$(BIN)/python -m benchmarks

docs: $(DEV_STAMP) ## write docs/erd.md and docs/dictionary.md from the catalogue of a new database
	$(BIN)/azak db docs

locks: $(BIN)/uv ## resolve the locks again after a change of pyproject.toml
	$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.lock
	$(COMPILE) pyproject.toml -o requirements/base.lock
	$(COMPILE) pyproject.toml --group dev -c requirements/base.lock -o requirements/dev.lock

clean: ## remove .venv and caches; data under .azak stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache azak_dbt/target azak_dbt/logs
