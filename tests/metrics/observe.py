"""Real runs, seen by a real Prometheus and a real Pushgateway: what an operator would look at has data.

A sandbox with latency and faults serves a bucket of many versions. Three jobs work on it: one deletes, one copies and
moves to another server, one is cut short by its budget. Prometheus scrapes the runs and the gateway, with the rules of
`dashboards/`. Then every query of the dashboard must have answered, every rule must evaluate, alerts must fire and
clear, and what is left at the gateway when the processes are gone must tell what the runs themselves told.

    python tests/metrics/observe.py --binary target/release/s3sweep --versions 1000000

needs the programs prometheus, promtool and prometheus-pushgateway, and boto3.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "dashboards" / "s3sweep.json"
RULES = [ROOT / "dashboards" / name for name in ("recording.yml", "alerts.yml")]

ENV = {
    "PATH": os.environ["PATH"],
    "AWS_ACCESS_KEY_ID": "observekey",
    "AWS_SECRET_ACCESS_KEY": "observesecret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# Queries that have no data in these runs, each with its reason.
WITHOUT_DATA: dict[tuple[str, str], str] = {}
# Queries that may tell of nothing but 0 in these runs, each with its reason.
ONLY_ZERO = {
    ("Waiting", "A"): "the listing waits when a million versions are planned and not settled",
    ("Waiting", "B"): "nobody pauses these runs",
    ("Rules", "D"): "servers confirm the deletion of a version that is gone; copies find a source gone, by chance",
    ("Rules", "F"): "versions are skipped where an elder one failed, which is chance",
}

# Four scrapes, as Grafana takes it.
RATE_INTERVAL = "5s"


@dataclass
class Programs:
    """What was started, so that all of it ends."""

    folder: Path
    running: list[subprocess.Popen] = field(default_factory=list)

    def start(self, name: str, line: list[str]) -> subprocess.Popen:
        with (self.folder / f"{name}.log").open("wb") as log:
            popen = subprocess.Popen(line, env=ENV, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.running.append(popen)
        return popen

    def end(self) -> None:
        for popen in reversed(self.running):
            popen.terminate()
        for popen in reversed(self.running):
            try:
                popen.wait(10)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()


def wait_for(what: str, condition, secs: float = 60, each: float = 0.1):
    """Until the condition gives something true, which is returned."""
    end = time.monotonic() + secs
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(each)
    raise AssertionError(f"{what}: not within {secs} s")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url: str, accept: str = "*/*") -> str | None:
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


# --- The servers ----------------------------------------------------------------------------------------------------


def sandbox(programs: Programs, binary: str, name: str, script: dict, procedural: dict | None = None) -> str:
    """Starts a sandbox and says where it is."""
    ready, script_file = programs.folder / f"{name}.ready", programs.folder / f"{name}.script.json"
    script_file.write_text(json.dumps(script))
    line = [binary, "sandbox", "--listen", "127.0.0.1:0", "--ready-file", str(ready), "--script", str(script_file)]
    line += ["--access-key", ENV["AWS_ACCESS_KEY_ID"], "--secret-key", ENV["AWS_SECRET_ACCESS_KEY"]]
    if procedural:
        spec = programs.folder / f"{name}.procedural.json"
        spec.write_text(json.dumps(procedural))
        line += ["--procedural", str(spec)]
    programs.start(name, line)
    wait_for(f"sandbox {name}", lambda: ready.exists() and ready.stat().st_size)
    return ready.read_text().strip().removeprefix("endpoint=")


def servers(programs: Programs, binary: str, versions: int) -> tuple[str, str]:
    """The source, slow and not without errors, and the destination of copies."""
    latency = [
        {"operation": "ListObjectVersions", "fixed_ms": 80, "sigma": 0.35},
        {"operation": "DeleteObjects", "fixed_ms": 50, "per_key_us": 200, "sigma": 0.35},
    ]
    faults = {
        "seed": 5,
        "latency": latency,
        # For good, and for now.
        "key_errors": [
            {"share": 0.0005, "codes": ["AccessDenied"], "prefix": "logs/"},
            {"share": 0.0002, "codes": ["SlowDown"], "prefix": "logs/"},
        ],
        "request_errors": [
            {"operation": "ListObjectVersions", "share": 0.02, "code": "SlowDown"},
            {"operation": "DeleteObjects", "share": 0.02, "code": "InternalError"},
        ],
        "resets": [{"operation": "DeleteObjects", "share": 0.02, "when": "after_applying"}],
        "partition_limit": {
            "partitions": 4,
            "keys_per_second": versions / 300,
            "burst_keys": versions / 600,
        },
    }
    seeds = [
        {"bucket": name, "seed": 3, "keys": keys, "versions_per_key": 4, "prefixes": ["data/"]}
        | {"size_bytes_min": 20_000, "size_bytes_max": 40_000}
        for name, keys in (("originals", 60), ("capped", 200))
    ]
    big = {"bucket": "big", "keys": versions // 4, "versions_per_key": 4, "marker_share": 0.1, "shape": "hive"}
    big |= {"seed": 7, "oldest_days": 365, "newest_days": 1, "size_bytes": 65536}
    source = sandbox(programs, binary, "source", {"faults": faults, "seeds": seeds}, big)
    destination = sandbox(programs, binary, "destination", {})
    client = boto3.client(
        "s3",
        endpoint_url=destination,
        region_name=ENV["AWS_REGION"],
        aws_access_key_id=ENV["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENV["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="copies")
    client.put_bucket_versioning(Bucket="copies", VersioningConfiguration={"Status": "Enabled"})
    return source, destination


def prometheus(programs: Programs, targets: list[int], gateway: int) -> str:
    """Scrapes each run by its listener, and the gateway, every second."""
    port, config = free_port(), programs.folder / "prometheus.yml"
    listed = ", ".join(f'"127.0.0.1:{target}"' for target in targets)
    config.write_text(
        "global: { scrape_interval: 1s, evaluation_interval: 1s }\n"
        f"rule_files: {json.dumps([str(path) for path in RULES])}\n"
        "scrape_configs:\n"
        "  - job_name: s3sweep\n"
        f"    static_configs: [{{ targets: [{listed}] }}]\n"
        "  - job_name: pushgateway\n"
        "    honor_labels: true\n"
        f'    static_configs: [{{ targets: ["127.0.0.1:{gateway}"] }}]\n'
    )
    subprocess.run(["promtool", "check", "config", str(config)], check=True, stdout=subprocess.DEVNULL)
    data = programs.folder / "prometheus"
    line = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", "--log.level=warn"]
    programs.start("prometheus", [*line, f"--web.listen-address=127.0.0.1:{port}"])
    url = f"http://127.0.0.1:{port}"
    wait_for("prometheus", lambda: fetch(f"{url}/-/ready"))
    return url


# --- The jobs -------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One process of s3sweep."""

    name: str
    listen: int
    popen: subprocess.Popen
    out: Path
    err: Path
    began: float = field(default_factory=time.monotonic)

    def ended(self) -> bool:
        return self.popen.poll() is not None

    def summary(self, *codes: int) -> dict:
        told = self.err.read_text()[-2000:]
        assert self.popen.returncode in codes, f"{self.name}: exit {self.popen.returncode}\n{told}"
        return json.loads(self.out.read_text())


