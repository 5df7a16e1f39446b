"""Says on standard output and error that it is there, and writes what it was started with into
PROBE_DIR/ATTEMPT.RANK.json. Arguments of the form --exit=RANK:STATUS end that rank so, after all have written."""
import json
import os
import resource
import sys
import time


def describe(fd):
    """What an open descriptor is, without what changes from run to run."""
    target = os.readlink(f"/proc/self/fd/{fd}")
    if target.startswith(("pipe:", "socket:")):
        return target.split(":")[0]
    if target.startswith("/dev/"):
        return target
    return "file " + os.path.basename(target)


def open_descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = describe(name)
        except FileNotFoundError:
            pass  # the folder's own, gone by now
    return found


def signal_sets():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":\t", 1) for line in file)
    return {key: lines[key].strip() for key in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")}


facts = {
    "argv": sys.argv,
    "unbuffered": sys.stdout.write_through,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "descriptors": open_descriptors(),
    "signals": signal_sets(),
    "umask": os.umask(0),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "leads session": os.getsid(0) == os.getpid(),
    "nice": os.nice(0),
}
rank = os.environ["RANK"]
attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
path = os.path.join(os.environ["PROBE_DIR"], attempt + ".%s.json")
# In one piece: under torchrun the lines of ranks that share a descriptor may tear.
os.write(1, f"probe of rank {rank} apple\nprobe of rank {rank} orange, pear\n".encode())
os.write(2, f"probe of rank {rank} plum\n".encode())
with open(path % (rank + ".part"), "w") as file:
    json.dump(facts, file)
os.rename(path % (rank + ".part"), path % rank)
for argument in sys.argv[1:]:
    if argument.startswith(f"--exit={rank}:"):
        while not all(os.path.exists(path % r) for r in range(int(os.environ["WORLD_SIZE"]))):
            time.sleep(0.01)
        sys.exit(int(argument.split(":")[1]))
