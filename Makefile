# make help says what there is. Needs Python 3.11 or newer, make and git; everything else is fetched by pip.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check audit bench fuzz chaos tables lock clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO ?= demo
# Those that keep their numbers beside the page, and the others.
TABLES := retrieval heads captions noisy_mnist peers avmnist scale commit_cost reliability speed video_decode scaling stored_speed index_speed
BENCHMARKS := $(TABLES) planning fit_memory placement
# Real data for the tests, where it lies beside the checkout.
export POLYFUSE_TEST_DATA ?= $(abspath $(wildcard ../shared/data))

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## a virtual environment in .venv with exactly what requirements.lock says

# torch first and with its own dependencies: they differ between its CPU and its CUDA builds.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	$(BIN)/python -m jobs.doctor --fix
	@touch $@

demo: setup  ## write a small corpus, embed and index it, search it by picture, sound and text
	$(BIN)/python -m jobs.demo $(DEMO)

# Many tests wait, for Ray to start or for a deadline: one more process than cores keeps these busy.
TESTERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 4 ? cores + 1 : 4)))

test: setup  ## all tests; those on real data need POLYFUSE_TEST_DATA
	$(BIN)/python -m pytest -n $(TESTERS) --max-worker-restart=0 --dist loadscope --no-loadscope-reorder $(PYTEST_OPTIONS)

check: setup audit  ## formatting, lint, types, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# An environment of its own: the auditor's thirty packages are none of ours, and would be in the lock.
audit: setup  ## known vulnerabilities in requirements.lock, where the network allows
	@test -x .audit/bin/pip-audit || { $(PYTHON) -m venv --clear .audit && timeout 60 .audit/bin/python -m pip \
		install --quiet --disable-pip-version-check --retries 0 --timeout 5 pip-audit==2.10.1; } >/dev/null 2>&1 || true
	@$(BIN)/python -m jobs.audit .audit/bin/pip-audit

bench: setup  ## the measurements behind docs/results (minutes)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

fuzz: setup  ## 50,000 mutated media through whole runs, 20,000 mutated files of ours (an hour); docs/results/fuzz*.md
	$(BIN)/python -m chaos.fuzz
	$(BIN)/python -m chaos.files

chaos: setup  ## 500 processes killed in whole runs (an hour); writes docs/results/kills.md
	$(BIN)/python -m chaos.kills

tables: setup  ## docs/results/*.md again from the numbers beside them
	for name in $(TABLES); do $(BIN)/python -m benchmarks.$$name --tables || exit 1; done
	$(BIN)/python -m chaos.kills --tables

lock:  ## resolve pyproject.toml afresh into requirements.lock
	$(PYTHON) -m venv --clear .lock
	.lock/bin/python -m pip install --quiet --dry-run --ignore-installed --report .lock/report.json \
		torch==2.13.0 ".[dev,s3,cluster]"
	.lock/bin/python -m jobs.lock .lock/report.json > requirements.new
	mv requirements.new requirements.lock
	rm -r .lock

clean:  ## remove the environment and the demo
	rm -rf .venv .audit $(DEMO) build *.egg-info
