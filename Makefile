# make demo   the whole pipeline on embedded real data, on this machine's CPU (six to fifteen minutes on two cores)
# make test   the tests
# make check  format, lint, types, import directions, sizes
# make zoo    prune every model of the zoo and compare it with its masked original (half an hour on two cores)
# make bench  measure the demo's dense and pruned network afresh, by a script that shares no code with the package
# Every target but help creates .venv first and fails when what it runs fails.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/yolov8n_digits

# Ultralytics reads these when it is imported.
export YOLO_OFFLINE := true
export YOLO_AUTOINSTALL := false
export YOLO_VERBOSE := false

.PHONY: help demo test check zoo bench
.DEFAULT_GOAL := help

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

demo: $(VENV)/.demo
	$(BIN)/deploy-prune run pipelines/yolov8n_digits.yaml --out $(RUN)

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py tests/test_sizes.py tests/test_readme.py

zoo: $(VENV)/.dev
	$(BIN)/python tests/zoo/run.py --json benchmarks/results/zoo/ours.json --again all

bench: $(VENV)/.demo
	$(BIN)/python benchmarks/measure_again.py $(RUN)

# A stamp is newer than pyproject.toml when its extra was installed as that file asks.
$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
