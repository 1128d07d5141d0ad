# `make demo` and `make test` each do everything from a bare clone: virtual environment, install, run.
# Needs Python >= 3.11; another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-dev
TOOLS  := $(VENV)-tools
FORKING := tests/pipeline/test_folders.py
JOBS   ?= 2
SITE_PAGES ?= index get_started reference/commands

OLDEST_PYTHON ?= 3.11
NEWEST_PYTHON ?= 3.13
COMPATIBLE ?= tests/resizing tests/selection tests/tracing/test_tracer.py tests/laws/test_exact_removal.py tests/laws/test_round_trip.py

# $(1) a name, $(2) a version of Python, $(3) the resolution of uv. Old libraries warn of other things than new ones.
define tried
$(TOOLS)/bin/uv venv --quiet --allow-existing --python $(2) $(VENV)-$(1)
$(TOOLS)/bin/uv pip install --quiet --python $(VENV)-$(1) --resolution $(3) -e .
$(TOOLS)/bin/uv pip install --quiet --python $(VENV)-$(1) 'pytest>=9,<10' 'pytest-xdist>=3.6' 'hypothesis>=6.130'
$(VENV)-$(1)/bin/python -m pytest -q -n $(JOBS) -m 'not slow' -W default $(COMPATIBLE) $(ARGS)
endef

.DEFAULT_GOAL := help
.PHONY: help axe demo docs docs-measured test test-slow test-all test-oldest test-newest lint format types audit sbom words demo-model clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

# The environment is made once (pip in it shows that it is whole), and the install repeated only when pyproject.toml changes.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here: install Python >= 3.11 or say PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version) found, Python >= 3.11 wanted: say PYTHON=/path/to/python3" >&2; exit 1; }
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

axe: docs  ## axe-core on pages of the site, and on PAGES=...: reports, comparisons (needs npm and Chromium)
	npm install --silent --no-audit --no-fund --prefix out/axe axe-core@4 puppeteer-core@24
	NODE_PATH=out/axe/node_modules node tools/axe.cjs $(SITE_PAGES:%=out/site/%.html) $(PAGES)

docs-measured: $(STAMP)  ## repeat the figures of README and docs that fit an hour: ARGS=--fast for those that take moments
	$(BIN)/python benchmarks/docs_measured.py $(ARGS)

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

test-oldest: $(TOOLS)/bin/uv  ## install the oldest allowed versions (Python 3.11, uv), and run some tests with them
	$(call tried,oldest,$(OLDEST_PYTHON),lowest-direct)

test-newest: $(TOOLS)/bin/uv  ## the same with the newest allowed versions (Python 3.13)
	$(call tried,newest,$(NEWEST_PYTHON),highest)

$(TOOLS)/bin/uv: | $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check --quiet 'uv>=0.8'

$(TOOLS)/bin/python:
	$(PYTHON) -m venv $(TOOLS)

# The tools have an environment of their own, so that they change none of the versions that they look at.
$(TOOLS)/bin/pip-audit: | $(TOOLS)/bin/python
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check --quiet 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8'

audit: $(STAMP) $(TOOLS)/bin/pip-audit  ## known weaknesses of the installed packages (needs the network)
	@mkdir -p out && rm -f out/audit.json
	$(TOOLS)/bin/pip-audit --progress-spinner off --format json --output out/audit.json \
	  --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || [ -s out/audit.json ]
	$(BIN)/python -m tools.read_audit out/audit.json

sbom: $(STAMP) $(TOOLS)/bin/pip-audit  ## a CycloneDX bill of all installed packages: out/sbom.json
	@mkdir -p out
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --of JSON -o out/sbom.json $(BIN)/python

words: $(STAMP)  ## make the shipped spoken words anew (espeak-ng)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[words]'
	$(BIN)/python -m tools.make_words $(ARGS)

demo-model: $(STAMP)  ## train the shipped demo model anew on the shipped words
	$(BIN)/python -m tools.train_demo_model $(ARGS)

clean:  ## remove caches and build leftovers (not .venv, not out)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
