"""What a job must do to a bucket, worked out the slow way.

Written from the description of the job file alone, and apart from the program: it sees whole keys at once, has no
pages, no batches and no state. A disagreement is a bug on one of the two sides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

VERSION = "version"
MARKER = "delete-marker"


@dataclass(frozen=True)
class Entry:
    """One version or delete marker, as the server lists it."""

    key: str
    version_id: str
    kind: str
    is_latest: bool
    size: int
    last_modified: datetime
    storage_class: str | None

    @property
    def ref(self) -> tuple[str, str]:
        return self.key, self.version_id


@dataclass(frozen=True)
class Fate:
    """What must become of an entry: `rule` is the one that had a say, `reason` the word of a kept one."""

    entry: Entry
    delete: bool
    rule: str | None = None
    reason: str | None = None


def byte_order(key: str) -> bytes:
    """Sorts keys as S3 does."""
    return key.encode()


def decide(
    histories: dict[str, list[Entry]],
    job: dict,
    *,
    suspended: bool = False,
    now: datetime | None = None,
) -> dict[tuple[str, str], Fate]:
    """The fate of every entry in the scope of `job`. A history is one key's entries, newest first.

    `now` stands for the moment the run began, where a rule asks for an age.
    """
    fates = {}
    for key, history in histories.items():
        if in_scope(key, job.get("scope", {})):
            for fate in decide_key(history, job, suspended, now):
                fates[fate.entry.ref] = fate
    return limited(fates, job.get("scope", {}).get("limit"), histories)


def limited(fates: dict, limit: int | None, histories: dict[str, list[Entry]]) -> dict:
    """The first `limit` entries in listing order. Whether more of the last key would have followed is not known
    then, so its latest entry stays."""
    order = [e.ref for key in sorted(histories, key=byte_order) for e in histories[key] if e.ref in fates]
    if limit is None or len(order) <= limit:
        return fates
    listed = {ref: fates[ref] for ref in order[:limit]}
    top = histories[order[limit - 1][0]][0]
    return listed | {top.ref: Fate(top, delete=False, reason="unfinished")}


def in_scope(key: str, scope: dict) -> bool:
    raw = key.encode()
    if "prefixes" in scope and not any(raw.startswith(p.encode()) for p in scope["prefixes"]):
        return False
    if "from_key" in scope and raw <= scope["from_key"].encode():
        return False
    return "to_key" not in scope or raw <= scope["to_key"].encode()


def decide_key(history: list[Entry], job: dict, suspended: bool, now: datetime | None) -> list[Fate]:
    latest = [entry for entry in history if entry.is_latest]
    assert latest == history[:1], f"the latest entry of {history[0].key!r} is not its newest"
    refuse_null = suspended and job.get("null_versions", "refuse") == "refuse"

    def judge(index: int, survivors_beneath: list[Entry]) -> Fate:
        entry = history[index]
        rule = first_match(history, index, job["rules"], survivors_beneath, now)
        if rule is None:
            return Fate(entry, delete=False, reason="no-rule")
        if rule["action"] == "keep":
            return Fate(entry, delete=False, rule=rule["name"], reason="rule")
        if refuse_null and entry.version_id == "null":
            return Fate(entry, delete=False, rule=rule["name"], reason="null-version")
        return Fate(entry, delete=True, rule=rule["name"])

    elders = [judge(index, []) for index in range(1, len(history))]
    survivors = [fate.entry for fate in elders if not fate.delete]
    top = judge(0, survivors)
    uncovers_data = bool(survivors) and survivors[0].kind == VERSION
    if top.delete and uncovers_data and not job.get("allow_promotion", False):
        top = Fate(top.entry, delete=False, rule=top.rule, reason="promotion")
    return [top, *elders]


def first_match(history: list[Entry], index: int, rules: list, survivors: list[Entry], now) -> dict | None:
    for rule in rules:
        conditions = rule.get("match", {})
        if all(holds(name, want, history, index, survivors, now) for name, want in conditions.items()):
            return rule
    return None


def holds(name: str, want, history: list[Entry], index: int, survivors: list[Entry], now) -> bool:
    entry = history[index]
    match name:
        case "state":
            return any(in_state(state, entry, survivors) for state in as_list(want))
        case "prefix":
            return any(entry.key.startswith(text) for text in as_list(want))
        case "suffix":
            return any(entry.key.endswith(text) for text in as_list(want))
        case "key_glob":
            return any(re.fullmatch(glob_to_regex(glob), entry.key, re.DOTALL) for glob in as_list(want))
        case "key_regex":
            return any(re.search(regex, entry.key) for regex in as_list(want))
        case "beyond_newest":
            newer = [e for e in history[:index] if e.kind == VERSION and not e.is_latest]
            return len(newer) >= want
        case "noncurrent_for":
            return index > 0 and now - history[index - 1].last_modified >= duration(want)
        case "older_than":
            return now - entry.last_modified >= duration(want)
        case "newer_than":
            return now - entry.last_modified < duration(want)
        case "min_size":
            return entry.kind == VERSION and entry.size >= size(want)
        case "max_size":
            return entry.kind == VERSION and entry.size <= size(want)
        case "storage_class":
            return entry.kind == VERSION and (entry.storage_class or "STANDARD") in as_list(want)
    raise AssertionError(f"the oracle does not know the condition {name}")


def in_state(state: str, entry: Entry, survivors_beneath: list[Entry]) -> bool:
    marker = entry.kind == MARKER
    return {
        "any": True,
        "current": entry.is_latest and not marker,
        "noncurrent": not entry.is_latest and not marker,
        "delete-marker": marker,
        "latest-marker": marker and entry.is_latest,
        "noncurrent-marker": marker and not entry.is_latest,
        "orphan-marker": marker and entry.is_latest and not survivors_beneath,
    }[state]


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def glob_to_regex(glob: str) -> str:
    """`*` and `?` stay within a level of the key, `**/` spans any number of them."""
    out, at = "", 0
    while at < len(glob):
        for token, regex in (("**/", "(?:.*/)?"), ("**", ".*"), ("*", "[^/]*"), ("?", "[^/]")):
            if glob.startswith(token, at):
                out, at = out + regex, at + len(token)
                break
        else:
            out, at = out + re.escape(glob[at]), at + 1
    return out


def duration(text: str) -> timedelta:
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[text[-1]]
    return timedelta(**{unit: int(text[:-1])})


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * {"B": 1, "KB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2}[unit]
