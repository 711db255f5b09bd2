# Everything runs in .venv inside the checkout; `make` alone lists the targets.
PYTHON ?= python3
TORCH ?= 2.11.0
TORCHVISION ?= 0.26.0
# tests run at a time; each works with one thread
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := $(wildcard mmbackbones tools configs tests benchmarks)
CAMPAIGNS := files weights data options kills

.PHONY: help install demo test quick exhaustive campaign lint clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo     install, then train, evaluate and draw a small ODConv Mask R-CNN on generated images'
	@echo 'make test     install, then run all tests'
	@echo 'make quick    install, then run the tests that take less than ten seconds each'
	@echo 'make exhaustive  install, then test every network of other libraries (half an hour)'
	@echo 'make campaign  install, then kill, attack and mistype as docs/reliability.md says (two hours), and write it'
	@echo 'make lint     install, then check the style of the code'
	@echo 'make install  only install, into .venv'
	@echo 'make clean    remove .venv, the generated data and the work directories of the demo'
	@echo
	@echo 'Variables: PYTHON=$(PYTHON) (3.10 to 3.12), TORCH=$(TORCH), TORCHVISION=$(TORCHVISION),'
	@echo 'WORKERS=$(WORKERS), for example: make demo PYTHON=python3.11'

install: $(VENV)/.ready

demo: $(VENV)/.ready
	$(BIN)/python tools/demo.py

test: $(VENV)/.ready
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist worksteal --durations=20

quick: $(VENV)/.ready
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist worksteal -m 'not slow and not exhaustive'

exhaustive: $(VENV)/.ready
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist worksteal -m exhaustive

# long forms; what they find is said where it happens, and all of them run before the command fails
campaign: $(VENV)/.ready
	@for name in $(CAMPAIGNS); do \
	    $(BIN)/python benchmarks/reliability/$$name.py --json work_dirs/campaign/$$name.json || failed=1; done; \
	$(BIN)/python benchmarks/reliability/report.py $(CAMPAIGNS:%=work_dirs/campaign/%.json) && test -z "$$failed"

lint: $(VENV)/.ready
	$(BIN)/flake8 $(SOURCES)
	$(BIN)/isort --check $(SOURCES)
	$(BIN)/yapf --diff --recursive $(SOURCES)
	$(BIN)/codespell $(SOURCES) $(wildcard *.md *.toml *.cfg docs Makefile .ci)

clean:
	rm -rf $(VENV) data/shapes work_dirs/demo

# Steps that are done already are quick for pip, so after a failure the same command goes on where it stopped.
$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	    echo 'error: Python 3.10, 3.11 or 3.12 is needed, but PYTHON=$(PYTHON) is:' "$$($(PYTHON) --version 2>&1 | head -n 1)"; \
	    echo 'Name a fitting one, for example: make $(MAKECMDGOALS) PYTHON=python3.11'; exit 1; }
	@rm -f $@
	@echo '[1/5] Creating $(VENV)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo '[2/5] Installing torch $(TORCH) and torchvision $(TORCHVISION) (a large download)'
	@$(PIP) torch==$(TORCH) torchvision==$(TORCHVISION)
	@echo '[3/5] Installing the build tools'
	@$(PIP) 'setuptools>=77,<81' wheel ninja
	@echo '[4/5] Building mmcv with its operators (about ten minutes on 2 cores, silent until done)'
	@MMCV_WITH_OPS=1 $(PIP) --no-build-isolation 'onedl-mmcv>=2.3,<2.4'
	@echo '[5/5] Installing mmbackbones and what it needs'
	@$(PIP) --no-build-isolation --editable '.[onedl,test]'
	@$(BIN)/python -c 'import cv2' || { \
	    echo 'error: OpenCV lacks a system library (named above). On Debian and Ubuntu:'; \
	    echo '    apt-get install libgl1 libglib2.0-0'; exit 1; }
	@touch $@
	@echo 'Installed into $(VENV).'
