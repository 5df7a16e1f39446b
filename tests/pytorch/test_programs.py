"""Unmodified PyTorch programs under `tandem run`."""
import glob
import json
import os
import subprocess
import sys
import tempfile

import peer

peer.enter()
tap = peer.Tap()
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def run(launcher, *words, **changes):
    return subprocess.run([*launcher, *words], env=peer.environment(**changes), capture_output=True, text=True,
                          timeout=120)


def outputs(launcher, n, script):
    """Standard output of each rank, from the log tree, and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        done = run(launcher, "--nproc-per-node", str(n), "--log-dir", folder, "--redirects", "1", script)
        logs = [glob.glob(f"{folder}/*/attempt_0/{rank}/stdout.log") for rank in range(n)]
        texts = [peer.read(log[0]) if log else None for log in logs]
        return texts, [] if done.returncode == 0 else [done.stderr]


def same_training():
    script = os.path.join(peer.HERE, "ddp.py")
    for n in (1, 2, 3):
        ours, problems = outputs([peer.TANDEM, "run"], n, script)
        theirs, more = outputs(TORCHRUN, n, script)
        problems += more
        if ours != theirs or None in ours or "parameters" not in ours[0]:
            problems.append(f"tandem run:\n{ours}\ntorchrun:\n{theirs}")
        tap.check(f"DDP on {n} ranks prints the same as under torchrun", problems)


def recorded_exception():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        done = run([peer.TANDEM, "run"], "-n", "2", "--report", path, os.path.join(peer.HERE, "raising.py"))
        culprit = json.loads(peer.read(path))["culprit"]
    problems = []
    if done.returncode != 1 or culprit["rank"] != 1:
        problems.append(f"status {done.returncode}, culprit {culprit}")
    if culprit["error"] != "ValueError: no cheese on rank 1" or "in main" not in culprit["traceback"]:
        problems.append(culprit)
    if "  error: ValueError: no cheese on rank 1\n" not in done.stderr:
        problems.append(done.stderr)
    tap.check("the exception of an @record program is in the report", problems)


same_training()
recorded_exception()
tap.end()
