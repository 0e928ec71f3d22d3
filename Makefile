# The front door. Everything real happens in meson; this file is what a person types.
#
# BUILD     release build folder              build
# CHECK     sanitizer build folder            build/check
# FUZZ      fuzz build folder (clang)         build/fuzz
BUILD ?= build
CHECK ?= $(BUILD)/check
FUZZ ?= $(BUILD)/fuzz
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 10
CLANG ?= clang-14
SOURCES = $(shell git ls-files 'src/*.[ch]' 'src/**/*.[ch]' 'test/*.[ch]' 'fuzz/*.[ch]' 'lab/*.[ch]' 'bench/*.[ch]')

.PHONY: all demo test unit interop lint format bench fuzz install deb live clean ci help packages test-packages

all: $(BUILD)/release/build.ninja ## build the program: build/manytails
	ninja -C $(BUILD)/release
	@ln -sf release/src/manytails $(BUILD)/manytails

$(BUILD)/release/build.ninja: | packages
	meson setup $(BUILD)/release --buildtype=release -Doptimization=2 -Ddebug=true -Dtests=false --prefix=$(PREFIX)

$(CHECK)/build.ninja: | test-packages
	meson setup $(CHECK) --buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false

packages: ## install what building needs (Debian packages)
	@tools/install-packages

test-packages: ## install what testing needs
	@tools/install-packages --test

test: ## install what is needed, build with ASan and UBSan, pass every test, real peers included
	@tools/run-tests

demo: all ## a tailnet on loopback with three services on it, to look at
	@tools/demo

unit: $(CHECK)/build.ninja ## unit tests and fuzz corpora only, with ASan and UBSan
	meson test -C $(CHECK) --print-errorlogs

interop: all | test-packages ## tests against real headscale, derper and tailscaled only
	test/interop/run

lint: | test-packages ## layers, sizes, formatting, shell scripts
	@tools/lint

format: ## format every C file
	clang-format-14 -i $(SOURCES)

fuzz: | test-packages ## run every fuzz target for FUZZ_SECONDS each
	@FUZZ_DIR=$(FUZZ) FUZZ_SECONDS=$(FUZZ_SECONDS) CLANG=$(CLANG) tools/run-fuzzers

bench: all | test-packages ## measure against the peers (see bench/README.md)
	bench/run

install: all ## install under PREFIX (DESTDIR is honoured)
	@meson configure $(BUILD)/release --prefix=$(PREFIX)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)/release

deb: all ## build a Debian package: build/manytails_VERSION_ARCH.deb
	packaging/deb/build $(BUILD)/release

live: deb | test-packages ## start the package's unit under a systemd of its own (needs overlayfs and cgroup2)
	packaging/test-live $(BUILD)/release

ci: ## what the continuous integration runs
	.ci/run

clean: ## remove every build folder
	rm -rf $(BUILD)

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'
