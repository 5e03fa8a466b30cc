"""Turns measurements into tables of Markdown."""

import statistics

HEAD = (
    "client", "wall s", "×", "CPU s", "×", "peak MiB", "lists", "deletes", "single deletes", "throttled", "left",
    "server CPU s", "end",
)
KEYS_PER_SECOND = 3500


def markdown(runs):
    """A table for each combination of scenario, shape and requests in flight, in the order of measuring."""
    groups = {}
    for run in runs:
        key = (run["scenario"], run["shape"], run["in_flight"], run["versions"], run.get("burst_keys", 0))
        group = groups.setdefault(key, {})
        group.setdefault(run["client"], []).append(run)
    return "\n\n".join(_group(key, clients) for key, clients in groups.items())


def _group(key, clients):
    scenario, shape, in_flight, versions, burst_keys = key
    granted = _granted_secs(scenario, versions, burst_keys)
    lines = [f"**{_named(scenario, granted)}, {shape} keys, {in_flight} in flight, {versions:,} versions**", ""]
    lines.append(_row(HEAD))
    lines.append(_row(["---", *["---:"] * (len(HEAD) - 2), "---"]))
    ours = clients.get("s3sweep")
    for name, runs in clients.items():
        lines.append(_row(_cells(name, runs, ours)))
    notes = [f"- {note}" for note in _notes(clients, versions, granted)]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _notes(clients, versions, granted):
    """What the targets ask of s3sweep besides, of clients that finished."""
    clients = {name: runs for name, runs in clients.items() if all(run["status"] == "ok" for run in runs)}
    if ours := clients.get("s3sweep"):
        wall = _median(ours, "wall_secs")
        if floor := clients.get("floor"):
            yield f"s3sweep takes {wall / _median(floor, 'wall_secs'):.2f} times the floor's wall time"
        if s3rm := clients.get("s3rm"):
            yield f"s3sweep takes {_median(ours, 'cpu_secs') / _median(s3rm, 'cpu_secs'):.2f} of s3rm's CPU time"
        if granted:
            yield f"s3sweep gets {granted / wall:.0%} of what the server grants"
        checkpoint = max(run["checkpoint_bytes_max"] for run in ours)
        yield f"s3sweep's checkpoint has at most {checkpoint / 2**20:.1f} MiB"
    one_lister = clients.get("plan:1")
    for name, runs in clients.items():
        if name.startswith("plan"):
            yield f"{name} lists {versions / _median(runs, 'cpu_secs') / 1e6:.2f} million versions per CPU second"
        if name.startswith("plan:") and one_lister and runs is not one_lister:
            faster = _median(one_lister, "wall_secs") / _median(runs, "wall_secs")
            more = _requests(runs, "ListObjectVersions") / _requests(one_lister, "ListObjectVersions") - 1
            yield f"{name} is {faster:.1f} times as fast as plan:1, with {more:+.1%} requests"


def _named(scenario, granted):
    if scenario == "none":
        return "No latency"
    if scenario == "latency":
        return "Latency"
    partitions = partitions_of(scenario)
    plural = "s" if partitions > 1 else ""
    return (f"Latency, {partitions} partition{plural} of {KEYS_PER_SECOND:,} keys/s "
            f"(granted in {granted:,.0f} s)")


def partitions_of(scenario):
    """How many parts of the key space have a limit of their own; 0 where there is no limit."""
    return int(scenario.split("-")[1]) if scenario.startswith("partitions-") else 0


def _granted_secs(scenario, versions, burst_keys):
    """How long it takes where every partition is kept at its rate from the first moment, behind what it
    takes at once; `None` where nothing limits it."""
    partitions = partitions_of(scenario)
    return max(0, versions - partitions * burst_keys) / (partitions * KEYS_PER_SECOND) if partitions else None


def _cells(name, runs, ours):
    wall, cpu = _median(runs, "wall_secs"), _median(runs, "cpu_secs")
    # What was not finished is not compared.
    ours = ours if all(run["status"] == "ok" for run in [*runs, *(ours or [])]) else None
    peak = _median(runs, "peak_rss_bytes")
    return (
        name,
        f"{wall:.2f}", _ratio(wall, ours, "wall_secs"),
        f"{cpu:.2f}", _ratio(cpu, ours, "cpu_secs"),
        f"{peak / 2**20:.0f}" if peak else "",
        f"{_requests(runs, 'ListObjectVersions'):,.0f}",
        f"{_requests(runs, 'DeleteObjects'):,.0f}",
        f"{_requests(runs, 'DeleteObject'):,.0f}",
        _throttled(runs),
        f"{_median(runs, 'versions_left'):,.0f}",
        f"{_median(runs, 'server_cpu_secs'):.1f}",
        ", ".join(sorted({run["status"] for run in runs})),
    )


def _row(cells):
    return f"| {' | '.join(cells)} |"


def _median(runs, field):
    values = [run[field] for run in runs if run[field] is not None]
    return statistics.median(values) if values else None


def _ratio(value, ours, field):
    against = _median(ours, field) if ours else None
    return f"{value / against:.2f}" if against else ""


def _requests(runs, operation):
    return statistics.median(run["operations"].get(operation, {}).get("requests", 0) for run in runs)


def _throttled(runs):
    """Keys that were sent and refused, as a share of the keys that were sent."""
    def share(run):
        many, single = (run["operations"].get(operation, {}) for operation in ("DeleteObjects", "DeleteObject"))
        refused = many.get("keys_refused", 0) + single.get("refused", 0)
        return refused / max(1, many.get("keys", 0) + single.get("requests", 0))

    return f"{statistics.median(share(run) for run in runs):.1%}"
