#!/bin/sh
# A short training run, alone and as two ranks, loses no memory: valgrind finds nothing that is no longer reachable
# and no use of what is not there. Needs a build in build/.
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh
need_packages "to look for leaks" valgrind

# valgrind knows no AVX-512, and plain kernels show their accesses best.
export OMP_NUM_THREADS=1 TANDEM_KERNELS=reference
report=$(mktemp -d)
trap 'rm -rf "$report"' EXIT

# The first samples of MNIST, so that testing takes no minutes here.
cut_file() { # NAME SAMPLES-IN-OCTAL BYTES-AFTER-THE-COUNT
    gzip -dc "sampler/mnist/$1.gz" >"$report/whole"
    {
        head -c 4 "$report/whole"
        printf "\\000\\000\\000\\$2"
        tail -c +9 "$report/whole" | head -c "$3"
    } >"$report/$1"
}
cut_file train-images-idx3-ubyte 100 $((8 + 64 * 784))
cut_file train-labels-idx1-ubyte 100 64
cut_file t10k-images-idx3-ubyte 040 $((8 + 32 * 784))
cut_file t10k-labels-idx1-ubyte 040 32

run() { # NAME COMMAND...
    name=$1
    shift
    echo "valgrind: $name"
    if ! "$@" >"$report/output" 2>&1; then
        cat "$report"/valgrind.* "$report/output" >&2
        exit 1
    fi
}

check="valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect
    --error-exitcode=99 --log-file=$report/valgrind.%p"
train="build/tandem train --model mlp --data $report --steps 3 --batch-size 8 --save $report/weights"
run "one rank" $check $train
run "two ranks" build/tandem run -n 2 -- $check $train
echo "no leaks"
