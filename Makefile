# Sets up what is needed (.venv) and starts one command; Snakemake runs the work.

PYTHON ?= python3
# Processes at once; unset, bench takes what affinity and control group leave it.
CORES ?=
AT_ONCE = $(if $(CORES),--cores $(CORES))
STUDY ?= config/demo.yaml
RESULTS ?= results/published/demo
VENV := .venv
# What tables and figures need and nothing else: no torch.
LIGHT := .venv-tables
BIN := $(VENV)/bin
# Exact pins where they were tested; elsewhere the ranges of pyproject.toml, said aloud.
PLATFORM := $(shell uname -s)-$(shell uname -m)
PINS := $(if $(filter Linux-x86_64,$(PLATFORM)),-c requirements.lock,)

export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help demo mini run tables test torture lint format clean

help:
	@echo "make demo               every stage on drawn data, minutes on a laptop (MINIATURE)"
	@echo "make mini DATA=FOLDER   the same on real pictures (SMALL SCALE)"
	@echo "make run STUDY=FILE     a study of your own, or config/paper.yaml"
	@echo "make tables [RESULTS=..] tables and figures of a published study from its counts, without torch"
	@echo "make test               the tests"
	@echo "make torture            pre-trainings of every kind killed at every step and place; twenty minutes"
	@echo "make lint               format, lint, types, import contracts"
	@echo "make format             put the format right"

demo: $(VENV)/.base
	@$(BIN)/python -m bench run --study config/demo.yaml $(AT_ONCE)

mini: $(VENV)/.base
	@test -n "$(DATA)" || { echo "make mini: say where the pictures are, DATA=<folder with imagenette/ and crack/>" >&2; exit 2; }
	@BENCH_DATA="$(abspath $(DATA))" $(BIN)/python -m bench run --study config/mini.yaml $(AT_ONCE)

run: $(VENV)/.base
	@$(BIN)/python -m bench run --study $(STUDY) $(AT_ONCE)

tables: $(LIGHT)/.done
	@PYTHONPATH=. $(LIGHT)/bin/python -m bench regenerate $(RESULTS)

test: $(VENV)/.test
	@$(BIN)/python -m pytest -n $(or $(CORES),$(shell getconf _NPROCESSORS_ONLN)) --dist worksteal

torture: $(VENV)/.test
	@$(BIN)/python -m pytest tests/torture/kills.py tests/torture/grid.py

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check -l 110 Snakefile rules
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/snakemake_lint.py

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt -l 110 Snakefile rules

clean:
	rm -rf results/demo results/mini .snakemake

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

$(LIGHT)/.done: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv $(LIGHT)
	@$(LIGHT)/bin/python -m pip install -q --disable-pip-version-check $(PINS) numpy scipy pandas matplotlib PyYAML
	@touch $@

$(VENV)/.base: pyproject.toml requirements.lock | $(VENV)/bin/python
	@$(call install,.)

$(VENV)/.test: pyproject.toml requirements.lock | $(VENV)/bin/python
	@$(call install,.[test])

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	@$(call install,.[test$(comma)dev])
	@touch $(VENV)/.test

comma := ,
define install
$(if $(PINS),echo "installing $(1) with the pins of requirements.lock (minutes the first time)",echo "installing $(1): no pins for $(PLATFORM); the tested ranges of pyproject.toml serve"); \
$(BIN)/python -m pip install -q --disable-pip-version-check $(PINS) -e "$(1)" && touch $(VENV)/.base $@
endef