@dataclass
class Jobs:
    """Job files, their ports, and runs of them."""

    programs: Programs
    binary: str
    gateway: int
    ports: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, doc: dict, textfile: str = "") -> None:
        """JSON is YAML."""
        self.ports[name] = free_port()
        metrics = {
            "listen": f"127.0.0.1:{self.ports[name]}",
            "pushgateway": {"url": f"http://127.0.0.1:{self.gateway}", "interval": "1s"},
            "textfile": str(self.programs.folder / (textfile or f"{name}.prom")),
        }
        doc = {"version": 1, "name": name, "metrics": metrics, **doc}
        (self.programs.folder / f"{name}.yaml").write_text(json.dumps(doc, indent=1))

    def run(self, name: str) -> Run:
        folder = self.programs.folder
        out, err = folder / f"{name}.out", folder / f"{name}.err"
        line = [self.binary, "run", f"{name}.yaml", "--yes", "--output", "json", "--progress", "never"]
        env = ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
        with out.open("wb") as stdout, err.open("wb") as stderr:
            popen = subprocess.Popen(line, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        self.programs.running.append(popen)
        return Run(name, self.ports[name], popen, out, err)


def write_jobs(jobs: Jobs, source: str, destination: str, versions: int) -> None:
    place = {"endpoint": source}
    old = {"name": "old-versions", "match": {"state": "noncurrent"}, "action": "delete"}
    orphans = {"name": "orphan-markers", "match": {"state": "orphan-marker"}, "action": "delete"}
    jobs.write(
        "nightly",
        {
            "bucket": {"name": "big", **place},
            "rules": [old, orphans],
            "limits": {"versions_per_second": max(versions // 40, 1000), "requests_per_second": 500},
            "budget": {"max_versions": versions, "max_bytes": "1PiB", "deadline": "2h"},
        },
    )
    there = {"bucket": "copies", "endpoint": destination}
    jobs.write(
        "mirror",
        {
            "bucket": {"name": "originals", **place},
            "rules": [
                {"name": "moved", "match": {"key_regex": r"[0-7]\.parquet$", "state": "any"}, "action": {"move": there}},
                {"name": "copied", "match": {"state": "any"}, "action": {"copy": there | {"prefix": "copy/"}}},
            ],
            "limits": {"bytes_per_second": "1MiB", "stream_memory": "64MiB"},
        },
    )
    jobs.write(
        "capped",
        {
            "bucket": {"name": "capped", **place},
            "rules": [old],
            "budget": {"max_versions": 300},
        },
        textfile="missing/capped.prom",  # trouble that a run survives
    )


# --- What Prometheus answers ----------------------------------------------------------------------------------------


class Prometheus:
    """The HTTP API, as Grafana asks it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.began = time.time()

    def get(self, path: str, **parameters) -> dict:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()[:400]}") from None

    def instant(self, expression: str) -> list[dict]:
        return self.get("query", query=expression)["result"]

    def value(self, expression: str) -> float | None:
        got = self.instant(expression)
        assert len(got) <= 1, f"{expression}: {len(got)} series"
        return float(got[0]["value"][1]) if got else None

    def range(self, expression: str) -> list[dict]:
        return self.get("query_range", query=expression, start=self.began, end=time.time(), step=1)["result"]

    def answers(self, target: dict, chosen: str) -> set[str]:
        """As the panel would ask, with these jobs chosen: the values. Not a number is no answer."""
        expression = substituted(target["expr"], chosen)
        series = self.instant(expression) if target.get("instant") else self.range(expression)
        values = (v for one in series for v in ([one["value"]] if "value" in one else one["values"]))
        return {value for _, value in values} - {"NaN"}

    def firing(self) -> set[tuple[str, str]]:
        found = self.instant('ALERTS{alertstate="firing"}')
        return {(one["metric"]["alertname"], one["metric"].get("sweep_job", "")) for one in found}


def substituted(expression: str, chosen: str) -> str:
    """Grafana's variables filled in: all rules and operations, the jobs as a regular expression."""
    values = {"$__rate_interval": RATE_INTERVAL, "$sweep_job": chosen, "$rule": ".+", "$operation": ".+"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def queries() -> dict[tuple[str, str], dict]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {(p["title"], t["refId"]): t for p in panels for t in p.get("targets", [])}


# --- The course of it -----------------------------------------------------------------------------------------------


def check_lint(name: str, text: str) -> None:
    """By Prometheus' own opinion of how metrics should look."""
    told = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    complaints = [line for line in (told.stdout + told.stderr).splitlines() if line.strip()]
    assert told.returncode == 0 and not complaints, f"{name}: promtool check metrics: {complaints}"


@dataclass
class Seen:
    """The queries of the dashboard that had data at some moment, and those that had more than 0."""

    data: set[tuple[str, str]] = field(default_factory=set)
    more: set[tuple[str, str]] = field(default_factory=set)

    def look(self, prom: Prometheus) -> None:
        for place, target in queries().items():
            values = set() if place in self.more else prom.answers(target, ".+")
            self.data |= {place} if values else set()
            self.more |= {place} if values - {"0", "-0"} else set()


def watch(prom: Prometheus, runs: list[Run], seen: Seen) -> list[str]:
    """While runs work: which queries have data, and one exposition of each run."""
    expositions: dict[str, str] = {}
    while not all(run.ended() for run in runs):
        for run in runs:
            text = None if run.ended() else fetch(f"http://127.0.0.1:{run.listen}/metrics")
            expositions[run.name] = text or expositions.get(run.name, "")
        seen.look(prom)
        time.sleep(1)
    for name, text in expositions.items():
        assert text, f"{name} was never seen on its listener"
        check_lint(name, text)
    return list(expositions.values())


def check_panels(prom: Prometheus, seen: Seen) -> None:
    """All of them were seen, and a choice of jobs is a choice."""
    places = set(queries())
    faults = [f"{place}: no data" for place in places - seen.data - set(WITHOUT_DATA)]
    faults += [f"{place}: nothing but 0" for place in (places & seen.data) - seen.more - set(ONLY_ZERO)]
    faults += [f"{place}: has more than is said of it" for place in seen.data & set(WITHOUT_DATA)]
    faults += [
        f"{place}: shows jobs that were not chosen"
        for place, target in queries().items()
        if place != ("Firing alerts", "A") and prom.answers(target, "(nobody|nothing)")
    ]
    assert not faults, "\n" + "\n".join(sorted(faults))


def check_rules(prom: Prometheus) -> tuple[int, float]:
    """Loaded, evaluated, without an error; what fires can be read. How many, and the seconds of the slowest group."""
    groups = prom.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    bad = [(rule["name"], rule["health"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    assert not bad, bad
    for rule in rules:
        for alert in rule.get("alerts", []):
            texts = " ".join(alert["annotations"].values())
            assert "<error" not in texts and "{{" not in texts and "%!" not in texts, texts
    return len(rules), max(group["evaluationTime"] for group in groups)


def check_gateway(prom: Prometheus, name: str, summary: dict) -> None:
    """The process is gone. Did it run, did it succeed, how much?"""
    at = f'{{job="{name}", sweep_job="{name}"}}'

    def told(metric: str, by: str = "") -> float | None:
        wait_for(f"{metric} of {name}", lambda: prom.instant(f"{metric}{at}"), 10)
        return prom.value(f"sum({metric}{at.replace('}', by + '}')})")

    # What was pushed last is scraped within a second or so.
    wait_for(f"exit code of {name} at the gateway", lambda: told("s3sweep_run_exit_code") == summary["exit_code"], 10)
    assert 0 <= time.time() - told("s3sweep_run_end_time_seconds") < 600
    assert told("s3sweep_run_state", ', state="ended"') == 1, f"{name}: state at the gateway"
    pairs = [
        ("s3sweep_listed_versions_total", "", summary["listed"]),
        ("s3sweep_kept_versions_total", "", summary["kept"]),
        ("s3sweep_planned_versions_total", "", summary["planned"]),
        *(
            ("s3sweep_settled_versions_total", f', outcome="{outcome}"', summary[outcome])
            for outcome in ("done", "gone", "failed", "skipped")
        ),
        ("s3sweep_pending_versions", "", summary["pending"]),
        ("s3sweep_in_flight_versions", "", 0),
        ("s3sweep_in_flight_requests", "", 0),
    ]
    if summary["failed"]:  # a code appears with its first version
        pairs.append(("s3sweep_failed_versions_total", "", summary["failed"]))
    for metric, by, want in pairs:
        assert told(metric, by) == want, f"{name}: {metric}{by} at the gateway is {told(metric, by)}, told was {want}"
    success = prom.value(f"s3sweep_last_success_time_seconds{at}")
    assert (success is not None) == (summary["exit_code"] == 0), f"{name}: last success {success}"


def check_textfile(folder: Path, name: str, summary: dict) -> None:
    text = (folder / f"{name}.prom").read_text()
    check_lint(f"{name}, textfile", text)
    found = re.search(r'^s3sweep_run_exit_code\{sweep_job="[^"]+"\} (\d+)$', text, re.M)
    assert found and int(found[1]) == summary["exit_code"], f"{name}: exit code in the textfile"


def check_alerts(prom: Prometheus, jobs: Jobs) -> None:
    """The budget's alert fires while the job is cut, and is gone when its next run ends the work."""
    firing = ("S3sweepBudgetReached", "capped")
    first = jobs.run("capped")
    wait_for("the first night of capped", first.ended, 120)
    assert first.summary(78)["done"] == 300
    wait_for("the budget's alert", lambda: firing in prom.firing(), 30)
    also = {("S3sweepVersionsFailed", "nightly"), ("S3sweepTelemetryTrouble", "capped")}
    wait_for("the alerts about failures and trouble", lambda: also <= prom.firing(), 10)
    wait_for("the other nights of capped", lambda: night(jobs) != 78, 120)
    wait_for("the end of the budget's alert", lambda: firing not in prom.firing(), 30)


def night(jobs: Jobs) -> int:
    run = jobs.run("capped")
    wait_for("a night of capped", run.ended, 120)
    return run.popen.returncode


def tell(prom: Prometheus, expositions: list[str], seconds: float, summary: dict, seen: Seen) -> None:
    rules, evaluation = check_rules(prom)
    scrape = prom.value('max(max_over_time(scrape_duration_seconds{job="s3sweep"}[1h]))')
    series = max(sum(1 for line in text.splitlines() if line and line[0] != "#") for text in expositions)
    settled = sum(summary[outcome] for outcome in ("done", "gone", "failed", "skipped"))
    panels = len({title for title, _ in queries()})
    print(f"{summary['listed']:,} versions listed and {settled:,} settled in {seconds:.0f} s")
    print(f"{len(seen.data)} queries of {panels} panels had data, {len(seen.more)} more than 0")
    print(f"{rules} rules evaluate, the slowest group in {evaluation * 1000:.0f} ms")
    size = max(map(len, expositions))
    print(f"an exposition: {series} series, {size:,} bytes; the slowest scrape: {scrape * 1000:.0f} ms")


def observe(programs: Programs, binary: str, versions: int) -> None:
    source, destination = servers(programs, binary, versions)
    gateway = free_port()
    programs.start("pushgateway", ["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{gateway}"])
    jobs = Jobs(programs, binary, gateway)
    write_jobs(jobs, source, destination, versions)
    prom = Prometheus(prometheus(programs, list(jobs.ports.values()), gateway))
    runs = [jobs.run("nightly"), jobs.run("mirror")]
    seen = Seen()
    expositions = watch(prom, runs, seen)
    seconds = time.monotonic() - runs[0].began
    nightly, mirror = runs[0].summary(1), runs[1].summary(0)
    for name, summary in (("nightly", nightly), ("mirror", mirror)):
        check_gateway(prom, name, summary)
        check_textfile(programs.folder, name, summary)
    check_alerts(prom, jobs)
    seen.look(prom)
    check_panels(prom, seen)
    tell(prom, expositions, seconds, nightly, seen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=str(ROOT / "target/release/s3sweep"))
    parser.add_argument("--versions", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="keep logs and files, and say where")
    options = parser.parse_args()
    # A CI that loses its patience must not leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    programs = Programs(Path(tempfile.mkdtemp(prefix="s3sweep-observe-")))
    try:
        observe(programs, str(Path(options.binary).resolve()), options.versions)
    finally:
        programs.end()
        if options.keep:
            print(f"files: {programs.folder}", file=sys.stderr)
        else:
            shutil.rmtree(programs.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
