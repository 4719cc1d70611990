#!/usr/bin/env bash
# Makes sure that everything the build needs is there: bash tools/setup.sh [test]
# What is missing is installed once, with progress; what cannot be is named with the command that helps.
# With `test`, a Chromium and a Firefox for the browser tests as well. A second run finds all in place and says nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/versions.sh

say() { printf 'set-up: %s\n' "$*" >&2; }
# die REASON COMMAND: a plain reason, and the command that mends it.
die() { printf 'set-up: %s\n        %s\n' "$1" "$2" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

need_rust() {
  has cargo || die "cargo (Rust 1.88 or newer) is missing." "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  local sysroot
  sysroot=$(rustc --print sysroot) || die "rustc does not run." "rustup default stable"
  [ -d "$sysroot/lib/rustlib/wasm32-unknown-unknown/lib" ] && return
  has rustup || die "Rust's wasm32-unknown-unknown target is missing, and there is no rustup to add it." \
    "install Rust through https://rustup.rs, then: rustup target add wasm32-unknown-unknown"
  say "adding Rust's wasm32-unknown-unknown target"
  rustup target add wasm32-unknown-unknown || die "rustup could not add the wasm target." "rustup target add wasm32-unknown-unknown"
}

# Rust's linker driver: only building needs it, but it is better missed here than in the middle.
need_linker() {
  has cc || has gcc || has clang || die "a C linker (cc) is missing." "apt-get install -y build-essential"
}

# cargo_tool CRATE VERSION COMMAND MINUTES OPT-LEVEL [CARGO-INSTALL OPTIONS]: what is on PATH in this version will do; else
# a finished program by cargo-binstall, where that is at hand; else it is built into its own folder, keyed by version.
cargo_tool() {
  local crate=$1 version=$2 command=$3 minutes=$4 level=$5 root
  shift 5
  root="$TOOLS/$command-$version"
  [ -x "$root/bin/$command" ] && return
  if has "$command" && [ "$("$command" --version 2>/dev/null)" = "$command $version" ]; then return; fi
  if cargo binstall -V >/dev/null 2>&1; then
    say "fetching $command $version with cargo binstall (into $TOOLS)"
    cargo binstall --no-confirm --disable-telemetry --version "$version" --root "$root" "$crate" >&2 && [ -x "$root/bin/$command" ] && return
    say "cargo binstall has no $command $version for this machine"
  fi
  say "building $command $version, about $minutes minutes on two cores, once (into $TOOLS)"
  mkdir -p "$TOOLS"
  # Tools that run for seconds need no minutes of optimisation: trunk's own release profile has fat LTO.
  CARGO_TARGET_DIR="$TOOLS/building-$command" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_OPT_LEVEL="$level" cargo install "$@" --version "$version" --root "$root.part" "$crate" \
    || die "cargo could not install $crate $version (its reason stands above)." "cargo install $* --version $version --root $root $crate"
  mv "$root.part" "$root"
  rm -rf "$TOOLS/building-$command"
}

need_node() {
  has node || die "node ($NODE_LEAST or newer) is missing." "apt-get install -y nodejs npm    (or https://nodejs.org)"
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge "$NODE_LEAST" ] || die "node $NODE_LEAST or newer is needed; this is $(node --version)." "https://nodejs.org"
  # npm writes its own copy of the lock file after a complete installation: newer than ours means done.
  [ node_modules/.package-lock.json -nt package-lock.json ] && return
  has npm || die "npm is missing." "apt-get install -y npm"
  say "installing the npm packages of package-lock.json"
  npm ci --no-fund --no-audit --loglevel=error >&2 || die "npm could not install the packages (its reason stands above)." "npm ci"
  touch node_modules/.package-lock.json
}

# need_browser NAME FINDER PACKAGE
need_browser() {
  bash "$2" >/dev/null 2>&1 && return
  if has apt-get && [ "$(id -u)" = 0 ]; then
    say "installing $1 for the browser tests"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$3"; } >&2 \
      || die "apt could not install $1 (its reason stands above)." "apt-get install -y $3"
  fi
  bash "$2" >/dev/null
}

need_openssl() {
  has openssl || die "openssl is missing (the browser tests make a certificate for the stand-in hub with it)." "apt-get install -y openssl"
}

need_rust
need_linker
need_node
cargo_tool trunk "$TRUNK_VERSION" trunk 4 0 --locked
cargo_tool wasm-bindgen-cli "$WASM_BINDGEN_VERSION" wasm-bindgen 2 1
if [ "${1:-}" = test ]; then
  need_browser Chromium tools/chromium.sh chromium
  need_browser Firefox tools/firefox.sh firefox-esr
  need_openssl
fi
