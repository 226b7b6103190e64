#!/usr/bin/env bash
# Prints the interpreter to use, as "<version> <path>", for example "3.11 /usr/bin/python3.11".
# PYTHON names it (python3.7, or a path); without it, the newest of Python 3.9 to 3.11 on the machine is taken.
# Exits 2 with one line on stderr where PYTHON is of no use, and 3 where PYTHON is not set and nothing was found.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly PROBE='
import os, sys
version = "%d.%d" % sys.version_info[:2]
path = os.path.realpath(sys.executable)
if sys.prefix != sys.base_prefix:  # of a virtual environment: the interpreter it was made from
    path = os.path.join(sys.base_prefix, "bin", "python" + version)
print(version, path)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(7)
'

refuse() {
    echo "setup: error: $1" >&2
    exit 2
}

# Commands named so on the PATH, then pyenv's, then what setup/fetch_python.sh installed. Only running one tells whether
# it works: pyenv puts stand-ins on the PATH for versions that are not switched on.
candidates() {
    local name=$1
    case $name in
        */*) echo "$name"; return ;;
    esac
    type -ap "$name"
    case $name in
        python3.*)
            local root=${PYENV_ROOT:-$HOME/.pyenv} prefix
            for prefix in "$root/versions/${name#python}" "$root/versions/${name#python}".* .cache/python/*; do
                [[ -x $prefix/bin/$name ]] && echo "$prefix/bin/$name"
            done
            ;;
    esac
    return 0
}

# Prints "<version> <path>" of the first candidate of that name that runs and can make virtual environments.
probe() {
    local candidate found status
    while IFS= read -r candidate; do
        found=$("$candidate" -c "$PROBE" </dev/null 2>/dev/null)
        status=$?
        if ((status == 0)); then
            echo "$found"
            return 0
        fi
        ((status == 7)) && echo "$found" >>"$unusable"
    done < <(candidates "$1")
    return 1
}

check_supported() {
    case $1 in
        3.6 | 3.7 | 3.9 | 3.10 | 3.11) ;;
        3.8) refuse "PYTHON=$PYTHON is Python 3.8, for which TensorFlow 1.15 exists only in NVIDIA's containers: use Python 3.6 or 3.7 (TensorFlow 1.15) or 3.9 to 3.11 (TensorFlow 2.15)" ;;
        *) refuse "PYTHON=$PYTHON is Python $1: use Python 3.6 or 3.7 (TensorFlow 1.15) or 3.9 to 3.11 (TensorFlow 2.15)" ;;
    esac
}

refuse_unusable() {
    local version path
    while read -r version path; do
        refuse "$path cannot make virtual environments: install its module venv (Debian: apt-get install python$version-venv)"
    done <"$unusable"
}

unusable=$(mktemp)
trap 'rm -f "$unusable"' EXIT

if [[ -n ${PYTHON:-} ]]; then
    found=$(probe "$PYTHON")
    if [[ -n $found ]]; then
        check_supported "${found%% *}"
        echo "$found"
        exit 0
    fi
    refuse_unusable
    refuse "PYTHON=$PYTHON is no Python that runs on this machine: give the name or the path of one, or leave PYTHON out"
fi

for version in 3.11 3.10 3.9; do
    for name in "python$version" python3 python; do
        found=$(probe "$name")
        if [[ ${found%% *} == "$version" ]]; then
            echo "$found"
            exit 0
        fi
    done
done
refuse_unusable
exit 3
