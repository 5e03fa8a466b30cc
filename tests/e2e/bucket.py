"""The server's side of a case: buckets that are seeded and looked at with boto3, which shares nothing with s3sweep."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import boto3
from botocore.config import Config

from oracle import MARKER, VERSION, Entry, byte_order

# A condition on a server is asked for again after so long; the machine is shared with the server.
POLL_SECS = 0.05
SEEDERS = 8


def wait_until(what: str, condition, timeout_secs: float = 60) -> None:
    """Asks until the condition holds; never just sleeps."""
    end = time.monotonic() + timeout_secs
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_secs} s in vain: {what}"
        time.sleep(POLL_SECS)


class Server:
    """The endpoint that the environment names, and what is known to be different about it."""

    def __init__(self, personality: str) -> None:
        self.personality = personality
        self.endpoint = os.environ["AWS_ENDPOINT_URL"]
        self.region = os.environ.get("AWS_REGION", "us-east-1")
        self._serial = itertools.count(1)
        self._run = f"{os.getpid():x}{int(time.time()) & 0xFFFFF:05x}"
        # Ceph RGW 16 knows none of the newer checksum trailers that boto3 sends unasked.
        self.client = boto3.client(
            "s3",
            region_name=self.region,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=64,
                retries={"max_attempts": 4, "mode": "standard"},
            ),
        )

    @property
    def writes_versions_then_markers(self) -> bool:
        """LocalStack lists all versions of a page, then all markers, with times of whole seconds: which of the
        two is the newer one cannot be told when they were written in the same second, so seeding avoids that."""
        return self.personality == "localstack"

    def bucket(self, hint: str, *, versioning: str | None = "Enabled", lock: bool = False) -> Bucket:
        """A new bucket with a name of its own."""
        stem = re.sub(r"[^a-z0-9]+", "-", hint.lower())[:36].strip("-")
        name = f"{stem}-{self._run}-{next(self._serial)}"
        extra = {"ObjectLockEnabledForBucket": True} if lock else {}
        self.client.create_bucket(Bucket=name, **extra)
        bucket = Bucket(self, name)
        if versioning and not lock:
            bucket.set_versioning(versioning)
        return bucket


class Bucket:
    """A bucket and the order in which its entries were written."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.client = server.client
        self.name = name
        self._written: dict[str, list[str]] = {}
        self._guard = threading.Lock()

    def set_versioning(self, status: str) -> None:
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})

    def put(self, key: str, size: int = 1, **options) -> str:
        answer = self.client.put_object(Bucket=self.name, Key=key, Body=b"x" * size, **options)
        return self._note(key, answer.get("VersionId", "null"))

    def mark(self, key: str) -> str:
        """Inserts a delete marker."""
        answer = self.client.delete_object(Bucket=self.name, Key=key)
        assert answer.get("DeleteMarker"), f"no delete marker was made for {key!r}"
        return self._note(key, answer["VersionId"])

    def _note(self, key: str, version_id: str) -> str:
        with self._guard:
            written = self._written.setdefault(key, [])
            if version_id == "null" and "null" in written:
                written.remove("null")  # the new null version replaced it
            written.append(version_id)
        return version_id

    def seed(self, patterns: dict[str, str]) -> None:
        """Writes histories, oldest first: `v` a version, `m` a delete marker. Sizes follow from place and key."""
        markers = any("m" in pattern for pattern in patterns.values())
        if markers and self.server.writes_versions_then_markers:
            # Versions, then markers, then versions ...: each wave in seconds of its own.
            waves = {key: re.findall("v+|m+", pattern) for key, pattern in patterns.items()}
            for n in range(max(map(len, waves.values()))):
                self._write_all({key: wave[n] for key, wave in waves.items() if n < len(wave)})
                self.pass_second()
        else:
            self._write_all(patterns)

    def _write_all(self, patterns: dict[str, str]) -> None:
        def write(item: tuple[str, str]) -> None:
            key, pattern = item
            for place, kind in enumerate(pattern, len(self._written.get(key, []))):
                if kind == "v":
                    self.put(key, 1 + (place * 7 + len(key)) % 50)
                else:
                    self.mark(key)

        with ThreadPoolExecutor(SEEDERS) as pool:
            list(pool.map(write, patterns.items()))

    def now(self) -> datetime:
        """The server's clock, in whole seconds."""
        answer = self.client.head_bucket(Bucket=self.name)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def pass_second(self) -> None:
        start = self.now()
        wait_until("the server's clock to move", lambda: self.now() > start)

    def settle(self, margin_secs: int = 2) -> dict[str, list[Entry]]:
        """Waits until the server's clock is well past the newest entry, which a run would keep because it might
        be younger than the run itself; then gives the histories."""
        histories = self.histories()
        newest = max((e.last_modified for h in histories.values() for e in h), default=None)
        if newest is not None:
            due = newest + timedelta(seconds=margin_secs)
            wait_until("the server's clock to leave the seeding behind", lambda: self.now() >= due, 120)
        return histories

    def entries(self) -> list[Entry]:
        """What the server lists, page by page.

        The next page is asked for after the last entry of this one, rather than by NextKeyMarker, which Ceph RGW
        leaves undecoded and boto3 decodes.
        """
        found: list[Entry] = []
        marker: dict[str, str] = {}
        while True:
            page = self.client.list_object_versions(Bucket=self.name, **marker)
            here = [to_entry(raw, VERSION) for raw in page.get("Versions", [])]
            here += [to_entry(raw, MARKER) for raw in page.get("DeleteMarkers", [])]
            found += here
            if not page["IsTruncated"]:
                return found
            last_id = page["NextVersionIdMarker"]
            last = max((e.key for e in here if e.version_id == last_id), key=byte_order)
            after = {"KeyMarker": last, "VersionIdMarker": last_id}
            assert after != marker, "the listing stands still"
            marker = after

    def refs(self) -> set[tuple[str, str]]:
        return {entry.ref for entry in self.entries()}

    def histories(self) -> dict[str, list[Entry]]:
        """Per key, newest first, in the order of writing: times alone could not tell."""
        by_key: dict[str, list[Entry]] = {}
        for entry in self.entries():
            by_key.setdefault(entry.key, []).append(entry)
        for key, history in by_key.items():
            place = {version_id: n for n, version_id in enumerate(self._written[key])}
            history.sort(key=lambda entry: -place[entry.version_id])
            latest = [n for n, entry in enumerate(history) if entry.is_latest]
            assert latest == [0], f"the server calls entries {latest} of {key!r} the latest"
        return by_key


def to_entry(raw: dict, kind: str) -> Entry:
    return Entry(
        key=raw["Key"],
        version_id=raw["VersionId"],
        kind=kind,
        is_latest=raw["IsLatest"],
        size=raw.get("Size", 0),
        last_modified=raw["LastModified"],
        storage_class=raw.get("StorageClass"),
    )
