"""What the rules select, what promotion forbids, and what the scope leaves out."""

from __future__ import annotations

from datetime import timedelta

from bucket import wait_until
from harness import (
    DELETE_ALL,
    DELETE_NONCURRENT,
    DELETE_ORPHANS,
    HISTORIES,
    World,
    case,
    check_audit,
    check_bucket,
    check_totals,
    deleted_refs,
    exits,
    same,
    sweep,
)
from oracle import decide


def every_history(prefix: str = "k/", copies: int = 1) -> dict[str, str]:
    return {f"{prefix}{n:02}-{copy}-{p}": p for n, p in enumerate(HISTORIES) for copy in range(copies)}


@case(long=True)  # it waits for versions to grow old, while the other cases go on
def ages_count_from_the_successor(world: World) -> None:
    """`noncurrent_for` runs from the creation of the next newer entry, `older_than` from one's own."""
    bucket = world.bucket()
    bucket.seed({"old/1": "vv", "old/2": "vvv", "old/3": "vmv", "half/1": "v", "half/2": "vv", "aged/1": "v"})
    bucket.settle(margin_secs=32)
    fresh = bucket.now()
    bucket.seed({"half/1": "v", "half/2": "v", "young/1": "vv", "aged/2": "v"})
    job = world.job(
        bucket,
        [
            {"name": "noncurrent", "match": {"state": "noncurrent", "noncurrent_for": "30s"}, "action": "delete"},
            {"name": "aged", "match": {"prefix": "aged/", "older_than": "30s"}, "action": "delete"},
            {"name": "young", "match": {"prefix": "young/", "newer_than": "30s"}, "action": "keep"},
        ],
    )
    sweep(job, bucket, now=fresh + timedelta(seconds=5))
    # What was fresh must have been less than 30 s old when the run began, or the oracle's `now` is wrong.
    assert bucket.now() < fresh + timedelta(seconds=29), "this machine is too slow for the case"


@case()
def noncurrent_versions_go(world: World) -> None:
    bucket = world.bucket()
    bucket.seed(every_history())
    sweep(world.job(bucket, [DELETE_NONCURRENT]), bucket)


@case()
def beyond_newest_counts_versions_only(world: World) -> None:
    """N newest noncurrent versions stay; delete markers between them do not count."""
    bucket = world.bucket()
    bucket.seed({f"{n}/{key}": pattern for n in (1, 2, 4) for key, pattern in every_history().items()})
    rules = [
        {
            "name": f"beyond-{n}",
            "match": {"prefix": f"{n}/", "state": "noncurrent", "beyond_newest": n},
            "action": "delete",
        }
        for n in (1, 2, 4)
    ]
    sweep(world.job(bucket, rules), bucket)


@case()
def orphan_markers_alone(world: World) -> None:
    """Only a marker with nothing beneath it is an orphan when nothing else goes."""
    bucket = world.bucket()
    bucket.seed(every_history())
    sweep(world.job(bucket, [DELETE_ORPHANS]), bucket)


@case()
def orphans_that_the_run_itself_makes(world: World) -> None:
    """Removing the noncurrent versions leaves the marker alone: it goes in the same run, and goes last."""
    bucket = world.bucket()
    bucket.seed(every_history(copies=3))
    sweep(world.job(bucket, [DELETE_NONCURRENT, DELETE_ORPHANS], scope={"page_size": 4}), bucket)
    assert "k/06-0-vm" not in {entry.key for entry in bucket.entries()}


@case()
def empty_whole_bucket(world: World) -> None:
    bucket = world.bucket()
    bucket.seed(every_history(copies=2))
    sweep(world.job(bucket, [DELETE_ALL]), bucket)
    same("entries left", bucket.refs(), set())


