# make demo: install, train a flow, write its report.  make test: install and test.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:
	@echo "make demo   install, train a flow on drawn cats (4 minutes), write a report"
	@echo "make test   install, check style and types, run the tests"
	@echo "make bench  install the peers, measure speed and memory of all (idle machine, half an hour)"
	@echo "make clean  remove the environment and build files"

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
	echo "The report: $$run/report.html"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

$(VENV)/.bench: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist src/*.egg-info
