# SPDX-License-Identifier: Apache-2.0
# make pretrain   environment, then the tiny BERT from raw text to its table (about 2 minutes on 2 cores)
# make test       environment, then the test suite
# make env        the environment alone: .venv, redone when pyproject.toml changes
# make check      what a change must pass besides the tests: lint, format, directions of imports
# make clean      removes the environment and caches; runs/ stays

VENV ?= .venv
PYTHON ?=
RECIPE ?= configs/bert_tiny.py
WORKERS ?= 2

.PHONY: pretrain test env check clean

pretrain: env
	$(VENV)/bin/ssl-jax pretrain $(RECIPE)

test: env
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml launch/env.sh
	@launch/env.sh $(VENV) $(PYTHON)

check: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