@case()
def nothing_to_do(world: World) -> None:
    """An empty bucket, and a second run right after the first."""
    empty = world.bucket("empty")
    sweep(world.job(empty, [DELETE_ALL]), empty)
    bucket = world.bucket("twice")
    bucket.seed({"a": "vvv", "b": "vm"})
    job = world.job(bucket, [DELETE_NONCURRENT, DELETE_ORPHANS])
    first = sweep(job, bucket).doc
    second = sweep(job, bucket).doc
    same("planned by the second run", second["planned"], 0)
    assert first["run_id"] != second["run_id"], "an ended run was taken for an interrupted one"


@case()
def protected_prefix(world: World) -> None:
    """The first rule that matches decides."""
    bucket = world.bucket()
    bucket.seed(every_history("logs/legal/") | every_history("logs/") | every_history("logs/legal.not/"))
    keep = {"name": "legal", "match": {"prefix": "logs/legal/"}, "action": "keep"}
    sweep(world.job(bucket, [keep, DELETE_ALL]), bucket)


@case()
def conditions_all_hold(world: World) -> None:
    """Every condition of a rule must hold, a list means any of them; markers have no size and no class."""
    bucket = world.bucket()
    bucket.seed({f"{folder}/{name}": "vvvm" for folder in ("a", "a/b", "c") for name in ("x.log", "x.tmp", "y.log")})
    for number, key in enumerate(["big/1.log", "big/2.tmp", "big/sub/3.log"]):
        bucket.put(key, 2048 + number)
        bucket.put(key, 100, StorageClass="STANDARD")
    rules = [
        {
            "name": "small",
            "match": {"state": "noncurrent", "max_size": "12B", "prefix": ["a/", "c/"]},
            "action": "keep",
        },
        {"name": "glob", "match": {"key_glob": ["a/*.log", "**/*.tmp"], "state": "noncurrent"}, "action": "delete"},
        {"name": "large", "match": {"min_size": "2KiB", "storage_class": ["STANDARD"]}, "action": "delete"},
        {"name": "regex", "match": {"key_regex": "^c/y", "state": ["noncurrent", "orphan-marker"]}, "action": "delete"},
        {"name": "suffix", "match": {"suffix": "b/x.log", "state": "any"}, "action": "delete"},
    ]
    sweep(world.job(bucket, rules), bucket)


@case()
def several_prefixes(world: World) -> None:
    bucket = world.bucket()
    bucket.seed(every_history("a/") | every_history("ab/") | every_history("b/") | every_history("c/x/"))
    scope = {"prefixes": ["a/", "c/", "nothing/"], "page_size": 7}
    sweep(world.job(bucket, [DELETE_ALL], scope=scope), bucket)


@case()
def key_range(world: World) -> None:
    """`from_key` is exclusive and `to_key` inclusive, whether or not such keys exist."""
    for hint, bounds in (
        ("existing", {"from_key": "k3", "to_key": "k6"}),
        ("between", {"from_key": "k3x", "to_key": "k6x"}),
        ("lower", {"from_key": "k7"}),
        ("upper", {"to_key": "k2"}),
    ):
        bucket = world.bucket(hint)
        bucket.seed({f"k{n}": "vvv" for n in range(10)})
        sweep(world.job(bucket, [DELETE_ALL], scope={"page_size": 5, **bounds}), bucket)


@case()
def limit_stops_the_listing(world: World) -> None:
    bucket = world.bucket()
    bucket.seed({f"k{n:02}": "vvv" for n in range(12)})
    sweep(world.job(bucket, [DELETE_NONCURRENT], scope={"page_size": 7, "limit": 15}), bucket)


@case()
def limit_within_a_key_promotes_nothing(world: World) -> None:
    """Where the listing stops inside a key, what lies beneath is unknown: its latest entry stays."""
    bucket = world.bucket()
    bucket.seed({f"k{n:02}": "vvv" for n in range(6)})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_ALL], scope={"page_size": 3, "limit": 11})
    doc = exits(job.call("run"), 0).doc
    same("listed", doc["listed"], 11)
    first_three = {entry.ref for n in range(3) for entry in before[f"k{n:02}"]}
    left = bucket.refs()
    assert not left & first_three, "keys that were listed whole are gone"
    same("latest of the key in the middle", bucket.histories()["k03"][0], before["k03"][0])
    outside = {entry.ref for key in ("k04", "k05") for entry in before[key]}
    same("versions behind the limit", left & outside, outside)


