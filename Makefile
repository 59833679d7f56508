# Every target sets up what it needs: a virtual environment in .venv with the package built and installed in it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One thread per process: the test and demo programs choose their own parallelism.
export OMP_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env demo test quick fuzz lint format bench results clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

env: $(VENV)/.installed  ## build the package and install it, with the development tools, into .venv

demo: env  ## adapt all three regimes to California housing, beside ridge and boosted trees
	$(BIN)/python -m amortix.demo

test: env  ## run every test: Rust, then Python (slow ones included)
	cargo test --workspace --locked --quiet
	$(BIN)/python -m pytest

quick: env  ## run the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

fuzz:  ## read files of random damage for a minute; AMORTIX_FUZZ_SEED chooses which
	AMORTIX_FUZZ_SECONDS=60 cargo test --release --package amortix-core --test fuzz -- --nocapture

lint: env  ## check format, style and types of Rust and Python
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	cd python && ../$(BIN)/python -m mypy.stubtest amortix._core

format:  ## rewrite the sources in the project's format
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: env  ## run the asv benchmarks of the working tree
	cd benches && ../$(BIN)/asv machine --yes --config asv.conf.json >/dev/null
	cd benches && ../$(BIN)/asv run --config asv.conf.json --python=same --quick --show-stderr

LINEAR = $(BIN)/amortix evaluate --family linear --dim 8 --batch 32 --points 64 --json
results: env  ## measure what README states, into benches/results (about half an hour)
	$(BIN)/python -m amortix.demo --plot benches/results/california.png --results benches/results/california.jsonl
	for regime in parametric explicit implicit; do \
	  $(LINEAR) --regime $$regime --steps 1,10,100 --tasks 1024 && \
	  $(LINEAR) --regime $$regime --steps 1000 --tasks 128 || exit 1; \
	done > benches/results/linear.jsonl

clean:  ## remove everything that was built
	rm -rf $(VENV) target dist .pytest_cache .ruff_cache .hypothesis
