"""Runs that are killed, interrupted, or meet each other, and the runs that take them up again."""

from __future__ import annotations

import random
import signal

from bucket import Bucket, wait_until
from harness import (
    DELETE_ALL,
    DELETE_NONCURRENT,
    DELETE_ORPHANS,
    World,
    case,
    check_audit,
    check_bucket,
    check_identity,
    deleted_refs,
    exits,
    same,
)
from oracle import decide
from tool import Job, Process

# Slow enough for a run to be caught in the middle, whatever the server.
SLOW = {"versions_per_second": 40}


def under_way(job: Job, process: Process) -> bool:
    """Whether a run has its lock and its checkpoint has become the job's current one, or it has ended already."""
    return bool(job.files("current")) or process.ended


def first_change(bucket: Bucket, refs: set, process: Process) -> None:
    wait_until("the first version to go", lambda: process.ended or bucket.refs() != refs)
    assert not process.ended, f"the run ended too early: {process.wait().tell()}"


def check_no_promotion(bucket: Bucket, before: dict) -> None:
    """At no instant may an older version of a key be the latest."""
    for entry in bucket.entries():
        if entry.is_latest:
            same(f"latest entry of {entry.key!r}", entry.ref, before[entry.key][0].ref)


def check_audits_of_all_runs(job: Job, fates: dict) -> None:
    """Each deletion was recorded once, in whichever run it fell; no run recorded a version twice."""
    gone: list = []
    for records in job.audits():
        refs = [(record["key"], record["version_id"]) for record in records]
        same("audit records of one run without repetition", len(set(refs)), len(refs))
        gone += [ref for ref, record in zip(refs, records, strict=True) if record["outcome"] in ("done", "gone")]
    same("deletions in all audits without repetition", len(set(gone)), len(gone))
    same("deletions in all audits", set(gone), deleted_refs(fates))


@case(long=True)
def killed_again_and_again(world: World) -> None:
    """SIGKILL at chosen and at random instants, the same command again, until it ends by itself: the bucket and
    the audit are those of a run that nothing happened to."""
    bucket = world.bucket()
    bucket.seed(
        {f"all/{n:03}": "vvv" for n in range(60)}
        | {f"old/{n:03}": "vvvv" for n in range(60)}
        | {f"marked/{n:03}": "vvm" for n in range(20)}
    )
    before = bucket.settle()
    empty = {"name": "empty", "match": {"prefix": "all/", "state": "any"}, "action": "delete"}
    job = world.job(
        bucket,
        [empty, DELETE_NONCURRENT, DELETE_ORPHANS],
        scope={"page_size": 50},
        limits={"versions_per_second": 60},
    )
    fates = decide(before, job.doc)
    chance = random.Random("killed again and again")
    kills = 0
    for round_number in range(40):
        process = job.start("run")
        refs = bucket.refs()
        steps = chance.randint(1, 60)
        instants = [
            lambda: bool(job.files("*")),
            lambda: bool(job.files("*.sqlite")),
            lambda refs=refs: bucket.refs() != refs,
            lambda refs=refs, steps=steps: len(bucket.refs()) <= len(refs) - steps,
        ]
        instant = instants[min(round_number, 3)]
        wait_until(f"the instant of kill {round_number}", lambda p=process, i=instant: p.ended or i())
        if process.ended:
            break
        process.signal(signal.SIGKILL)
        process.wait()
        kills += 1
        check_no_promotion(bucket, before)
        assert set(fates) - bucket.refs() <= deleted_refs(fates), "a version outside the plan is gone"
    result = exits(process.wait(), 0)
    assert kills >= 4, f"only {kills} kills hit the run"
    check_bucket(bucket, before, deleted_refs(fates))
    check_identity(result.doc)
    check_audits_of_all_runs(job, fates)


