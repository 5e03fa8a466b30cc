"""Cases, what they get to work with, and the checks that most of them share."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bucket import Bucket, Server
from oracle import Fate, decide
from tool import Job, Result, base_env

Ref = tuple[str, str]
DELETE_NONCURRENT = {"name": "noncurrent", "match": {"state": "noncurrent"}, "action": "delete"}
DELETE_ORPHANS = {"name": "orphans", "match": {"state": "orphan-marker"}, "action": "delete"}
DELETE_ALL = {"name": "everything", "match": {"state": "any"}, "action": "delete"}

# Every shape of a history that rules and promotion can tell apart, oldest first.
HISTORIES = ["v", "vv", "vvv", "vvvvv", "vvvvvvv", "m", "vm", "vvm", "vmv", "vvmvv", "mv", "mvm", "vmvm", "vvvmvvm"]


@dataclass(frozen=True)
class Case:
    """A function that raises where the program does wrong."""

    name: str
    run: Callable[[World], None]
    servers: tuple[str, ...]


CASES: list[Case] = []


def case(*servers: str, long: bool = False):
    """Registers a case, for all servers unless some are named. A long one starts before the others."""

    def register(function):
        new = Case(function.__name__, function, servers or ("aws", "rgw", "localstack"))
        CASES.insert(0 if long else len(CASES), new)
        return function

    return register


@dataclass
class World:
    """One case's server, program and folder."""

    server: Server
    binary: str
    folder: Path
    case_name: str

    def bucket(self, hint: str = "", **options) -> Bucket:
        return self.server.bucket(f"{self.case_name}-{hint}"[:36], **options)

    def job(self, bucket: Bucket | str, rules: list[dict], place: dict | None = None, **sections) -> Job:
        """A job file for the bucket, where `place` adds to its `bucket` section. What is not said takes the
        program's default."""
        bucket_name = bucket if isinstance(bucket, str) else bucket.name
        doc = {
            "version": 1,
            "name": "sweep",
            "bucket": {"name": bucket_name, "endpoint": self.server.endpoint} | (place or {}),
            "report": {"audit": "full"},  # by default the audit leaves out what is kept
            **sections,
            "rules": rules,
        }
        folder = self.folder / f"job-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        job = Job(self.binary, folder, doc, base_env(folder))
        job.write()
        return job

    def clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def same(what: str, got, want) -> None:
    """Equality, told so that one sees what differs."""
    if got == want:
        return
    if isinstance(got, (set, frozenset)):
        extra, missing = sorted(got - want)[:8], sorted(want - got)[:8]
        counts = f"{len(got)} instead of {len(want)}"
        raise AssertionError(f"{what}: {counts}; too many: {extra}; missing: {missing}")
    raise AssertionError(f"{what}: {got!r} instead of {want!r}")


def exits(result: Result, *codes: int) -> Result:
    assert result.code in codes, f"expected exit {' or '.join(map(str, codes))}: {result.tell()}"
    return result


def deleted_refs(fates: dict[Ref, Fate]) -> set[Ref]:
    return {ref for ref, fate in fates.items() if fate.delete}


def sweep(job: Job, bucket: Bucket, *, code: int = 0, **oracle_options) -> Result:
    """Seeds have settled? Then run, and compare everything with the oracle: the plain course of a case."""
    before = bucket.settle()
    fates = decide(before, job.doc, **oracle_options)
    result = exits(job.call("run"), code)
    check_bucket(bucket, before, deleted_refs(fates))
    check_audit(job.audits()[-1], fates)
    check_totals(job, result, fates)
    return result


def check_bucket(bucket: Bucket, before: dict, gone: set[Ref]) -> None:
    """What is left is what was there less what had to go, version by version, with the newest one the latest."""
    left = {entry.ref: entry for entry in bucket.entries()}
    want = {entry.ref: entry for history in before.values() for entry in history if entry.ref not in gone}
    same("versions left in the bucket", set(left), set(want))
    for key, history in before.items():
        kept = [entry for entry in history if entry.ref in want]
        same(f"latest entry of {key!r}", [e.ref for e in kept if left[e.ref].is_latest], [e.ref for e in kept[:1]])
        for entry in kept:
            same(f"kind of {entry.ref}", left[entry.ref].kind, entry.kind)


