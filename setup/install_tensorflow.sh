#!/usr/bin/env bash
# Usage: setup/install_tensorflow.sh ENVIRONMENT VERSION INTERPRETER   (RUNTIME=tf1|tf2)
# Makes the virtual environment with everything but Horovod, unless it is there and complete. It is made anew when the
# interpreter or a requirements file has changed; the stamp is written last, so that an interrupted set-up starts again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=$1 version=$2 interpreter=$3
constraints=setup/constraints-$RUNTIME.txt
requirements=("requirements-$RUNTIME.txt" requirements-test.txt)
wanted="$version $interpreter $(cat requirements.txt "${requirements[@]}" "$constraints" | cksum)"
stamp=$environment/.complete-tensorflow
# Tells our environments from one that somebody made by hand, which is not ours to delete.
mark=$environment/.made-by-setup

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi
if [[ -d $environment && ! -f $mark ]]; then
    echo "setup: error: $environment was not made by this Makefile: move it away, so that it can make its own" >&2
    exit 2
fi

name=${environment##*/}
echo "setup: making $name with $interpreter (Python $version); it downloads some hundred megabytes" >&2
rm -rf "$environment"
mkdir "$environment"
touch "$mark"
"$interpreter" -m venv "$environment" >&2
# pip's progress on a terminal; elsewhere nothing but errors.
quiet=
[[ -t 2 ]] || quiet=-qq
install() {
    "$environment/bin/python" -m pip --disable-pip-version-check --no-input install $quiet -c "$constraints" "$@" >&2
}
install pip setuptools wheel
echo "setup: installing $(printf '%s, ' "${requirements[@]}")with all they need" >&2
install "${requirements[@]/#/-r}"
echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
echo "setup: $name is ready" >&2
