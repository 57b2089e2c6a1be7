# Two commands for a newcomer: make demo, make test. Both work in .venv, which they make.
#   make PYTHON=python3.12     another Python
#   make demo TORCH=cpu        PyTorch's own build for cpu, auto, cu130, rocm7.0 and so on (uv's --torch-backend)
#   make lock UPGRADE=1        the newest versions; without it those of the locks are kept if they still fit
VENV   := .venv
PYTHON ?= python3
# the second command goes on with what the first one installed
TORCH  ?= $(shell cat $(VENV)/.torch 2>/dev/null)
BIN    := $(VENV)/bin
# what the demos, slides and volumes of the README need
DEMO_EXTRAS := slides medical
# what tests, checks and benchmarks need on top; crf has no wheel and a lock of its own
TEST_EXTRAS := dev openvino int8 onnx networks dicom prefect object-store stac xarray benchmarks docs
# Pythons and machines for which every package of the demo's lock has a wheel
WHEELS_FOR  := 3.11 3.12 3.13
PLATFORMS   := x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin windows

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-servers fuzz faults release-check lint format bench docs lock wheels reference clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# $(call install,LOCK,EXTRAS): wheels alone, the hashes of the lock. Other builds of PyTorch have other hashes
# and other libraries, so that the lock gives the versions alone for those.
ifeq ($(TORCH),)
install = $(BIN)/uv pip install --python $(BIN)/python --only-binary :all: --require-hashes -r $(1)
else
install = awk -f .ci/other_torch.awk $(1) > $(VENV)/constraints.txt && \
	$(BIN)/uv pip install --python $(BIN)/python --only-binary :all: --torch-backend $(TORCH) \
		--constraint $(VENV)/constraints.txt -r pyproject.toml $(foreach extra,$(2),--extra $(extra))
endif

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "segment-tiles needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
		{ echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: uv

# one stamp for each build of PyTorch: another TORCH installs again
DEMO_STAMP := $(VENV)/.demo$(TORCH:%=-%)
TEST_STAMP := $(VENV)/.tests$(TORCH:%=-%)

$(DEMO_STAMP): requirements-demo.lock pyproject.toml | $(BIN)/uv
	@rm -f $(VENV)/.demo* $(VENV)/.tests*
	$(call install,requirements-demo.lock,$(DEMO_EXTRAS))
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@echo "$(TORCH)" > $(VENV)/.torch
	@touch $@

$(TEST_STAMP): requirements.lock requirements-crf.lock $(DEMO_STAMP)
	$(call install,requirements.lock,$(DEMO_EXTRAS) $(TEST_EXTRAS))
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements-crf.lock \
		2> $(VENV)/crf.log || echo "pydensecrf2 does not build here ($(VENV)/crf.log says why): the tests that need it are skipped"
	@# hundreds of tests start the program: where PYTHONDONTWRITEBYTECODE is set each would compile torch and all the
	@# rest again, seconds each; uv's --compile-bytecode leaves out what the demo had installed before
	@$(BIN)/python -m compileall -q -j 0 $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
		> $(VENV)/compiled.log 2>&1 || true  # some packages hold templates that are no Python
	@touch $@

install: $(TEST_STAMP)  ## the environment of tests and checks alone

demo: $(DEMO_STAMP)  ## a real scene through the bundled model; results in segment-tiles-demo/
	$(BIN)/segment-tiles demo --out segment-tiles-demo

test: install  ## the whole suite, under 15 minutes on 2 cores
	@# our own modules too, which change
	$(BIN)/python -m compileall -q segment_tiles pipeline workflows cli
	@# two processes, which compute in one thread each; more at once would need more memory
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: install  ## checks that take minutes each
	$(BIN)/python -m pytest -m slow --timeout 3600

# npm installs into an ignored folder; radosgw and Google's testbench are put there by hand:
# docs/cloud.md, and their tests say so where they are missing
AZURITE := build/servers/node_modules/.bin/azurite-blob
$(AZURITE):
	npm install --no-fund --no-audit --prefix build/servers azurite@3

test-servers: install $(AZURITE)  ## buckets on Azurite (Azure), Google's testbench and Ceph's radosgw (S3) on loopback
	$(BIN)/python -m pytest -m "slow or not slow" -k "azurite or radosgw or google or moto" --timeout 3600 \
		tests/pipeline/places tests/workflows/buckets

SEED  ?= 1
COUNT ?= 1000
fuzz: install  ## COUNT damaged inputs of SEED against every command
	PYTHONPATH=tests $(BIN)/python -m fuzz --seed $(SEED) --count $(COUNT)

KILLS ?= 300
faults: install  ## KILLS commands disturbed at random moments: killed, out of disk, memory, rights, source changed
	PYTHONPATH=tests $(BIN)/python -m faults --seed $(SEED) --kills $(KILLS)

release-check: lint wheels test test-slow faults fuzz  ## all that runs before a release

lint: install  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## memory, speed and polygons side by side with peers; results on stdout
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.speed.whole_commands
	$(BIN)/python -m benchmarks.speed.peers
	$(BIN)/python -m benchmarks.speed.floors
	$(BIN)/python -m benchmarks.polygons.peers
	$(BIN)/python -m benchmarks.batches.dask_overhead
	$(BIN)/python -m benchmarks.batches.many_scenes

docs: install  ## the documentation site, in build/site; a link that leads nowhere is an error
	@# the reference reads the sources where an importer sees them: our folders inside segment_tiles
	@mkdir -p build/python/segment_tiles
	@for part in segment_tiles/__init__.py pipeline workflows cli; do \
		ln -sfn $(CURDIR)/$$part build/python/segment_tiles/; done
	$(BIN)/zensical build --strict
	@echo "Read build/site/index.html, or with search: $(BIN)/python -m http.server --directory build/site"

# $(call compile,LOCK): hashes and versions, no registry; a version without any wheel is not taken
compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) \
	--generate-hashes --no-annotate --no-header -o $(1)
CRF = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["crf"], sep="\n")

lock: | $(BIN)/uv  ## resolve pyproject.toml into the three locks; UPGRADE=1 takes the newest versions
	$(call compile,requirements.lock) --only-binary :all: pyproject.toml \
		$(foreach extra,$(DEMO_EXTRAS) $(TEST_EXTRAS),--extra $(extra))
	$(call compile,requirements-demo.lock) --only-binary :all: --constraint requirements.lock pyproject.toml \
		$(foreach extra,$(DEMO_EXTRAS),--extra $(extra))
	$(BIN)/python -c '$(CRF)' | $(call compile,requirements-crf.lock) --no-deps -

wheels: | $(BIN)/uv  ## every package of the demo's lock has a wheel for each Python and machine; installs nothing
	@for version in $(WHEELS_FOR); do for platform in $(PLATFORMS); do \
		MACOSX_DEPLOYMENT_TARGET=15.0 $(BIN)/uv pip install --quiet --dry-run --only-binary :all: --require-hashes \
			--target $(VENV)/none --python-version $$version --python-platform $$platform -r requirements-demo.lock \
		|| { echo "requirements-demo.lock: no wheel for Python $$version on $$platform"; exit 1; }; \
	done; done

reference: install  ## write docs/command-line.md from the commands
	$(BIN)/python -m segment_tiles.cli.reference docs/command-line.md

clean:  ## remove what make made
	rm -rf $(VENV) build *.egg-info segment-tiles-demo
