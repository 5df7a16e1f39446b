#!/bin/sh
# Print "N passed, N failed, N skipped": the single tests inside the programs that the last `meson test` of
# each build folder ran, by Meson's own JUnit report. Fails when none ran.
#   scripts/count_tests.sh BUILD_FOLDER...
set -eu
for folder in "$@"; do
    cat "$folder/meson-logs/testlog.junit.xml"
done | tr '>' '\n' | awk '
    /<testsuite / {
        for (i = 1; i <= NF; i++) {
            split($i, part, "\"")
            if ($i ~ /^tests=/) tests += part[2]
            if ($i ~ /^(errors|failures)=/) failed += part[2]
            if ($i ~ /^skipped=/) skipped += part[2]
        }
    }
    END {
        printf "%d passed, %d failed, %d skipped\n", tests - failed - skipped, failed, skipped
        exit tests == 0
    }'
