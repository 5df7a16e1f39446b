#!/bin/sh
# Each public header compiles alone, as strict C99 and as C++.
#   scripts/check_headers.sh BUILD_FOLDER HEADER...        the headers as installed: <tandem/base/status.h>
set -eu
build=$1
shift
status=0
for header in "$@"; do
    line="#include <tandem/$header>"
    includes="-I$build/include -I$build/include/tandem -I$build -I$build/generated"
    echo "$line" | ${CC:-cc} -std=c99 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only $includes -x c - ||
        { echo "$header does not compile alone as C99" >&2; status=1; }
    echo "$line" | ${CXX:-c++} -std=c++11 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only $includes -x c++ - ||
        { echo "$header does not compile alone as C++" >&2; status=1; }
done
exit $status
