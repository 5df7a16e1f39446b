#!/usr/bin/env python3
"""Sets Tandem's benches beside Open MPI and PyTorch, in one run on one machine.

    scripts/bench/compare.py                 all of: allreduce update launch step loader
    scripts/bench/compare.py step --rounds 7

Contestants take turns, round after round, and medians over the rounds are compared, so that a machine that slows down
or is busy with others does so for all; how busy it was with others is printed. A peer that is not there is left
out, with the reason. TANDEM_PEER_PYTHON names the Python that has PyTorch (default: python3). Run after scripts/build.sh.
"""
import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = pathlib.Path(__file__).resolve().parent
TANDEM = str(ROOT / "build" / "tandem")
PYTHON = os.environ.get("TANDEM_PEER_PYTHON", "python3")
MPIRUN = ["mpirun", "-np", "2", "--bind-to", "core", "--mca", "pml", "ob1", "--mca", "btl", "vader,self"]
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "PYTHONWARNINGS": "ignore"}


class Missing(Exception):
    """A contestant that cannot run here; the text says why."""


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def busy_seconds():
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class ForeignLoad:
    """`share`: of the machine's time, what others used while this lasted."""

    def __enter__(self):
        self.busy, self.own, self.start = busy_seconds(), own_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_):
        foreign = busy_seconds() - self.busy - own_seconds() + self.own
        self.share = max(0.0, foreign / (time.perf_counter() - self.start) / os.cpu_count())


def build(compiler, source, *libraries):
    """Compile a peer into build/bench/; gives its path."""
    if not shutil.which(compiler):
        raise Missing(f"there is no {compiler}")
    program = ROOT / "build" / "bench" / f"{source.removesuffix('.c')}-{compiler}"
    program.parent.mkdir(exist_ok=True)
    if not program.exists() or program.stat().st_mtime < (BENCH / source).stat().st_mtime:
        subprocess.run([compiler, "-O3", "-march=native", str(BENCH / source), "-o", str(program), *libraries], check=True)
    return str(program)


