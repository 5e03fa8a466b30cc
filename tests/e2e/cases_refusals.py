"""Bad input gets one clear message and the right exit code, and nothing is touched or lost."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bucket import Bucket
from harness import DELETE_ALL, DELETE_NONCURRENT, World, case, check_bucket, deleted_refs, exits, same, sweep
from oracle import decide
from tool import Job, Process, Result


def seeded(world: World, **options) -> Bucket:
    bucket = world.bucket(**options)
    bucket.seed({"a": "vvv", "b": "vv"} if options.get("versioning", "Enabled") else {"a": "v", "b": "v"})
    return bucket


def refused(job: Job, *codes: int, mentions: str = "", **how) -> Result:
    """Ends with the code and one message on stderr: no backtrace, no result on stdout that claims success."""
    result = exits(job.call("run", **how), *codes)
    assert result.err.strip(), f"no message: {result.tell()}"
    assert "panicked" not in result.err and "RUST_BACKTRACE" not in result.err, result.tell()
    assert mentions in result.err, f"the message does not mention {mentions!r}: {result.tell()}"
    return result


@case()
def broken_job_files(world: World) -> None:
    """Every problem at once, each with its line; the bucket is not even asked."""
    bucket = seeded(world)
    before = bucket.histories()
    job = world.job(bucket, [DELETE_ALL])
    good = job.path.read_text()
    for text in (
        good.replace("rules:", "rules"),
        good.replace("state:", "stat:"),
        good.replace("version: 1", "version: 99"),
        good + "\nrules: []\n",
        good.replace("action: delete", "action: destroy"),
        "",
        "- just\n- a list\n",
        good + "\n---\n" + good,
        "\x00\x01",
    ):
        job.write(text)
        exits(job.call("check"), 2)
        refused(job, 2)
    job.write(good.replace("state:", "stat:") + "limits:\n  versions_per_second: 0\nbudgets: {}\n")
    result = exits(job.call("check"), 2)
    lines = job.path.read_text().splitlines()
    for word in ("stat:", "versions_per_second", "budgets"):
        number = next(n for n, line in enumerate(lines, 1) if word in line)
        assert f":{number}:" in result.out + result.err, f"line {number} ({word}) is not named: {result.tell()}"
    job.path.unlink()
    refused(job, 2)
    same("bucket", bucket.histories(), before)


@case()
def check_passes_a_good_job(world: World) -> None:
    job = world.job("no-such-bucket-is-asked", [DELETE_NONCURRENT])
    exits(job.call("check"), 0)
    assert not job.files("*.sqlite"), "check made a checkpoint"


@case()
def missing_bucket(world: World) -> None:
    name = world.bucket().name + "-missing"
    refused(world.job(name, [DELETE_ALL]), 2, mentions=name)


@case()
def bucket_without_versioning(world: World) -> None:
    """Every entry would be live data under the id `null`."""
    bucket = seeded(world, versioning=None)
    before = bucket.settle()
    refused(world.job(bucket, [DELETE_ALL]), 2, mentions="version")
    same("bucket", bucket.histories(), before)


@case("aws", "rgw")  # LocalStack checks no signature
def wrong_credentials(world: World) -> None:
    bucket = seeded(world)
    before = bucket.settle()
    job = world.job(bucket, [DELETE_ALL])
    refused(job, 77, env={"AWS_SECRET_ACCESS_KEY": "not-the-secret"})
    refused(job, 77, env={"AWS_ACCESS_KEY_ID": "nobodysaccesskey"})
    same("bucket", bucket.histories(), before)


@case()
def no_credentials(world: World) -> None:
    job = world.job(seeded(world), [DELETE_ALL])
    refused(job, 77, env={"AWS_SECRET_ACCESS_KEY": None, "AWS_ACCESS_KEY_ID": None})


class NotS3(BaseHTTPRequestHandler):
    """A web server like any other."""

    def answer(self) -> None:
        body = b"<html><body>It works!</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_) -> None:
        pass


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NotS3)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@case()
def endpoint_that_speaks_no_s3(world: World) -> None:
    retry = {"give_up_after": "2s"}
    with web_server() as port:
        endpoint = {"endpoint": f"http://127.0.0.1:{port}"}
        refused(world.job("some-bucket", [DELETE_ALL], place=endpoint, retry=retry), 2, 75)
    # The server is gone now, and its port is nobody's: an outage.
    refused(world.job("some-bucket", [DELETE_ALL], place=endpoint, retry=retry), 2, 75)


@case()
def unwritable_state_dir(world: World) -> None:
    """Nothing is deleted that could not be accounted for."""
    bucket = seeded(world)
    before = bucket.settle()
    job = world.job(bucket, [DELETE_ALL])
    job.state_dir.write_text("a file where a directory should be")
    refused(job, 74, mentions=str(job.state_dir))
    same("bucket", bucket.histories(), before)


@contextlib.contextmanager
def tiny_disk(at: Path, size_kib: int) -> Iterator[bool]:
    """A file system of a few pages; False where this process may not mount one."""
    at.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(at)]
    mounted = subprocess.run(line, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(at)], check=True)


@case()
def full_disk(world: World) -> None:
    """The checkpoint does not fit: exit 74, everything that is gone was planned, and with room the run ends well."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vvv" for n in range(40)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT])
    planned = deleted_refs(decide(before, job.doc))
    with tiny_disk(job.state_dir, 24) as mounted:
        if not mounted:
            print("  full_disk: no permission to mount a tiny disk, left out", flush=True)
            return
        refused(job, 74)
        gone = {e.ref for h in before.values() for e in h} - bucket.refs()
        assert gone <= planned, f"deleted against the rules: {sorted(gone - planned)[:8]}"
    exits(job.call("run"), 0)
    check_bucket(bucket, before, planned)


