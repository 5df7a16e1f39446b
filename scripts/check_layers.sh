#!/bin/sh
# Each folder includes only what its layer may use; the table is the one of the design (README, "Layers").
# Prints each crossing include and fails when there is one.
set -eu
cd "$(dirname "$0")/.."

status=0
forbid() { # FOLDER 'headers it must not include, as a regular expression'
    [ -d "$1" ] || return 0
    if grep -rnE --include='*.[ch]' "^#include \"($2)" "$1"; then
        echo "^^ $1/ may not include these" >&2
        status=1
    fi
}

forbid base '(sampler|dist|model|worker|serve|tools|launcher)/'
forbid sampler '(dist|model|worker|serve|tools|launcher)/'
forbid dist '(sampler|model|worker|serve|tools|launcher)/'
forbid model '(sampler|worker|serve|tools|launcher)/'
for folder in tensor ops cpu cuda autograd nn optim zoo graph script onnx checkpoint; do
    forbid model/$folder 'dist/'
done
forbid model/parallel 'dist/(self|shm|hier|mpi|nccl)/|dist/(internal|backend)\.h'
forbid worker '(tools|launcher|serve)/|[a-z/]*internal\.h|dist/(self|shm|hier|mpi|nccl)/|model/cpu/'
forbid tools '(worker|serve|launcher)/|[a-z/]*internal\.h|dist/(self|shm|hier|mpi|nccl)/|model/cpu/'
forbid launcher '(sampler|model)/|dist/(self|shm|hier|mpi|nccl)/|dist/(internal|backend)\.h'
forbid examples '[a-z]' # examples include <tandem/...> only
for backend in self shm hier mpi nccl; do
    others=$(echo self shm hier mpi nccl | tr ' ' '\n' | grep -v "^$backend$" | tr '\n' '|' | sed 's/|$//')
    forbid dist/$backend "dist/($others)/"
done
exit $status
