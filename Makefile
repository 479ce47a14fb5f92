# make sweep | make test | make check | make gate; the first one makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PIP := $(BIN)/pip --quiet --disable-pip-version-check
# the public interfaces; what they call is checked by the tests
TYPED := guiders/__init__.py guiders/models/lm.py guiders/score.py guiders/decoding/generate.py guiders/guider.py guiders/sampling.py \
	guiders/search guiders/token guiders/value/protocol.py guiders/value/explicit.py guiders/value/implicit.py \
	harness/config/schema.py harness/config/compose.py harness/trials/trial.py harness/sweep/plan.py harness/verbs/sweep.py harness/sweep/judging.py \
	harness/records/lines.py harness/records/run_folder.py harness/records/manifest.py harness/models/pool.py harness/config/task_file.py \
	harness/sweep/recorder.py harness/judges/config.py harness/adapters/lm_eval.py harness/adapters/lm_eval_tasks.py \
	harness/adapters/alpaca_eval.py reports/compile.py reports/length_control.py reports/bootstrap.py
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM := false

.PHONY: sweep test check gate clean

sweep: $(STAMP)
	@$(BIN)/python -m harness sweep $(ARGS)

test: $(STAMP)
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(TYPED)
	@$(BIN)/python -m pytest -q tests/test_imports.py

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
