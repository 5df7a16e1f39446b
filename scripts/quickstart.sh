#!/bin/sh
# From a clean clone to a trained network: installs what is missing, builds, and trains PyTorch's MNIST
# example on two ranks. Safe to run again.
set -eu
cd "$(dirname "$0")/.."

scripts/build.sh --no-tests

set -- build/tandem train -n 2 --model mnist-cnn --data mnist --epochs 1 --batch-size 32
echo
echo "\$ $*"
exec "$@"
