# Everything from a fresh machine: Python 3.11 or newer and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: climb test test-slow lint bench bench-gpu clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "isoflop needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[lab,parquet,dev]'
	touch $@

climb: $(READY)  ## train a ladder, forecast the next rung, seal it, run it, score it, write the page
	$(BIN)/isoflop climb $(ARGS)

test: $(READY) lint  ## everything CI runs
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(READY)  ## minutes of work: whole climbs, kill -9 at random moments
	$(BIN)/pytest -m slow $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(READY)  ## speed and honesty beside the peers; writes nothing
	$(BIN)/pip install -q -r bench/peers.txt -c constraints.txt
	$(BIN)/python bench/fit.py
	$(BIN)/python bench/coverage.py --jobs 2
	$(BIN)/python bench/cost.py

bench-gpu: $(READY)  ## the ladder for one GPU, with its sealed forecast and score
	$(BIN)/isoflop climb --ladder gpu $(ARGS)

clean:
	rm -rf $(VENV)