def need_torch():
    probe = subprocess.run([PYTHON, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    if probe.returncode:
        raise Missing(f"{PYTHON} has no PyTorch; TANDEM_PEER_PYTHON can name another")


def rows(*command):
    """Run it; its JSON lines."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def torch_peer(*arguments):
    return rows(PYTHON, str(BENCH / "torch_peer.py"), *map(str, arguments))


def by_size(lines):
    return {row["bytes"]: row["median_us"] for row in lines}


def wall_us(command):
    start = time.perf_counter()
    child = os.posix_spawnp(command[0], command, ENVIRONMENT,
                            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                                          (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)])
    _, how = os.waitpid(child, 0)
    if how:
        raise RuntimeError(f"{' '.join(command)} ended with status {how}")
    return (time.perf_counter() - start) * 1e6


def launches(command, count):
    return {"launch": statistics.median(wall_us(command) for _ in range(count))}


# Each contest: {name of contestant: function that runs one round and gives {row: microseconds}}. The first is ours.
def allreduce():
    def ours():
        return by_size(rows(TANDEM, "bench", "allreduce", "-n", "2", "--json"))

    def floor():
        return by_size(rows(build("cc", "floor_allreduce.c")))

    def open_mpi():
        return by_size(rows(*MPIRUN, build("mpicc", "mpi_peer.c", "-lm")))

    def gloo():
        need_torch()
        return by_size(torch_peer("allreduce", 2, 100 << 20))

    return {"tandem": ours, "floor": floor, "Open MPI": open_mpi, "gloo": gloo}


def update():
    def ours(sync):
        return lambda: by_size(rows(TANDEM, "bench", "update", "-n", "2", "--sync", sync, "--repeat", "15", "--json"))

    def floor():
        return by_size(rows(build("cc", "floor_update.c")))

    def open_mpi():
        return by_size(rows(*MPIRUN, build("mpicc", "mpi_update.c")))

    return {"tandem shared": ours("shared"), "floor": floor, "Open MPI + fused step": open_mpi,
            "tandem replicated": ours("replicated"), "tandem zero1": ours("zero1")}


def launch():
    def ours():
        return launches([TANDEM, "run", "-n", "2", "--", TANDEM, "bench", "noop"], 20)

    def open_mpi():
        return launches([*MPIRUN, build("mpicc", "mpi_peer.c", "-lm"), "noop"], 5)

    def torchrun():
        need_torch()
        return launches([PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                         str(BENCH / "torch_peer.py"), "noop"], 1)

    return {"tandem": ours, "Open MPI": open_mpi, "torchrun": torchrun}


def step():
    models, batch = ("mnist-cnn", "mlp"), 64

    def ours(ranks, threads):
        def run():
            return {model: rows(TANDEM, "bench", "step", "-n", str(ranks), "--threads", str(threads), "--model", model,
                                "--batch-size", str(batch), "--json")[0]["median_us"] for model in models}
        return run

    def theirs(ranks, threads, layout):
        def run():
            need_torch()
            return {model: torch_peer("step", model, ranks, threads, layout, batch)[0]["median_us"] for model in models}
        return run

    return {"tandem 2 ranks": ours(2, 1), "tandem 2 threads": ours(1, 2),
            "torch 2 threads": theirs(1, 2, "nchw"), "torch 2 threads nhwc": theirs(1, 2, "nhwc"),
            "torch 2 ranks": theirs(2, 1, "nchw"), "torch 2 ranks nhwc": theirs(2, 1, "nhwc")}


def loader():
    def ours():
        return {"60,000 samples": rows(TANDEM, "bench", "loader", "--batch-size", "64", "--json")[0]["median_us"]}

    def torch():
        need_torch()
        return {"60,000 samples": torch_peer("loader", 64)[0]["median_us"]}

    return {"tandem": ours, "torch gather": torch}


CONTESTS = {"allreduce": allreduce, "update": update, "launch": launch, "step": step, "loader": loader}


def run_rounds(contestants, count):
    """{contestant: {row: median over the rounds}}; those that are missing are taken out, with a word."""
    results, absent = take_turns(contestants, count)
    for name, reason in absent.items():
        print(f"  without {name}: {reason}")
    return results


def take_turns(contestants, count):
    """({contestant: {row: median over the rounds}}, {contestant that is missing: why})."""
    results, absent = {name: [] for name in contestants}, {}
    for number in range(count):
        for name in list(results):
            print(f"  round {number + 1} of {count}: {name:24}", end="\r", file=sys.stderr, flush=True)
            try:
                results[name].append(contestants[name]())
            except Missing as reason:
                absent[name] = str(reason)
                del results[name]
    print(" " * 60, end="\r", file=sys.stderr)
    return {name: {row: statistics.median(one[row] for one in rounds) for row in rounds[0]}
            for name, rounds in results.items()}, absent


def show(results):
    ours, *others = results
    print(f"  {'':>16}{ours:>20}" + "".join(f"{name:>26}" for name in others))
    for row, mine in results[ours].items():
        label = f"{row} B" if isinstance(row, int) else row
        line = f"  {label:>16}{mine:>17.2f} us"
        for name in others:
            theirs = results[name].get(row)
            line += f"{theirs:>14.2f} us {theirs / mine:>6.2f}x " if theirs else f"{'-':>26}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contests", nargs="*", choices=[*CONTESTS, []], help="which; all")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant; 5")
    options = parser.parse_args()
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {cpu_model()}, {os.cpu_count()} cores")
    for name in options.contests or CONTESTS:
        print(f"\n{name}: medians of {options.rounds} rounds; N x is the peer's time over ours")
        with ForeignLoad() as load:
            results = run_rounds(CONTESTS[name](), options.rounds)
        show(results)
        print(f"  others used {100 * load.share:.0f} % of the machine")


if __name__ == "__main__":
    main()
