#!/usr/bin/env python3
"""Measures what launching costs, and sets it beside mpirun and torchrun in the same run.

    scripts/bench/launch.py                  all of: main ranks64 reduce bind kill memory
    scripts/bench/launch.py main --rounds 9

main      from the launcher's main to a rank's, of 2 ranks: the first's
ranks64   64 ranks that leave at once: until the last one's main, and the whole run
reduce    launch 2 ranks, all-reduce one number, exit; the peers do the same
bind      what reading the topology adds to a start, with --bind-to core
kill      from SIGTERM to the end of a job whose 8 ranks ignore SIGTERM, without the grace of 0.2 s
memory    the launcher's and the guardian's peak with 64 ranks

Contestants take turns, and medians over the rounds are shown. Run after scripts/build.sh, on a calm machine: how
busy it was with others is printed. TANDEM_PEER_PYTHON names the Python that has PyTorch.
"""
import argparse
import datetime
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time

import compare
from compare import MPIRUN, TANDEM, build, wall_us

TRUE = "/bin/true"
GRACE = 0.2


def clocked(command):
    """Microseconds from the first process's main to each later one's, and the whole run's."""
    clock = build("cc", "launch_clock.c", "-shared", "-fPIC")
    with tempfile.NamedTemporaryFile(mode="r") as file:
        environment = {**compare.ENVIRONMENT, "LD_PRELOAD": clock, "TD_BENCH_CLOCK": file.name}
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60)
        whole = (time.perf_counter() - start) * 1e6
        return sorted(int(line) / 1e3 for line in file.read().split()), whole


def median_of(count, function):
    return statistics.median(function() for _ in range(count))


def need_mpirun():
    build("mpicc", "mpi_peer.c", "-lm")  # says what is missing


def main_to_main():
    def ours():
        return {"first main": median_of(10, lambda: clocked([TANDEM, "run", "-n", "2", "--", TRUE])[0][0])}

    def open_mpi():
        need_mpirun()
        return {"first main": median_of(3, lambda: clocked([*MPIRUN, TRUE])[0][0])}

    return {"tandem": ours, "Open MPI": open_mpi}


def ranks64():
    def ours():
        runs = [clocked([TANDEM, "run", "-n", "64", "--", TRUE]) for _ in range(5)]
        return {"last main": statistics.median(mains[-1] for mains, _ in runs),
                "whole run": statistics.median(whole for _, whole in runs)}

    return {"tandem": ours}  # mpirun 4.1 hangs now and then with 64 processes that leave at once


def bind():
    def run(*options):
        return lambda: {"2 ranks": median_of(10, lambda: wall_us([TANDEM, "run", "-n", "2", *options, "--", TRUE]))}

    return {"unbound": run(), "--bind-to core": run("--bind-to", "core")}


def kill():
    """Ranks that ignore SIGTERM must be gone right after the grace."""
    def ours():
        job = subprocess.Popen([TANDEM, "run", "-n", "8", "--shutdown-timeout", str(GRACE), "--", "sh", "-c",
                                "trap '' TERM; echo up; sleep 100 & wait; sleep 100"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(8):
            job.stdout.readline()
        start = time.perf_counter()
        job.send_signal(signal.SIGTERM)
        job.wait()
        job.stdout.close()
        return {"over the grace": (time.perf_counter() - start - GRACE) * 1e6}

    return {"tandem": ours}


def memory():
    def peak_kib(pid):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise RuntimeError("the kernel tells no VmHWM")

    def ours():
        job = subprocess.Popen([TANDEM, "run", "-n", "64", "--", "sh", "-c", "echo up; exec sleep 100"],
                               stdout=subprocess.PIPE, text=True)
        for _ in range(64):
            job.stdout.readline()
        guardian = pathlib.Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()[0]
        result = {"launcher": peak_kib(job.pid), "guardian": peak_kib(guardian)}
        job.send_signal(signal.SIGTERM)
        job.wait()
        job.stdout.close()
        return result

    return {"tandem": ours}


CONTESTS = {"main": (main_to_main, "us"), "ranks64": (ranks64, "us"), "reduce": (compare.launch, "us"),
            "bind": (bind, "us"), "kill": (kill, "us"), "memory": (memory, "KiB")}


def show(results, unit):
    ours, *others = results
    print(f"  {'':>16}{ours:>20}" + "".join(f"{name:>27}" for name in others))
    for row, mine in results[ours].items():
        line = f"  {row:>16}{mine:>16.0f} {unit:<3}"
        for name in others:
            line += f"{results[name][row]:>14.0f} {unit} {results[name][row] / mine:>7.2f}x "
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contests", nargs="*", choices=[*CONTESTS, []], help="which; all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant; 5")
    options = parser.parse_args()
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {compare.cpu_model()}, {os.cpu_count()} cores")
    for name in options.contests or CONTESTS:
        contest, unit = CONTESTS[name]
        print(f"\n{name}: medians of {options.rounds} rounds; N x is the peer's over ours")
        busy, own, start = compare.busy_seconds(), compare.own_seconds(), time.perf_counter()
        results = compare.run_rounds(contest(), options.rounds)
        foreign = compare.busy_seconds() - busy - compare.own_seconds() + own
        show(results, unit)
        print(f"  others used {100 * max(0.0, foreign / (time.perf_counter() - start) / os.cpu_count()):.0f} % of the machine")


if __name__ == "__main__":
    main()
