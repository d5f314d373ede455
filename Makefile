# Everything a developer types. `make run` and `make test` need only Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run test check docs benchmark clean

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=23"
	$(BIN)/pip install --quiet -e ".[test]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -e ".[dev]"
	touch $@

run: $(VENV)/.installed
	@$(BIN)/python -m mailframe.cli.demo demo
	@exec $(BIN)/twistd -n --pidfile= mailframe -c demo/mailframe.toml

test: $(VENV)/.installed
	$(BIN)/trial tests

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

# As root. BENCHMARK="--docs docs/performance.rst" puts the tables into the documentation.
benchmark: $(VENV)/.installed
	$(BIN)/python -m benchmarks.against_postfix $(BENCHMARK)
	$(BIN)/python -m benchmarks.deep_queue $(BENCHMARK)

clean:
	rm -rf build dist docs/_build _trial_temp* .coverage* *.egg-info
