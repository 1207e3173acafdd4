# Every target does its own set-up. Needs Python 3.11 or newer, pip and make; with npm, `test` runs the protocol's suite too.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test verify check unit crash soak laws conformance docker-proof demo bench lock docs format clean

setup: .venv/installed

.venv/installed: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

test: check unit
	$(MAKE) --jobs=3 --output-sync=target crash conformance docker-proof

# What takes longer or needs more: the network, npm, other programs. tests/verify holds it.
verify: setup
	$(BIN)/pytest -m verify --numprocesses=2 --dist=loadfile tests/verify

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet tests
	$(BIN)/python scripts/write_docs.py --check

unit: setup
	$(BIN)/pytest --numprocesses=3 --dist=loadfile --ignore=tests/crash --cov --cov-report=term-missing:skip-covered

# What every tool keeps, over thousands of random and hostile definitions; it prints how many. `unit` has it too.
laws: setup
	$(BIN)/pytest -q tests/test_laws.py

# Killed at every point with every fault, and the table of what that cost; without coverage, which every child would pay
# for. `soak` plays ten times as many schedules.
crash: setup
	$(BIN)/pytest tests/crash

soak: setup
	$(BIN)/pytest tests/crash --hypothesis-profile=soak

# The protocol's own programs. They need Node 22 or newer, which comes with them on Linux, and npm to fetch them.
CONFORMANCE := tests/conformance
ifeq ($(shell command -v npm),)
conformance:
	@echo "The conformance suite is left out: npm is not installed here."
else
conformance: setup $(CONFORMANCE)/node_modules/.package-lock.json
	$(BIN)/python scripts/conformance.py
endif

$(CONFORMANCE)/node_modules/.package-lock.json: $(CONFORMANCE)/package-lock.json
	cd $(CONFORMANCE) && npm ci --loglevel=error
	touch $@

# The steps of the Dockerfile, without a container engine.
docker-proof: setup
	$(BIN)/python scripts/prove_docker.py

# IMAGE=path uses your own picture; PROVIDER=magica lets the sandbox speak Magica's API.
demo: setup
	$(BIN)/python scripts/demo.py $(if $(IMAGE),--image "$(IMAGE)") $(if $(PROVIDER),--provider "$(PROVIDER)")

bench: setup
	$(BIN)/python scripts/bench

# Versions and hashes without addresses, for every platform: what runs Flowport, and what develops it.
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
lock: setup
	$(LOCK) --group build -o requirements.lock
	$(LOCK) --group dev -o requirements-dev.lock

# The table of variables in the README.
docs: setup
	$(BIN)/python scripts/write_docs.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv $(CONFORMANCE)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
