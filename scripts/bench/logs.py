#!/usr/bin/env python3
"""Measures how fast the ranks' output gets through the launcher, and sets it beside torchrun and mpirun.

    scripts/bench/logs.py                       all of: files prefix-file prefix-pipe
    scripts/bench/logs.py prefix-pipe --rounds 9 --line 60 --json

files         each rank's standard output goes to a log file of its own (--log-dir, --redirects)
prefix-file   every line gets a prefix and all of them go into one file (--prefix)
prefix-pipe   the same into a pipe, whose reader only counts bytes

Two ranks write lines as fast as they are taken. The clock runs from the first rank's start to the last byte written or
read, so that starting a launcher does not count. The floor is what the system takes without a launcher: the ranks
write their files by themselves, or into one pipe to `cat`. Contestants take turns, and medians over the rounds are
shown in MB/s (10^6 bytes of the ranks'); N x is our speed over the other's. TANDEM_PEER_PYTHON names the Python that
has PyTorch.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import compare
from compare import MPIRUN, PYTHON, TANDEM, build

RANKS = 2
MIB = 1 << 20
BYTES = {"torchrun": 16 * MIB}  # it is slow; others write as much as is asked for


class Run:
    """One launch: where the ranks leave their marks, and what they write."""

    def __init__(self, folder, name, options):
        self.folder = pathlib.Path(folder)
        (self.folder / "marks").mkdir()
        self.bytes = BYTES.get(name, options.mib * MIB // RANKS)
        self.writer = [build("cc", "log_lines.c"), str(self.bytes), str(options.line)]
        self.environment = {**compare.ENVIRONMENT, "TD_BENCH_MARKS": str(self.folder / "marks")}

    def call(self, command, output=None):
        with open(output or os.devnull, "wb") as file:
            subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=file,
                           stderr=subprocess.DEVNULL, check=True, timeout=300)

    def rate(self, last_ns, total):
        """MB/s; `total` bytes have come, with their prefixes."""
        if total < RANKS * self.bytes:
            raise RuntimeError(f"of {RANKS * self.bytes} bytes only {total} came")
        first_ns = min(mark.stat().st_mtime_ns for mark in (self.folder / "marks").iterdir())
        return RANKS * self.bytes / max(last_ns - first_ns, 1) * 1e3

    def into_files(self, command, pattern):
        self.call(command)
        files = [path.stat() for path in self.folder.glob(pattern)]
        return self.rate(max(file.st_mtime_ns for file in files), sum(file.st_size for file in files))

    def into_file(self, command):
        self.call(command, self.folder / "all.log")
        file = (self.folder / "all.log").stat()
        return self.rate(file.st_mtime_ns, file.st_size)

    def into_pipe(self, command):
        total, last, room = 0, 0, bytearray(MIB)
        child = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, bufsize=0)
        while got := child.stdout.readinto(room):
            total += got
            last = time.time_ns()
        child.stdout.close()
        if child.wait() != 0:
            raise RuntimeError(f"{' '.join(command)} failed")
        return self.rate(last, total)


def shell(line):
    return lambda run: ["sh", "-c", line.format(writer=" ".join(run.writer), folder=run.folder)]


def ours(*options):
    return lambda run: [TANDEM, "run", "-n", str(RANKS), *[o.format(folder=run.folder) for o in options], "--", *run.writer]


def mpirun(*options):
    def command(run):
        build("mpicc", "mpi_peer.c", "-lm")  # says what is missing
        return [*MPIRUN, *[o.format(folder=run.folder) for o in options], *run.writer]
    return command


def torchrun(*options):
    def command(run):
        compare.need_torch()
        return [PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS), "--no-python",
                *[o.format(folder=run.folder) for o in options], *run.writer]
    return command


PREFIXED = {"tandem": ours("--prefix"), "cat": shell("({writer} & {writer}; wait) | cat"),
            "Open MPI": mpirun("--tag-output"), "torchrun": torchrun("--log-dir", "{folder}/logs", "--tee", "1")}
CONTESTS = {
    "files": (Run.into_files, {
        "tandem": (ours("--log-dir", "{folder}", "--redirects", "3"), "*/attempt_0/*/stdout.log"),
        "no launcher": (shell("{writer} > {folder}/0 & {writer} > {folder}/1; wait"), "[01]"),
        "Open MPI": (mpirun("--output-filename", "{folder}/logs:nocopy"), "logs/1/rank.*/stdout"),
        "torchrun": (torchrun("--log-dir", "{folder}", "--redirects", "3"), "*/attempt_0/*/stdout.log")}),
    "prefix-file": (Run.into_file, {name: (command,) for name, command in PREFIXED.items()}),
    "prefix-pipe": (Run.into_pipe, {name: (command,) for name, command in PREFIXED.items()}),
}


def contestants(name, options):
    measure, entries = CONTESTS[name]

    def one(who, command, *more):
        def round_of():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                run = Run(folder, who, options)
                return {"MB/s": measure(run, command(run), *more)}
        return round_of

    return {who: one(who, *entry) for who, entry in entries.items() if who not in options.without}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contests", nargs="*", choices=[*CONTESTS, []], help="which; all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant; 5")
    parser.add_argument("--mib", type=int, default=512, help="MiB that the ranks write together; 512")
    parser.add_argument("--line", type=int, default=100, help="bytes of a line; 100")
    parser.add_argument("--folder", help="where files go: a folder of the file system to measure; $TMPDIR")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave this contestant out")
    parser.add_argument("--json", action="store_true", help="one JSON object per contest, and nothing else")
    options = parser.parse_args()
    out = sys.stdout
    if options.json:
        sys.stdout = sys.stderr
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {compare.cpu_model()}, {os.cpu_count()} cores")
    for name in options.contests or CONTESTS:
        print(f"\n{name}: medians of {options.rounds} rounds, lines of {options.line} bytes; N x is our speed over theirs")
        busy, own, start = compare.busy_seconds(), compare.own_seconds(), time.perf_counter()
        results = {who: rows["MB/s"] for who, rows in
                   compare.run_rounds(contestants(name, options), options.rounds).items()}
        foreign = compare.busy_seconds() - busy - compare.own_seconds() + own
        foreign = max(0.0, foreign / (time.perf_counter() - start) / os.cpu_count())
        if options.json:
            print(json.dumps({"bench": "logs", "contest": name, "ranks": RANKS, "line": options.line,
                              "mb_per_second": {who: round(rate, 1) for who, rate in results.items()},
                              "foreign_cpu": round(foreign, 3)}), file=out)
            continue
        for who, rate in results.items():
            print(f"  {who:>12}{rate:>10.0f} MB/s" + ("" if who == "tandem" else f"{results['tandem'] / rate:>9.2f}x"))
        print(f"  others used {100 * foreign:.0f} % of the machine")


if __name__ == "__main__":
    main()
