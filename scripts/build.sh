#!/bin/sh
# Build Tandem into build/, installing the packages that takes. Quick when nothing changed.
#   scripts/build.sh [--no-tests]
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

need_packages "to build" gcc libc6-dev libgomp1 pkg-config meson ninja-build \
    libuv1-dev libjansson-dev zlib1g-dev libdnnl-dev libhwloc-dev
tests=true
if [ "${1:-}" = --no-tests ]; then
    tests=false
else
    need_packages "to test" check
fi

echo "Building into build/"
if [ ! -f build/build.ninja ]; then
    meson setup build -Dtests=$tests
elif [ $tests = true ]; then
    meson configure build -Dtests=true
fi
ninja -C build
