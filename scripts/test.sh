#!/bin/sh
# Install what the tests need, build, and run every test. The last line is the count.
#   scripts/test.sh [--with-pytorch] [MESON TEST ARGUMENTS]      for example: scripts/test.sh --suite dist
# With --with-pytorch PyTorch from PyPI is put into build/pytorch (5 GB), and its suite is not skipped;
# TANDEM_PEER_PYTHON may name a Python that has PyTorch already.
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

need_packages "to test" check openmpi-bin libopenmpi-dev libpmix-dev mpich libmpich-dev g++ spin
scripts/build.sh

if [ "${1-}" = --with-pytorch ]; then
    shift
    if [ -z "${TANDEM_PEER_PYTHON-}" ]; then
        need_packages "for PyTorch" python3-venv
        [ -x build/pytorch/bin/python ] || python3 -m venv build/pytorch
        build/pytorch/bin/python -m pip install --quiet torch numpy
        TANDEM_PEER_PYTHON=$PWD/build/pytorch/bin/python
    fi
    export TANDEM_PEER_PYTHON
fi

status=0
meson test -C build --print-errorlogs "$@" || status=$?
scripts/count_tests.sh build
exit $status
