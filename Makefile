# make setup: a virtual environment with everything; make demo: the first video; make test: the tests
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
EXTRAS := synthetic,train,eval,test,dev

.PHONY: setup native simt demo test asan gpu-check lint clean

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

CMAKE = $(BIN)/cmake -G Ninja --log-level=WARNING -D CMAKE_MAKE_PROGRAM="$(CURDIR)/$(BIN)/ninja" \
  -D Python_EXECUTABLE="$(CURDIR)/$(BIN)/python" \
  -D pybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"

# The CUDA kernels for the CPU, where tests run them; see csrc/simt.
simt: .venv/ready
	$(CMAKE) -S csrc/simt -B build/simt
	$(BIN)/cmake --build build/simt

demo: setup
	$(BIN)/motion-lab demo -o out/demo.mp4

# One worker a core, each with one thread: more would wait for each other.
test: setup simt lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

# The kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer. The sanitizers come
# before the interpreter, and the C++ library with them, whose exceptions they follow.
asan: setup
	$(CMAKE) -S . -B build/asan/cpu -D MOTION_LAB_ASAN=ON
	$(CMAKE) -S csrc/simt -B build/asan/simt -D MOTION_LAB_WATCH=asan \
	  -D MOTION_LAB_MODULES="$(CURDIR)/build/asan/modules"
	$(BIN)/cmake --build build/asan/cpu
	$(BIN)/cmake --build build/asan/simt
	cp build/asan/cpu/_native_cpu*.so build/asan/modules
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 MOTION_LAB_NATIVE="$(CURDIR)/build/asan/modules" OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -n auto tests/ops

# On a machine with a GPU. Not from .venv: PYTHON=.venv/bin/python takes that.
gpu-check:
	PYTHON="$(PYTHON)" .ci/gpu-check "$(OUT)"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf build dist out *.egg-info motion_lab/*.so
