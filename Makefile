# `make demo` and `make test` each do everything from a bare clone: virtual environment, install, run.
# Needs Python >= 3.10; another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-dev
FORKING := tests/pipeline/test_folders.py
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-slow test-all lint format types words demo-model clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

# The environment is made once (pip in it shows that it is whole), and the install repeated only when pyproject.toml changes.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here: install Python >= 3.10 or say PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: $$($(PYTHON) --version) found, Python >= 3.10 wanted: say PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "make: '$(PYTHON) -m venv' failed: on Debian and Ubuntu install python3-venv, or say PYTHON=..." >&2; exit 1; }

$(STAMP): pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV) (once; some minutes, several GB with the CUDA build of torch) ..."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## prune the shipped model on the shipped words, offline, within 5 minutes
	$(BIN)/prune-ssl demo $(ARGS)

docs: $(STAMP)  ## build the documentation site into out/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

test: lint types  ## lint, types, and the fast tests: every law, every command, every refusal
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow' $(ARGS)

test-slow: $(STAMP)  ## the tests that are marked slow: every family, whole runs, kills, wheels
	@# Runs that are killed are forked, which torch forbids once other tests have started its autograd threads.
	$(BIN)/python -m pytest -n $(JOBS) -m slow $(FORKING) $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -n $(JOBS) -m slow $(FORKING:%=--ignore=%) $(ARGS)

test-all: test test-slow  ## both

lint: $(STAMP)  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict, on the package and tools/
	$(BIN)/mypy

format: $(STAMP)  ## apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

words: $(STAMP)  ## make the shipped spoken words anew (espeak-ng)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[words]'
	$(BIN)/python -m tools.make_words $(ARGS)

demo-model: $(STAMP)  ## train the shipped demo model anew on the shipped words
	$(BIN)/python -m tools.train_demo_model $(ARGS)

clean:  ## remove caches and build leftovers (not .venv, not out)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
