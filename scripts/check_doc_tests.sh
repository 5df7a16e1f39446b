#!/bin/sh
# Every test that a page's tables name in backquotes exists: names of at least four words, and test files.
#   scripts/check_doc_tests.sh PAGE TESTS_FOLDER
set -eu
page=$1 tests=$2 status=0
for name in $(grep '^|' "$page" | grep -o '`[a-z0-9]*_[a-z0-9]*_[a-z0-9]*_[a-z0-9_]*`' | tr -d '`' | sort -u); do
    grep -rqE "^START_TEST\($name\)" "$tests" || { echo "$page names $name, which is no test"; status=1; }
done
for file in $(grep '^|' "$page" | grep -o '`[a-z/]*test_[a-z_]*\.[a-z]*`' | tr -d '`' | sort -u); do
    [ -f "$tests/${file#tests/}" ] || [ -f "$tests/launcher/$file" ] || { echo "$page names $file, which is not there"; status=1; }
done
exit $status
