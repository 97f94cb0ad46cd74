# Verbs of this project. `make` or `make help` prints them.

PYTHON ?= python3
VENV := .venv
REFERENCE := .venv-reference
BIN := $(VENV)/bin
BUNDLES := build/bundles
VARIANT ?= untrained-tiny
BUNDLE ?= $(BUNDLES)/$(VARIANT)
FILES ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-reference demo export test check parity latency clean

help: ## print the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.complete ## make .venv with everything but the reference implementations

$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "claprt needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu,export,dev]'
	touch $@

setup-reference: $(REFERENCE)/.complete ## make .venv-reference with laion-clap and transformers, for `make parity`

$(REFERENCE)/.complete: pyproject.toml constraints-reference.txt
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt torch
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt \
	    --editable '.[cpu,export,reference]' pytest resampy
	# torchaudio's compiled part does not load beside a CPU build of torch; its Python part is all that is needed
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt \
	    --no-deps torchaudio
	touch $@

demo: $(BUNDLE)/manifest.json ## embed synthesised sounds (and FILES="…"), show similarities, check the latency
	$(BIN)/python examples/demo.py --bundle $(BUNDLE) $(FILES)
	$(BIN)/claprt latency --bundle $(BUNDLE)

export: $(VENV)/.complete ## export VARIANT=untrained-tiny (or CHECKPOINT=path) to BUNDLE=build/bundles/VARIANT
	$(BIN)/claprt-export $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT),$(VARIANT)) --out $(BUNDLE) --force

$(BUNDLE)/manifest.json: | $(VENV)/.complete
	$(BIN)/claprt-export $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT),$(VARIANT)) --out $(BUNDLE) --force

test: $(VENV)/.complete ## run the tests (offline, no accelerator)
	$(BIN)/python -m pytest

check: $(VENV)/.complete ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

parity: $(REFERENCE)/.complete ## hold everything against laion-clap, transformers and the golden numbers
	$(REFERENCE)/bin/python -m pytest tests/parity tests/unit

latency: $(BUNDLE)/manifest.json ## measure BUNDLE against 100 ms
	$(BIN)/claprt latency --bundle $(BUNDLE)

clean: ## remove what was built (not the environments)
	rm -rf build dist