@case()
def promotion_is_forbidden(world: World) -> None:
    """A current version or latest marker stays where removing it would bring an older version up; a surviving
    marker beneath it hides what is under it, and is no obstacle."""
    for state in ("current", "latest-marker", "delete-marker", ["current", "noncurrent-marker"]):
        bucket = world.bucket()
        bucket.seed(every_history())
        rule = {"name": "top", "match": {"state": state}, "action": "delete"}
        sweep(world.job(bucket, [rule]), bucket)


@case()
def promotion_is_allowed(world: World) -> None:
    """An undelete job: latest markers go, and the versions beneath come back."""
    bucket = world.bucket()
    bucket.seed(every_history())
    rule = {"name": "undelete", "match": {"state": "latest-marker"}, "action": "delete"}
    sweep(world.job(bucket, [rule], allow_promotion=True), bucket)
    tops = {key: history[0] for key, history in bucket.histories().items()}
    same("kind of the undeleted key's latest", tops["k/06-0-vm"].kind, "version")


@case()
def suspended_bucket(world: World) -> None:
    """`null` versions of a suspended bucket can be replaced at any time: left alone unless the job allows it."""
    for allow in (False, True):
        bucket = world.bucket(f"allow-{allow}", versioning=None)
        bucket.put("before-only")
        bucket.put("before-and-enabled")
        bucket.set_versioning("Enabled")
        bucket.seed({"before-and-enabled": "vv", "enabled-only": "vvv", "null-on-top": "vv", "null-marker": "v"})
        bucket.set_versioning("Suspended")
        bucket.pass_second()
        bucket.put("null-on-top")
        bucket.mark("null-marker")
        bucket.put("null-only")
        more = {"null_versions": "allow"} if allow else {}
        sweep(world.job(bucket, [DELETE_ALL], **more), bucket, suspended=True)
        keys = {"before-only", "before-and-enabled", "null-on-top", "null-marker", "null-only"}
        same("keys left", {entry.key for entry in bucket.entries()}, set() if allow else keys)


@case()
def plan_then_apply(world: World) -> None:
    """A plan changes nothing; apply does exactly the plan, whatever has happened since."""
    bucket = world.bucket()
    bucket.seed(every_history())
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT, DELETE_ORPHANS])
    fates = decide(before, job.doc)
    plan = exits(job.call("plan"), 0).doc["plan"]
    same("planned", (plan["listed"], plan["planned"]), (len(fates), len(deleted_refs(fates))))
    same("bucket after the plan", bucket.refs(), set(fates))
    new = {(key, bucket.put(key)) for key in ("k/02-0-vvv", "k/00-0-v", "new")}
    result = exits(job.call("apply"), 0)
    same("versions left", bucket.refs(), set(fates) - deleted_refs(fates) | new)
    check_audit(job.audits()[-1], fates)
    check_totals(job, result, fates)


@case()
def apply_without_a_fresh_plan(world: World) -> None:
    """No plan, a plan of a job that was changed since, a plan that is too old: refused, and nothing is touched."""
    bucket = world.bucket()
    bucket.seed({"a": "vvv", "b": "vm"})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT])
    exits(job.call("apply"), 2, 65)
    exits(job.call("plan"), 0)
    planned = bucket.now()
    wait_until("the plan to be two seconds old", lambda: bucket.now() > planned + timedelta(seconds=2))
    exits(job.call("apply", "--max-plan-age", "1s"), 2, 65)
    job.doc["rules"] = [DELETE_ALL]
    job.write()
    exits(job.call("apply"), 65)
    same("bucket after the refusals", bucket.histories(), before)
    job.doc["rules"] = [DELETE_NONCURRENT]
    job.write()
    exits(job.call("apply"), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))
