# Two commands for a newcomer: make demo, make test. Each makes its own environment in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow fuzz lint format bench lock reference clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP)  ## the environment alone

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "segment-tiles needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $(STAMP)

demo: install  ## a real scene through the bundled model; results in segment-tiles-demo/
	$(BIN)/segment-tiles demo --out segment-tiles-demo

test: install  ## the whole suite, under 15 minutes on 2 cores
	@# hundreds of tests start the program: where PYTHONDONTWRITEBYTECODE is set each would compile it again
	$(BIN)/python -m compileall -q pipeline workflows cli
	@# two processes, which compute in one thread each; more at once would need more memory
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: install  ## checks that take minutes each
	$(BIN)/python -m pytest -m slow --timeout 3600

SEED  ?= 1
COUNT ?= 1000
fuzz: install  ## COUNT damaged inputs of SEED against every command
	PYTHONPATH=tests $(BIN)/python -m fuzz --seed $(SEED) --count $(COUNT)

lint: install  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## memory, speed and polygons side by side with peers; results on stdout
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/floors.py
	$(BIN)/python benchmarks/polygons.py
	$(BIN)/python benchmarks/dask_overhead.py

lock: install  ## resolve the newest versions into requirements.lock; names no registry
	$(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 \
		--extra dev --extra slides --extra openvino --extra onnx --extra crf --extra networks \
		--extra medical --extra dicom --extra prefect --extra object-store --extra benchmarks \
		--generate-hashes --no-annotate --no-header -o requirements.lock

reference: install  ## write docs/command-line.md from the commands
	$(BIN)/python -m segment_tiles.cli.reference docs/command-line.md

clean:  ## remove what make made
	rm -rf $(VENV) build *.egg-info segment-tiles-demo
