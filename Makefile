PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run the tests, a thread each: small networks gain more by these than by threads.
WORKERS ?= 2

.PHONY: demo test lint format tables bundle

demo: $(VENV)/installed
	$(BIN)/dfkd demo

test: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/developed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: $(VENV)/developed
	$(BIN)/python assets/write_tables.py

bundle: $(VENV)/developed
	$(BIN)/python assets/train_teachers.py

# The folder alone is no sign of success: an interrupted install leaves no stamp.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/developed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/installed
