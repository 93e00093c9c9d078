# make demo: a trained flow and its report.  make test: style, types and tests.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Files in the order of their names: by number of tests, the longest would come last. After a crash
# of a worker the others would wait without end for its tests.
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart=0
.DEFAULT_GOAL := help
.PHONY: help demo test test-all tests all-tests lint docs bench clean

help:
	@echo "make demo      install, train a flow on drawn cats and write a report (4 minutes)"
	@echo "make test      install, check style and types, test each feature once (6 minutes on two cores)"
	@echo "make test-all  the same with every test: Slurm, several processes, faults, long runs, pages (35 minutes)"
	@echo "make lint      check style and types only (1 minute)"
	@echo "make docs      build the site of docs/ in build/docs (1 minute)"
	@echo "make bench     compare speed and memory with other packages (2 hours, idle machine)"
	@echo "make clean     remove the environment and built files"
	@echo "Times are without the installation of the environment, which takes some minutes once."

$(VENV)/.user: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(VENV)/.user $@

demo: $(VENV)/.user
	@set -o pipefail; \
	run=$$($(BIN)/innflow-train +experiment=cats_ood | tee >(cat >&2) | tail -n 1) && \
	echo "Report: file://$$run/report.html"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Style and types are checked on one core beside the first tests.
test: $(VENV)/.dev
	$(MAKE) --no-print-directory -j2 lint tests

test-all: $(VENV)/.dev
	$(MAKE) --no-print-directory -j2 lint all-tests

tests: $(VENV)/.dev
	$(PYTEST) -m "not slow and not extended"

all-tests: $(VENV)/.dev
	$(PYTEST)

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -W --keep-going -q -c docs -d build/doctrees . build/docs
	@echo "Site: file://$(CURDIR)/build/docs/index.html"

$(VENV)/.bench: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist src/*.egg-info