@case()
def signals_interrupt_and_the_run_goes_on(world: World) -> None:
    """First signal: what is in flight is settled, exit 75; the same command goes on where it stopped."""
    for number in (signal.SIGINT, signal.SIGTERM):
        bucket = world.bucket(number.name)
        bucket.seed({f"k{n:03}": "vvv" for n in range(100)})
        before = bucket.settle()
        job = world.job(bucket, [DELETE_NONCURRENT], limits=SLOW)
        fates = decide(before, job.doc)
        process = job.start("run")
        first_change(bucket, set(fates), process)
        process.signal(number)
        doc = exits(process.wait(60), 75).doc
        check_identity(doc)
        gone = set(fates) - bucket.refs()
        same("deletions in the summary", doc["done"] + doc["gone"], len(gone))
        assert doc["pending"] > 0, "nothing was left to go on with"
        same("totals in status", exits(job.call("status"), 0).doc["done"], doc["done"])
        job.doc["limits"] = {"versions_per_second": 10_000}  # rates may change between the two
        job.write()
        resumed = exits(job.call("run"), 0).doc
        same("run id after the resume", resumed["run_id"], doc["run_id"])
        check_bucket(bucket, before, deleted_refs(fates))
        check_audit(job.audits()[-1], fates)


@case()
def second_signal_aborts(world: World) -> None:
    """Two signals end the run at once; what was in flight is taken up by the next run."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vvv" for n in range(100)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_ALL], limits=SLOW)
    process = job.start("run")
    first_change(bucket, {e.ref for h in before.values() for e in h}, process)
    process.signal(signal.SIGINT)
    process.signal(signal.SIGTERM)
    result = exits(process.wait(30), 75)
    assert result.err.strip(), "nothing on stderr tells how to go on"
    job.doc.pop("limits")
    job.write()
    exits(job.call("run"), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


@case()
def second_run_at_the_same_time(world: World) -> None:
    """The lock belongs to one run; the other leaves at once and touches nothing."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vvv" for n in range(100)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], limits=SLOW)
    process = job.start("run")
    wait_until("the first run's checkpoint", lambda: under_way(job, process))
    assert not process.ended, process.wait().tell()
    second = exits(job.call("run"), 73)
    assert str(process.popen.pid) in second.err + second.out, f"it does not say who holds the lock: {second.tell()}"
    exits(job.call("status"), 0)  # reading is free
    exits(process.wait(), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


@case()
def changed_job_does_not_resume(world: World) -> None:
    """An interrupted run belongs to the job as it was: another rule, scope or bucket is refused."""
    bucket, other = world.bucket(), world.bucket("other")
    bucket.seed({f"k{n:03}": "vvv" for n in range(60)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], limits=SLOW)
    process = job.start("run")
    first_change(bucket, {e.ref for h in before.values() for e in h}, process)
    process.signal(signal.SIGTERM)
    exits(process.wait(60), 75)
    left, original = bucket.refs(), job.doc
    for change in (
        {"rules": [DELETE_ALL]},
        {"scope": {"prefixes": ["k0"]}},
        {"bucket": original["bucket"] | {"name": other.name}},
        {"allow_promotion": True},
    ):
        job.doc = original | change
        job.write()
        exits(job.call("run"), 65)
    same("bucket after the refusals", bucket.refs(), left)
    job.doc = original
    job.write()
    exits(job.call("run"), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


@case()
def written_to_while_it_runs(world: World) -> None:
    """Nothing that was created after the run began is touched, on old keys or on new ones."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vv" for n in range(100)})
    before = bucket.settle()
    old = {e.ref for h in before.values() for e in h}
    job = world.job(bucket, [DELETE_ALL], scope={"page_size": 10}, limits=SLOW)
    process = job.start("run")
    first_change(bucket, old, process)
    new = {(key, bucket.put(key)) for key in [f"k{n:03}" for n in range(0, 100, 3)] + ["a-new", "z-new"]}
    doc = exits(process.wait(), 0).doc
    check_identity(doc)
    same("versions left", bucket.refs(), new)
    kept = [record for record in job.audits()[-1] if record["outcome"] == "kept"]
    assert {(r["key"], r["version_id"]) for r in kept} <= new, "an old version was kept"
    same("reasons of the kept ones", {r["reason"] for r in kept} - {"cutoff"}, set())
