# make demo   install and train a 3D CNN on 2Dot, then read how it holds up on 5Dot, MNIST and MNIST-bg
# make test   install and run the test suite
# make cluster  the tests that start a Ray cluster and SLURM's daemons on this machine
# make lint   ruff and mypy
# Needs nothing but python3 >= 3.11 (another one: make PYTHON=python3.12 demo).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
DEMO_OUT ?= demo-run

.PHONY: demo test slow cluster lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.train
	$(BIN)/rac-bench run --model 3dcnn --preset quick --digits auto --out $(DEMO_OUT) --resume

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not cluster" $(PYTEST_ARGS)

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -m cluster tests/cluster $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %d.%d: try make PYTHON=python3.12" % v[:2])'
	@$(PYTHON) -m venv $(VENV)

# A stamp is written only after pip succeeded, so an interrupted install is finished by the next call.
$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (PyTorch with CUDA libraries: several GB, once)"
	$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (PyTorch with CUDA libraries: several GB, once)"
	$(PIP) --editable '.[train,models,diving48,audit,export,scale,dev]'
	@touch $(VENV)/.train $@

clean:
	rm -rf $(VENV) $(DEMO_OUT) build dist
