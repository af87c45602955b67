# Two commands for a fresh machine with Python 3.10 to 3.13:
#   make quick   sets up .venv and runs the whole job on bundled data, in minutes
#   make test    sets up .venv and passes lint and tests
# And make docs builds the documentation into build/docs.
# Another interpreter: make quick PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quick test slow slow-but-longest network lint format docs clean

quick: $(VENV)/.run-ready
	$(BIN)/python reproduce_paper.py --all --preset quick

# Two cores take half the time of one; more workers than four mostly take memory.
test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Killed runs, several workers, a Ray cluster: minutes, in processes of their own, two at a time.
SLOW := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

slow: $(VENV)/.slow-ready
	$(SLOW) -m slow

# Without those that take most of that time, and without Ray.
slow-but-longest: $(VENV)/.test-ready
	$(SLOW) -m "slow and not longest"

# What the network alone can tell: whether data sets and Inception are where they were.
network: $(VENV)/.test-ready
	$(BIN)/python -m pytest -m network

lint: $(VENV)/.test-ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: $(VENV)/.test-ready
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# Strictly: a warning is an error. The variable turns off an advertisement that is no warning.
docs: $(VENV)/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 13) or \
	sys.exit("Python 3.10 to 3.13 is needed (TensorFlow has no other), this is %d.%d: " % v \
	+ "name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run-ready: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.test-ready: requirements.txt requirements-serving.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

$(VENV)/.docs-ready: requirements-docs.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	@touch $@

$(VENV)/.slow-ready: requirements-ray.txt $(VENV)/.test-ready
	$(BIN)/python -m pip install --quiet -r requirements-ray.txt
	@touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
