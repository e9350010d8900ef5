# Thin targets, each a single step. `make demo` and `make test` need nothing but Python 3.10+ with venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TORCH ?=
# For `make demo`. What is for tests and checks comes on top: tools, and pipelines that bring large libraries along.
INSTALLED = $(VENV)/.installed
PACKAGES = runner studio samples pipelines/noop pipelines/noop-entrypoint
DEVELOP = $(VENV)/.develop
PIPELINES = $(filter-out $(PACKAGES),$(patsubst %/pyproject.toml,%,$(wildcard pipelines/*/pyproject.toml)))
ALL = $(PACKAGES) $(PIPELINES)
# Not quiet: it downloads up to gigabytes, and shows how far it has come.
PIP = $(BIN)/python -m pip install --disable-pip-version-check
# An environment for each package's build would take most of the time: the build backend is installed once.
EDITABLE = $(PIP) $(TESTED) --no-build-isolation
BUILD_BACKEND = hatchling editables
TESTED = $(if $(TORCH),,-c constraints.txt)

# Tests run in that many processes, one more than there are cores: most of them wait for others.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Targets to finish before the tests that are not quick: .ci/run installs image-tools.
TEST_NEEDS ?=
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
BENCHMARKS ?= frame_path pipelines media preview startup runner_start reload soak trickle

# What others use on the network, for tests only: without its requirements, which clash with ours.
PYTRICKLE = $(VENV)/pytrickle/.installed

# The original of the streamdiffusion pipeline, for tests only: it pins libraries that no longer work together.
STREAMDIFFUSION = $(VENV)/streamdiffusion/.installed

# For two of the samples: without most of its requirements, which clash with ours; it has wheels for these machines only.
MEDIAPIPE = $(VENV)/.mediapipe
MEDIAPIPE_ON = python_version < "3.13" and platform_machine == "x86_64" and sys_platform == "linux"

# Hundreds of processes import this repository's packages: they share the compiled files.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install develop demo test test-quick test-rest lint types check format bench images image-tools clean

install: $(INSTALLED)

develop: $(DEVELOP)

$(INSTALLED): constraints.txt $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@echo "Installing into $(VENV), once: torch and the other libraries are large, so this takes minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/python -m pip install $(TORCH))
	$(PIP) $(BUILD_BACKEND)
	$(EDITABLE) $(PACKAGES:%=-e ./%)
	@touch $@

$(DEVELOP): $(INSTALLED) requirements-dev.txt $(PIPELINES:%=%/pyproject.toml)
	$(PIP) $(TESTED) -r requirements-dev.txt
	$(EDITABLE) $(PIPELINES:%=-e ./%)
	@touch $@

demo: $(INSTALLED)
	$(BIN)/ai-runner-studio --pipeline-import ai_runner_samples.cartoon.pipeline:Cartoon --input bunny

$(PYTRICKLE): $(DEVELOP)
	$(PIP) --no-deps --upgrade --target $(@D) pytrickle==0.1.6
	@touch $@

$(STREAMDIFFUSION): $(DEVELOP)
	$(PIP) --no-deps --upgrade --target $(@D) streamdiffusion==0.1.1
	@touch $@

$(MEDIAPIPE): $(DEVELOP)
	$(PIP) -e './samples[mediapipe]'
	$(PIP) --no-deps 'mediapipe==0.10.21; $(MEDIAPIPE_ON)'
	@touch $@

test: test-quick $(TEST_NEEDS)
	$(MAKE) test-rest

test-quick: $(DEVELOP)
	$(PYTEST) -m quick

test-rest: $(DEVELOP) $(PYTRICKLE) $(MEDIAPIPE) $(STREAMDIFFUSION)
	$(PYTEST) -m "not quick"

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEVELOP)
	$(BIN)/mypy $(ALL:%=%/src) benchmarks docker/context.py

check: lint types test

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# For the tests that build and run a container image; only as root on Debian, else they are skipped.
image-tools:
	.ci/install-image-tools
	$(PYTHON) studio/tests/functional/image_base.py $(VENV)/image-base

bench: $(DEVELOP)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

images: $(DEVELOP)
	$(MAKE) -C docker live-app-noop PYTHON=$(abspath $(BIN))/python

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