def check_audit(records: list[dict], fates: dict[Ref, Fate], failed: dict[Ref, str] | None = None) -> None:
    """One record for each listed version, with the right outcome. `failed` names those that could not go, with
    the word that the audit gives for it."""
    failed = failed or {}
    refs = Counter((record["key"], record["version_id"]) for record in records)
    same("versions with more than one audit record", {ref for ref, n in refs.items() if n > 1}, set())
    same("versions in the audit", set(refs), set(fates))
    for record in records:
        fate = fates[record["key"], record["version_id"]]
        what = f"audit of {fate.entry.ref}"
        same(f"{what}: kind", record["kind"], fate.entry.kind)
        same(f"{what}: size", record["size"], fate.entry.size)
        same(f"{what}: rule", record.get("rule"), fate.rule)
        if fate.entry.ref in failed:
            assert record["outcome"] in ("failed", "skipped"), f"{what}: {record}"
            word = record.get("code") if record["outcome"] == "failed" else record.get("reason")
            same(f"{what}: code or reason", word, failed[fate.entry.ref])
        elif fate.delete:
            assert record["outcome"] in ("done", "gone"), f"{what}: {record}"
            assert record["attempt"] >= 1, f"{what}: {record}"
        else:
            same(f"{what}: outcome", (record["outcome"], record["reason"]), ("kept", fate.reason))


COUNTS = ("listed", "kept", "planned", "done", "gone", "failed", "skipped", "pending")


def check_identity(doc: dict) -> None:
    """One outcome each: the two sums that hold at every commit."""
    # Undecided is what waits for the rest of its key: none where the listing is complete.
    same("listed = kept + planned", doc["listed"], doc["kept"] + doc["planned"] + doc["undecided"])
    parts = ("done", "gone", "failed", "skipped", "pending")
    same("planned = the sum of its outcomes", doc["planned"], sum(doc[part] for part in parts))


def check_totals(job: Job, result: Result, fates: dict[Ref, Fate], failed: dict[Ref, str] | None = None) -> None:
    """Summary, rules, `status` and `report` tell the story that the oracle tells."""
    failed = failed or {}
    doc = result.doc
    check_identity(doc)
    planned = deleted_refs(fates)
    same("exit_code in the summary", doc["exit_code"], result.code)
    same("listed", doc["listed"], len(fates))
    same("planned", doc["planned"], len(planned))
    same("done and gone", doc["done"] + doc["gone"], len(planned) - len(failed))
    same("failed and skipped", doc["failed"] + doc["skipped"], len(failed))
    same("pending", doc["pending"], 0)
    check_rules(doc, fates, failed)
    same("undecided", doc["undecided"], 0)
    for command in ("status", "report"):
        other = exits(job.call(command), 0).doc
        other = other["summary"] if command == "report" else other
        same(f"run id in {command}", other["run_id"], doc["run_id"])
        same(f"totals in {command}", {n: other[n] for n in COUNTS}, {n: doc[n] for n in COUNTS})


def check_rules(doc: dict, fates: dict[Ref, Fate], failed: dict[Ref, str]) -> None:
    for rule in doc["rules"]:
        mine = [fate for fate in fates.values() if fate.rule == rule["name"]]
        planned = [fate for fate in mine if fate.delete]
        lost = [fate for fate in planned if fate.entry.ref in failed]
        what = f"rule {rule['name']}"
        same(f"{what}: planned", rule["planned"], len(planned))
        same(f"{what}: done and gone", rule["done"] + rule["gone"], len(planned) - len(lost))
        same(f"{what}: failed and skipped", rule["failed"] + rule["skipped"], len(lost))
        same(f"{what}: kept", rule["kept"], len(mine) - len(planned))
    if doc["gone"] == 0:
        want = sum(f.entry.size for f in fates.values() if f.delete and f.entry.ref not in failed)
        same("bytes_done", doc["bytes_done"], want)
