#!/bin/sh
# The MNIST files are those whose SHA-256 sums NOTICE gives, packed and unpacked.
set -eu
cd "$(dirname "$0")/.."
checked=0
for packed in sampler/mnist/*.gz; do
    name=$(basename "$packed" .gz)
    for pair in "$name.gz $(sha256sum <"$packed")" "$name $(gzip -dc "$packed" | sha256sum)"; do
        set -- $pair
        grep -q "^  $2  $1\$" NOTICE || { echo "$1 has the sum $2, NOTICE another" >&2; exit 1; }
        checked=$((checked + 1))
    done
done
[ "$checked" = 8 ] || { echo "$checked sums checked, not 8" >&2; exit 1; }
