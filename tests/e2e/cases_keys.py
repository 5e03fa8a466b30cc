"""Listing and deleting where servers and clients are known to go wrong: odd keys, small pages, long histories."""

from __future__ import annotations

from harness import DELETE_ALL, DELETE_NONCURRENT, DELETE_ORPHANS, World, case, check_bucket, deleted_refs, exits, sweep
from oracle import decide

PLAIN_KEYS = ["a", "a-b", "a.b", "a/b", "a/b/c", "a_b", "b/", "null", "z" * 1000, "~tilde"]
ODD_KEYS = [
    " leading",
    "trailing ",
    "in side",
    "a+b",
    "a%2Fb",
    "%",
    "100%25",
    "%C3%28",
    "a&b;c=d",
    "a?versionId=null",
    "a#b",
    "<key>&amp;]]>",
    '"double"',
    "'single'",
    "back\\slash",
    "a:b*c|d",
    "${env:HOME}",
    "ü/日本",
    "u\u0308 is not ü",
    "\U0001f600",
    "\uff5e sorts before an emoji in bytes, behind it in UTF-16",
    "nbsp\xa0",
    "a//b",
    "/",
    "//",
    "/leading",
    ".",
    "..",
    "./here",
    "../up",
    "x/../y",
    "x/./y",
    "new\nline",
    "tab\tbed",
    "cr\rlf\r\n",
    "é" * 500,
]
# XML 1.0 cannot hold these: one of them in a DeleteObjects body spoils the whole call.
NOT_XML_KEYS = ["ctl\x01x", "vt\x0b", "us\x1f", "\ufffe", "nonchar\uffff"]


def odd_keys(world: World) -> list[str]:
    keys = ODD_KEYS + NOT_XML_KEYS
    if world.server.personality == "localstack":
        # LocalStack answers InternalError to a PUT of these two.
        keys = [key for key in keys if key not in ("/", "//")]
    return keys


def seed_all(keys: list[str]) -> dict[str, str]:
    patterns = ["vv", "vvm", "vvv", "vm"]
    return {key: patterns[n % len(patterns)] for n, key in enumerate(sorted(keys))}


@case()
def odd_keys_on_one_page(world: World) -> None:
    bucket = world.bucket()
    bucket.seed(seed_all(PLAIN_KEYS + odd_keys(world)))
    sweep(world.job(bucket, [DELETE_NONCURRENT, DELETE_ORPHANS]), bucket)


def small_pages(world: World, page_size: int) -> None:
    keys = PLAIN_KEYS + odd_keys(world)
    if world.server.personality == "localstack":
        # With encoding-type=url LocalStack compares the plain marker with encoded keys, so a page that ends in a
        # key which needs encoding is not followed by the right one. Such keys have a case of their own below.
        keys = PLAIN_KEYS
    bucket = world.bucket()
    bucket.seed(seed_all(keys))
    sweep(world.job(bucket, [DELETE_NONCURRENT, DELETE_ORPHANS], scope={"page_size": page_size}), bucket)


@case()
def odd_keys_page_size_1(world: World) -> None:
    small_pages(world, 1)


@case()
def odd_keys_page_size_3(world: World) -> None:
    small_pages(world, 3)


@case()
def odd_keys_page_size_10(world: World) -> None:
    small_pages(world, 10)


@case("localstack")
def confused_markers_delete_nothing_wrong(world: World) -> None:
    """On a server that loses its way in the listing a run may end at a tripwire, or complete. It must not delete
    what the rules keep."""
    bucket = world.bucket()
    bucket.seed(seed_all(PLAIN_KEYS + odd_keys(world)))
    before = bucket.settle()
    job = world.job(bucket, [DELETE_NONCURRENT, DELETE_ORPHANS], scope={"page_size": 3})
    planned = deleted_refs(decide(before, job.doc))
    exits(job.call("run"), 0, 76)
    gone = {entry.ref for history in before.values() for entry in history} - bucket.refs()
    assert gone <= planned, f"deleted against the rules: {sorted(gone - planned)[:8]}"


@case()
def empty_bucket_of_odd_keys(world: World) -> None:
    """Every version, in batches and by single requests for the keys that XML cannot hold."""
    bucket = world.bucket()
    bucket.seed(seed_all(odd_keys(world)))
    sweep(world.job(bucket, [DELETE_ALL]), bucket)


@case()
def walk_that_deletes_behind_itself(world: World) -> None:
    """Deleting the version that a page ended with makes Ceph RGW lose the rest of that key, and others start the
    key again: 60 versions in tiny pages, the deletes close behind the listing."""
    for page_size in (1, 7):
        bucket = world.bucket(f"pages-{page_size}")
        bucket.seed({"before": "vv", "hot": "v" * 60, "later": "vvv", "marked": "v" * 20 + "m"})
        rules = [DELETE_NONCURRENT, DELETE_ORPHANS] if page_size == 1 else [DELETE_ALL]
        sweep(world.job(bucket, rules, scope={"page_size": page_size}), bucket)


@case()
def versions_and_markers_on_one_page(world: World) -> None:
    """Some servers write all versions of a page and then all its markers: they have to be merged again."""
    for page_size in (1000, 6, 2):
        bucket = world.bucket(f"pages-{page_size}")
        bucket.seed({f"k{n:02}": pattern for n, pattern in enumerate(["vmvm", "vvmv", "mvm", "vm", "mv", "vvv"] * 3)})
        rules = [DELETE_NONCURRENT, {"name": "markers", "match": {"state": "noncurrent-marker"}, "action": "delete"}]
        sweep(world.job(bucket, rules, scope={"page_size": page_size}), bucket)


@case("localstack")
def ties_between_versions_and_markers(world: World) -> None:
    """A marker and a version of the same second on a grouped page: which is newer cannot be told, so a version that
    hangs on it is kept. What the rules keep is kept in any case."""
    bucket = world.bucket()
    for n in range(10):
        for kind in "vmvvmv":
            bucket.put(f"k{n}") if kind == "v" else bucket.mark(f"k{n}")
    before = bucket.settle()
    beyond = {"name": "beyond", "match": {"state": "noncurrent", "beyond_newest": 1}, "action": "delete"}
    job = world.job(bucket, [beyond])
    planned = deleted_refs(decide(before, job.doc))
    exits(job.call("run"), 0)
    gone = {entry.ref for history in before.values() for entry in history} - bucket.refs()
    assert gone <= planned, f"deleted against the rules: {sorted(gone - planned)[:8]}"


@case()
def more_than_one_batch(world: World) -> None:
    """More than a thousand versions: several full pages and requests."""
    bucket = world.bucket()
    bucket.seed({f"logs/{n % 7}/{n:05}": "vvv" for n in range(700)})
    sweep(world.job(bucket, [DELETE_NONCURRENT]), bucket)


@case()
def one_key_with_many_versions(world: World) -> None:
    """More versions of one key than one request holds; its latest goes in a request of its own, last."""
    bucket = world.bucket()
    bucket.seed({"hot": "v" * 1100, "cold": "v"})
    before = bucket.settle()
    job = world.job(bucket, [DELETE_ALL], scope={"prefixes": ["hot"]})
    exits(job.call("run"), 0)
    check_bucket(bucket, before, deleted_refs(decide(before, job.doc)))
