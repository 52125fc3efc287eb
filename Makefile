# The front door: short names for the usual commands. How things are built stands in CMakeLists.txt.
BUILD ?= build
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTHON ?= python3
FUZZ_SECONDS ?= 60
MAKEFLAGS += --no-print-directory
PREFIX ?= /usr/local
CONFIGURE = cmake -S . -B $(BUILD)

.PHONY: build demo install deb test test-python test-server test-embedded size bench fuzz docs gemma clean help
build: ## build the command line program (this is plain `make`)
	@tools/install.sh build
	@$(CONFIGURE) -DFV_CLI=ON >/dev/null
	@cmake --build $(BUILD) --parallel $(JOBS) --target fovea_cli

demo: build ## read a document of 7,000 tokens densely and with fovea, and ask both (DEMO_TOKENS, FOVEA_MODEL, THREADS)
	@$(PYTHON) tools/demo.py $(BUILD)

install: ## build the program and the libraries and install them below PREFIX (/usr/local); DESTDIR is honoured
	@tools/install.sh build
	@$(CONFIGURE) -DFV_CLI=ON -DFV_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build $(BUILD) --parallel $(JOBS)
	@cmake --install $(BUILD)

deb: ## build Debian packages in build-deb/packages: libfovea0, libfovea-dev, fovea
	@tools/install.sh deb
	@cmake -S . -B build-deb -DFV_CLI=ON -DFV_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr >/dev/null
	@cmake --build build-deb --parallel $(JOBS)
	@cd build-deb && cpack -B packages

test: ## build and run every test; ends with "N passed, M failed, K skipped"
	@tools/install.sh test
	@$(CONFIGURE) -DFV_TESTS=ON >/dev/null
	@cmake --build $(BUILD) --parallel $(JOBS)
	@$(PYTHON) tools/test.py $(BUILD)

test-python: ## check the Python package as people get it: wheels, torch, types, memory (gigabytes from PyPI; TORCH=0: without torch)
	@tools/install.sh build
	@$(PYTHON) tools/python_check.py $(if $(filter 0,$(TORCH)),--no-torch)

test-server: ## ask the server by the clients that people use: openai, ollama, litellm, langchain-openai, lm-eval (from PyPI)
	@tools/install.sh build
	@$(CONFIGURE) -DFV_CLI=ON >/dev/null
	@cmake --build $(BUILD) --parallel $(JOBS) --target fovea_cli
	@$(PYTHON) tools/server_check.py $(BUILD)

test-embedded: ## build the core for chips, run it in emulators, prove what it needs (installs compilers and QEMU)
	@tools/install.sh embedded
	@$(PYTHON) tools/embedded_test.py

size: ## the same, and compare sizes and instruction counts with tests/embedded/size.csv; UPDATE=1 writes it and docs/size.md
	@tools/install.sh embedded
	@$(PYTHON) tools/embedded_test.py --size $(if $(UPDATE),--update)

bench: build ## say what can be measured, and how
	@echo "$(BUILD)/fovea bench: speed of a model, in the words of llama-bench"; $(BUILD)/fovea bench --help
	@echo "tools/peer_build.sh DIR builds llama.cpp to compare with, outside this tree; bench/run.sh DIR MODEL compares"

fuzz: ## run every fuzz target for FUZZ_SECONDS (needs clang); findings stay in build-fuzz/
	@tools/install.sh fuzz
	@tools/fuzz.sh build-fuzz $(FUZZ_SECONDS)

docs: ## build the documentation and the API reference: build-docs/site/index.html
	@tools/install.sh docs
	@$(PYTHON) tools/docs.py build-docs

gemma: ## get the second model, Gemma 3 270M (Gemma terms of use)
	@tools/install.sh model
	@$(PYTHON) tools/model.py gemma3

clean: ## delete what was built; models/ stays
	rm -rf $(BUILD) build-fuzz build-deb build-docs build-python build-server

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14
