#!/usr/bin/env python3
"""Looks at the live page of a real run in a real browser.

    look.py --binary target/release/s3sweep [--browser /usr/bin/chromium] [--shots FOLDER]

A run sweeps a sandbox that is slow, throttles, and refuses some versions. Meanwhile the page is opened in a headless
Chromium, light and dark, wide and 320 pixels narrow; it is steered by keyboard alone; axe-core judges it. Nothing may
be written to the console, nothing asked for from another host, nothing scrolled sideways. The last line is
`N passed, N failed`. Needs playwright and axe-playwright-python from PyPI, and Chromium.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

TOKEN = "a-token-for-the-live-page"
JOB = """\
version: 1
name: nightly-logs
bucket: { name: my-logs, endpoint: "%(endpoint)s" }
rules:
  - { name: legal, match: { prefix: [uploads/] }, action: keep }
  - { name: markers, match: { state: delete-marker }, action: delete }
  - { name: the-rest, match: { state: any }, action: delete }
allow_promotion: true
confirm: false
limits: { concurrency: 16, versions_per_second: 6000 }
budget: { max_versions: 500000, deadline: 2h }
metrics: { listen: "127.0.0.1:0", live: { token_env: LIVE_TOKEN } }
"""
SCRIPT = {
    "seeds": [
        {
            "bucket": "my-logs", "seed": 5, "keys": 15000, "versions_per_key": 6, "key_shape": "odd",
            "latest_marker_share": 0.2, "oldest_days": 200, "newest_days": 1,
            "prefixes": ["logs/2023/", "logs/2024/", "tmp/", "uploads/"],
            "size_bytes_min": 1000, "size_bytes_max": 9000000,
        }
    ],
    "faults": {
        "seed": 4,
        "latency": [
            {"operation": "GetBucketVersioning", "fixed_ms": 1500},
            {"operation": "ListObjectVersions", "fixed_ms": 300},
            {"operation": "DeleteObjects", "fixed_ms": 60},
        ],
        "key_errors": [{"share": 0.002, "codes": ["AccessDenied"]}, {"share": 0.01, "codes": ["InternalError"]}],
        "partition_limit": {"prefix_bytes": 0, "keys_per_second": 3500, "burst_keys": 3500},
    },
}
# Everything that a person without a mouse must come to.
STOPS = {"strip", "pause", "ceiling", "set", "restore", "lock"}

results: list[tuple[str, bool]] = []


def check(what: str, holds: bool, why: str = "") -> None:
    """Notes whether something holds."""
    results.append((what, bool(holds)))
    print(("ok      " if holds else "FAILED  ") + what + (f": {why}" if why and not holds else ""), flush=True)


def wait_for(what: str, holds, seconds: float = 30.0):
    """Waits for a condition and returns what it came to."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"waited in vain for {what}")


class Sandbox:
    """The embedded server as a process of its own."""

    def __init__(self, binary: str, folder: Path) -> None:
        script, ready = folder / "script.json", folder / "ready"
        script.write_text(json.dumps(SCRIPT))
        self.process = subprocess.Popen(
            [binary, "sandbox", "--listen", "127.0.0.1:0", "--script", script, "--ready-file", ready],
            stdout=subprocess.DEVNULL, stderr=(folder / "sandbox.err").open("w"),
        )
        wait_for("the sandbox", lambda: ready.exists() and ready.read_text().strip())
        self.endpoint = re.search(r"endpoint=(\S+)", ready.read_text()).group(1)


