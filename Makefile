# Every target is a few plain `python ...` commands: the README lists them for users without make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help setup demo test lint docs lock clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(VENV)/installed ## set up .venv from requirements.txt (uv where present, else pip)

$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; use make PYTHON=python3.12 ..."; exit 2; }
ifneq ($(UV),)
	uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
	uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.txt
	uv pip install --quiet --python $(BIN)/python --no-deps --editable .
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
	@touch $@

demo: setup ## the whole way once: simulate, train, infer, analyze, report (10 minutes at most on two cores)
	$(BIN)/python simulate.py simulation=demo_movie output=demo_movie.h5 overwrite=true
	$(BIN)/python train.py experiment=demo
	$(BIN)/python infer.py run=latest input=demo_movie.h5
	$(BIN)/python analyze.py run=latest

test: setup ## the test suite (under 10 minutes on two cores)
	$(BIN)/python -m pytest -n 2

lint: setup ## style, types and links of the documents: ruff, basedpyright, docs/check_links.py
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m basedpyright --level error --pythonpath $(BIN)/python
	$(BIN)/python docs/check_links.py

docs: $(VENV)/docs-installed ## the documentation site, in site/ (the first time installs the extra `docs`)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

$(VENV)/docs-installed: $(VENV)/installed
ifneq ($(UV),)
	uv pip install --quiet --python $(BIN)/python --editable '.[docs]'
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
endif
	@touch $@

lock: ## lock requirements.txt and requirements-cuda.txt again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy requires-python --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links requirements.in -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy requires-python --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links requirements-cuda.in -o requirements-cuda.txt

clean: ## remove .venv and caches (never runs/)
	rm -rf $(VENV) .pytest_cache .ruff_cache build site *.egg-info
