# Everything a fresh machine needs is done here: Python >= 3.11 and make are enough.
# PYTHON=python3.12 make test   uses another interpreter (delete .venv first, or set VENV=).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PYTEST_ARGS ?=
BENCH_ARGS ?=
ARGS ?=
FAULTS_ARGS ?=
TIMES ?= scaled
SEEDS ?= 10000
FROM ?= 0
MUTANTS_ARGS ?=

# The tests start hundreds of processes: where this is set, each of them would compile all code anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-long unit faults check docs lint format types imports mutants simulate screenshots audit bench-limiter bench-planning bench-delivery clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 24

setup: $(STAMP)  ## make the virtual environment .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Deskfeed needs Python >= 3.11; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about a minute, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	    -c constraints.txt -e '.[dev,alerts,audit,flower,postgres]'
	@touch $(STAMP)

demo: setup  ## 2,500 customers from a CSV file into a local Zendesk stand-in, every row accounted for
	@$(BIN)/python -m orchestrations.cli.demo

up: setup  ## Redis, worker, beat, Flower and the sandbox in this terminal; Ctrl-C ends them
	@$(BIN)/deskfeed up --sandbox

test: setup  ## unit tests, simulation, and journeys through a real Redis-compatible server and real workers
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m 'not long' $(PYTEST_ARGS)

test-long: setup  ## the other journeys: every verb, fault, browser and set of processes (.ci/run plays both)
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m long $(PYTEST_ARGS)

unit: setup  ## the unit tests only: seconds, no network
	@$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

faults: setup  ## every fault of docs/faults.md, which gets the table (15 to 25 minutes; TIMES=default: five of them)
	@PYTHONPATH=.:tests $(BIN)/python -m faults.table --times $(TIMES) $(FAULTS_ARGS)

mutants: setup  ## break each promise on purpose: a test must notice (5 to 20 minutes; MUTANTS_ARGS='--list')
	@$(BIN)/python -m tests.mutants $(MUTANTS_ARGS)

simulate: setup  ## many workers in virtual time under seeded faults (20 to 60 minutes; SEEDS=10000 FROM=0)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM)

screenshots: setup  ## the pictures of docs/images, from the demo's data (a minute; needs Chromium)
	@PYTHONPATH=.:tests $(BIN)/python -m screenshots

check: lint types imports  ## ruff, mypy and the import contracts

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

docs: setup  ## write docs/errors.md and docs/runbook.md from the catalogue of codes
	@$(BIN)/python -m worker.explanations docs

format: setup  ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup
	@$(BIN)/mypy
	@$(BIN)/mypy -p benchmarks
	@$(BIN)/mypy -p tools

imports: setup
	@$(BIN)/lint-imports

audit: setup  ## known vulnerabilities in the pinned packages (asks a service; DESKFEED_AUDIT=offline-ok)
	@$(BIN)/python -m tools.audit

bench-limiter: setup  ## measure the limiter beside two libraries (7 minutes; BENCH_ARGS='--seconds 10')
	@$(BIN)/python -m benchmarks.limiter $(BENCH_ARGS)

bench-planning: setup  ## measure planning: a million rows into the ledger (3 minutes; ARGS='--rows 100000')
	@$(BIN)/python -m benchmarks.planning $(ARGS)

bench-delivery: setup  ## measure the whole product (6 minutes; BENCH_ARGS='--users 1500 --workers 2')
	@$(BIN)/python -m benchmarks.delivery $(BENCH_ARGS)

clean:  ## remove the virtual environment, caches and the state folder
	rm -rf $(VENV) .deskfeed .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
