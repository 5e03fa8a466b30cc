#!/usr/bin/env python3
"""The end-to-end suite: drives the s3sweep binary against a real S3 server, and holds it to an oracle of its own.

    suite.py --binary target/release/s3sweep --personality rgw [--jobs 4] [CASE ...]

The server is the one that AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION name. Each case
works in a bucket of its own, so cases run side by side. The last line is `N passed, N failed`. Needs boto3 and zstd.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases_crash  # noqa: F401  the imports register the cases
import cases_keys  # noqa: F401
import cases_limits  # noqa: F401
import cases_locks  # noqa: F401
import cases_moving  # noqa: F401
import cases_refusals  # noqa: F401
import cases_rules  # noqa: F401
from bucket import Server
from harness import CASES, Case, World

_print_guard = threading.Lock()


def run_case(case: Case, server: Server, binary: str, root: Path) -> bool:
    """Runs one case and prints its line; the folder of a failed one is kept."""
    folder = root / case.name
    folder.mkdir()
    world = World(server, binary, folder, case.name)
    began = time.monotonic()
    problem = None
    try:
        case.run(world)
    except Exception as error:  # noqa: BLE001  a case may fail in any way, the others go on
        frame = [f for f in traceback.extract_tb(error.__traceback__) if "cases_" in f.filename]
        place = f"{Path(frame[-1].filename).name}:{frame[-1].lineno}: " if frame else ""
        problem = f"{place}{type(error).__name__}: {error}"
    with _print_guard:
        print(f"{'FAILED' if problem else 'ok    '} {case.name} ({time.monotonic() - began:.1f} s)", flush=True)
        if problem:
            print("  " + problem.replace("\n", "\n  "), flush=True)
    if not problem:
        world.clean()
    return problem is None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=lambda text: str(Path(text).resolve(strict=True)))
    parser.add_argument("--personality", required=True, choices=["aws", "rgw", "localstack"])
    parser.add_argument("--jobs", type=int, default=4, help="cases side by side")
    parser.add_argument("cases", nargs="*", help="names of cases; all of them when left out")
    options = parser.parse_args()
    unknown = set(options.cases) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    chosen = [
        case
        for case in CASES
        if options.personality in case.servers and (not options.cases or case.name in options.cases)
    ]
    server = Server(options.personality)
    root = Path(tempfile.mkdtemp(prefix="s3sweep-e2e-"))
    began = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda case: run_case(case, server, options.binary, root), chosen))
    failed = outcomes.count(False)
    if failed:
        print(f"what the failed cases left is in {root}")
    else:
        root.rmdir()
    print(f"{options.personality}: {len(chosen)} cases in {time.monotonic() - began:.0f} s")
    print(f"{len(chosen) - failed} passed, {failed} failed", flush=True)
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
