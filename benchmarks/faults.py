"""Disturb commands at any moment, run them again, and compare every file with that of an undisturbed run.

    python benchmarks/faults.py --rounds 20 --verbs prepare,train --how clock,change --seed 1 [--json FILE]

A round is a fresh folder in which a verb is started, disturbed, and then run again until its end. Kills (SIGKILL, the
process and its children) come in one of three rounds several times in a row:
clock    at a time, drawn evenly from the start of the work to its end
change   just before the n-th change of a file in the folder (a file opened for writing, renamed or removed, a folder
         made), drawn evenly over all of them; Python's audit events tell
call     just before the n-th system call of those that write, move, remove or make files safe; needs strace (Linux)
Other faults:
full     the disk is filled just before the n-th change; needs root and Linux, for a small tmpfs
forbid   all folders are made unchangeable just before the n-th change; needs root and chattr
twice    the verb is started twice at the same time in the same folder
jump     time.time() jumps to and fro by ten years; then all files are said to be from 1971 or 2099, and it runs again

After each fault what has its final name must be whole; a process that was not killed must have ended well or with a
SnellenError; after the round all bytes must be those of the undisturbed run, but for what a clock wrote (`stable` in
fault_inputs.py). Where they are not, it ends with 1 and leaves the folder.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fault_inputs import check_whole, contents, make_inputs, verbs
from snellen.errors import SnellenError

CALLS = "write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,ftruncate,openat"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
KILLS = ("clock", "change", "call")
DISK = 256 * 2**20  # bytes of the disk that is filled
YEARS = 10 * 365 * 86400.0


class Process:
    """A verb at work in a folder. Forked, so that importing torch costs nothing."""

    def __init__(self, verb: Callable[[], Any], work: Path, prepare: Callable[[], Any] = lambda: None):
        self.said = Path(tempfile.mkstemp(dir=work.parent.parent, prefix="said")[1])
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.chdir(work)
            with open(self.said, "w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            status = 70
            try:
                prepare()
                verb()
                status = 0
            except BaseException as problem:
                status = 1 if isinstance(problem, SnellenError) else 70
                print(f"{type(problem).__name__}: {problem}", flush=True)
            finally:
                os._exit(status)

    def wait(self, seconds: float | None = None) -> int:
        """The exit status, negative for a signal; killed after `seconds`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, 0 if deadline is None else os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if deadline is not None and time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):  # it has just been forked, and is no group yet
                    os.killpg(self.pid, signal.SIGKILL)
                    deadline = None
            time.sleep(0.0005)

    def done(self) -> None:
        assert self.wait() == 0, self.said.read_text()


