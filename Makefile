# `make demo` and `make test` are all a newcomer needs; both make `.venv` first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MLX_EXTRA := $(if $(filter Linux,$(shell uname -s)),$(if $(wildcard /dev/nvidiactl),cuda$(comma)cpu,cpu),)
comma := ,
EXTRAS := draft,natural,listen,master,serve,dev$(if $(MLX_EXTRA),$(comma)$(MLX_EXTRA))
STAMP := $(VENV)/.installed
IS_NEW := import sys; sys.exit(sys.version_info < (3, 10))

.PHONY: venv demo test test-long test-browser test-peers check format bench clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	@$(BIN)/python -c '$(IS_NEW)' 2>/dev/null || $(PYTHON) -c '$(IS_NEW)' 2>/dev/null || { \
	echo "voicejobs needs Python 3.10 or newer; $(PYTHON) is" \
	"$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null || echo missing)." \
	"Try: make PYTHON=python3.12 $(or $(MAKECMDGOALS),venv)" >&2; exit 1; }
	@$(BIN)/python -c '$(IS_NEW)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	@touch $@

demo: venv
	$(BIN)/python -m runner demo

# One process more than there are cores: many tests wait for other processes.
test: venv
	$(BIN)/python -m pytest -n $$($(BIN)/python -c "import os; print((os.cpu_count() or 1) + 1)") --dist worksteal

test-long: venv
	$(BIN)/python -m pytest -n 2 -m slow --timeout 7200

# Needs a Chromium: apt-get install chromium, or brew install --cask google-chrome.
test-browser: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[browser]"
	$(BIN)/python -m pytest -m browser -rs

# What needs packages that the default environment lacks; they are installed beside the rest, some 300 MB.
test-peers: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[mlx-audio,analyzer,whisper]"
	$(BIN)/python -m pytest -m peers -rs

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: venv
	$(BIN)/python benchmarks/bench_runner.py
	$(BIN)/python benchmarks/bench_speech.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
