#!/usr/bin/env bash
# Usage: setup/install_torch.sh
# Makes .venv-torch, the environment of the benchmark's opponent, with what benchmarks/requirements.txt names, unless it
# is there and complete. Where that cannot be done it says so in one line, and the benchmark goes on without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=$PWD/.venv-torch
requirements=benchmarks/requirements.txt
log=.cache/torch.log
stamp=$environment/.complete

skip() {
    echo "setup: the benchmark goes on without PyTorch: $1" >&2
    exit 0
}

unset PYTHONHOME
# The recipe's own interpreter may be older than PyTorch takes.
choice=$(PYTHON='' setup/find_python.sh 2>/dev/null) || skip "this machine has no Python 3.9 to 3.11 that can make virtual environments"
wanted="$choice $(cksum <"$requirements")"
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi

mkdir -p .cache
echo "setup: making .venv-torch with ${choice#* }; its output goes to $log" >&2
rm -rf "$environment"
if ! { "${choice#* }" -m venv "$environment" &&
    "$environment/bin/python" -m pip --disable-pip-version-check --no-input install -r "$requirements"; } >"$log" 2>&1; then
    rm -rf "$environment"
    skip "it could not be installed, see $log"
fi
echo "$wanted" >"$stamp"
echo "setup: .venv-torch is ready" >&2