@case()
def nobody_to_confirm(world: World) -> None:
    """Without a terminal a run needs `--yes`, or a job that says `confirm: false`."""
    bucket = seeded(world)
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT])
    exits(job.call("run", yes=False), 2)
    same("bucket", bucket.histories(), before)
    job.doc["confirm"] = False
    job.write()
    exits(job.call("run", yes=False), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


@case()
def unknown_options(world: World) -> None:
    job = world.job("some-bucket", [DELETE_ALL])
    exits(job.call("run", "--forse"), 2)
    exits(job.call("sweep"), 2)


@case()
def region_and_addressing_in_the_job(world: World) -> None:
    """The job file's word is enough: no region in the environment."""
    bucket = seeded(world)
    place = {"region": world.server.region, "addressing": "path"}
    job = world.job(bucket, [DELETE_NONCURRENT], place=place)
    del job.env["AWS_REGION"]
    sweep(job, bucket)


@case()
def default_state_dir(world: World) -> None:
    """Without `--state-dir` the state lies where XDG puts it, under the job's name."""
    bucket = seeded(world)
    bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT])
    exits(job.call("run", state=False), 0)
    where = Path(job.env["XDG_STATE_HOME"]) / "s3sweep" / job.name
    assert list(where.glob("*.sqlite")), f"no checkpoint in {where}"


@case()
def text_output_and_streams(world: World) -> None:
    """stdout carries the result, stderr the rest; text for people by default."""
    bucket = seeded(world)
    bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT])
    line = [word for word in job.command("run") if word not in ("--output", "json")]
    result = exits(Process(line, job.env, job.folder).wait(), 0)
    assert "noncurrent" in result.out and "3" in result.out, f"no summary by rule: {result.tell()}"
    assert "\x1b" not in result.out + result.err, "colours without a terminal"


@case()
def secrets_stay_inside(world: World) -> None:
    """No secret in any output or file, at the most talkative level, whatever goes wrong."""
    bucket = seeded(world)
    bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT])
    secret, token = "Very+Secret/Value0123456789abcdefghijklm", "session-token-0123456789-abcdefghijkl"
    loud = ("--log-level", "trace")
    wrong = {"AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
    talk = [job.call("run", *loud, env=wrong), job.call("check", *loud, env=wrong), job.call("run", *loud)]
    needles = [secret, token]
    if len(job.env["AWS_SECRET_ACCESS_KEY"]) >= 12:  # LocalStack's secret is a word that occurs anyway
        needles.append(job.env["AWS_SECRET_ACCESS_KEY"])
    said = [text.encode() for result in talk for text in (result.out, result.err)]
    said += [path.read_bytes() for path in job.folder.rglob("*") if path.is_file()]
    for needle in needles:
        assert not any(needle.encode() in text for text in said), f"a secret got out: {needle[:4]}..."
