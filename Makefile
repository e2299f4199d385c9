# make setup: a virtual environment with everything; make demo: the first video; make test: the tests
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
EXTRAS := synthetic,train,eval,test,dev

.PHONY: setup native simt demo test lint clean

setup: .venv/ready native

# Versions are pinned by constraints.txt, so that a set-up made today can be made again tomorrow.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Motion Lab needs Python 3.11 or newer, $(PYTHON) is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(PIP) torch setuptools pybind11 cmake ninja
	$(PIP) --no-build-isolation --editable '.[$(EXTRAS)]'
	touch $@

# Incremental: compiles what changed under csrc/ and nothing else.
native: .venv/ready
	$(BIN)/python setup.py --quiet build_ext --inplace

# The CUDA kernels for the CPU, where tests run them; see csrc/simt.
simt: .venv/ready
	$(BIN)/cmake -S csrc/simt -B build/simt -G Ninja --log-level=WARNING \
	  -D CMAKE_MAKE_PROGRAM="$(CURDIR)/$(BIN)/ninja" -D Python_EXECUTABLE="$(CURDIR)/$(BIN)/python" \
	  -D pybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	$(BIN)/cmake --build build/simt

demo: setup
	$(BIN)/motion-lab demo -o out/demo.mp4

# One worker a core, each with one thread: more would wait for each other.
test: setup simt lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf build dist out *.egg-info motion_lab/*.so
