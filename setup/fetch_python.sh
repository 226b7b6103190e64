#!/usr/bin/env bash
# Fetches Python 3.11 into .cache/python for a machine that has none of 3.9 to 3.11, with uv, which any Python 3.8 or
# later can install from the package index. uv itself is thrown away again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VERSION=3.11
readonly UV=uv==0.13.9

refuse() {
    echo "setup: error: this machine has no Python 3.9 to 3.11 and $1: install Python $VERSION, or name an interpreter with PYTHON=" >&2
    exit 2
}

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

install_uv() {
    if python3 -m venv "$tools/venv" >>"$tools/log" 2>&1; then
        "$tools/venv/bin/python" -m pip install --quiet "$UV" >>"$tools/log" 2>&1
    else
        python3 -m pip install --quiet --target "$tools/venv" "$UV" >>"$tools/log" 2>&1
    fi
}

command -v python3 >/dev/null || refuse "no python3 to fetch one with"
echo "setup: no Python 3.9 to 3.11 on this machine; fetching Python $VERSION with uv" >&2
install_uv || { cat "$tools/log" >&2; refuse "uv could not be installed"; }
UV_PYTHON_INSTALL_DIR=$PWD/.cache/python UV_PYTHON_INSTALL_BIN=0 \
    "$tools/venv/bin/uv" --cache-dir "$tools/cache" --no-config python install "$VERSION" >&2 ||
    refuse "uv could not download one"
