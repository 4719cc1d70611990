#!/usr/bin/env bash
# Runs a command with the build's tools on PATH: bash tools/with-tools.sh COMMAND [ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/versions.sh
export PATH="$TOOLS/trunk-$TRUNK_VERSION/bin:$TOOLS/wasm-bindgen-$WASM_BINDGEN_VERSION/bin:$PWD/node_modules/.bin:$PATH"
# Trunk does not start with NO_COLOR=1 (it wants true or false); flags from outside would undo the project's own.
unset NO_COLOR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
exec "$@"
