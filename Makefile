# make sweep | make test | make check | make gate | make torture | make docs; the first makes .venv. make gpu needs none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PIP := $(BIN)/pip --quiet --disable-pip-version-check
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM := false

.PHONY: sweep test check gate torture docs gpu clean

sweep: $(STAMP)
	@$(BIN)/python -m harness sweep $(ARGS)

test: $(STAMP)
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy guiders harness reports
	@$(BIN)/python -m pytest -q tests/test_imports.py tests/harness/test_architecture.py

# Ten minutes of kills, faults and bad input from fixed seeds (docs/reliability.md); ARGS=--only=kills for a part.
torture: export OMP_NUM_THREADS = 1
torture: export MKL_NUM_THREADS = 1
torture: $(STAMP)
	@$(BIN)/python -m benchmarks.torture $(ARGS)

# From nothing: records that another decoder left would be taken as this one's. One thread: the models are tiny. Held to
# the recorded baseline (ARGS=--record records it anew), and to what AGAINST's code decodes with the same models.
AGAINST ?= merge-base
gate: export OMP_NUM_THREADS = 1
gate: export MKL_NUM_THREADS = 1
gate: $(STAMP)
	@rm -rf runs/gate
	@$(BIN)/python -m harness sweep preset=gate
	@code=0; \
	$(BIN)/python -m harness gate run=runs/gate $(ARGS) || code=$$?; \
	$(BIN)/python -m harness gate run=runs/gate against=$(AGAINST) || code=$$?; \
	exit $$code

# What docs/ takes from the code: run it where a test says that a page is out of date.
docs: $(STAMP)
	@$(BIN)/python docs/make.py

# What only a GPU can show (docs/gpu.md), with whatever torch and transformers there are: nothing is installed.
gpu:
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu --minutes 8 --out runs/gpu.jsonl $(ARGS)

# torch first and alone, so that the build without CUDA packages is the one that the rest is resolved against; the stamp
# keeps a second run from asking the package index anything.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "error: $(PYTHON) is missing or older than Python 3.11; run make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing into $(VENV) (about two minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt "$(TORCH)" "setuptools>=70,<81"
	@$(PIP) install -c constraints.txt --no-build-isolation -e ".[dev]"
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
