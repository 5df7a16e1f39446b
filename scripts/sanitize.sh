#!/bin/sh
# Build with a sanitizer in a folder of its own and run the tests there, slow ones left out.
#   scripts/sanitize.sh address,undefined|thread [MESON TEST ARGUMENTS]
set -eu
cd "$(dirname "$0")/.."
sanitizer=$1
shift
folder=build-${sanitizer%%,*}
[ -f "$folder/build.ninja" ] ||
    meson setup "$folder" -Db_sanitize="$sanitizer" -Db_lundef=false -Dbuildtype=debugoptimized
ninja -C "$folder"
# A report fails the test that caused it. Plug-ins and OpenMP keep memory to the end of the process on purpose.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1
# use_tls=0: with oneDNN loaded, the checker of gcc 12 crashes in its look at thread-local storage.
export LSAN_OPTIONS=use_tls=0:suppressions=$PWD/tests/support/leaks.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1
exec meson test -C "$folder" --no-suite slow --timeout-multiplier 6 --print-errorlogs "$@"
