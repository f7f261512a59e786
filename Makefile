# The course's commands. Everything is installed into .venv (or into the active conda environment called
# lungseg); nothing outside this folder changes.
#   make run        the whole road: install, a first film, data, all notebooks, overlay videos, score tables
#   make film       install, and film one real patient with the course's own weights: a few minutes
#   make lab        open the first notebook in JupyterLab
#   make viewer     a page in the browser that shows scans, and takes one of your own; prints its address
#   make kit        a folder for laptops without a network, from which make run works: outputs/kit, or KIT=DIR
#   make test       unit tests, and every notebook compared with its committed outputs
#   make test-oldest  unit tests with the lowest versions that pyproject.toml allows (PYTHON=python3.11)
#   make pictures   the loop of a real patient and the contact sheet, anew from the shipped weights, to commit them
#   make notebooks  the pictures, and the notebooks executed in place, to commit them
#   make hosted     write REPOSITORY=https://github.com/OWNER/NAME, which Colab and Kaggle clone, into notebooks and README
#   make book       the notebooks as a web site, outputs as committed: outputs/book/site; on one page to print: its print/
#   make times      make run from nothing, in a temporary folder, measured: outputs/times.json
#   make bench      the measurements side by side, six to seven hours; kept in outputs/benchmarks.json
#   make fuzz       20,000 broken scans against the reader (the unit tests hold 2,000)
#   make wheels     ask the index whether every pin has a wheel for each Python and platform
#   make clean      remove what runs made (data, outputs, caches), but not .venv
# TORCH_INDEX=ADDRESS names a further package index that has another build of torch.

PYTHON ?= python3
VENV ?= $(if $(filter lungseg,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/.lungseg-installed
# one whose making was cut short, or which had no ensurepip, has a python without it, and is made anew
HAS_PIP = $(BIN)/python -m pip --version >/dev/null 2>&1
# as the package sets it, for a notebook that imports torch first
export OMP_WAIT_POLICY ?= passive
OLDEST ?= .venv-oldest
KIT ?= outputs/kit
SPHINX = $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c book -d outputs/book/doctrees

.PHONY: run film lab viewer kit test test-oldest fuzz bench times wheels pictures notebooks hosted book clean venv
.DEFAULT_GOAL := run

venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(HAS_PIP) || test ! -d $(VENV)/conda-meta || { echo "no pip in $(VENV); install it there first: conda install pip" >&2; false; }
	@$(HAS_PIP) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "Python 3.11.4 or newer is needed; name one with: make PYTHON=python3.11")'
	@$(HAS_PIP) || $(PYTHON) -m venv $(if $(wildcard $(VENV)/pyvenv.cfg),--clear) $(VENV)
	@TORCH_INDEX="$(TORCH_INDEX)" $(BIN)/python tools/install.py
	@touch $(STAMP)

run: $(STAMP)
	@$(BIN)/python tools/run.py

film: $(STAMP)
	@$(BIN)/lungseg film

lab: $(STAMP)
	$(BIN)/jupyter lab --ServerApp.root_dir=. notebooks/01_preprocessing.ipynb

viewer: $(STAMP)
	@$(BIN)/lungseg viewer

kit: $(STAMP)
	@$(BIN)/python tools/kit.py "$(KIT)"

test: $(STAMP)
	$(BIN)/python -m pytest

# on Linux without a GPU, OLDEST_TORCH=2.13.0 (with TORCH_INDEX) spares gigabytes of CUDA, and torch's floor its test
test-oldest: $(OLDEST)/.lungseg-installed
	$(OLDEST)/bin/python -m pytest -p no:nbval -o addopts= tests

$(OLDEST)/.lungseg-installed: pyproject.toml tools/oldest.py
	@$(PYTHON) -m venv --clear $(OLDEST)
	@OLDEST_TORCH="$(OLDEST_TORCH)" TORCH_INDEX="$(TORCH_INDEX)" $(OLDEST)/bin/python tools/oldest.py
	@touch $@

times: $(STAMP)
	@$(BIN)/python tools/run.py --from-nothing

fuzz: $(STAMP)
	LUNGSEG_FUZZ=thorough $(BIN)/python -m pytest tests/scans/test_fuzz.py -p no:nbval -o addopts=

bench: $(STAMP)
	$(BIN)/python -m benchmarks

wheels: $(STAMP)
	@$(BIN)/python tools/wheels.py

pictures: $(STAMP)
	$(BIN)/python tools/pictures.py

notebooks: pictures
	$(BIN)/lungseg film
	$(BIN)/lungseg phantom
	$(BIN)/python tools/execute.py

hosted: $(STAMP)
	@$(BIN)/python tools/hosted.py "$(REPOSITORY)"

# -E reads every page anew: films and solutions may have changed where a notebook has not
book: $(VENV)/.lungseg-book-installed
	$(SPHINX) -E . outputs/book/site
	$(SPHINX) -b singlehtml . outputs/book/site/print
	@echo "outputs/book/site/index.html"

$(VENV)/.lungseg-book-installed: $(STAMP) book/requirements.lock
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --requirement book/requirements.lock
	@touch $@

clean:
	rm -rf outputs data/phantom data/phantom_100 data/phantom_120 data/phantom_to_real data/first_phantom data/real data/stacks .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
