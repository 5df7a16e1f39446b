#!/bin/sh
# Have spin look at every state of the models in this folder: `check.sh quick|slow FOLDER`. FOLDER is for what it makes.
# A model must hold; with one of its rules taken out (BROKEN_...) spin must find what goes wrong. Prints TAP.
set -u
speed=$1 work=$2/$1
here=$(cd "$(dirname "$0")" && pwd)
compiler=gcc
command -v spin >/dev/null || { echo "1..0 # SKIP spin is not installed"; exit 0; }
command -v $compiler >/dev/null || compiler=cc
mkdir -p "$work" && cd "$work" || exit 1

# Expected, model, its definitions. `sampled`: holds, in a part of the states, which are too many.
cases() {
    if [ "$speed" = quick ]; then cat <<'LIST'
holds   wake  N=2
holds   wake  N=2 NO_MEMBARRIER
fails   wake  N=2 BROKEN_BARRIER
fails   wake  N=2 BROKEN_LOOK
holds   flags K=3 WAYS=000
holds   flags K=2 WAYS=33
holds   flags K=1 WAYS=1
fails   flags K=2 WAYS=22 BROKEN_SLOTS
fails   flags K=2 WAYS=11 BROKEN_LAG
fails   flags K=2 WAYS=00 BROKEN_DEATH
LIST
    else cat <<'LIST'
holds   wake  N=3 ROUNDS=1
fails   wake  N=2 BROKEN_HAND
fails   wake  N=3 ROUNDS=1 BROKEN_EVERYONE
holds   flags K=2 WAYS=11
holds   flags K=2 WAYS=22
holds   flags K=3 WAYS=201
holds   flags N=3 K=1 WAYS=0
sampled flags N=3 K=2 WAYS=21
sampled flags N=3 K=2 WAYS=12
sampled flags K=4
fails   flags K=3 WAYS=000 BROKEN_RING
fails   flags K=3 WAYS=000 BROKEN_MEET
fails   flags K=2 WAYS=11 BROKEN_READY
fails   flags K=2 WAYS=22 BROKEN_READY_FIRST
fails   flags K=2 WAYS=11 BROKEN_SLOTS
fails   flags K=2 WAYS=22 BROKEN_NEXT
fails   flags K=2 WAYS=33 BROKEN_AWAITS_ALL
fails   flags K=2 WAYS=00 BROKEN_WAKE
fails   flags K=2 WAYS=00 BROKEN_LEFT
fails   flags K=1 WAYS=0 BROKEN_LEFT_ORDER
fails   flags K=2 WAYS=00 BROKEN_FREE
fails   flags N=3 K=1 WAYS=0 BROKEN_FIRST_CAUSE
LIST
    fi
}

# Runs one; `verdict` is then holds, fails, or what else happened.
look() {
    store=-DCOLLAPSE optimize=-O0 limits=-m100000
    [ "$1" = fails ] || [ "$speed" = quick ] || optimize=-O1
    [ "$1" = sampled ] && store=-DBITSTATE limits="-m20000 -w22"
    model=$2
    shift 2
    definitions=
    for d in "$@"; do definitions="$definitions -D$d"; done
    verdict="spin fails"
    # shellcheck disable=SC2086
    spin -a $definitions "$here/$model.pml" >log 2>&1 || return
    verdict="$compiler fails"
    $compiler $optimize -w -DSAFETY $store -o pan pan.c >log 2>&1 || return
    # shellcheck disable=SC2086
    timeout 900 ./pan -n $limits >log 2>&1 || { verdict="pan ends with $?"; return; }
    verdict="incomplete"
    grep -q 'errors: [1-9]' log && verdict=fails
    grep -q 'errors: 0' log && ! grep -q 'Search not completed\|max search depth' log && verdict=holds
}

echo "1..$(cases | wc -l)"
number=0 status=0
cases | {
    while read -r expected model definitions; do
        number=$((number + 1))
        # shellcheck disable=SC2086
        look $expected $model $definitions
        right="ok"
        [ "$verdict" = "$(echo $expected | sed s/sampled/holds/)" ] || { right="not ok"; status=1; sed 's/^/# /' log; }
        echo "$right $number - $model $definitions: $verdict$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/, \1 states/p' log)"
    done
    exit $status
}
