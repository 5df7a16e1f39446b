#!/bin/sh
# Install into a temporary folder, compile the C example against that as its user would, and run it there alone and on
# two ranks. Nothing of the build folder may be needed.
#   installed.sh BUILD_FOLDER SOURCE_FOLDER
set -eu
build=$1
source=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
unset TANDEM_PLUGIN_PATH TANDEM_DATA

meson install -C "$build" --no-rebuild --quiet --destdir "$root"
pc=$(find "$root" -name tandem.pc)
prefix=$root$(sed -n 's/^prefix=//p' "$pc")
export PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$root
libraries=$(dirname "$(dirname "$pc")")
export LD_LIBRARY_PATH=$libraries TANDEM_DATA=$prefix/share/tandem TANDEM_PLUGIN_PATH=$libraries/tandem

cd "$root"
${CC:-cc} -Wall -Wextra -Werror "$source/examples/mnist.c" $(pkg-config --cflags --libs tandem) -o mnist
./mnist 1 2 | grep "of 10000)"
"$prefix/bin/tandem" run -n 2 -- ./mnist 1 2 | grep "of 10000)"
"$prefix/bin/tandem" train -n 2 --model mlp --steps 2 --json | grep '"event":"end"'
