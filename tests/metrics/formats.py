"""The exposition of real runs, read by parsers that nobody here wrote.

A sandbox is swept while the listener is scraped in both formats, the textfile is read and a Pushgateway is
pushed to. prometheus_client's parsers must take each of them; both formats must show the same series; and the
gateway must hold the end of the run.

    python tests/metrics/formats.py target/release/s3sweep
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PATIENCE_SECS = 60
JOB = "formats"


def fetch(url, accept="*/*"):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def wait_for(what, found):
    until = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < until:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise SystemExit(f"waited in vain for {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def samples(families):
    """Each series with its value; the same series twice is an error."""
    found = {}
    for family in families:
        if family.name.startswith("s3sweep_"):  # the gateway has metrics of its own
            assert family.documentation, f"{family.name} has no help"
            assert family.type in ("counter", "gauge", "histogram"), family.type
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in found, f"{series} twice"
            found[series] = sample.value
    return found


def read_text(text):
    return samples(parser.text_string_to_metric_families(text))


def read_open(text):
    families = list(openmetrics_parser.text_string_to_metric_families(text))
    units = {family.name: family.unit for family in families if family.unit}
    # Figures of a whole run are there once the run is known.
    assert units.get("s3sweep_freed_bytes", "bytes") == "bytes", units
    assert units["s3sweep_run_start_time_seconds"] == "seconds", units
    return samples(families)


def value(series, name, **labels):
    labels = {"sweep_job": JOB, **labels}
    return series[(name, tuple(sorted(labels.items())))]


def check_scrape(address):
    kind, text = fetch(f"http://{address}/metrics", OPEN)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8", kind
    opened = read_open(text)
    kind, text = fetch(f"http://{address}/metrics")
    assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
    plain = read_text(text)
    assert set(opened) <= set(plain), set(opened) - set(plain)
    return plain


def check_end(series, what):
    assert value(series, "s3sweep_run_exit_code") == 0, what
    assert value(series, "s3sweep_run_state", state="ended") == 1, what
    assert value(series, "s3sweep_in_flight_requests") == 0, what
    assert value(series, "s3sweep_last_success_time_seconds") == value(series, "s3sweep_run_end_time_seconds"), what
    done = value(series, "s3sweep_settled_versions_total", rule='all', action="delete", outcome="done")
    assert done == value(series, "s3sweep_listed_versions_total") == 3000, (what, done)
    assert not any("pace" in name for name, _ in series), what


def start_gateway(work, processes):
    port = free_port()
    gateway = subprocess.Popen(
        ["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=(work / "gateway.log").open("w"),
    )
    processes.append(gateway)

    def is_ready():
        try:
            return fetch(f"http://127.0.0.1:{port}/-/ready")
        except OSError:
            return None

    wait_for("the Pushgateway", is_ready)
    return f"http://127.0.0.1:{port}"


def start_sandbox(binary, work, processes):
    ready, seed = work / "ready", work / "seed.yaml"
    seed.write_text(
        "version: 1\nname: seed\nbucket: { name: bucket, endpoint: sandbox }\n"
        "sandbox: { keys: 1000, versions_per_key: 3, marker_share: 0% }\n"
        "rules: [{ name: all, match: { state: any }, action: delete }]\n"
    )
    sandbox = subprocess.Popen(
        [binary, "sandbox", "--listen", "127.0.0.1:0", "--ready-file", ready, "--access-key", "key", "--secret-key",
         "secret", "--seed", seed],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    processes.append(sandbox)
    text = wait_for("the sandbox", lambda: ready.exists() and ready.read_text())
    return re.search(r"^endpoint=(.*)$", text, re.M)[1]


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    work = pathlib.Path(tempfile.mkdtemp())
    processes = []
    try:
        gateway = start_gateway(work, processes)
        endpoint = start_sandbox(binary, work, processes)
        job = work / "job.yaml"
        textfile = work / "job.prom"
        job.write_text(
            f"version: 1\nname: {JOB}\nbucket: {{ name: bucket, endpoint: '{endpoint}' }}\n"
            f"limits: {{ versions_per_second: 1500 }}\nallow_promotion: true\n"
            f"metrics: {{ listen: '127.0.0.1:0', textfile: '{textfile}',"
            f" pushgateway: {{ url: '{gateway}', interval: 1s }} }}\n"
            "rules: [{ name: all, match: { state: any }, action: delete }]\n"
        )
        log = work / "run.log"
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(work), "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        }
        run = subprocess.Popen(
            [binary, "run", job, "--yes", "--state-dir", work / "state"],
            stdout=subprocess.DEVNULL, stderr=log.open("w"), env=environment,
        )
        processes.append(run)
        address = wait_for("the listener", lambda: re.search(r"metrics on http://([^/]*)/", log.read_text()))[1]
        live = wait_for("deletions", lambda: working(address))
        assert value(live, "s3sweep_run_exit_code") == -1
        assert any(name == "process_cpu_seconds_total" for name, _ in live)
        wait_for("the first push", lambda: pushed(gateway))
        assert value(read_text(textfile.read_text()), "s3sweep_run_exit_code") == -1
        assert run.wait(PATIENCE_SECS) == 0, log.read_text()
        assert "WARN" not in log.read_text(), log.read_text()
        left = read_text(textfile.read_text())
        check_end(left, "textfile")
        held = pushed(gateway)
        check_end(held, "Pushgateway")
        assert not any(name.startswith("process_") for name, _ in left)
        print(f"{len(live)} series live, {len(left)} in the textfile, {len(held)} at the gateway: all well formed")
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(work)


def working(address):
    series = check_scrape(address)
    if not any(name == "s3sweep_settled_versions_total" for name, _ in series):
        return None
    done = value(series, "s3sweep_settled_versions_total", rule="all", action="delete", outcome="done")
    assert done == 0 or any(name == "s3sweep_freed_bytes_total" for name, _ in series)
    return series if done > 0 else None


def pushed(gateway):
    """What the gateway holds of the job, without the labels that are the gateway's own."""
    series = read_text(fetch(f"{gateway}/metrics")[1])
    held = {}
    for (name, labels), number in series.items():
        labels = dict(labels)
        if labels.pop("job", None) == JOB and name.startswith("s3sweep_"):
            assert labels.pop("instance", "") == ""
            held[(name, tuple(sorted(labels.items())))] = number
    return held


if __name__ == "__main__":
    main()