def at_change(work: Path, number: int, blow: Callable[[], Any]) -> Callable[[], None]:
    """What makes a process strike `blow` just before its change of files below `work` of that number; 0: every one."""

    def watch() -> None:
        counted = 0

        def see(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal counted
            writes = event == "open" and isinstance(arguments[2], int)
            writes = writes and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if not (writes or event in CHANGES) or isinstance(arguments[0], int):
                return
            if os.path.abspath(os.fsdecode(arguments[0])).startswith(str(work)):
                counted += 1
                if number in (0, counted):
                    blow()

        sys.addaudithook(see)

    return watch


def traced(base: Path, name: str, work: Path, kill: str = "") -> int:
    """Run the verb as a process of its own under strace and return its status. kill: "CALL:signal=KILL:when=N"."""
    command = ["strace", "-f", "-qq", "-o", base / "calls.txt", "-e", f"trace={CALLS}"]
    command += ["-e", f"inject={kill}"] if kill else []
    command += [sys.executable, __file__, "--one", name, "--base", base]
    return subprocess.run(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def calls_made(base: Path) -> list[str]:
    """Of the verb's main thread, traced before: each system call as strace counts it, "rename:signal=KILL:when=3"."""
    lines = [line.split(maxsplit=1) for line in (base / "calls.txt").read_text().splitlines()]
    counts, made, begun = Counter[str](), [], False
    for call in (call for thread, call in lines if thread == lines[0][0]):
        name = call.partition("(")[0]
        counts[name] += 1
        begun = begun or str(base / "begun") in call  # what comes before is Python's own start
        if begun and not ("openat(" in call and "O_RDONLY" in call):
            made.append(f"{name}:signal=KILL:when={counts[name]}")
    return made


class Rounds:
    """One verb, undisturbed once, and then disturbed in many ways."""

    def __init__(self, base: Path, name: str, rng: random.Random, *, with_calls: bool):
        self.base, self.name, self.verb, self.rng = base, name, verbs(base)[name], rng
        self.work = base / "disk" / "work"
        self.fresh()
        started = time.monotonic()
        with open(base / "changes", "wb", buffering=0) as counted:
            Process(self.verb, self.work, at_change(self.work, 0, lambda: counted.write(b"."))).done()
        self.seconds, self.changes = time.monotonic() - started, (base / "changes").stat().st_size
        self.wanted = contents(self.work)
        if with_calls:
            self.fresh()
            assert traced(base, name, self.work) == 0
            self.calls = calls_made(base)

    def fresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def round(self, how: str) -> int:
        """Returns how many faults there were. Raises AssertionError where anything was lost."""
        self.fresh()
        faults = 0
        while True:
            faults += getattr(self, how)()
            check_whole(self.work, self.wanted)
            if how not in KILLS or self.rng.random() > 1 / 3:
                break
        Process(self.verb, self.work).done()
        found = contents(self.work)
        differing = [file for file in found | self.wanted if found.get(file) != self.wanted.get(file)]
        assert not differing, f"other bytes than undisturbed: {differing}"
        return faults

    def clock(self) -> bool:
        return Process(self.verb, self.work).wait(self.rng.uniform(0, self.seconds)) == -signal.SIGKILL

    def change(self) -> bool:
        return self.struck(lambda: os.kill(os.getpid(), signal.SIGKILL)) == -signal.SIGKILL

    def call(self) -> bool:
        return traced(self.base, self.name, self.work, self.rng.choice(self.calls)) == -signal.SIGKILL

    def full(self) -> bool:
        hog = self.base / "disk" / "hog"
        try:
            return self.struck(lambda: fill(hog)) == 1
        finally:
            hog.unlink(missing_ok=True)

    def forbid(self) -> bool:
        try:
            return self.struck(lambda: subprocess.run(["chattr", "-R", "+i", self.work], check=True)) == 1
        finally:
            subprocess.run(["chattr", "-R", "-i", self.work], check=True)

    def struck(self, blow: Callable[[], Any]) -> int:
        process = Process(self.verb, self.work, at_change(self.work, self.rng.randint(1, self.changes), blow))
        status = process.wait()
        assert status in (0, 1, -signal.SIGKILL), process.said.read_text()
        return status

    def twice(self) -> bool:
        both = [Process(self.verb, self.work), Process(self.verb, self.work)]
        statuses = [process.wait() for process in both]
        said = [process.said.read_text() for process in both]
        assert 0 in statuses, said
        assert all(status == 0 or "another" in text for status, text in zip(statuses, said, strict=True)), said
        return True

    def jump(self) -> bool:
        now = time.time

        def jumping() -> None:
            time.time = lambda: now() + self.rng.choice((-YEARS, 0.0, YEARS))

        Process(self.verb, self.work, jumping).done()
        for path in self.work.rglob("*"):
            then = self.rng.choice((3.2e7, 4.1e9))  # 1971, 2099
            os.utime(path, (then, then))
        return True


def fill(hog: Path) -> None:
    free = os.statvfs(hog.parent)
    with open(hog, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="of each verb; the ways to disturb it take turns")
    parser.add_argument("--verbs", default="compete,prepare,train,refit,tune,export")
    parser.add_argument("--seconds", type=float, default=3600, help="of each verb, at most")
    parser.add_argument("--how", default="clock,change")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="append the totals to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        (options.base / "begun").write_text("")
        verbs(options.base)[options.one]()
        return
    torch.set_num_threads(1)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    rng, hows = random.Random(options.seed), options.how.split(",")
    base = Path(tempfile.mkdtemp(prefix="snellen-faults-")).resolve()
    (base / "disk").mkdir()
    if "full" in hows:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", base / "disk"], check=True)
    try:
        make_inputs(base)
        for name in options.verbs.split(","):
            rounds, faults, number = Rounds(base, name, rng, with_calls="call" in hows), Counter[str](), 0
            deadline = time.monotonic() + options.seconds
            while number < options.rounds and time.monotonic() < deadline:
                how = hows[number % len(hows)]
                number += 1
                try:
                    faults[how] += rounds.round(how)
                except AssertionError:
                    print(f"{name}, {how}, round {number}: something was lost; see {base}", flush=True)
                    raise
            total = {"verb": name, "seed": options.seed, "rounds": number, "faults": dict(faults), "lost": 0}
            print(json.dumps(total), flush=True)
            if options.json:
                with open(options.json, "a") as file:
                    file.write(json.dumps(total) + "\n")
    finally:
        if "full" in hows:
            subprocess.run(["umount", base / "disk"], check=True)
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
