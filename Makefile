# The course's commands. Everything is installed into .venv; nothing outside this folder changes.
#   make run        the whole road: install, data, all notebooks, overlay videos, score table
#   make lab        open the first notebook in JupyterLab
#   make test       unit tests, and every notebook compared with its committed outputs
#   make notebooks  execute the notebooks in place, to commit them
#   make bench      the measurements side by side, about two hours; kept in outputs/benchmarks.json
#   make fuzz       20,000 broken scans against the reader (the unit tests hold 2,000)
#   make clean      remove what runs made (data, outputs, caches), but not .venv

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run lab test fuzz bench notebooks clean venv
.DEFAULT_GOAL := run

venv: $(STAMP)

# imaug asks for opencv-python as well as opencv-python-headless; both write the same folder, and only
# the headless one imports on a machine without a desktop's graphics libraries: so it goes on top.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "Python 3.11.4 or newer is needed; name one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall $$(grep '^opencv-python-headless==' requirements.lock)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(STAMP)

run: $(STAMP)
	$(BIN)/lungseg phantom
	@$(BIN)/lungseg fetch real || echo "the real patient is left out of this run: it could not be fetched (see the line above)"
	$(BIN)/python notebooks/execute.py --out outputs/notebooks
	@echo; echo "overlay videos:"; ls outputs/videos/*.mp4; echo "score table:"; ls outputs/scores/*.csv

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks/01_preprocessing.ipynb

test: $(STAMP)
	$(BIN)/python -m pytest

fuzz: $(STAMP)
	LUNGSEG_FUZZ=thorough $(BIN)/python -m pytest tests/test_fuzz.py -p no:nbval -o addopts=

bench: $(STAMP)
	$(BIN)/python -m benchmarks

notebooks: $(STAMP)
	$(BIN)/lungseg phantom
	@$(BIN)/lungseg fetch real
	$(BIN)/python notebooks/execute.py

clean:
	rm -rf outputs data/phantom data/phantom_to_real data/real data/stacks .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
