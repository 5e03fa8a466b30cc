"""Processes of the benchmarks: started, measured, and never left behind."""

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# How often the memory of a client is looked at. The kernel keeps the peak, so that only what happens
# in its last moments can be missed.
LOOK_SECS = 0.02
READY_SECS = 600
STOP_SECS = 120

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _die_with_parent():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command, log, environment=None):
    """A process in a group of its own, which ends when this one does."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


@dataclass
class Measured:
    """What a process took."""

    status: str
    wall_secs: float
    cpu_secs: float
    peak_rss_bytes: int


def measure(command, log, timeout_secs, environment=None, look=None):
    """Runs a command to its end or to the timeout. `look` is called every now and then."""
    began = time.monotonic()
    process = start(command, log, environment)
    peak, timed_out = 0, False
    try:
        ended = os.pidfd_open(process.pid)
        try:
            while not select.select([ended], [], [], LOOK_SECS)[0]:
                peak = max(peak, _peak_rss_bytes(process.pid))
                if look:
                    look()
                if time.monotonic() - began > timeout_secs:
                    timed_out = True
                    _kill_group(process)
                    select.select([ended], [], [])
        finally:
            os.close(ended)
        wall_secs = time.monotonic() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        # What it started itself, and the process where this one is interrupted.
        _kill_group(process)
    word = "timeout" if timed_out else "ok" if process.returncode == 0 else f"exit {process.returncode}"
    return Measured(word, wall_secs, usage.ru_utime + usage.ru_stime, peak or usage.ru_maxrss * 1024)


def _peak_rss_bytes(pid):
    """The peak so far. The usage that `wait4` tells begins with what Python itself had at the fork."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def _kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Server:
    """A sandbox with its data, from `with` to the end of it. Afterwards `stats` holds what it tells."""

    def __init__(self, binary, folder, name, arguments):
        self.ready = folder / f"{name}.ready"
        self.stats_file = folder / f"{name}.stats.json"
        self.log = folder / f"{name}.log"
        self.command = [binary, "sandbox", "--listen", "127.0.0.1:0", "--ready-file", self.ready]
        self.command += ["--stats", self.stats_file, *arguments]
        self.stats = None
        self.cpu_secs = None

    def __enter__(self):
        for file in (self.ready, self.stats_file):
            file.unlink(missing_ok=True)
        self.process = start(self.command, self.log)
        give_up = time.monotonic() + READY_SECS
        try:
            while not self.ready.exists():
                if self.process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")
                time.sleep(0.02)
        except BaseException:
            self._kill()
            raise
        self.endpoint = self.ready.read_text().strip().removeprefix("endpoint=")
        self.address = self.endpoint.removeprefix("http://")
        self.cpu_secs_at_start = self._cpu_secs()
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self.cpu_secs = self._cpu_secs() - self.cpu_secs_at_start
                self.process.terminate()
                self.process.wait(STOP_SECS)
                self.stats = json.loads(self.stats_file.read_text())
        finally:
            self._kill()

    def _cpu_secs(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _kill(self):
        _kill_group(self.process)
        self.process.wait()
