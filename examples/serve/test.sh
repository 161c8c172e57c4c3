#!/usr/bin/env bash
# Tests the server with Triton's clients, in a fresh environment. Arguments go to Cargo.
set -euo pipefail
cd "$(dirname "$0")"

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
if ! python3 -m venv "$environment" >/dev/null ||
    ! "$environment/bin/pip" install -q "tritonclient[http,grpc]>=2.50"; then
    echo "skipped: python3 -m venv or pip does not work on this machine"
    exit 0
fi
# Builds the program too, with the features of the tests.
cargo test --locked --no-run -p dyrelu-serve "$@"
DYRELU_SERVE=${CARGO_TARGET_DIR:-$PWD/../../target}/debug/dyrelu-serve \
    "$environment/bin/python" -m unittest -v tests/triton.py
