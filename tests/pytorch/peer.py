"""What the tests against real PyTorch share. They run under the Python that TANDEM_PEER_PYTHON names, and are skipped
with the reason where there is none or it has no torch."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(sys.argv[1])
TANDEM = os.path.join(BUILD, "tandem")


def skip(reason):
    print("1..0 # SKIP " + reason)
    sys.exit(0)


def enter():
    """Go on under the peer's Python."""
    python = os.environ.get("TANDEM_PEER_PYTHON")
    if not python:
        skip("TANDEM_PEER_PYTHON names no Python with PyTorch; scripts/test.sh --with-pytorch makes one")
    if not os.environ.get("TANDEM_PEER_ENTERED"):
        if subprocess.run([python, "-c", "import torch.distributed.run"], capture_output=True).returncode != 0:
            skip(python + " cannot import torch.distributed.run")
        os.environ["TANDEM_PEER_ENTERED"] = "1"
        os.environ["PYTHON_EXEC"] = python
        os.execv(python, [python, *sys.argv])


class Tap:
    """Each call of check is one numbered test."""

    def __init__(self):
        self.count = self.failures = 0

    def check(self, name, problems):
        self.count += 1
        print(("not ok" if problems else "ok"), self.count, "-", name, flush=True)
        for problem in problems:
            print("\n".join("# " + line for line in str(problem).splitlines()), flush=True)
        self.failures += bool(problems)

    def end(self):
        print(f"1..{self.count}")
        sys.exit(self.failures > 0)


def environment(**changes):
    """Ours without what a launcher around the tests may have set."""
    e = {k: v for k, v in os.environ.items()
         if not k.startswith(("PET_", "TORCH", "TANDEM_", "OMP_", "RANK", "LOCAL_", "WORLD_", "MASTER_"))}
    return {**e, "OMP_NUM_THREADS": "1", **changes}


def read(path):
    with open(path) as file:
        return file.read()
