# Everything here needs Python >= 3.11 and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help install compiled tools demo test check format lint types imports bench bench-gate bench-peers soak lock wheel clean

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
DEMO_DIR ?= demo-output
TEST_JOBS ?= 2

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## set up .venv with pinned, hashed dependencies and .venv/bin/harvester

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q harvester
	@touch $@

compiled: install  ## the hot path as C extensions, an eighth less CPU a tile (a minute; needs a C compiler)
	$(BIN)/python -m harvester.compiled.build
	@$(BIN)/python -m compileall -q harvester benchmarks

TOOLS_STAMP := .venv-tools/.installed

tools: $(TOOLS_STAMP)  ## .venv-tools: MapProxy, tpkutils and vtpk-reader, which read what we write in tests

$(TOOLS_STAMP): requirements-tools.lock
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x .venv-tools/bin/python || $(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-tools.lock
	@touch $@

demo: install  ## harvest the embedded tile service into demo-output/ (MBTiles, tpkx, a picture)
	$(BIN)/harvester demo --output $(DEMO_DIR)

test: install  ## every test, and every benchmark once
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal -q

check: format lint types imports test  ## what CI runs: format, lint, strict types, import rules, tests

format: install
	$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }

lint: install
	$(BIN)/ruff check --quiet .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

bench: compiled  ## time the hot paths: medians and spread (BENCH="NAME ... --runs N --save")
	$(BIN)/python -m benchmarks $(BENCH)

bench-gate: compiled  ## measure the ratios of benchmarks/budgets.toml; fails when one is missed
	$(BIN)/python -m benchmarks.gate $(BENCH)

PEERS_STAMP := .venv-peers/.installed

bench-peers: compiled $(PEERS_STAMP)  ## what people would take instead, measured beside ours (PEERS="--runs N --save")
	$(BIN)/python -m benchmarks.peers $(PEERS)

$(PEERS_STAMP): requirements-peers.lock
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-peers.lock
	@touch $@

soak: install  ## a million tiles with 5 % faults, 1000 kills, power cuts, every promise checked (SOAK="--kills 1000")
	$(BIN)/python -m benchmarks.soak $(SOAK)

lock: install  ## pin the dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--group dev pyproject.toml -o requirements.lock --custom-compile-command "make lock" --quiet
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--group tools -o requirements-tools.lock --custom-compile-command "make lock" --quiet
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--group peers -o requirements-peers.lock --custom-compile-command "make lock" --quiet

wheel: install  ## dist/tile_harvester-*.whl, for people without make
	$(BIN)/python -m build --no-isolation --wheel --outdir dist

clean:  ## remove what make made
	rm -rf .venv .venv-tools .venv-peers .peers dist build $(DEMO_DIR) .pytest_cache .mypy_cache .ruff_cache .hypothesis