class Run:
    """A run of the job."""

    def __init__(self, binary: str, endpoint: str, folder: Path) -> None:
        job, self.log = folder / "job.yaml", folder / "run.err"
        job.write_text(JOB % {"endpoint": endpoint})
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "LIVE_TOKEN": TOKEN, "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandboxsecret", "AWS_REGION": "us-east-1",
        }
        self.process = subprocess.Popen(
            [binary, "run", job, "--state-dir", folder / "state", "--progress", "never"],
            env=environment, stdout=subprocess.DEVNULL, stderr=self.log.open("w"),
        )
        address = r"live page on http://(\S+)/live"
        found = wait_for("the listener", lambda: re.search(address, self.log.read_text()))
        self.address = found.group(1)

    def ask(self, method: str, path: str, headers: dict | None = None, body: str | None = None) -> tuple[int, str]:
        """One request; what came back."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        lines = [line for line in self.ask("GET", "/metrics")[1].splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


class Look:
    """The page in a browser, with everything that it must not do noted."""

    def __init__(self, browser, address: str, shots: Path | None, **options) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.address, self.shots, self.faults = address, shots, []
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self.asked)
        self.page.goto(f"http://{address}/live")

    def asked(self, request) -> None:
        url = request.url
        if not url.startswith((f"http://{self.address}/", "data:")):
            self.faults.append(f"asked {url}")

    def shoot(self, name: str) -> None:
        if self.shots:
            self.page.screenshot(path=str(self.shots / f"{name}.png"), full_page=True)

    def judge(self, name: str) -> None:
        """A picture, axe's judgement, and whether it fits the window."""
        self.shoot(name)
        found = Axe().run(self.page).response["violations"]
        told = [f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:120]})" for one in found]
        check(f"{name}: axe finds nothing", not found, "; ".join(told))
        wide = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        check(f"{name}: nothing scrolls sideways", wide[0] <= wide[1], str(wide))

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Waits until something holds on the page, whose policy allows no evaluation from inside."""
        ends = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            if time.monotonic() > ends:
                said = self.page.evaluate("document.querySelector('header').innerText")
                raise TimeoutError(f"waited in vain for {expression}; the page says {said!r}, faults {self.faults}")
            self.page.wait_for_timeout(30)

    def text(self, name: str) -> str:
        return self.page.locator(f"#{name}").inner_text()

    def number(self, name: str) -> int:
        figure = self.page.locator("#counts > div", has=self.page.locator("dt", has_text=re.compile(f"^{name}$")))
        return int(figure.locator("dd").inner_text().replace(",", ""))


def look_at_run(browser, run: Run, shots: Path | None) -> None:
    wide = Look(browser, run.address, shots, viewport={"width": 1100, "height": 900}, color_scheme="light")
    page = wide.page
    wide.until("document.getElementById('job').textContent === 'nightly-logs'")
    check("starting: the page says so", wide.text("state") == "Starting", wide.text("state"))
    check("starting: not ready", run.ask("GET", "/readyz")[0] == 503)
    wide.judge("1-starting")
    wide.until("document.getElementById('state').textContent === 'Running'")
    check("running: ready", run.ask("GET", "/readyz") == (200, "ok\n"))
    wide.until("document.querySelectorAll('#failures tr').length > 3", 30)
    check("running: versions are counted", wide.number("Listed") > 0 and wide.number("Done") > 0)
    wide.judge("2-running")
    dark = Look(browser, run.address, shots, viewport={"width": 1100, "height": 900}, color_scheme="dark")
    phone = Look(browser, run.address, shots, viewport={"width": 320, "height": 640}, color_scheme="light",
                 is_mobile=True, has_touch=True, device_scale_factor=2)
    for look, name in ((dark, "3-dark"), (phone, "4-phone")):
        look.until("document.querySelectorAll('#failures tr').length > 3")
        look.judge(name)
    steer(wide, run)
    wait_for("some throttling", lambda: run.metric("s3sweep_throttled_versions_total") > 0)
    time.sleep(1.2)
    wide.judge("6-throttled")
    guard(run)
    wide.until("document.getElementById('state').textContent.startsWith('Ended')", 60)
    run.process.wait(timeout=10)
    check("ended: some versions failed", wide.text("state") == "Ended: done with failures", wide.text("state"))
    check("ended: nothing is pending", wide.number("Pending") == 0)
    wide.judge("7-ended")
    for look, name in ((dark, "8-ended-dark"), (phone, "9-ended-phone")):
        look.until("document.getElementById('state').textContent.startsWith('Ended')")
        look.judge(name)
    for look in (wide, dark, phone):
        look.context.close()
        check("no fault in the console, no other host", not look.faults, str(look.faults))


def look_at_end_without_a_word(browser, run: Run, shots: Path | None) -> None:
    """The program is killed: nobody says goodbye."""
    look = Look(browser, run.address, shots, viewport={"width": 1100, "height": 900}, color_scheme="light")
    look.until("document.getElementById('state').textContent === 'Running'")
    run.process.kill()
    look.until("document.getElementById('state').textContent === 'Connection lost'")
    check("lost: the page says where to look", "s3sweep status nightly-logs" in look.text("reason"), look.text("reason"))
    look.judge("10-lost")
    look.context.close()


def steer(look: Look, run: Run) -> None:
    """By keyboard alone: the token, a pause, the ranges, the pace, and on."""
    page = look.page

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        raise TimeoutError(f"the keyboard does not come to {name}")

    tab_to("token")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    check("steering: the pause has the focus", page.evaluate("document.activeElement.id") == "pause")
    page.keyboard.press("Enter")
    look.until("document.getElementById('state').textContent === 'Paused by an operator'")
    wait_for("what was in flight", lambda: run.metric("s3sweep_in_flight_requests") == 0)
    before = run.metric("s3sweep_requests_total")
    time.sleep(1.5)
    check("paused: no request leaves", run.metric("s3sweep_requests_total") == before)
    check("paused: the metric says so", run.metric("s3sweep_paused{") == 1, str(run.metric("s3sweep_paused{")))
    stops = set()
    page.locator("main").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        stops.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().toLowerCase()"))
    # Nothing is lowered yet, so there is nothing to put back.
    check("the keyboard comes to everything", STOPS - {"restore"} <= stops, str(stops))
    page.locator("#strip").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    check("the arrow keys tell of ranges", "listed" in look.text("range"), look.text("range"))
    look.judge("5-paused")
    page.locator("#ceiling").fill("3000")
    page.keyboard.press("Enter")
    look.until("document.getElementById('steer-said').textContent.includes('3,000')")
    check("the ceiling is lowered", run.metric("s3sweep_ceiling_versions_per_second") == 3000)
    page.locator("#pause").press("Enter")
    look.until("document.getElementById('state').textContent === 'Running'")
    page.locator("#restore").press("Enter")
    look.until("document.getElementById('steer-said').textContent.includes('6,000')")
    check("and put back", run.metric("s3sweep_ceiling_versions_per_second") == 6000)


def guard(run: Run) -> None:
    """What others may not."""
    sender = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    pause = '{"action": "pause"}'
    check("another name: refused", run.ask("GET", "/live", {"Host": "attacker.example"})[0] == 421)
    check("another name: no events", run.ask("GET", "/events", {"Host": "attacker.example:80"})[0] == 421)
    check("another page: refused", run.ask("POST", "/control", sender | {"Origin": "http://a.example"}, pause)[0] == 403)
    wrong = sender | {"Authorization": "Bearer a-token-for-the-live-pagf"}
    check("a wrong token: refused", run.ask("POST", "/control", wrong, pause)[0] == 401)
    check("the log does not hold the token", TOKEN[:12] not in run.log.read_text())
    check("and the run goes on", run.metric("s3sweep_paused") == 0)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--browser", default="/usr/bin/chromium")
    arguments.add_argument("--shots", type=Path, help="where pictures of the page go")
    arguments = arguments.parse_args()
    binary = str(Path(arguments.binary).resolve())
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    started = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        # Without a sandbox of its own: the checks may run as root, and the page is ours.
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
        try:
            sandbox = Sandbox(binary, Path(folder))
            started.append(sandbox.process)
            run = Run(binary, sandbox.endpoint, Path(folder))
            started.append(run.process)
            look_at_run(browser, run, arguments.shots)
            # The versions that failed are still there.
            run = Run(binary, sandbox.endpoint, Path(folder))
            started.append(run.process)
            look_at_end_without_a_word(browser, run, arguments.shots)
        except Exception:  # noqa: BLE001  a failure is a result
            traceback.print_exc()
            check("the page can be looked at to the end", False)
            print((Path(folder) / "run.err").read_text()[-3000:], file=sys.stderr)
        finally:
            for process in started:
                process.kill()
                process.wait()
            browser.close()
    failed = sum(not holds for _, holds in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
