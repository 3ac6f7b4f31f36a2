# A thin face for cmake: `make run` and `make test` are all that a fresh Debian 12 needs. `make help` lists the rest.

PREFIX         ?= /usr/local
DESTDIR        ?=
CORRAL_SHARED  ?= $(CURDIR)/../shared
PROMPT         ?= What is Corral?
CTEST          := ctest --output-on-failure -j $(shell nproc 2>/dev/null || echo 2)
CONFIGURE      := cmake -DCORRAL_SHARED="$(CORRAL_SHARED)" --log-level=WARNING --preset
CHECKED_SOURCE := $(shell find src tests -name '*.c' | sort)

export UBSAN_OPTIONS ?= print_stacktrace=1
export TSAN_OPTIONS  ?= halt_on_error=1

.PHONY: help run build install test packages test-packages venv lint release-tests asan-tests tsan-tests fuzz-tests \
        test-gpu bench-gpu \
        format tidy clean
.NOTPARALLEL:

help:
	@echo 'make run       install what building needs, build, and let the demo model answer'
	@echo 'make test      install what the tests need, build and run all of them, sanitizers and fuzzing included'
	@echo 'make build     build/corral only'
	@echo 'make install   to PREFIX ($(PREFIX)), under DESTDIR'
	@echo 'make format    clang-format on the C files;  make lint: formatting, layering, docs checked'
	@echo 'make tidy      clang-tidy on everything (minutes)'
	@echo 'make clean     remove the build folders'
	@echo 'make test-gpu  the GPU kernels and models on the card of this machine (exit 2: there is none)'
	@echo 'make bench-gpu what they reach on it; MODEL=file.gguf adds that model'
	@echo 'parts of make test: release-tests asan-tests tsan-tests fuzz-tests lint'
	@echo 'variables: CORRAL_SHARED=$(CORRAL_SHARED) PROMPT="$(PROMPT)"'

run: build
	@echo '+ corral run -p "$(PROMPT)"'
	@build/corral run -p "$(PROMPT)"
	@if [ -t 0 ]; then echo; echo '+ corral run'; build/corral run; else \
	  echo; echo 'Next: build/corral run (a conversation), build/corral serve (an OpenAI-compatible server),'; \
	  echo '      build/corral --help'; fi

build: packages
	@$(CONFIGURE) release
	@cmake --build --preset release --target corral gpu_targets

install: build
	DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"

packages:
	@tools/bootstrap.sh build
test-packages:
	@tools/bootstrap.sh test

# Python clients for the tests over HTTP. Where PyPI cannot be reached those tests say that they skip.
venv: test-packages
	@if [ -f tests/requirements.txt ] && ! cmp -s tests/requirements.txt .venv/requirements.txt; then \
	  rm -rf .venv && python3 -m venv .venv && \
	  { .venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt && \
	    cp tests/requirements.txt .venv/requirements.txt; } || \
	  { rm -rf .venv; \
	    echo '*****************************************************************************'; \
	    echo '*** PyPI packages could not be installed: TESTS WITH PYTHON CLIENTS SKIP  ***'; \
	    echo '*****************************************************************************'; }; fi

test: test-packages venv lint release-tests asan-tests tsan-tests fuzz-tests
	@[ -d "$(CORRAL_SHARED)" ] || echo '*** no $(CORRAL_SHARED): tests against the reference vectors were skipped ***'
	@echo 'make test: all passed'

lint: test-packages
	@tools/check_layers.py
	@tools/check_docs.py
	@clang-format --dry-run -Werror $(CHECKED_SOURCE) && echo 'format: as clang-format would have it'

release-tests: venv
	@$(CONFIGURE) release
	@cmake --build --preset release
	@cd build && $(CTEST)

asan-tests: venv
	@$(CONFIGURE) asan
	@cmake --build --preset asan --target unit_tests
	@cd build-asan && $(CTEST) -L unit

# The modules with threads in them.
tsan-tests: test-packages
	@$(CONFIGURE) tsan
	@cmake --build --preset tsan --target thread_tests
	@cd build-tsan && $(CTEST) -L threads

fuzz-tests: test-packages
	@$(CONFIGURE) fuzz
	@cmake --build --preset fuzz --target fuzz_targets corral
	@cd build-fuzz && $(CTEST) -L fuzz

# For anyone with a card; docs/gpu.md says what to do with the results.
test-gpu: test-packages
	@$(CONFIGURE) release
	@cmake --build --preset release --target corral gpu_targets gpu_tests
	@tools/gpu_run.sh test build "$(CORRAL_SHARED)"

bench-gpu: packages
	@$(CONFIGURE) release
	@cmake --build --preset release --target corral gpu_targets gpu_kernels shape_model
	@tools/gpu_run.sh bench build "$(MODEL)"

format:
	@clang-format -i $(CHECKED_SOURCE)

tidy: test-packages
	@$(CONFIGURE) release
	@run-clang-tidy -quiet -p build '^$(CURDIR)/src/' | grep -v -E '^(clang-tidy|[0-9]+ warnings? generated)'

clean:
	rm -rf build build-debug build-asan build-tsan build-fuzz
