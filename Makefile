# Every target does its own set-up: a virtual environment in .venv, made anew when what it is made from changes.
# Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TESTS_AT_ONCE ?= 2
MADE_FROM := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint format install clean

help:
	@echo "make demo    train a GAN on pictures of clothes, then draw new ones (under 3 minutes after installation)"
	@echo "make test    formatting, types and the quick tests"
	@echo "make slow    every test, also those that take minutes"
	@echo "make lint    formatting and types alone"
	@echo "make clean   remove .venv and the caches"

# torch comes first and alone, so that a failed download of the largest package says so clearly.
$(VENV)/.core: $(MADE_FROM)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"limner needs Python 3.11 or newer; this is {v.major}.{v.minor}. Try: make PYTHON=python3.11")'
	@echo "limner: installing into $(VENV) (the first time takes a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) torch==2.13.0
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@$(PIP) -e ".[dev]"
	@touch $@

install: $(VENV)/.core

demo: $(VENV)/.core
	@answer=$$($(BIN)/limner train clothes --preset cgan --minutes 2.25 --seed 0 --out runs --name demo --json) || exit $$?; \
	run=$$(echo "$$answer" | $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["run"])') && \
	$(BIN)/limner sample "$$run" --count 64 --grid --out "$$run/samples" >/dev/null && \
	echo && \
	echo "New pictures, drawn by the model:   $$run/samples/grid.png" && \
	echo "How it learned, in your browser:    $$run/report.html"

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Two tests at a time, each on one thread: small networks gain little from a second one.
test: lint
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" -n $(TESTS_AT_ONCE) --dist worksteal

slow: $(VENV)/.dev
	@$(BIN)/pytest

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
