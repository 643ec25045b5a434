# Needs python3 (3.11 or newer) and make. Every target sets up what it runs in.

PYTHON ?= python3
VENV ?= .venv
OLDEST_VENV ?= .venv-oldest
NEWEST_VENV ?= .venv-newest
# What the newest versions are tested with: make test-newest NEWEST_PYTHON=python3.13
NEWEST_PYTHON ?= $(PYTHON)
DOC_VENV ?= .venv-doc
INTEGRATION_VENV ?= .venv-integration
# Passed on to pytest: make test ARGS="-k mesh --run-slow"
ARGS ?=
# Test processes. Each gets one thread: several torch pools on the same cores slow each other down.
JOBS ?= 2

STAMP := $(VENV)/.installed
OLDEST_STAMP := $(OLDEST_VENV)/.installed
NEWEST_STAMP := $(NEWEST_VENV)/.installed
DOC_STAMP := $(DOC_VENV)/.installed
INTEGRATION_STAMP := $(INTEGRATION_VENV)/.installed
PACKAGES := -c constraints.txt -e ".[test,plot,browser]" ruff
OLDEST_PACKAGES := -c .ci/oldest.txt -e ".[test]"
NEWEST_PACKAGES := --upgrade -e ".[test,plot]"
INTEGRATION_PACKAGES := -c .ci/integration.txt -e ".[test,integration]"
DOC_PACKAGES := -c constraints.txt -e ".[doc]"
# Of the demonstration, which takes minutes, every line on a few rows.
EXAMPLES := "examples/demo.py --rows 400 --seeds 2" $(sort $(wildcard examples/*/plot_*.py))
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

export MPLBACKEND ?= Agg
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-device lint coverage doctest examples test-oldest test-newest test-integration doc clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# $(call make_venv,FOLDER,PIP ARGUMENTS): the stamp is touched last, so a broken install is redone.
# Modules are compiled when they are first imported: most of what is installed never is.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit("iconlearn needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --no-compile $(2)
	@touch $(1)/.installed
endef

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(call make_venv,$(VENV),$(PACKAGES))

$(OLDEST_STAMP): setup.cfg pyproject.toml .ci/oldest.txt
	$(call make_venv,$(OLDEST_VENV),$(OLDEST_PACKAGES))

$(NEWEST_STAMP): PYTHON := $(NEWEST_PYTHON)
$(NEWEST_STAMP): setup.cfg pyproject.toml
	$(call make_venv,$(NEWEST_VENV),$(NEWEST_PACKAGES))

$(DOC_STAMP): setup.cfg pyproject.toml constraints.txt
	$(call make_venv,$(DOC_VENV),$(DOC_PACKAGES))

$(INTEGRATION_STAMP): setup.cfg pyproject.toml .ci/integration.txt
	$(call make_venv,$(INTEGRATION_VENV),$(INTEGRATION_PACKAGES))

demo: $(STAMP) ## fit the estimators on small data and save a picture
	$(VENV)/bin/python examples/demo.py

test: $(STAMP) ## run the tests; ARGS="..." goes to pytest
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -q -n $(JOBS) $(ARGS)

test-device: $(STAMP) ## run the tests with device="auto" meaning a CUDA device in the CPU's memory
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -q -n $(JOBS) --device=pretended $(ARGS)

lint: $(STAMP) ## check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

coverage: $(STAMP) ## run the tests and say which lines they leave out
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -q -n $(JOBS) --cov --cov-report=term $(if $(ARGS),,--cov-fail-under=95) $(ARGS)

# Triton, which the kernels are written in, is not everywhere.
doctest: $(STAMP) ## run the examples in the docstrings
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -q -n $(JOBS) --doctest-modules iconlearn --ignore=iconlearn/numerics/fused

examples: $(STAMP) ## run every example; shows the output of those that fail
	$(ONE_THREAD) $(VENV)/bin/python .ci/examples.py $(JOBS) $(EXAMPLES) </dev/null

test-oldest: $(OLDEST_STAMP) ## run the scikit-learn checks, and those of graphs, with the oldest supported versions
	$(ONE_THREAD) $(OLDEST_VENV)/bin/python -m pytest -q -n $(JOBS) tests/test_sklearn.py tests/test_graphs.py $(ARGS)

test-newest: $(NEWEST_STAMP) ## run the tests with the newest published versions, by NEWEST_PYTHON (a large download)
	$(ONE_THREAD) $(NEWEST_VENV)/bin/python -m pytest -q -n $(JOBS) $(ARGS)

test-integration: $(INTEGRATION_STAMP) ## run the tests with scanpy, BERTopic and other tools (a large download)
	$(ONE_THREAD) $(INTEGRATION_VENV)/bin/python -m pytest -q tests/integration $(ARGS)

doc: $(DOC_STAMP) ## draw the pictures of the periodic table and build the documentation (some minutes)
	$(DOC_VENV)/bin/python doc/make_periodic_table.py
	$(DOC_VENV)/bin/python doc/make_pictures.py
	$(DOC_VENV)/bin/python -m sphinx -W --keep-going -b html doc doc/_build/html

clean: ## remove environments, caches and builds
	rm -rf $(VENV) $(OLDEST_VENV) $(NEWEST_VENV) $(DOC_VENV) $(INTEGRATION_VENV) build dist *.egg-info examples/output doc/_build doc/generated doc/auto_examples
	rm -rf doc/pictures doc/benchmarks.md
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
