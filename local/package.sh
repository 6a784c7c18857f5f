#!/usr/bin/env bash
# Builds the command line's wheel, installs it into a fresh environment, and calls it from another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch" build ./*.egg-info' EXIT

.venv/bin/python -m uv build --quiet --wheel --out-dir "$scratch" .
.venv/bin/python -m uv venv --quiet --python .venv/bin/python "$scratch/venv"
.venv/bin/python -m uv pip install --quiet --python "$scratch/venv/bin/python" "$scratch"/*.whl
cd "$scratch"
venv/bin/amplitude-export --help >/dev/null
venv/bin/amplitude-export mirror --help >/dev/null
venv/bin/amplitude-export coverage --to 2025-11-04 2>said && code=0 || code=$?
if [ "$code" != 2 ] || ! grep -q EXPORT_STORAGE said; then
    echo "amplitude-export coverage ended with $code:" && cat said
    exit 1
fi
echo "amplitude-export: built, installed and called"
