# make help says what there is. Needs Python 3.11 or newer, make and git; everything else is fetched by pip.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench tables lock clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO ?= demo
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

test: setup  ## all tests; those on real data need POLYFUSE_TEST_DATA
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

check: setup  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## the measurements behind docs/results (minutes)
	for script in benchmarks/*.py; do $(BIN)/python "$$script" || exit 1; done
	$(BIN)/python -m benchmarks.avmnist

tables: setup  ## docs/results/*.md again from the numbers beside them
	$(BIN)/python benchmarks/retrieval.py --tables
	$(BIN)/python benchmarks/heads.py --tables
	$(BIN)/python benchmarks/noisy_mnist.py --tables
	$(BIN)/python benchmarks/captions.py --tables
	$(BIN)/python benchmarks/peers.py --tables
	$(BIN)/python -m benchmarks.avmnist --tables

lock:  ## resolve pyproject.toml afresh into requirements.lock
	$(PYTHON) -m venv --clear .lock
	.lock/bin/python -m pip install --quiet --dry-run --ignore-installed --report .lock/report.json \
		torch==2.13.0 ".[dev,s3,cluster]"
	.lock/bin/python -m jobs.lock .lock/report.json > requirements.new
	mv requirements.new requirements.lock
	rm -r .lock

clean:  ## remove the environment and the demo
	rm -rf .venv $(DEMO) build *.egg-info
