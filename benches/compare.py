#!/usr/bin/env python3
"""Runs s3sweep and other programs in turn against the same server and the same data, and compares them.

For every combination of scenario, shape of keys, requests in flight and client it starts a server of its
own with the same data, lets the client delete everything, and notes what that took and what the server
saw. See benches/README.md.
"""

import argparse
import dataclasses
import itertools
import json
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import clients
import table
from processes import Server, measure

ROOT = Path(__file__).resolve().parent.parent
VERSIONS_PER_KEY = 4
SEED = 7
SCENARIOS = ("none", "latency", "partitions-1", "partitions-4", "partitions-16")


def words(text):
    return text.split(",")


def numbers(text):
    return [int(word) for word in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    some, several_numbers = {"type": words}, {"type": numbers}
    default = "floor,s3sweep,s3rm,s5cmd,boto3"
    parser.add_argument("--clients", **some, default=default.split(","), metavar="A,B",
                        help=f"{', '.join(clients.KNOWN)}; plan:N lists with N at a time (default: {default})")
    parser.add_argument("--scenarios", **some, default=["none", "latency"], metavar="A,B",
                        help=f"{', '.join(SCENARIOS)} (default: none,latency)")
    parser.add_argument("--shapes", **some, default=["hive", "flat"], metavar="A,B", help="hive, flat (default: both)")
    parser.add_argument("--in-flight", **several_numbers, default=[64], metavar="N,M", help="requests in flight (default: 64)")
    parser.add_argument("--versions", type=int, default=1_000_000, help="versions in the bucket (default: 1000000)")
    parser.add_argument("--repeat", type=int, default=1, help="the table shows the median (default: 1)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for each client (default: 900)")
    parser.add_argument("--burst-keys", type=int, default=table.KEYS_PER_SECOND, metavar="N",
                        help="keys that a rested partition takes at once (default: a second's worth)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append each measurement to it, as a line of JSON")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, show the table of such a file")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep what the programs wrote")
    parser.add_argument("--release", type=Path, default=ROOT / "target/release", metavar="DIR",
                        help="where s3sweep and examples/floor are (default: target/release)")
    parser.add_argument("--server", type=Path, metavar="PROGRAM",
                        help="the s3sweep whose sandbox serves (default: the one that is measured)")
    clients.add_arguments(parser)
    chosen = parser.parse_args()
    for name in chosen.clients:
        if name.split(":")[0] not in clients.KNOWN:
            parser.error(f"no such client: {name}")
    for name in chosen.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no such scenario: {name}")
    if not chosen.table and (missing := clients.missing(chosen)):
        parser.error("; ".join(missing))
    return chosen


def faults(chosen, scenario):
    """What the server is told to do to its clients."""
    if scenario == "none":
        return {}
    found = {
        "seed": SEED,
        "latency": [
            {"operation": "ListObjectVersions", "fixed_ms": 80, "sigma": 0.35},
            {"operation": "DeleteObjects", "fixed_ms": 50, "per_key_us": 200, "sigma": 0.35},
        ],
    }
    if partitions := table.partitions_of(scenario):
        found["partition_limit"] = {
            "partitions": partitions,
            "keys_per_second": table.KEYS_PER_SECOND,
            "burst_keys": chosen.burst_keys,
        }
    return found


def server(chosen, folder, scenario, shape, name="server"):
    """A server with the data. The same numbers give the same keys and the same version ids."""
    script, spec = folder / f"{name}.script.json", folder / f"{name}.data.json"
    script.write_text(json.dumps({"faults": faults(chosen, scenario)}))
    spec.write_text(json.dumps({
        "bucket": clients.BUCKET,
        "keys": chosen.versions // VERSIONS_PER_KEY,
        "versions_per_key": VERSIONS_PER_KEY,
        "marker_share": 0.1,
        "shape": shape,
        "oldest_days": 365,
        "newest_days": 1,
        "seed": SEED,
    }))
    binary = chosen.server or chosen.release / "s3sweep"
    return Server(binary, folder, name, ["--script", script, "--procedural", spec])


def one_run(chosen, scenario, shape, in_flight, name, folder):
    """Everything that is known of one run of a client."""
    client = clients.KNOWN[name.split(":")[0]]

    def other_server():
        return server(chosen, folder, "none", shape, "prepare")

    with server(chosen, folder, scenario, shape) as serving:
        with client(chosen, folder, serving, in_flight, name, other_server) as run:
            print("+", shlex.join(str(word) for word in run.command), file=sys.stderr, flush=True)
            log = folder / "client.log"
            measured = measure(run.command, log, chosen.timeout, run.environment, run.look)
            extra = run.finish(log)
    found = {
        "scenario": scenario,
        "shape": shape,
        "oldest_days": 365,
        "newest_days": 1,
        "in_flight": in_flight,
        "client": name,
        "versions": chosen.versions,
        "burst_keys": chosen.burst_keys,
        "command": shlex.join(str(word) for word in run.command),
        **dataclasses.asdict(measured),
        "server_cpu_secs": serving.cpu_secs,
        "operations": serving.stats["operations"],
        "versions_left": serving.stats["versions_left"].get(clients.BUCKET, 0),
        **extra,
    }
    if measured.status != "ok":
        print(f"  {measured.status}: {last_line(log)}", file=sys.stderr)
    return found


def last_line(log):
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def main():
    chosen = arguments()
    if chosen.table:
        print(table.markdown([json.loads(line) for line in chosen.table.read_text().splitlines()]))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found = []
    every = itertools.product(chosen.scenarios, chosen.shapes, chosen.in_flight, chosen.clients, range(chosen.repeat))
    for number, (scenario, shape, in_flight, name, _) in enumerate(every):
        if name == "floor" and table.partitions_of(scenario):
            # It does not send again what was refused: the table says what the server grants instead.
            continue
        with tempfile.TemporaryDirectory(prefix="s3sweep-bench-") as temporary:
            folder = Path(temporary)
            if chosen.logs:
                folder = chosen.logs / f"{number:03}-{scenario}-{shape}-{in_flight}-{name.replace(':', '-')}"
                # What an earlier run left there would be gone on with.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
            run = one_run(chosen, scenario, shape, in_flight, name, folder)
        found.append(run)
        print(f"  {run['status']}, {run['wall_secs']:.2f} s, {run['cpu_secs']:.2f} CPU s, "
              f"{run['versions_left']} left", file=sys.stderr, flush=True)
        if chosen.json:
            with open(chosen.json, "a") as out:
                out.write(json.dumps(run) + "\n")
    print(table.markdown(found))
    return 1 if any(map(failed, found)) else 0


def failed(run):
    """Whether a client of our own did not do what it is for. What others do is for the reader to judge."""
    name = run["client"].split(":")[0]
    if name not in ("floor", "s3sweep", "plan"):
        return False
    deletes = name == "s3sweep" or run["client"] == "floor"
    return run["status"] != "ok" or (deletes and run["versions_left"] > 0)


if __name__ == "__main__":
    sys.exit(main())
