# One environment, .venv, made from hash-locked requirements; `make help` lists what can be done with it.
# Variables: PYTHON (a Python 3.11; found by itself otherwise), ARGS (extra flags for demo, test, test-slow, bench, lock).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# An empty PYTHON lets tools/check-prerequisites choose: python3.11, else a python3 that is a 3.11.
PYTHON ?=
ARGS ?=
UV ?= uv

BIN := .venv/bin
LOCKS := requirements/build.lock requirements/archive.lock requirements/dev.lock
# Twice quiet: errors only, so that each step of the setup is one line.
QUIET ?= -qq
PIP := $(BIN)/python -m pip install $(QUIET) --no-input --disable-pip-version-check
PIP_FAILED := { echo "setup: pip failed (no network?). All that it says: make setup QUIET=" >&2; exit 1; }
# One file per worker: a test file compiles its Theano functions once. Two workers suit two cores; the last -n wins.
# One BLAS thread each: two workers with two threads each would spend their time waiting for one another.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: .venv/.installed ## make .venv from the locked requirements (nothing to do: instant)

.PHONY: demo
demo: .venv/.installed ## train, evaluate and record a small CaGeM-100 on MNIST in minutes (ARGS="--seed 2" adds flags)
	$(BIN)/python run_mnist.py --labels 100 --preset demo $(ARGS)

.PHONY: test
test: lint types ## lint, types and the quick tests
	$(PYTEST) $(ARGS)

.PHONY: test-slow
test-slow: .venv/.installed ## the tests that take minutes
	$(PYTEST) -m "slow and not gpu" --timeout 3600 $(ARGS)

# Engines c and xla beside hand-written JAX and, where it is installed, PyTorch; on a machine that does nothing else.
.PHONY: bench
bench: .venv/.installed ## time the training step and the bound against their peers; JSON in benchmarks/results (ARGS="--rounds 3")
	$(BIN)/python -m benchmarks.step_time --json benchmarks/results/step_time.json $(ARGS)
	$(BIN)/python -m benchmarks.iw_bound --json benchmarks/results/iw_bound.json $(ARGS)

.PHONY: lint
lint: .venv/.installed ## ruff: rules and format, changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: .venv/.installed ## ruff: mend and format in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: .venv/.installed ## mypy
	$(BIN)/mypy parmesan_cagem $(wildcard run_*.py)

.PHONY: lock
lock: ## rewrite requirements/*.lock from *.in with uv (ARGS=--upgrade takes newer versions)
	@command -v "$(UV)" >/dev/null || { echo "missing: uv. Fix: pip install uv, or make lock UV=/path/to/uv" >&2; exit 1; }
	@cd requirements && for name in build archive dev; do \
	    echo "lock: requirements/$$name.lock"; \
	    "$(UV)" pip compile $$name.in --output-file $$name.lock --python-version 3.11 --generate-hashes \
	        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet $(ARGS) || exit 1; \
	done

.PHONY: clean
clean: ## remove .venv and every cache; results stay
	rm -rf .venv build dist parmesan_cagem.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Runs before every target that uses .venv, and rebuilds nothing: Theano wants g++ and Python.h at run time too.
.PHONY: prerequisites
prerequisites:
	@tools/check-prerequisites $(PYTHON) >/dev/null

# Two stamps: the locks make the environment anew, so that nothing they no longer name lingers;
# pyproject.toml only installs our own package again.
.venv/.locked: $(LOCKS) | prerequisites
	@echo "setup 1/4: .venv"
	@$$(tools/check-prerequisites $(PYTHON)) -m venv --clear .venv
	@echo "setup 2/4: what builds Theano and Lasagne (build.lock)"
	@$(PIP) --require-hashes -r requirements/build.lock || $(PIP_FAILED)
	@echo "setup 3/4: Theano, Lasagne, NumPy and the test tools (archive.lock, dev.lock)"
	@$(PIP) --no-build-isolation --require-hashes -r requirements/archive.lock -r requirements/dev.lock || $(PIP_FAILED)
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml | prerequisites
	@echo "setup 4/4: parmesan_cagem"
	@$(PIP) --no-deps --no-build-isolation -e . || $(PIP_FAILED)
	@touch $@
