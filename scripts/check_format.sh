#!/bin/sh
# The sources are as clang-format leaves them. `scripts/check_format.sh --fix` makes them so.
set -eu
cd "$(dirname "$0")/.."
mode='--dry-run -Werror'
[ "${1:-}" = --fix ] && mode=-i
git ls-files '*.c' '*.h' | xargs clang-format $mode
