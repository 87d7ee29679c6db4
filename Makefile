# Each command makes its own virtual environment from the lock; nothing has to be set up first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
ONCE   ?=
FHIR   ?= simulator
OF     ?= random
FROM   ?= 0
UNTIL  ?= 200000

.PHONY: demo test lint bench simulate lock

$(VENV)/.run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	@$(UV) pip install --quiet --python $(BIN)/python --requirement requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --requirement requirements-dev.lock
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/metriport-adapter demo --fhir $(FHIR) $(if $(ONCE),--once)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy adapter tests
	$(BIN)/lint-imports

test: $(VENV)/.dev
	$(BIN)/python -m tests.side_by_side

bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks -o python_files='bench_*.py' -s

# Goes on where it stopped. OF is random, authors, singles or pairs, of one scenario pairs/received; FROM and UNTIL count seeds, or grounds.
simulate: $(VENV)/.dev
	$(BIN)/python -m tests.simulation --of $(OF) --from $(FROM) --until $(UNTIL)

lock: $(VENV)/.run
	$(UV) pip compile --quiet --universal --no-emit-index-url --no-header --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --universal --no-emit-index-url --no-header --group dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
