"""Seeded command lines through `tandem run` and through torchrun, which must give every rank the same: arguments,
environment, folder, descriptors, signals, log files, lines on the console, success. What differs deliberately is in
the table DELIBERATE, with the reason, and nowhere else.

    TANDEM_PEER_PYTHON=... python3 tests/pytorch/test_differential.py BUILD [CASES] [FIRST SEED]

torchrun takes seconds to import, so it is imported once here and each of its runs is a fork."""
import glob
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

import peer

if __name__ == "__main__":  # not in what torchrun spawns for --run-path
    peer.enter()
    import torch.distributed.run as torchrun

CASES = int(sys.argv[2]) if len(sys.argv) > 2 else 60
FIRST_SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 0
PROBE = os.path.join(peer.HERE, "probe.py")


# --- command lines ------------------------------------------------------------------------------------------

class Case:
    """A command line, drawn from a seed: words, variables, and what was meant."""

    def __init__(self, seed, folder, port):
        self.random = random.Random(seed)
        self.words, self.variables, self.given = [], {}, {}
        self.folder, self.port = folder, str(port)
        self.n = self.random.choice([1, 2, 2, 3])
        self.choose_ranks()
        self.choose_meeting()
        self.choose_logs()
        self.choose_rest()
        self.choose_program()

    def maybe(self, probability):
        return self.random.random() < probability

    def give(self, name, value=None, letter=None):
        """One option, in one of the ways in which it can be given."""
        self.given[name] = value
        spelled = name if self.maybe(0.5) else name.replace("-", "_")
        way = self.random.choice(["two words", "one word", "letter", "variable"])
        if way == "variable" and name not in ("logs-specs", "numa-binding"):
            self.variables["PET_" + name.upper().replace("-", "_")] = "1" if value is None else value
        elif way == "letter" and letter:
            self.words += ["-" + letter] + ([] if value is None else [value])
        elif value is None:
            self.words.append("--" + spelled)
        elif way == "one word":
            self.words.append(f"--{spelled}={value}")
        else:
            self.words += ["--" + spelled, value]

    def choose_ranks(self):
        if self.n > 1 or self.maybe(0.5):
            self.give("nproc-per-node", str(self.n))
        if self.maybe(0.3):
            self.give("nnodes", self.random.choice(["1", "1:1"]))
        if self.maybe(0.2):
            self.give("node-rank", "0")
        if self.maybe(0.2):
            self.give("role", "trainer")

    def choose_meeting(self):
        way = self.random.choice(["", "", "standalone", "static", "endpoint", "c10d"])
        if way == "standalone":
            self.give("standalone")
        if way == "static":
            self.give("master-port", self.port)
            if self.maybe(0.5):
                self.give("master-addr", "localhost")
        if way == "endpoint":
            self.give("rdzv-backend", "static")
            self.give("rdzv-endpoint", f"localhost:{self.port}")
        if way == "c10d":
            self.give("rdzv-backend", "c10d")
            self.give("rdzv-endpoint", "localhost:0")
            if self.maybe(0.5):
                self.give("local-addr", "localhost")
        if self.maybe(0.4):
            self.give("rdzv-id", "job42")
        if self.maybe(0.2):
            self.give("rdzv-conf", "join_timeout=30,last_call_timeout=5")

    def streams(self):
        """"1", or by rank as "0:3,1:2"."""
        if self.maybe(0.6):
            return self.random.choice("123")
        return ",".join(f"{rank}:{self.random.choice('0123')}" for rank in range(self.n) if self.maybe(0.8)) or "3"

    def choose_logs(self):
        if self.maybe(0.7):
            self.give("log-dir", os.path.join(self.folder, "logs"))
            if self.maybe(0.5):
                self.give("redirects", self.streams(), letter="r")
            if self.maybe(0.5):
                self.give("tee", self.streams(), letter="t")
            if self.maybe(0.3):
                self.give("duplicate-stdout-filters", self.random.choice(["apple", "plum,rank 1", "orange,, pear"]))
            if self.maybe(0.3):
                self.give("duplicate-stderr-filters", "plum")
        if self.maybe(0.3):
            self.give("local-ranks-filter", self.random.choice(["0", "1", "0,1", "0,2"]))
        if self.maybe(0.3):
            template = self.random.choice(["${rank}/${local_rank} ${role_name}: ", "[$hostname] ", "> "])
            if self.maybe(0.5):
                self.give("log-line-prefix-template", template)
            else:
                self.variables["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"] = template

    def choose_rest(self):
        for name, value, probability in [("monitor-interval", "0.05", 0.3), ("start-method", "spawn", 0.2),
                                         ("event-log-handler", "null", 0.2), ("shutdown-timeout", "5", 0.3),
                                         ("signals-to-handle", "SIGTERM,SIGUSR1", 0.2), ("max-restarts", "1", 0.2),
                                         ("virtual-local-rank", None, 0.15)]:
            if self.maybe(probability):
                self.give(name, value)
        for name, value, probability in [("OMP_NUM_THREADS", "2", 0.5), ("RANK", "7", 0.1), ("WORLD_SIZE", "9", 0.1),
                                         ("CUDA_VISIBLE_DEVICES", "4,5,6", 0.3), ("GROUP_RANK", "3", 0.1),
                                         ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", 0.1), ("UNRELATED", "ünï ${x}", 0.3)]:
            if self.maybe(probability):
                self.variables[name] = value
        self.ignores_hangups = self.maybe(0.2)

    def choose_program(self):
        self.form = self.random.choice(["script", "script", "module", "no-python", "run-path"])
        arguments = [["--lr", "0.1"], ["a b", "ünï"], ["${local_rank}", "x=$local_rank,$$", "$local_ranks"],
                     ["-n", "3", "--tee=9"], [""], ["$", "${other}"]]
        chosen = [w for words in arguments if self.maybe(0.3) for w in words]
        self.failing = self.maybe(0.25)
        if self.failing:
            chosen.append(f"--exit={self.random.randrange(self.n)}:{self.random.choice([1, 3, 77])}")
        if self.form == "module":
            self.give("module", letter="m")
            self.variables["PYTHONPATH"] = peer.HERE
        elif self.form != "script":
            self.give(self.form)
        program = {"module": ["probe"], "no-python": [sys.executable, PROBE]}.get(self.form, [PROBE])
        self.words += program + chosen

    def environment(self, probes):
        plain = {k: v for k, v in peer.environment().items() if k not in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
        return {**plain, "PYTHON_EXEC": sys.executable, **self.variables, "PROBE_DIR": probes}

    def __str__(self):
        return " ".join([f"{k}='{v}'" for k, v in self.variables.items()] + ["run"] + [f"'{w}'" for w in self.words])


def free_port():
    with socket.socket() as s:
        s.bind(("", 0))
        return s.getsockname()[1]


# --- running ------------------------------------------------------------------------------------------------

def run_torchrun(words):
    """In a fork: never returns."""
    status = 1
    try:
        torchrun.main(words)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def start(launcher, case, folder, output, errors):
    environment = case.environment(folder)
    pid = os.fork()
    if pid:
        return pid
    for fd, file in ((0, open(os.devnull)), (1, output), (2, errors)):
        os.dup2(file.fileno(), fd)
    os.closerange(3, 256)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if case.ignores_hangups else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if launcher == "torchrun":
        run_torchrun(case.words)
    try:
        os.execv(peer.TANDEM, [peer.TANDEM, "run", *case.words])
    finally:
        os._exit(99)


def lines_by_rank(text):
    """The probes' lines, as they came; what the launchers say themselves is left out, reports with them."""
    found = {}
    for line in text.splitlines():
        match = re.search(r"probe of rank (\d+)", line)
        if match and not line.startswith("  | "):
            found.setdefault(match[1], []).append(line)
    return found


def log_tree(folder):
    files = {}
    for path in glob.glob(folder + "/logs/*/**", recursive=True):
        if os.path.isfile(path):
            run, name = os.path.relpath(path, folder + "/logs").split("/", 1)
            text = peer.read(path)
            files[name] = lines_by_rank(text) if "filtered" in name else text
    return files


def observe(launcher, seed, port):
    with tempfile.TemporaryDirectory() as folder:
        case = Case(seed, folder, port)
        with open(folder + "/output", "w+") as output, open(folder + "/errors", "w+") as errors:
            _, status = os.waitpid(start(launcher, case, folder, output, errors), 0)
        seen = {"success": status == 0, "log tree": log_tree(folder)}
        for name in ("output", "errors"):
            seen["console " + name] = lines_by_rank(peer.read(f"{folder}/{name}"))
        for path in sorted(glob.glob(folder + "/*.json")):
            attempt, rank, _ = os.path.basename(path).split(".")
            for key, value in json.loads(peer.read(path)).items():
                if key == "environment":
                    for variable, text in value.items():
                        seen[attempt, rank, variable] = text
                else:
                    seen[attempt, rank, key] = value
        text = json.dumps([(k, v) for k, v in seen.items()]).replace(folder, "FOLDER")
        seen = {tuple(k) if isinstance(k, list) else k: v for k, v in json.loads(text)}
        return case, seen, f"{launcher}: wait status {status}\n" + peer.read(folder + "/errors")


# --- comparing ----------------------------------------------------------------------------------------------

def meets_where_told(case):
    return "standalone" not in case.given and ("master-port" in case.given or case.given.get("rdzv-backend") == "static")


def has_id(case):
    told = meets_where_told(case) or case.given.get("rdzv-backend") == "c10d"
    return "rdzv-id" in case.given and "standalone" not in case.given and told


def is_own_pipe(case, rank, ours, theirs):
    """Descriptors 0 to 2: the same, or a pipe to the launcher where torchrun lets ranks write by themselves."""
    if not ours or not theirs:
        return False
    return set(ours) >= set(theirs) and all(
        ours[fd] == what or (fd in "12" and ours[fd] == "pipe") for fd, what in theirs.items())


def without_template(case, lines):
    """The lines by rank; what stands before the probe's own words counts only where there is no template."""
    if not any("TEMPLATE" in name for name in case.variables) and "log-line-prefix-template" not in case.given:
        return lines
    return {rank: [re.sub("^.*(?=probe of)", "", line) for line in each] for rank, each in lines.items()}


def without_hangup(sets):
    return {**sets, "SigIgn": f"{int(sets['SigIgn'], 16) & ~1:016x}"}

MPI = "what Open MPI and MPICH look for: an MPI program is a job of as many ranks under `tandem run`"
# What is not the same, by design: the name, when that is so, and why.
DELIBERATE = [
    *((name, lambda case, rank, ours, theirs: theirs is None, MPI) for name in ("OMPI_*", "PMI_*", "MPI_*")),
    ("console *", lambda case, rank, ours, theirs: without_template(case, ours) == without_template(case, theirs),
     "a prefix template is for all lines that we show; torchrun's are teed ones, for it does not see the others"),
    ("signals", lambda case, rank, ours, theirs: case.ignores_hangups and without_hangup(ours) == theirs,
     "SIGHUP that was ignored when the launcher was started is left ignored, as nohup wants it"),
    ("TANDEM_*", lambda case, rank, ours, theirs: theirs is None,
     "the mark and the descriptors by which our own workers find their launcher"),
    ("descriptors", is_own_pipe,
     "output passes through the launcher, so that lines stay whole and the end of standard error is in the report; "
     "and our own workers' descriptors"),
    ("TORCHELASTIC_USE_AGENT_STORE", lambda case, rank, ours, theirs: (ours, theirs) == ("False", "True"),
     "rank 0 serves its own store: the launcher does not speak torch's protocol"),
    ("OMP_NUM_THREADS", lambda case, rank, ours, theirs: "OMP_NUM_THREADS" not in case.variables,
     "a rank's share of the cores, not 1; where the user gave a value, that"),
    ("MASTER_ADDR", lambda case, rank, ours, theirs: not meets_where_told(case) and ours == "127.0.0.1",
     "no name needs to be resolved on one machine"),
    ("MASTER_PORT", lambda case, rank, ours, theirs: not meets_where_told(case), "both take one that is free"),
    ("TORCHELASTIC_RUN_ID", lambda case, rank, ours, theirs: not has_id(case),
     "a random one; torchrun does not heed --rdzv-id where nothing says how to meet, and says none for static"),
    ("TORCHELASTIC_ERROR_FILE",
     lambda case, rank, ours, theirs: "log-dir" not in case.given or clean_run(ours) == clean_run(theirs),
     "a file of one temporary folder, or in the log tree"),
]


def clean_run(path):
    return re.sub(r"/logs/[^/]*/", "/logs/RUN/", path or "")


def reason(case, key, ours, theirs):
    """Why this difference is deliberate; None: it is not."""
    name = key if isinstance(key, str) else key[2]
    rank = None if isinstance(key, str) else int(key[1])
    for pattern, holds, why in DELIBERATE:
        matches = name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
        if matches and holds(case, rank, ours, theirs):
            return why
    if case.form == "run-path" and name in ("descriptors", "unbuffered", "signals", "leads session"):
        return "torchrun forks the script off its own interpreter"
    return None


def compare(seed):
    port = free_port()
    case, ours, said = observe("tandem run", seed, port)
    _, theirs, they_said = observe("torchrun", seed, port)
    problems = []
    ranks = [{key[:2] for key in seen if isinstance(key, tuple)} for seen in (ours, theirs)]
    if ranks[0] != ranks[1] or not ranks[0]:
        return case, [f"attempts and ranks: {ranks}", said, they_said]
    for key in sorted(set(ours) | set(theirs), key=str):
        a, b = ours.get(key), theirs.get(key)
        if a != b and not reason(case, key, a, b):
            problems.append(f"{key}\n  tandem run: {a}\n  torchrun:   {b}")
    return case, problems + ([said, they_said] if problems else [])


if __name__ == "__main__":
    tap = peer.Tap()
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        case, problems = compare(seed)
        tap.check(f"seed {seed}: {str(case)}", problems)
    tap.end()
