# Thin targets, each a single step. `make demo` and `make test` need nothing but Python 3.10+ with venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TORCH ?=
INSTALLED = $(VENV)/.installed
PACKAGES = runner studio samples $(patsubst %/pyproject.toml,%,$(wildcard pipelines/*/pyproject.toml))
BENCHMARKS ?= frame_path media preview startup runner_start reload soak trickle

# What others use on the network, for tests only: without its requirements, which clash with ours.
PYTRICKLE = $(VENV)/pytrickle/.installed

.PHONY: install demo test lint types check format bench images image-tools clean

install: $(INSTALLED)

$(INSTALLED): constraints.txt requirements-dev.txt $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/python -m pip install $(TORCH))
	$(BIN)/python -m pip install -q $(if $(TORCH),,-c constraints.txt) -r requirements-dev.txt $(PACKAGES:%=-e ./%)
	@touch $@

demo: $(INSTALLED)
	$(BIN)/ai-runner-studio --pipeline-import ai_runner_samples.cartoon.pipeline:Cartoon --input bunny

$(PYTRICKLE): $(INSTALLED)
	$(BIN)/python -m pip install -q --no-deps --upgrade --target $(@D) pytrickle==0.1.6
	@touch $@

test: $(INSTALLED) $(PYTRICKLE)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy $(PACKAGES:%=%/src) benchmarks docker/context.py

check: lint types test

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# For the tests that build and run a container image; only as root on Debian, else they are skipped.
image-tools:
	.ci/install-image-tools

bench: $(INSTALLED)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

images: $(INSTALLED)
	$(MAKE) -C docker live-app-noop PYTHON=$(abspath $(BIN))/python

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
