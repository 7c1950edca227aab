# make run       sets everything up and learns a mixture of four small generated datasets
# make test      sets everything up and runs the tests
# make smollm2   sets everything up, prepares SmolLM2-135M and four real datasets, fine-tunes on them
# make lowest    runs the tests with the lowest versions that pyproject.toml allows
# make lint      checks style, types and what imports what
#
# PYTHON=python3.12 picks the interpreter (3.10 to 3.12), VENV=DIR the place of the environment.

PYTHON ?= python3
VENV ?= .venv
RECIPE = full_finetune_mos_distributed
READY = $(VENV)/ready

.PHONY: help run test lowest smollm2 lint clean

help:
	@sed -n 's/^# //p' Makefile

run: $(READY)
	$(VENV)/bin/mos-tune run --nproc_per_node 2 $(RECIPE) --config tiny_llama3_mos overwrite=True

test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-lowest/bin/uv pip install --python $(VENV)-lowest/bin/python \
		--resolution lowest-direct --editable '.[dev,prepare]'
	OMP_NUM_THREADS=1 $(VENV)-lowest/bin/python -m pytest -n 2 --dist loadfile

smollm2: $(READY)
	$(VENV)/bin/mos-tune prepare smollm2
	$(VENV)/bin/mos-tune run --nproc_per_node 2 $(RECIPE) --config smollm2_135M_mos

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || { \
		echo "mos-tune needs Python 3.10, 3.11 or 3.12, but '$(PYTHON) --version' says:" >&2; \
		$(PYTHON) --version >&2; \
		echo "Name another interpreter, for example: make PYTHON=python3.11 run" >&2; exit 1; }
	@echo "Setting up $(VENV); the first time this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,prepare]'
	@touch $(READY)
