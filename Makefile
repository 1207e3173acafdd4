# Every target does its own set-up. Needs Python 3.11 or newer and make; with npm, `verify` runs the protocol's suite too.
# `setup` and `demo` install what running needs into .venv; every other target adds the development tools.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup dev compiled test verify check unit coverage crash soak laws conformance clients docker-proof gallery pictures demo bench bundle lock upgrade docs format clean

setup:
	@PYTHON='$(PYTHON)' sh scripts/setup.sh run

dev:
	@PYTHON='$(PYTHON)' sh scripts/setup.sh dev

test: check unit

# What takes longer or needs more: kill runs, the network, npm, other programs.
verify: dev
	$(MAKE) --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) crash conformance clients docker-proof
	$(BIN)/pytest -m verify --numprocesses=2 --dist=loadfile tests/verify

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet tests
	$(BIN)/python scripts/write_docs.py --check

# A test may run beside any other of its file: idle workers take tests from busy ones, and long tests come first.
UNIT := -q --numprocesses=4 --dist=worksteal --ignore=tests/crash
unit: compiled
	$(BIN)/pytest $(UNIT)

# The tests start hundreds of processes, each of which would compile Flowport where nothing may write beside the source.
compiled: dev
	@-$(BIN)/python -m compileall -q src tests/fakes tests/support tests/crash

coverage: compiled
	$(BIN)/pytest $(UNIT) --cov --cov-report=term-missing:skip-covered

# What every tool keeps, over thousands of random and hostile definitions; it prints how many. `unit` has it too.
laws: dev
	$(BIN)/pytest -q tests/test_laws.py

# Killed at every point with every fault, and the table of what that cost; without coverage, which every child would pay
# for. `soak` plays ten times as many schedules.
crash: compiled
	$(BIN)/pytest tests/crash

soak: compiled
	$(BIN)/pytest tests/crash --hypothesis-profile=soak

# The protocol's own programs. They need Node 22 or newer, which comes with them on Linux, and npm to fetch them.
CONFORMANCE := tests/conformance
ifeq ($(shell command -v npm),)
conformance:
	@echo "The conformance suite is left out: npm is not installed here."
else
conformance: dev $(CONFORMANCE)/node_modules/.package-lock.json
	$(BIN)/python scripts/conformance.py
endif

$(CONFORMANCE)/node_modules/.package-lock.json: $(CONFORMANCE)/package-lock.json
	cd $(CONFORMANCE) && npm ci --loglevel=error
	touch $@

# Real clients, which list the server that the installer wrote. `verify` leaves them out without npm.
CLIENTS := tests/verify/clients
ifeq ($(shell command -v npm),)
clients:
	@echo "The clients are left out: npm is not installed here."
else
clients: $(CLIENTS)/node_modules/.package-lock.json
endif

$(CLIENTS)/node_modules/.package-lock.json: $(CLIENTS)/package-lock.json
	cd $(CLIENTS) && npm ci --loglevel=error
	touch $@

# The page of the gallery, from `gallery/` into the package; `verify` checks that the committed file is the same.
gallery:
	cd gallery && npm ci --loglevel=error && npm run build

# Every picture of the documentation, in docs/pictures: the gallery in Chromium, with npm, and the terminal.
pictures: dev
	$(BIN)/python scripts/record_terminal.py
	$(BIN)/python scripts/gallery_pictures.py

# The steps of the Dockerfile, without a container engine.
docker-proof: dev
	$(BIN)/python scripts/prove_docker.py

# IMAGE=path uses your own picture. It reaches the shell as a value of the environment, never expanded, so that any file
# name works.
override IMAGE := $(value IMAGE)
export IMAGE
demo: setup
	@$(BIN)/python scripts/demo.py $${IMAGE:+"--image=$$IMAGE"}

# What Claude Desktop and other clients install by a click: the source, and the dependencies by version.
bundle: dev
	$(BIN)/python scripts/publishing.py

bench: dev
	$(BIN)/python scripts/bench

# Versions and hashes without addresses, for every platform: what runs Flowport, and what develops it. `lock` keeps the
# versions that are locked and still fit pyproject.toml; `upgrade` takes the newest of each. Extras stay in the locks:
# without `name[extra]` pip takes the newest release of a name that is required with an extra, and then rejects it.
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-strip-extras \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
lock: dev
	$(LOCK) --group build -o requirements.lock
	$(LOCK) --group build --extra team --constraint requirements.lock -o requirements-team.lock
	$(LOCK) --group dev --constraint requirements.lock -o requirements-dev.lock

upgrade: LOCK += --upgrade
upgrade: lock

# The generated parts of docs/.
docs: dev
	$(BIN)/python scripts/write_docs.py

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv $(CONFORMANCE)/node_modules $(CLIENTS)/node_modules gallery/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
