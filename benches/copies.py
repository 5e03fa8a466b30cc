#!/usr/bin/env python3
"""Copies a bucket from one server to another with s3sweep, with a plain loop, and with rclone, in turn.

    target/bench/bin/python benches/copies.py [--versions 4000] [--bytes 262144] [--repeat 2] [--by-server]

Two sandboxes, each a process of its own; every client copies the same versions to a bucket of its own. Needs boto3,
`cargo build --release --example copy_loop`, and for rclone rclone. What it prints is seconds, and their ratio to the
loop's.

With --by-server both buckets are on one sandbox, whose CopyObject copies, and s5cmd and rclone are the others: the
bucket has one version of each key, since they copy nothing else. Ratios are to s3sweep, which looks at the
destination before and after; the others do not.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandboxsecret", "AWS_REGION": "us-east-1"}
IN_FLIGHT = 32


class Server:
    """A sandbox of its own, and a client that seeds it."""

    def __init__(self, program: Path, folder: Path, name: str) -> None:
        ready = folder / f"{name}.ready"
        line = [program, "sandbox", "--listen", "127.0.0.1:0", "--ready-file", ready]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not ready.exists() or not ready.read_text():
            assert self.process.poll() is None, "the sandbox did not start"
            time.sleep(0.02)
        self.endpoint = ready.read_text().split("endpoint=")[1].split()[0]
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=IN_FLIGHT)
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_REGION"],
            config=config,
        )

    def bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name)
        self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def timed(line: list, env: dict) -> tuple[float, float]:
    """Seconds, and peak memory in MiB."""
    began = time.monotonic()
    done = subprocess.run(["/usr/bin/time", "-f", "%M", *map(str, line)], env=env, capture_output=True, text=True)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    return seconds, int(done.stderr.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=4000)
    parser.add_argument("--bytes", type=int, default=262_144, help="of each version")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--release", type=Path, default=ROOT / "target/release")
    parser.add_argument("--s5cmd", default=shutil.which("s5cmd"), help="s5cmd (default: on the PATH)")
    parser.add_argument("--by-server", action="store_true", help="copy within one server")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="s3sweep-copies-"))
    program = options.release / "s3sweep"
    source = Server(program, folder, "from")
    target = source if options.by_server else Server(program, folder, "to")
    env = {name: value for name, value in os.environ.items() if "CA_BUNDLE" not in name} | KEYS
    body = random.Random(1).randbytes(options.bytes)
    source.bucket("source")

    def put(n: int) -> None:
        source.client.put_object(Bucket="source", Key=f"k{n:06}", Body=n.to_bytes(8, "big") + body[8:])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(options.versions)))
    time.sleep(2)  # what is as young as the run is kept, by whole seconds

    def loop(bucket: str) -> list:
        ends = ["--from", source.endpoint, "--to", target.endpoint, "--bucket", "source", "--destination", bucket]
        return [options.release / "examples/copy_loop", *ends, "--in-flight", IN_FLIGHT]

    elsewhere = {} if options.by_server else {"endpoint": target.endpoint}

    def s3sweep(bucket: str) -> list:
        job = {
            "version": 1,
            "name": bucket,
            "bucket": {"name": "source", "endpoint": source.endpoint},
            "limits": {"concurrency": IN_FLIGHT},
            "rules": [
                {
                    "name": "all",
                    "match": {"state": "any"},
                    "action": {"copy": {"bucket": bucket} | elsewhere},
                }
            ],
        }
        (folder / "job.yaml").write_text(json.dumps(job))
        quiet = ["--progress", "never", "--log-level", "error", "--state-dir", folder / "state"]
        return [program, "run", folder / "job.yaml", "--yes", *quiet]

    def rclone(bucket: str) -> list:
        remote = "[{}]\ntype = s3\nprovider = Other\naccess_key_id = {}\nsecret_access_key = {}\nendpoint = {}\n"
        keys = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
        ends = [remote.format(name, *keys, server.endpoint) for name, server in (("a", source), ("b", target))]
        (folder / "rclone.conf").write_text("".join(ends))
        to = "a" if options.by_server else "b"
        many = ["--transfers", IN_FLIGHT, "--checkers", IN_FLIGHT]
        return ["rclone", "--config", folder / "rclone.conf", *many, "copy", "a:source", f"{to}:{bucket}"]

    def s5cmd(bucket: str) -> list:
        ends = ["--endpoint-url", source.endpoint, "--numworkers", IN_FLIGHT, "--log", "error"]
        return [options.s5cmd, *ends, "cp", "s3://source/*", f"s3://{bucket}/"]

    clients = [s3sweep] if options.by_server else [loop, s3sweep]
    clients += [s5cmd] if options.by_server and options.s5cmd else []
    clients += [rclone] if shutil.which("rclone") else []
    against = clients[0].__name__
    for turn in range(options.repeat):
        first = None
        for client in clients:
            bucket = target.bucket(f"{client.__name__}-{turn}")
            seconds, mib = timed(client(bucket), env)
            first = first or seconds
            print(f"{client.__name__:8} {seconds:7.2f} s  {first / seconds:5.2f} of {against}'s speed  {mib:5.0f} MiB", flush=True)
    source.stop()
    if target is not source:
        target.stop()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
