# What a newcomer types: `make demo`, `make test`. Both work on a fresh machine with Python 3.11 or newer, pip and make.
# With a C compiler the runtime is compiled; without one it is interpreted, and says so.
#
#   make demo           a few of examples/, then one program on asyncio and on glassloop, side by side
#   make test           everything that must pass: the tests on three runtimes, conformance, lint
#   make build          the compiled package in $(BUILD)/compiled-<tag>, incremental (PYTHON=... BUILD=...)
#   make pure           install the interpreted runtime in an environment of its own, and test it
#   make bench          side by side with asyncio, uvloop and rloop (ARGS=... goes to the script)
#   make conformance    CPython's own asyncio tests on each Python at hand, from 3.11 to 3.15 (PYTHONS=... names more)
#   make soak           ten minutes of everything at random; what is open at the end is what was open (ARGS=...)
#   make ecosystem      the suites of aiohttp, anyio, uvicorn... on asyncio and on glassloop (an hour; ARGS=... goes to the script)
#   make lint           ruff, mypy --strict, cython-lint
#   make sanitize       the tests on a build with the address and undefined-behaviour sanitizers
#   make test-install   install with and without a compiler into fresh environments
#   make clean          remove all of what the above made

PYTHON ?= python3
BUILD ?= build
VENV ?= .venv
ARGS ?=
PYTHONS ?=

PY := $(VENV)/bin/python
PIP = $(1)/bin/python -m pip --disable-pip-version-check -q
BUILD_TOOLS := "setuptools>=77" "Cython>=3.1"
SOURCES := pyproject.toml setup.py $(shell find src/glassloop -type f -not -name '*.pyc')

.PHONY: demo test build pure bench sanitize conformance ecosystem soak lint test-install clean

demo: $(VENV)/.glassloop $(VENV)/.extra-demo
	$(PY) examples/demo.py

test: $(VENV)/.extra-test
	$(PY) setup.py -q build
	$(PY) tests/run.py $(ARGS)

conformance:
	$(PYTHON) tests/conformance/versions.py --build $(BUILD) $(ARGS) $(PYTHONS)

ecosystem: $(VENV)/.extra-test
	$(PY) setup.py -q build
	$(PY) tests/ecosystem/run.py $(ARGS)

sanitize: $(VENV)/.extra-test
	GLASSLOOP_COMPILED=1 GLASSLOOP_SANITIZE=1 $(PY) setup.py -q build --build-base $(BUILD)/sanitize
	$(PY) tests/sanitize.py $(BUILD)/sanitize $(ARGS)

bench: $(VENV)/.glassloop $(VENV)/.extra-bench
	$(PY) bench/run.py $(ARGS)

soak: $(VENV)/.extra-test
	$(PY) setup.py -q build
	$(PY) tests/soak/run.py $(ARGS)

lint: $(VENV)/.extra-lint
	$(PY) -m ruff check
	$(PY) -m mypy
	$(VENV)/bin/cython-lint --no-pycodestyle src

pure: $(VENV)-pure/bin/python
	GLASSLOOP_PURE=1 $(call PIP,$(VENV)-pure) install --no-build-isolation --force-reinstall --no-deps .
	$(VENV)-pure/bin/python -c 'import glassloop; assert not glassloop.compiled; print("interpreted:", glassloop.__file__)'
	$(MAKE) VENV=$(VENV)-pure $(VENV)-pure/.extra-test
	$(VENV)-pure/bin/python tests/run.py interpreted

test-install: $(VENV)/.extra-test
	$(PY) -m pytest --noconftest tests/wheels

# PYTHON itself where it has the tools to build with, else our own environment.
CAN_BUILD := import Cython, setuptools as s; exit(int(s.__version__.split(".")[0]) < 77 or Cython.__version__ < "3.1")
build:
	@if $(PYTHON) -c '$(CAN_BUILD)' 2>/dev/null; then python=$(PYTHON); else $(MAKE) $(PY) && python=$(PY); fi && \
	GLASSLOOP_COMPILED=1 $$python setup.py -q build --build-base $(BUILD)

# An environment with the tools to build with. Debian's Python may come without ensurepip: then pip comes from outside.
%/bin/python:
	$(PYTHON) -m venv $* || { $(PYTHON) -m venv --clear --without-pip $* && $(PYTHON) -m pip --python $@ install pip; }
	$(call PIP,$*) install $(BUILD_TOOLS)

# What one of the extras in pyproject.toml asks for, without the package itself.
EXTRA := import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
         print(*project["optional-dependencies"][sys.argv[1]], sep="\n")
$(VENV)/.extra-%: pyproject.toml | $(PY)
	$(PY) -c '$(EXTRA)' $* > $@.txt
	$(call PIP,$(VENV)) install -r $@.txt
	@mv $@.txt $@

$(VENV)/.glassloop: $(SOURCES) | $(PY)
	$(call PIP,$(VENV)) install --no-build-isolation --force-reinstall --no-deps .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-pure .venv-3.* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.DELETE_ON_ERROR:
.SECONDARY:
