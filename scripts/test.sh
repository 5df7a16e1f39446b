#!/bin/sh
# Install what the tests need, build, and run every test. The last line is the count.
#   scripts/test.sh [MESON TEST ARGUMENTS]      for example: scripts/test.sh --suite dist
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

need_packages "to test" check openmpi-bin libopenmpi-dev mpich libmpich-dev g++
scripts/build.sh

status=0
meson test -C build --print-errorlogs "$@" || status=$?
scripts/count_tests.sh build
exit $status
