#!/usr/bin/env python3
"""Sets the collectives of backend shm beside Open MPI, MPICH, gloo and the least that the machine needs, in one run.

    scripts/bench/collectives.py                                  all kinds, 2, 4 and 16 ranks, 8 B to 100 MiB
    scripts/bench/collectives.py allreduce barrier --ranks 2 --max-bytes 1M --rounds 9
    scripts/bench/collectives.py --without gloo --json            one JSON object a line: a number of a contestant

"arena" is ours with buffers in the memory that ranks share, where Tandem's gradients are born; "private" ours with
ordinary memory, as the peers are given it. "floor" is scripts/bench/floor_allreduce.c: for an all-reduce the least that
the machine needs, for a barrier the hand-over of one line. Contestants take turns, and medians over the rounds are
compared; N x is a contestant's time over that of "arena". Open MPI is given what serves it best on one machine (btl
vader with cross-memory attach; ranks bound where each has a core), MPICH its shared memory. A contestant that is not
there is left out, with the reason. Rows whose buffers of all ranks would pass --memory are left out for all.
TANDEM_PEER_PYTHON names the Python that has PyTorch. Run after scripts/build.sh, on a calm machine.
"""
import argparse
import datetime
import json
import os
import shutil

from compare import (TANDEM, Missing, ForeignLoad, build, by_size, cpu_model, need_torch, rows, take_turns,
                     torch_peer)

KINDS = ("allreduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all", "barrier")
SIZES = (8, 64, 1 << 10, 8 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 25 << 20, 100 << 20)
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size_of(text):
    unit = text[-1].upper() if text[-1].isalpha() else ""
    return int(text[:len(text) - len(unit)]) * UNITS[unit]


def name_of(size):
    for unit, shift in (("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):g} {unit}"
    return f"{size} B"


def nearest(lines):
    """Rows by the usual sizes: where there are parts, sizes are cut to a multiple of them."""
    return {min(SIZES, key=lambda usual: abs(usual - size)) if size else 0: us for size, us in by_size(lines).items()}


def contestants(kind, ranks, most, without):
    crowded = ranks > os.cpu_count()

    def ours(*options):
        def run():
            if kind == "barrier":
                lines = rows(TANDEM, "bench", "latency", "-n", str(ranks), "--backend", "shm", "--json")
                return {0: row["median_us"] for row in lines if row["call"] == "barrier"}
            sizes = [size for size in SIZES if size <= most]
            lines = []
            for size in sizes if most < SIZES[-1] else [None]:
                lines += rows(TANDEM, "bench", kind, "-n", str(ranks), "--backend", "shm", "--json", *options,
                              *(["--bytes", str(size)] if size else []))
            return nearest(lines)
        return run

    def floor():
        lines = nearest(rows(build("cc", "floor_allreduce.c"), str(most if kind == "allreduce" else 1)))
        return {size: us for size, us in lines.items() if (size == 0) == (kind == "barrier")}

    def open_mpi():
        place = ["--oversubscribe", "--mca", "mpi_yield_when_idle", "1"] if crowded else ["--bind-to", "core"]
        return nearest(rows("mpirun.openmpi" if shutil.which("mpirun.openmpi") else "mpirun", "-np", str(ranks), *place,
                            "--mca", "pml", "ob1", "--mca", "btl", "vader,self",
                            build("mpicc", "mpi_peer.c", "-lm"), kind, str(most)))

    def mpich():
        if not shutil.which("mpirun.mpich"):
            raise Missing("there is no mpirun.mpich")
        place = [] if crowded else ["-bind-to", "core"]
        return nearest(rows("mpirun.mpich", "-np", str(ranks), *place, build("mpicc.mpich", "mpi_peer.c", "-lm"), kind,
                            str(most)))

    def gloo():
        need_torch()
        return nearest(torch_peer(kind, ranks, most))

    all_of_them = {"arena": ours(), "private": ours("--private"), "floor": floor, "Open MPI": open_mpi, "MPICH": mpich,
                   "gloo": gloo}
    if kind == "barrier":
        del all_of_them["private"]
    if ranks != 2 or kind not in ("allreduce", "barrier"):
        del all_of_them["floor"]
    return {name: run for name, run in all_of_them.items() if name not in without}


def number(us):
    return f"{us:.2f}" if us < 100 else f"{us:,.0f}"


def table(results, absent):
    names = list(results)
    print(f"| bytes | {' | '.join(f'{name}, us' for name in names)} |")
    print("|---|" + "---|" * len(names))
    for size, mine in results["arena"].items():
        cells = []
        for name in names:
            us = results[name].get(size)
            cells.append("-" if us is None else number(us) if name == "arena" else f"{number(us)} ({us / mine:.2f} x)")
        print(f"| {name_of(size) if size else '-'} | {' | '.join(cells)} |")
    for name, reason in absent.items():
        print(f"\nWithout {name}: {reason}.")


def show_json(kind, ranks, results, absent, load):
    for name, sizes in results.items():
        for size, us in sizes.items():
            print(json.dumps({"bench": kind, "ranks": ranks, "bytes": size, "contestant": name, "median_us": round(us, 4),
                              "over_ours": round(us / results["arena"][size], 3) if size in results["arena"] else None,
                              "foreign_cpu": round(load.share, 3)}), flush=True)
    for name, reason in absent.items():
        print(json.dumps({"bench": kind, "ranks": ranks, "contestant": name, "missing": reason}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="which; all")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 16], help="how many; 2 4 16")
    parser.add_argument("--max-bytes", type=size_of, default=SIZES[-1], help="the largest size; 100M")
    parser.add_argument("--memory", type=size_of, default=2 << 30, help="all ranks' buffers together; 2G")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant; 5")
    parser.add_argument("--without", nargs="+", default=[], metavar="CONTESTANT", help='leave out, as "Open MPI"')
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if not options.json:
        print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {cpu_model()}, {os.cpu_count()} cores; f32, medians of "
              f"{options.rounds} rounds")
    for ranks in options.ranks:
        most = max(size for size in SIZES if size <= options.max_bytes and 2 * size * ranks <= options.memory)
        for kind in options.kinds or KINDS:
            with ForeignLoad() as load:
                results, absent = take_turns(contestants(kind, ranks, most, options.without), options.rounds)
            if options.json:
                show_json(kind, ranks, results, absent, load)
                continue
            print(f"\n{kind}, {ranks} ranks; others used {100 * load.share:.0f} % of the machine\n")
            table(results, absent)


if __name__ == "__main__":
    main()
