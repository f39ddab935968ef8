# Everything happens in .venv, with the versions of constraints.txt; other people's libraries, which
# ask for versions of their own, in .venv-third-party with those of benchmarks/third_party.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date
OTHERS := .venv-third-party
OTHERS_STAMP := $(OTHERS)/.up-to-date
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz lint sanitize valgrind arm bench bench-third-party clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## fill .venv; does nothing when it is up to date

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "throughtime needs Python 3.11 or later; name one with make PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $* || { rm -rf $*; \
	  echo "could not make $*; on Debian: apt install python3-venv python3-dev g++"; exit 1; }

$(STAMP): $(BIN)/python $(SOURCES)
	@echo "setting up .venv (minutes the first time) ..."
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(OTHERS_STAMP): $(OTHERS)/bin/python $(SOURCES) benchmarks/third_party.txt
	@echo "setting up $(OTHERS) (minutes the first time) ..."
	PIP_CONSTRAINT=benchmarks/third_party.txt $(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable . darts neuralforecast pytorch-lightning statsmodels
	@touch $@

demo: $(STAMP) ## compare networks on the weekly CO2 record of Mauna Loa; at most 3 minutes
	$(BIN)/throughtime compare "$$($(BIN)/python -c 'from importlib.resources import files; \
	  print(files("statsmodels.datasets.co2") / "co2.csv")')" \
	  --time date --target co2 --horizon 4 --missing interpolate

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest

lint: $(STAMP) ## formatting, lint and types
	$(BIN)/clang-format --dry-run --Werror native/*.cpp native/*.h tests/native/*.cpp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

fuzz: $(STAMP) ## layers, model folders, records, options and places: thousands of cases, some minutes
	$(BIN)/python -m pytest --thorough tests/fuzz tests/test_places.py tests/test_safe_path.py

sanitize: build/fuzz-address build/fuzz-thread ## fuzz the kernels under sanitizers
	build/fuzz-address 400
	build/fuzz-thread 60

valgrind: build/fuzz ## fuzz the kernels under valgrind (which knows no AVX-512: the others run)
	valgrind --quiet --error-exitcode=1 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite build/fuzz 60

# On Debian: apt install g++-aarch64-linux-gnu qemu-user
arm: build/fuzz-arm ## build the kernels for Arm and fuzz them under emulation
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/fuzz-arm 300

FUZZ := tests/native/build.sh tests/native/fuzz.cpp $(wildcard native/*)
build/fuzz: $(FUZZ)
	mkdir -p build && bash $< $@ g++ -O2 -g
build/fuzz-address: $(FUZZ)
	mkdir -p build && bash $< $@ g++ -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
build/fuzz-thread: $(FUZZ)
	mkdir -p build && bash $< $@ g++ -O1 -g -fsanitize=thread
build/fuzz-arm: $(FUZZ)
	mkdir -p build && bash $< $@ aarch64-linux-gnu-g++ -O3

bench: $(STAMP) ## time the layers side by side with torch.nn (and ONNX Runtime, if it is in .venv)
	$(BIN)/python benchmarks/layers.py --out benchmarks/results/layers.json

bench-third-party: $(OTHERS_STAMP) ## whole trainings of darts' and neuralforecast's models, on theirs and on ours
	$(OTHERS)/bin/python benchmarks/third_party.py

clean: ## remove .venv, .venv-third-party and build products
	rm -rf $(VENV) $(OTHERS) build
