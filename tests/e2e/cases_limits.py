"""Ceilings, budgets, and versions that the server will not let go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bucket import Bucket
from harness import (
    DELETE_ALL,
    DELETE_NONCURRENT,
    Ref,
    World,
    case,
    check_audit,
    check_bucket,
    check_identity,
    check_totals,
    deleted_refs,
    exits,
    same,
)
from oracle import decide


@case()
def ceiling_on_versions_holds(world: World) -> None:
    """200 versions at 50 a second: at most one second's worth may go at once."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vvv" for n in range(100)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], limits={"versions_per_second": 50})
    result = exits(job.call("run"), 0)
    assert result.seconds >= 2.9, f"200 versions at 50 a second took only {result.seconds:.1f} s"
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


@case()
def ceiling_on_requests_holds(world: World) -> None:
    """40 pages at 10 requests a second: no faster than the rate allows, and still complete."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vv" for n in range(40)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], scope={"page_size": 2}, limits={"requests_per_second": 10})
    result = exits(job.call("run"), 0)
    assert result.seconds >= 2.9, f"40 pages at 10 requests a second took only {result.seconds:.1f} s"
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


def run_down(world: World, bucket: Bucket, budget: dict, step: int) -> None:
    """Each run may delete `step` versions and says so with 78; the next goes on, until none is left."""
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], budget=budget)
    fates = decide(before, job.doc)
    planned = deleted_refs(fates)
    left, run_ids = len(planned), set()
    while left > step:
        doc = exits(job.call("run"), 78).doc
        check_identity(doc)
        left -= step
        run_ids.add(doc["run_id"])
        same("planned versions left", len(planned & bucket.refs()), left)
        same("pending", doc["pending"], left)
    run_ids.add(exits(job.call("run"), 0).doc["run_id"])
    same("runs", len(run_ids), 1)
    check_bucket(bucket, before, planned)
    check_audit(job.audits()[-1], fates)


@case()
def budget_of_versions(world: World) -> None:
    bucket = world.bucket()
    bucket.seed({f"k{n:02}": "vv" for n in range(18)})
    run_down(world, bucket, {"max_versions": 7}, 7)


@case()
def budget_of_bytes(world: World) -> None:
    bucket = world.bucket()
    for n in range(12):
        for _ in range(2):
            bucket.put(f"k{n:02}", 1000)
    run_down(world, bucket, {"max_bytes": "5KB"}, 5)


@case()
def budget_of_a_share(world: World) -> None:
    """A job that would delete more than its share of the listed versions stops there."""
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vv" for n in range(100)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], budget={"max_share": "10%"})
    doc = exits(job.call("run"), 78).doc
    check_identity(doc)
    gone = {e.ref for h in before.values() for e in h} - bucket.refs()
    same("versions gone", len(gone), 20)
    assert gone <= deleted_refs(decide(before, job.doc))


@case()
def deadline(world: World) -> None:
    bucket = world.bucket()
    bucket.seed({f"k{n:03}": "vv" for n in range(150)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], limits={"versions_per_second": 5}, budget={"deadline": "2s"})
    result = exits(job.call("run"), 78)
    assert 1.9 <= result.seconds < 20, f"a deadline of 2 s ended the run after {result.seconds:.1f} s"
    check_identity(result.doc)
    assert result.doc["pending"] > 0
    del job.doc["budget"], job.doc["limits"]
    job.write()
    exits(job.call("run"), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


class Locked:
    """A bucket with Object Lock: one version of each kind of lock among free ones."""

    def __init__(self, world: World) -> None:
        self.bucket = world.bucket(lock=True)
        self.bucket.seed({f"free/{n}": "vvm" for n in range(5)})
        self.hold = self._put("held-elder")
        self.bucket.put("held-elder")
        self.retained = self._put("retained-elder")
        self.bucket.put("retained-elder")
        self.bucket.put("held-top")
        self.held_top = self._put("held-top")
        for ref in (self.hold, self.held_top):
            self.set_hold(ref, "ON")
        until = datetime.now(UTC) + timedelta(days=1)
        self.bucket.client.put_object_retention(
            Bucket=self.bucket.name,
            Key=self.retained[0],
            VersionId=self.retained[1],
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
        )

    def _put(self, key: str) -> Ref:
        return key, self.bucket.put(key)

    def set_hold(self, ref: Ref, status: str) -> None:
        self.bucket.client.put_object_legal_hold(
            Bucket=self.bucket.name, Key=ref[0], VersionId=ref[1], LegalHold={"Status": status}
        )


# Locks of single versions are set through the server, which the sandbox does at seeding only.
@case("rgw", "localstack")
def locked_versions_fail_and_the_others_go(world: World) -> None:
    """A locked version is refused, and what is newer of its key is left: nothing comes up from beneath."""
    locked = Locked(world)
    bucket = locked.bucket
    before = bucket.settle()
    job = world.job(bucket, [DELETE_ALL])
    fates = decide(before, job.doc)
    failed = {ref: "AccessDenied" for ref in (locked.hold, locked.held_top, locked.retained)}
    for key in ("held-elder", "retained-elder"):
        failed[before[key][0].ref] = "elder-remains"
    result = exits(job.call("run"), 1)
    check_bucket(bucket, before, deleted_refs(fates) - set(failed))
    check_audit(job.audits()[-1], fates, failed)
    check_totals(job, result, fates, failed)
    same("failed and skipped", (result.doc["failed"], result.doc["skipped"]), (3, 2))


@case("rgw", "localstack")
def governance_retention_is_bypassed_on_demand(world: World) -> None:
    """The bypass lifts governance retention and no legal hold; once the holds are off, the next run takes the rest."""
    locked = Locked(world)
    bucket = locked.bucket
    before = bucket.settle()
    bypass = {"delete": {"bypass_governance_retention": True}}
    job = world.job(bucket, [{"name": "everything", "match": {"state": "any"}, "action": bypass}])
    exits(job.call("run"), 1)
    stays = {locked.hold, before["held-elder"][0].ref, locked.held_top}
    check_bucket(bucket, before, set(decide(before, job.doc)) - stays)
    for ref in (locked.hold, locked.held_top):
        locked.set_hold(ref, "OFF")
    exits(job.call("run"), 0)
    same("entries left", bucket.refs(), set())


@case("rgw", "localstack")
def too_many_failures_stop_the_run(world: World) -> None:
    """`stop_on_failures`: a run that mostly fails ends early, resumable."""
    bucket = world.bucket(lock=True)
    bucket.seed({f"k{n:02}": "v" for n in range(30)})
    before = bucket.settle()
    for history in before.values():
        ref = history[0].ref
        bucket.client.put_object_legal_hold(
            Bucket=bucket.name, Key=ref[0], VersionId=ref[1], LegalHold={"Status": "ON"}
        )
    job = world.job(
        bucket,
        [DELETE_ALL],
        budget={"stop_on_failures": {"after": 5, "share": "20%"}},
        limits={"versions_per_second": 10},
    )
    check_identity(exits(job.call("run"), 78).doc)
    check_bucket(bucket, before, set())
