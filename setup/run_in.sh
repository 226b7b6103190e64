#!/usr/bin/env bash
# Usage: [PYTHON=NAME_OR_PATH] setup/run_in.sh tensorflow|horovod COMMAND [ARGUMENT...]
# Runs the command in the virtual environment of the chosen interpreter, which is made first where it is missing or out
# of date: .venv for the runtime tf2, .venv-tf1 for tf1. The command finds the runtime's name in RUNTIME.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
needed=$1
shift

# An environment that the user has switched on must not lend its programs to another one.
if [[ -n ${VIRTUAL_ENV:-} ]]; then
    PATH=:$PATH:
    PATH=${PATH//":$VIRTUAL_ENV/bin:"/:}
    PATH=${PATH#:}
    PATH=${PATH%:}
fi
unset PYTHONHOME

choice=$("$here/find_python.sh") || {
    status=$?
    ((status == 3)) || exit "$status"
    "$here/fetch_python.sh"
    choice=$("$here/find_python.sh")
}
version=${choice%% *}
interpreter=${choice#* }
case $version in
    3.6 | 3.7) RUNTIME=tf1 environment=$PWD/.venv-tf1 ;;
    *) RUNTIME=tf2 environment=$PWD/.venv ;;
esac
export RUNTIME

# Two commands at once must not make the same environment.
mkdir -p .cache
exec 9>".cache/$RUNTIME.lock"
if command -v flock >/dev/null; then
    flock -n 9 || { echo "setup: waiting for another command that prepares ${environment##*/}" >&2; flock 9; }
fi
[[ $needed != horovod ]] || "$here/install_horovod.sh" check-compiler "$environment"
"$here/install_tensorflow.sh" "$environment" "$version" "$interpreter" 9>&-
[[ $needed != horovod ]] || "$here/install_horovod.sh" install "$environment" 9>&-
exec 9>&-

export VIRTUAL_ENV=$environment
export PATH=$environment/bin:$PATH
exec "$@"
