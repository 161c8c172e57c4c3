#!/usr/bin/env bash
# Builds the wheel and the command line, and compares and tests them in a fresh environment. Arguments go to maturin.
set -euo pipefail
cd "$(dirname "$0")"

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
if ! python3 -m venv "$environment" >/dev/null || ! "$environment/bin/pip" install -q "maturin>=1.8,<2"; then
    echo "skipped: python3 -m venv or pip does not work on this machine"
    exit 0
fi
PATH=$environment/bin:$PATH

maturin build --release --locked --quiet --out "$environment/wheels" "$@"
wheel=$(echo "$environment"/wheels/*.whl)
size=$(stat -c %s "$wheel")
echo "$(basename "$wheel"): $size bytes"
test "$size" -lt 6000000
pip install -q "$wheel"
# Nothing but numpy came with it.
python -c "import dyrelu"

# The command line, to compare with.
cargo build --release --locked --quiet --manifest-path ../../Cargo.toml --bin dyrelu
export DYRELU_PROGRAM=${CARGO_TARGET_DIR:-$PWD/../../target}/release/dyrelu

pip install -q pytest onnx==1.23.2
python -m pytest -q tests
