# The versions of the command-line tools and where they live; sourced by setup.sh and with-tools.sh.
TOOLS=${RESIDUAL_STREAM_TOOLS:-$HOME/.cache/residual-stream}
TRUNK_VERSION=0.21.14
NODE_LEAST=20
# wasm-bindgen's command-line tool must be of exactly the version that Cargo.lock has of the crate.
WASM_BINDGEN_VERSION=$(awk '$0 == "name = \"wasm-bindgen\"" { getline; gsub(/"/, "", $3); print $3; exit }' Cargo.lock)
