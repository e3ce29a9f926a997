# make demo | test | check | bench | soak: each sets up what it needs first.
#
# On a fresh Debian machine it takes rustup's Rust and the package registries; the tool chain for wasm is found, or on
# Debian installed, by scripts/wasm-toolchain.sh. The host is built in one profile for demo and test, so that its
# dependencies are compiled once; only bench builds for speed.

CARGO ?= cargo
# The same selection of packages and targets everywhere, so that nothing is compiled twice.
ALL := --workspace --all-targets
TARGET := $(or $(CARGO_TARGET_DIR),target)
NERVE := $(TARGET)/debug/nerve
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
ifeq ($(NEXTEST),yes)
TEST := $(CARGO) nextest run --no-fail-fast
else
TEST := $(CARGO) test --no-fail-fast
endif

.PHONY: help demo test check bench instructions flame-graph stages allocations bench-peers soak plugins shop host browser python clean

help:
	@echo "make demo     run the story of a shop on a real host, checking every claim; with KEEP=1 host and dashboard go on"
	@echo "make test     all tests: log, host, SDK, plugins, and the whole process from outside"
	@echo "make check    format, lints, documentation and the rules of the repository"
	@echo "make bench    measure this machine"
	@echo "make bench-peers  measure NATS JetStream and Redis Streams beside nerve, on this machine;"
	@echo "                  Apache Iggy, too, with ARGS=\"--iggy PATH\", the program of its server"
	@echo "make instructions  count what one event costs on its way (takes valgrind)"
	@echo "make flame-graph  draw what that count consists of, as docs/way.svg"
	@echo "make stages   measure each stage of an event's way by itself"
	@echo "make allocations  count what each of them allocates"
	@echo "make soak     the long form of every proof, for many hours, into docs/reliability.md"
	@echo "make browser  get what the tests of the dashboard drive a browser with"
	@echo "make python   get the Python packages that the tests hold nerve against"
	@echo "make plugins  build the shop's plugins into target-wasm/plugins"

plugins:
	scripts/build-plugins

shop:
	scripts/build-plugins shop

browser:
	@scripts/browser.sh >/dev/null

python:
	@scripts/python.sh >/dev/null

host:
	$(CARGO) build $(ALL)

demo: shop host
	$(NERVE) demo --built target-wasm $(if $(KEEP),--keep)

test: plugins host browser python
	$(TEST) $(ALL)
	$(CARGO) test -q --doc --workspace
	$(CARGO) test -q --manifest-path plugins/Cargo.toml --workspace
	scripts/instructions.sh --check

check:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --check --manifest-path peers/Cargo.toml
	$(CARGO) clippy $(ALL) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	$(CARGO) test -q --workspace --test tidy
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	$(CARGO) deny --workspace check && $(CARGO) deny --manifest-path peers/Cargo.toml check licenses sources; \
	else echo "cargo-deny is not installed: licences and advisories were not checked"; fi

bench: plugins
	$(CARGO) run -q --release -p nerve -- bench

# The clients of the others are compiled only here: `make bench-peers ARGS="--output json"`. Iggy's, which brings more
# packages than all of them, is compiled only where its server is given.
PEERS := --manifest-path peers/Cargo.toml --target-dir $(TARGET)/peers $(if $(findstring --iggy,$(ARGS)),--features iggy)
bench-peers: plugins
	@scripts/peers.sh >/dev/null
	$(CARGO) build -q --release -p nerve
	$(CARGO) test -q --release $(PEERS) >&2
	@$(CARGO) run -q --release $(PEERS) -- \
		--nerve $(TARGET)/release/nerve --servers $(TARGET)/peers/servers $(ARGS)

instructions: plugins
	scripts/instructions.sh

flame-graph: plugins
	scripts/flame-graph

stages: plugins
	$(CARGO) bench -p nerve --bench stages

# They are as many in the host that is tested, so that nothing is compiled for it.
allocations: plugins
	$(CARGO) bench -q --workspace --profile dev --bench allocations

soak: plugins
	scripts/soak

clean:
	$(CARGO) clean
	rm -rf target-wasm
