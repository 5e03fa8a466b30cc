"""The lock across hosts: two state directories are two hosts."""

from __future__ import annotations

import signal
import time

from harness import DELETE_NONCURRENT, World, case, check_bucket, deleted_refs, exits, same
from oracle import decide

LOCK_KEY = "s3sweep/locks/sweep.json"


def wait_for_deletions(bucket, process, before: int) -> None:
    while len(bucket.refs()) == before:
        assert not process.ended, process.result(-1).tell()
        time.sleep(0.05)


@case("aws", "localstack", long=True)
def lock_keeps_another_host_away(world: World) -> None:
    """The second host stays away while the first works, and takes over when it is dead and silent for long enough."""
    bucket, locks = world.bucket(), world.bucket("l")
    bucket.seed({f"k{n:03}": "vvv" for n in range(60)})
    before = bucket.settle()
    lock = {"bucket": locks.name, "ttl": "10s"}
    first = world.job(bucket, [DELETE_NONCURRENT], lock=lock, limits={"versions_per_second": 10})
    second = world.job(bucket, [DELETE_NONCURRENT], lock=lock)
    process = first.start("run")
    wait_for_deletions(bucket, process, 180)
    kept_away = exits(second.call("run"), 73)
    assert f"pid={process.popen.pid} " in kept_away.err and LOCK_KEY in kept_away.err, kept_away.tell()
    process.signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    while (result := second.call("run")).code == 73:
        assert time.monotonic() - began < 30, f"the lock of the dead is never free: {result.tell()}"
        time.sleep(0.5)
    exits(result, 0)
    assert "takes over" in result.err, result.tell()
    check_bucket(bucket, before, deleted_refs(decide(before, first.doc)))
    left = [entry for entry in locks.entries() if entry.key == LOCK_KEY]
    same("versions of the lock: the dead run's, and the note that the lock was given back", len(left), 2)


@case("aws", "localstack")
def lock_leaves_nothing_behind(world: World) -> None:
    bucket = world.bucket()
    bucket.seed({f"k{n}": "vvv" for n in range(5)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], lock={"ttl": "10s"})
    exits(job.call("run"), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))


@case("rgw")
def lock_is_refused_where_conditions_do_not_hold(world: World) -> None:
    """Ceph RGW 16 carries out a write whose `If-None-Match: *` does not hold."""
    bucket = world.bucket()
    bucket.seed({f"k{n}": "vvv" for n in range(5)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT], lock={"ttl": "2m"})
    result = exits(job.call("run"), 2)
    assert "does not keep the condition" in result.err, result.tell()
    check_bucket(bucket, before, set())
