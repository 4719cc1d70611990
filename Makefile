# The one door: `make help` lists what it opens.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build offline package test test-once test-native test-node test-browser test-site fuzz check format format-check lint docs types bench bench-baseline setup setup-test clean

# PROFILE=quick leaves link-time optimisation and wasm-opt out: minutes become seconds.
PROFILE ?= release
PORT ?= 8080
TEST_DIST := target/test-dist
TEST_PKG := target/test-pkg
TESTS ?= $(wildcard tests/browser/*.test.mjs)
WITH := bash tools/with-tools.sh
# CARGO_TARGET_DIR keeps Trunk's own cargo apart from the native build, which then never waits for it.
TRUNK = $(WITH) env CARGO_TARGET_DIR=target/page RESIDUAL_STREAM_PROFILE=$(PROFILE) trunk
TRUNK_PROFILE = $(if $(filter release,$(PROFILE)),--release,--cargo-profile $(PROFILE))
WASM := --target wasm32-unknown-unknown
PAGE := --package residual-stream --package residual-stream-embed --package residual-stream-embed-live
PRETTIER := $(WITH) prettier --log-level warn '**/*.md'
PAGE_CARGO := $(WITH) env CARGO_TARGET_DIR=target/page cargo
ENGINE_CARGO := $(WITH) env CARGO_TARGET_DIR=target/engine RUSTFLAGS='--cfg getrandom_backend="wasm_js" -C llvm-args=-pre-RA-sched=linearize -C target-feature=+simd128' cargo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# No package, no embed, no second engine, no link-time optimisation: a first look should not take a coffee.
run: PROFILE = quick
run: setup ## build the page and serve it (PORT=8080; PROFILE=release for full speed)
	@echo "building the page and one engine (some three minutes on two cores the first time); then open http://localhost:$(PORT)/"
	RESIDUAL_STREAM_SERVE=1 $(TRUNK) serve $(TRUNK_PROFILE) --port $(PORT)

build: setup ## the site, static files under dist/ (PROFILE=quick for a faster build)
	$(TRUNK) build $(TRUNK_PROFILE) $(DIST_OPTION)

offline: build ## dist/residual-stream-offline.html: one file that works from a disk, with the network off
	node tools/offline.mjs

package: setup ## the JavaScript package under pkg/, standing alone with the demo model
	$(WITH) node tools/package.mjs --out pkg --profile $(PROFILE)
	cd pkg && npm pack --dry-run --loglevel=error

test: test-native test-node test-browser ## all tests, native, in Node, in Chromium and in Firefox
	@mkdir -p target && bash tools/tree.sh > target/tested

# The tests of exactly this tree may have passed a moment ago: then they are not run again.
test-once:
	@if tree=$$(bash tools/tree.sh) && [ -n "$$tree" ] && [ "$$tree" = "$$(cat target/tested 2>/dev/null)" ]; \
	then echo "tests: passed on this very tree (make test runs them again)"; \
	else $(MAKE) --no-print-directory test; fi

test-native: setup
	$(WITH) cargo test --workspace --all-features --locked

# A quick site and package of its own, so that tests never replace a release build in dist/ and pkg/.
test-site: setup-test
	$(MAKE) --no-print-directory build PROFILE=quick DIST_OPTION='--dist $(TEST_DIST)'
	node tools/offline.mjs --site $(TEST_DIST)
	$(WITH) node tools/package.mjs --out $(TEST_PKG) --profile quick

test-node: test-site ## the package and its command in Node
	PACKAGE=$${PACKAGE:-$(TEST_PKG)} node --test --test-concurrency=1 --test-timeout=600000 $(wildcard tests/node/*.test.mjs)

# Two files side by side: they share nothing, and most of their time is waiting. A browser replaces a service worker when it
# sees fit, and may not see fit while others keep it busy: those tests run alone.
ALONE := tests/browser/service-worker.test.mjs
BROWSER_TESTS = SITE=$${SITE:-$(TEST_DIST)} PACKAGE=$${PACKAGE:-$(TEST_PKG)} node --test --test-timeout=1200000
test-browser: test-site ## the tests in browsers (TESTS=tests/browser/loading.test.mjs for one file)
	$(if $(filter-out $(ALONE),$(TESTS)),$(BROWSER_TESTS) --test-concurrency=2 $(filter-out $(ALONE),$(TESTS)))
	$(if $(filter $(ALONE),$(TESTS)),$(BROWSER_TESTS) $(filter $(ALONE),$(TESTS)))

# With SECONDS=0 it checks one case: the way to see a failure again.
fuzz: setup ## random inputs against oracles (SECONDS=60 for each room, all side by side, SEED=1, ROOM=checkpoints for one)
	$(WITH) env FUZZ_SECONDS=$(or $(SECONDS),60) FUZZ_SEED=$(or $(SEED),1) \
		cargo test --all-features --locked --test fuzz -- --nocapture --test-threads=8 $(ROOM)

check: format-check lint docs types test-once ## everything a change must pass; CI runs this

format: setup ## format Rust and Markdown
	$(WITH) cargo fmt --all
	$(PRETTIER) --write

format-check: setup ## the same, checked
	$(WITH) cargo fmt --all --check
	$(PRETTIER) --check

lint: setup ## clippy, natively and for both wasm32 halves; warnings are errors
	$(WITH) cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(PAGE_CARGO) clippy $(WASM) $(PAGE) --lib --bins --locked -- -D warnings
	$(ENGINE_CARGO) clippy $(WASM) --package residual-stream-engine --package residual-stream-worker --locked -- -D warnings

docs: setup ## rustdoc; warnings are errors
	$(WITH) env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --lib --all-features --locked
	$(WITH) env RUSTDOCFLAGS='-D warnings' CARGO_TARGET_DIR=target/page cargo doc $(WASM) $(PAGE) --no-deps --lib --locked

types: setup ## the package's TypeScript types, by a program that uses all of them
	$(WITH) tsc -p tests/browser/types
	$(WITH) tsc -p tests/node/types

bench: setup-test ## speed and size of a release build beside ONNX Runtime Web: median, spread, targets
	@[ -d bench/node_modules/onnxruntime-web ] || npm ci --prefix bench --ignore-scripts --no-audit --no-fund
	$(MAKE) --no-print-directory build
	SITE=dist node bench/run.mjs $(BENCH)

bench-baseline: setup ## the engine with candle's own matmul, which make bench then measures as well
	RESIDUAL_STREAM_ENGINE_FEATURES=candle-matmul $(WITH) node tools/package.mjs --out target/baseline-pkg --profile $(PROFILE)

setup: ## install what building needs (once)
	@bash tools/setup.sh

setup-test: ## the same, and what the browser tests need
	@bash tools/setup.sh test

clean: ## remove what was built (the installed tools stay)
	rm -rf dist pkg target node_modules
